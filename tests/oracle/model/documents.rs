//! Claim: documents in a row are computed as if each stood alone, rows beside padding as without it, and
//! sequences in parts as at once, in every form and scalar; and whatever leaks between them is seen.

use super::support::{Stages, config, parameters, with_heads_of};
use crate::common::largest;
use core::ops::Range;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Ball, Real, RootsOfUnity};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::model::{Mixer, Model, ModelStages, ModelStream};
use hungry_hippos::ssm::{Documents, Padding};

/// Of a stage's largest number.
const BOUND: f64 = 1e-12;

/// H3 of two heads around attention of two, with learned positions for the longest document alone.
fn model<T: Real>() -> Model<T> {
    let mut config = with_heads_of(2, config(3, &[1], 2, 4));
    config.max_position_embeddings = 7;
    parameters(&config).build().expect("a model")
}

fn forms() -> Vec<Form> {
    vec![
        Form::Recurrence,
        Form::Toeplitz,
        Form::Convolution,
        Form::Fft,
        Form::Scan,
        Form::Attention,
        Form::FlashConv(Chunking::Uniform(3)),
    ]
}

fn ids(batch: usize, len: usize) -> Tensor<usize> {
    let ids = (0..batch * len).map(|i| (i * i + 3 * i + 1) % 9);
    Tensor::new([batch, len], ids.collect()).expect("fits")
}

/// Documents of one token, shorter than the window of 4, and as long as the table of positions.
fn packed() -> (Tensor<usize>, Documents) {
    let documents = Documents::packed(14, &[0, 3, 4, 11, 14]).expect("fits");
    (ids(1, 14), documents)
}

/// Rows of one token, of some, and without padding; ids at padding that no model has.
fn padded(padding: Padding) -> (Tensor<usize>, Documents) {
    let documents = Documents::padded(7, &[1, 5, 7], padding).expect("fits");
    let mut ids = ids(3, 7).into_data();
    for (b, i) in documents.padding() {
        ids[b * 7 + i] = usize::MAX - i;
    }
    (Tensor::new([3, 7], ids).expect("fits"), documents)
}

/// The stages of some tokens of a row.
fn part(stage: &Tensor<f64>, b: usize, tokens: Range<usize>) -> Vec<f64> {
    let (len, width) = (stage.shape()[1], stage.shape()[2]);
    stage.data()[(b * len + tokens.start) * width..(b * len + tokens.end) * width].to_vec()
}

fn named<T: Real>(stages: ModelStages<T>) -> Stages {
    let named = stages.named().into_iter();
    named
        .map(|(name, stage)| (name, stage.map(Real::to_f64)))
        .collect()
}

/// By how much of their largest number the stages of documents differ from those of each alone, and
/// whether they are zero at padding.
fn departure<T>(
    model: &Model<T>,
    form: &Form,
    (ids, documents): (&Tensor<usize>, &Documents),
    got: &Stages,
) -> f64
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let len = documents.seq_len();
    for (name, stage) in got {
        for (b, i) in documents.padding() {
            let at = part(stage, b, i..i + 1);
            assert!(at.iter().all(|&x| x == 0.0), "{name} at padding");
        }
    }
    let mut worst: f64 = 0.0;
    for (b, tokens) in documents.iter() {
        let alone = ids.data()[b * len..][tokens.clone()].to_vec();
        let alone = Tensor::new([1, tokens.len()], alone).expect("fits");
        let alone = named(model.forward(form, &alone).expect("runs"));
        for ((_, got), (_, alone)) in got.iter().zip(&alone) {
            let got = part(got, b, tokens.clone());
            assert_eq!(got.len(), alone.data().len());
            let size = largest(alone.data());
            for (x, y) in got.iter().zip(alone.data()) {
                worst = worst.max((x - y).abs() / size);
            }
        }
    }
    worst
}

