//! Claim: the whole layer over documents packed into a row, and over rows with padding on either side
//! full of other numbers, is the layer on each document alone: every stage, the state of each, and
//! every gradient, in every form, exactly.

use super::support::{Served, forms, packed, packed_rows};
use crate::common::is_exhaustive;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Form, HeadOrder, LayerShape};
use hungry_hippos::ssm::{Documents, Padding};
use proptest::prelude::*;

const T: usize = 4;

fn shape(head_dim: usize, l_max: Option<usize>) -> LayerShape {
    LayerShape {
        n_heads: if head_dim == 4 { 1 } else { 2 },
        head_dim,
        d_state: 5,
        l_max,
        head_order: [HeadOrder::D2H, HeadOrder::HD2][head_dim / 4],
    }
}

/// Every form of the layer is `reference` on each document alone.
fn agree(served: &Served, reference: &Form, rng: &mut Rng) {
    let expected = served.stages_alone(reference);
    let gradients = served.gradients_alone(reference);
    for form in forms(served.documents.seq_len(), T, rng) {
        let what = format!("{form:?} over {:?}", served.documents);
        let passes_state = matches!(form, Form::Recurrence | Form::Scan | Form::FlashConv(_));
        if *reference == Form::Convolution && passes_state {
            continue;
        }
        let stages = served.stages(&form);
        let mut expected = expected.clone();
        if form == Form::Attention {
            expected.ssm_out = None;
        }
        assert_eq!(stages, expected, "{what}");
        assert_eq!(served.gradients(&form), gradients, "{what}");
    }
}

/// Every row, with states for the documents and without.
///
/// By default every row once at one head dimension with states, and half of them at the others; with
/// `HIPPOS_EXHAUSTIVE` set, all.
#[test]
fn packed_is_each_document_alone() {
    let rng = &mut Rng::new(1);
    for (i, (lengths, why)) in packed_rows(5, T).into_iter().enumerate() {
        for head_dim in [1, 2, 4] {
            for with_state in [true, false] {
                let by_default = match (head_dim, with_state) {
                    (2, true) => true,
                    (1, false) => i % 2 == 0,
                    (4, true) => i % 2 == 1,
                    _ => false,
                };
                if by_default || is_exhaustive() {
                    println!("head_dim {head_dim}, documents of {lengths:?}: {why}");
                    let shape = shape(head_dim, None);
                    let served = Served::sample(shape, packed(&lengths), with_state, rng);
                    agree(&served, &Form::Recurrence, rng);
                }
            }
        }
    }
}

/// Lengths of rows, each with its reason: one token, a full row, shorter than the window, exactly as
/// long, and an end at a chunk's edge.
const LENGTHS: [usize; 5] = [1, 13, 3, 5, 8];

#[test]
fn padded_is_each_row_alone() {
    let rng = &mut Rng::new(2);
    for head_dim in [1, 2, 4] {
        for padding in [Padding::Right, Padding::Left] {
            for with_state in [false, true] {
                if head_dim == 4 && with_state != (padding == Padding::Left) && !is_exhaustive() {
                    continue;
                }
                let documents = Documents::padded(13, &LENGTHS, padding).expect("fits");
                let served = Served::sample(shape(head_dim, None), documents, with_state, rng);
                agree(&served, &Form::Recurrence, rng);
            }
        }
    }
}

/// Kernels are cut in each document, in the forms that have one; the others take a row whose documents
/// are no longer than `l_max`, however long it is itself.
#[test]
fn l_max_counts_from_a_documents_first_token() {
    let rng = &mut Rng::new(3);
    for head_dim in [1, 2, 4] {
        let served = Served::sample(shape(head_dim, Some(4)), packed(&[3, 9, 4, 6]), false, rng);
        agree(&served, &Form::Convolution, rng);
        let through_state =
            served
                .layer
                .forward_documents(&Form::Scan, &served.input, &served.documents, None);
        let refused = through_state
            .expect_err("a document of 9 tokens")
            .to_string();
        assert!(
            refused.contains("l_max = 4 is below the 9 inputs"),
            "{refused}"
        );
        let served = Served::sample(shape(head_dim, Some(4)), packed(&[3, 4, 1, 4]), true, rng);
        agree(&served, &Form::Recurrence, rng);
    }
}

/// What stands at padding does not reach any result.
#[test]
fn padding_is_not_read() {
    let rng = &mut Rng::new(4);
    let documents = Documents::padded(13, &LENGTHS, Padding::Left).expect("fits");
    let mut served = Served::sample(shape(2, None), documents, true, rng);
    let found = |served: &Served| (served.stages(&Form::Fft), served.gradients(&Form::Fft));
    let before = found(&served);
    let d = served.layer.d_model();
    for of in [&mut served.input, &mut served.g] {
        let mut data = of.data().to_vec();
        for (b, i) in served.documents.padding() {
            let at = (b * 13 + i) * d;
            data[at..at + d].fill(hungry_hippos::algebra::M61::new(0));
        }
        assert_ne!(data, of.data(), "there is padding");
        *of = hungry_hippos::Tensor::new(of.shape(), data).expect("as before");
    }
    assert_eq!(found(&served), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn packed_rows_are_each_document_alone(
        n_heads in 1usize..=2,
        head_dim in prop::sample::select(vec![1usize, 2, 4]),
        d_state in 1usize..=8,
        lengths in prop::collection::vec(1usize..=9, 1..5),
        with_state: bool,
        seed: u64,
    ) {
        let shape = LayerShape { n_heads, d_state, ..shape(head_dim, None) };
        let rng = &mut Rng::new(seed);
        let served = Served::sample(shape, packed(&lengths), with_state, rng);
        agree(&served, &Form::Recurrence, rng);
    }

    #[test]
    fn padded_rows_are_each_alone(
        head_dim in prop::sample::select(vec![1usize, 2, 4]),
        d_state in 1usize..=8,
        lengths in prop::collection::vec(1usize..=11, 1..4),
        left: bool,
        with_state: bool,
        seed: u64,
    ) {
        let shape = LayerShape { d_state, ..shape(head_dim, None) };
        let rng = &mut Rng::new(seed);
        let padding = if left { Padding::Left } else { Padding::Right };
        let documents = Documents::padded(11, &lengths, padding).expect("fits");
        let served = Served::sample(shape, documents, with_state, rng);
        agree(&served, &Form::Recurrence, rng);
    }
}
