//! Any schedule of any form is the recurrence over the whole, over the prime field: every stage, and the
//! state after every part that of its tokens alone.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Rng};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape, LayerState, Stages};

const LEN: usize = 12;

/// Lengths of parts, against a window of five taps and chunks of four, each with its reason.
const SCHEDULES: [(&[usize], &str); 8] = [
    (&[12], "a prompt alone"),
    (&[1; 12], "steps alone"),
    (&[1, 11], "a prompt of one token"),
    (
        &[8, 1, 1, 1, 1],
        "a prompt that ends with a chunk, then steps",
    ),
    (&[7, 1, 1, 3], "a chunk after steps"),
    (&[5, 7], "a prompt as long as the window"),
    (
        &[3, 2, 1, 6],
        "a prompt and a chunk that do not fill the window",
    ),
    (&[4, 4, 4], "chunks alone"),
];

fn layer(head_dim: usize, l_max: Option<usize>, rng: &mut Rng) -> Layer<M61> {
    let shape = LayerShape {
        n_heads: 2,
        head_dim,
        d_state: 5,
        l_max,
        head_order: HeadOrder::D2H,
    };
    Layer::sample(shape, rng).expect("sizes are positive")
}

/// The first tokens of every sequence.
fn prefix(u: &Tensor<M61>, len: usize) -> Tensor<M61> {
    let &[batch, all, d] = u.shape() else {
        panic!("three axes")
    };
    let rows = u.data().chunks_exact(all * d);
    let data = rows.flat_map(|row| &row[..len * d]).copied().collect();
    Tensor::new([batch, len, d], data).expect("cut to shape")
}

fn whole(layer: &Layer<M61>, u: &Tensor<M61>, state: Option<&LayerState<M61>>) -> Stages<M61> {
    let stages = layer.forward(&Form::Recurrence, u, state);
    stages.expect("shapes fit")
}

/// True if the schedule gives the whole, and after each part the state of the tokens so far.
fn agrees(
    layer: &Layer<M61>,
    form: &Form,
    u: &Tensor<M61>,
    state: Option<&LayerState<M61>>,
    lengths: &[usize],
) -> bool {
    let run = layer.in_parts(form, u, state, lengths);
    let (stages, states) = run.expect("shapes fit");
    let mut at = 0;
    let expected = lengths.iter().map(|len| {
        at += len;
        whole(layer, &prefix(u, at), state).state
    });
    stages == whole(layer, u, state) && states == expected.collect::<Vec<_>>()
}

#[test]
fn every_schedule_is_the_whole() {
    let rng = &mut Rng::new(1);
    for head_dim in [1, 2, 4] {
        let layer = layer(head_dim, None, rng);
        let u = layer.sample_input(2, LEN, rng);
        let state = layer.sample_state(2, 3, rng);
        for (i, (lengths, why)) in SCHEDULES.into_iter().enumerate() {
            // From a state and from none in turn.
            let state = (i % 2 == head_dim % 2).then_some(&state);
            for form in Form::all([1, 4, 20].map(Chunking::Uniform)) {
                let what = format!("{form:?}, parts of {lengths:?}: {why}, head_dim {head_dim}");
                assert!(agrees(&layer, &form, &u, state, lengths), "{what}");
            }
        }
        for _ in 0..4 {
            let (mut lengths, mut rest) = (Vec::new(), LEN);
            while rest > 0 {
                lengths.push(1 + rng.below(rest));
                rest -= lengths[lengths.len() - 1];
            }
            let forms = Form::all([Chunking::Uniform(1 + rng.below(LEN))]);
            let form = &forms[rng.below(forms.len())];
            assert!(
                agrees(&layer, form, &u, Some(&state), &lengths),
                "{form:?}, {lengths:?}"
            );
        }
    }
}

/// Each half of a state that is not handed on, and a state handed on a token late, are seen in the
/// part that goes on from it.
#[test]
fn what_is_not_handed_on_is_seen() {
    let rng = &mut Rng::new(2);
    for head_dim in [1, 2, 4] {
        let layer = layer(head_dim, None, rng);
        let u = layer.sample_input(1, LEN, rng);
        let prompt = whole(&layer, &prefix(&u, 7), None).state;
        let late = whole(&layer, &prefix(&u, 8), None).state;
        let d = layer.d_model();
        let rest = Tensor::new([1, LEN - 7, d], u.data()[7 * d..].to_vec()).expect("cut to shape");
        let right = whole(&layer, &u, None);
        let zero = layer.zero_state(1);
        let with = |shift: &LayerState<M61>, diagonal: &LayerState<M61>| LayerState {
            shift: shift.shift.clone(),
            diagonal: diagonal.diagonal.clone(),
            position: 7,
        };
        for (what, state, is_right) in [
            ("both", with(&prompt, &prompt), true),
            ("window alone", with(&prompt, &zero), false),
            ("diagonal alone", with(&zero, &prompt), false),
            ("neither", with(&zero, &zero), false),
            ("both a token late", with(&late, &late), false),
            ("the window a token late", with(&late, &prompt), false),
        ] {
            let stages = whole(&layer, &rest, Some(&state));
            let output = stages.output.data() == &right.output.data()[7 * d..];
            assert_eq!(output, is_right, "{what}: output");
            let state = stages.state.diagonal == right.state.diagonal;
            assert_eq!(state, is_right, "{what}: final state");
        }
        assert_ne!(
            prompt,
            LayerState {
                position: 7,
                ..late
            },
            "a snapshot a token late"
        );
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let rng = &mut Rng::new(3);
    let layer_of = layer(2, Some(8), rng);
    let u = layer_of.sample_input(1, LEN, rng);
    let refused = |lengths: &[usize]| {
        let run = layer_of.in_parts(&Form::Convolution, &u, None, lengths);
        run.map(|_| ()).expect_err("must be refused").to_string()
    };
    for lengths in [&[5, 6][..], &[13], &[]] {
        let message = refused(lengths);
        assert!(
            message.contains("parts") && message.contains("seq_len 12"),
            "{message}"
        );
    }
    let message = refused(&[5, 7]);
    assert!(
        message.contains("a run in parts passes a state"),
        "{message}"
    );
    // In one part nothing is handed on.
    let run = layer_of.in_parts(&Form::Convolution, &u, None, &[12]);
    let cut = layer_of
        .forward(&Form::Convolution, &u, None)
        .expect("has a kernel");
    assert_eq!(run.expect("one part").0, cut);
}