#[test]
fn documents_stand_alone_in_every_form() {
    let model = model::<f64>();
    let texts = [packed(), padded(Padding::Right), padded(Padding::Left)];
    for form in forms() {
        for (ids, documents) in &texts {
            let stages = model.forward_documents(&form, ids, documents, None);
            let stages = stages.expect("runs");
            let lengths: Vec<usize> = documents.iter().map(|(_, tokens)| tokens.len()).collect();
            assert_eq!(stages.state.positions, lengths, "{form}");
            let off = departure(&model, &form, (ids, documents), &named(stages));
            assert!(off < BOUND, "{form}, {documents:?}: {off:e}");
        }
    }
}

/// Balls whose midpoints agree to far below a rounding of f64.
#[test]
fn documents_stand_alone_in_balls() {
    let model = model::<Ball>();
    for (ids, documents) in [packed(), padded(Padding::Left)] {
        let stages = model.forward_documents(&Form::Recurrence, &ids, &documents, None);
        let stages = named(stages.expect("runs"));
        let off = departure(&model, &Form::Recurrence, (&ids, &documents), &stages);
        assert!(off < 1e-15, "{documents:?}: {off:e}");
    }
}

/// The same comparison sees other boundaries, padding on the other side, and no documents at all.
#[test]
fn leaks_are_seen() {
    let mut config = with_heads_of(2, config(3, &[1], 2, 4));
    config.max_position_embeddings = 14;
    let model: Model<f64> = parameters(&config).build().expect("a model");
    let run = |ids: &Tensor<usize>, documents: &Documents| {
        let stages = model.forward_documents(&Form::Fft, ids, documents, None);
        named(stages.expect("runs"))
    };
    let (packed, documents) = packed();
    let off = |got: &Stages| departure(&model, &Form::Fft, (&packed, &documents), got);
    for (cu_seqlens, what) in [
        (&[0, 14][..], "one document"),
        (&[0, 2, 4, 11, 14], "a boundary a token early"),
        (
            &[0, 3, 11, 14],
            "a document of one token joined to the next",
        ),
    ] {
        let other = Documents::packed(14, cu_seqlens).expect("fits");
        let off = off(&run(&packed, &other));
        assert!(off > 1e-3, "{what}: {off:e}");
    }
    // Rows read from the wrong side, with ids that a model has.
    let right = Documents::padded(7, &[3, 5], Padding::Right).expect("fits");
    let rows = ids(2, 7);
    let whole = run(&rows, &Documents::whole(2, 7));
    let of_right = run(&rows, &right);
    let first = part(&whole[0].1, 0, 0..3);
    for (x, y) in part(&of_right[0].1, 0, 0..3).iter().zip(&first) {
        assert!((x - y).abs() < BOUND * largest(&first), "causal");
    }
    let left = Documents::padded(7, &[3, 5], Padding::Left).expect("fits");
    let (of_left, of_whole) = (run(&rows, &left), &whole);
    let (x, y) = (part(&of_left[0].1, 0, 4..7), part(&of_whole[0].1, 0, 4..7));
    let apart = x.iter().zip(&y).map(|(x, y)| (x - y).abs());
    assert!(
        apart.fold(0.0, f64::max) > 1e-3 * largest(&x),
        "padding stepped through"
    );
}

/// What packed or padded prompts leave goes on token by token, each from its own position.
#[test]
fn states_of_documents_go_on() {
    let model = model::<f64>();
    for padding in [Padding::Left, Padding::Right] {
        let documents = Documents::padded(5, &[2, 5, 3], padding).expect("fits");
        let rows = ids(3, 5);
        let prompt = model.forward_documents(&Form::Fft, &rows, &documents, None);
        let state = prompt.expect("runs").state;
        let mut stream = ModelStream::resume(&model, state.clone()).expect("its own state");
        let mut sequences: Vec<Vec<usize>> = documents
            .iter()
            .map(|(b, tokens)| rows.data()[b * 5..][tokens].to_vec())
            .collect();
        for next in [[1, 2, 3], [4, 5, 6]] {
            let stages = stream.step(&next).expect("a step");
            for ((b, sequence), id) in sequences.iter_mut().enumerate().zip(next) {
                sequence.push(id);
                let len = sequence.len();
                let alone = Tensor::new([1, len], sequence.clone()).expect("fits");
                let alone = model.forward(&Form::Recurrence, &alone).expect("runs");
                let expected = part(&alone.logits, 0, len - 1..len);
                for (x, y) in part(&stages.logits, b, 0..1).iter().zip(&expected) {
                    assert!((x - y).abs() < BOUND * largest(&expected), "row {b}");
                }
            }
        }
        assert_eq!(stream.positions(), [4, 7, 5]);
        // The row that is at the table's end ends the batch, and nothing is changed by it.
        let said = stream.step(&[0, 0, 0]).expect_err("no such position");
        assert!(said.to_string().contains("positions for 7"), "{said}");
        assert_eq!(stream.positions(), [4, 7, 5]);
        // A state at another row's position is another state: the caches are of other lengths.
        let mut shifted = state;
        shifted.positions.reverse();
        assert!(ModelStream::resume(&model, shifted).is_err());
    }
}

/// A prompt, steps and chunks of any lengths are the whole: H3 states and caches of keys and values are
/// handed on.
#[test]
fn parts_are_the_whole() {
    let model = model::<f64>();
    let kinds = model.blocks().iter();
    let attention = kinds.map(|block| matches!(block.mixer, Mixer::Attention(_)));
    assert_eq!(attention.collect::<Vec<_>>(), [false, true, false]);
    let rows = ids(2, 7);
    let of = |from: usize, to: usize| {
        let tokens = (0..2).flat_map(|b| &rows.data()[b * 7 + from..b * 7 + to]);
        Tensor::new([2, to - from], tokens.copied().collect()).expect("fits")
    };
    for form in forms() {
        let whole = named(model.forward(&form, &rows).expect("runs"));
        for parts in [&[4, 1, 2][..], &[1, 6], &[2, 2, 2, 1]] {
            let (mut at, mut state) = (0, None);
            for &len in parts {
                let tokens = of(at, at + len);
                let documents = Documents::whole(2, len);
                let run = |state| model.forward_documents(&form, &tokens, &documents, state);
                let stages = run(state.as_ref()).expect("runs");
                let forgot = run(None).expect("runs");
                let next = Some(stages.state.clone());
                let (stages, forgot) = (named(stages), named(forgot));
                let mut worst: f64 = 0.0;
                for (((_, stage), (name, whole)), (_, forgot)) in
                    stages.iter().zip(&whole).zip(&forgot)
                {
                    let size = BOUND * largest(whole.data());
                    for b in 0..2 {
                        let expected = part(whole, b, at..at + len);
                        for (x, y) in part(stage, b, 0..len).iter().zip(&expected) {
                            assert!(
                                (x - y).abs() < size,
                                "{form}, {parts:?}, {name}: {x} but {y}"
                            );
                        }
                        for (x, y) in part(forgot, b, 0..len).iter().zip(&expected) {
                            worst = worst.max((x - y).abs() / size);
                        }
                    }
                }
                assert!(at == 0 || worst > 1e9, "a state that is forgotten is seen");
                (at, state) = (at + len, next);
            }
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let model = model::<f64>();
    let said = |ids: &Tensor<usize>, documents: &Documents| {
        let ran = model.forward_documents(&Form::Fft, ids, documents, None);
        ran.map(|_| ()).map_err(|e| e.to_string())
    };
    let refused = |ids: &Tensor<usize>, documents: &Documents, fragment: &str| {
        let said = said(ids, documents).expect_err(fragment);
        assert!(said.contains(fragment), "{fragment}: {said}");
    };
    let (rows, documents) = packed();
    assert_eq!(said(&rows, &documents), Ok(()));
    refused(&ids(2, 7), &documents, "input_ids");
    refused(&ids(1, 13), &documents, "input_ids");
    // As long as the table of positions, not longer.
    let long = Documents::packed(14, &[0, 6, 14]).expect("fits");
    refused(
        &rows,
        &long,
        "8 tokens, but the model has learned positions for 7",
    );
    let mut outside = rows.clone().into_data();
    outside[3] = 9;
    let outside = Tensor::new([1, 14], outside).expect("fits");
    refused(
        &outside,
        &documents,
        "element 3 is 9, outside the vocabulary of 9",
    );
}
