//! Claim: a layer that lets documents know of each other, or of padding, is a different function in
//! every way known to go wrong, and shows it at the stage where it is done.

use super::support::{Served, cut, forms, joined, packed, state_of};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Ring, Rng};
use hungry_hippos::h3::{Form, HeadOrder, LayerShape, LayerState, Stages};
use hungry_hippos::ssm::{Documents, Padding, StateSpace};

/// A window of five taps.
fn shape(head_dim: usize) -> LayerShape {
    LayerShape {
        n_heads: 2,
        head_dim,
        d_state: 5,
        l_max: None,
        head_order: HeadOrder::D2H,
    }
}

/// Shorter than the window, one token, longer.
const LENGTHS: [usize; 4] = [7, 1, 4, 6];

/// The stages in which documents begin from what the one before left of the window, of the diagonal
/// models' states, or of both.
fn leaking(served: &Served, window: bool, diagonal: bool) -> Stages<M61> {
    let layer = &served.layer;
    let mut state = layer.zero_state(1);
    let mut run = Vec::new();
    for of in served.each_alone() {
        let stages = layer.forward(&Form::Recurrence, &of.input, Some(&state));
        let stages = stages.expect("shapes fit");
        if window {
            state.shift = stages.state.shift.clone();
        }
        if diagonal {
            state.diagonal = stages.state.diagonal.clone();
        }
        run.push(stages);
    }
    served.placed_stages(&run)
}

/// The outputs of each document.
fn outputs(served: &Served, stages: &Stages<M61>) -> Vec<Tensor<M61>> {
    let of = |(b, tokens)| cut(&stages.output, b, tokens);
    served.documents.iter().map(of).collect()
}

/// The final states of each document.
fn states(served: &Served, stages: &Stages<M61>) -> Vec<LayerState<M61>> {
    let numbers = 0..served.documents.count();
    numbers.map(|n| state_of(&stages.state, n)).collect()
}

#[test]
fn states_that_leak_are_seen() {
    let rng = &mut Rng::new(1);
    for head_dim in [1, 2, 4] {
        let served = Served::sample(shape(head_dim), packed(&LENGTHS), false, rng);
        let right = served.stages(&Form::Recurrence);
        assert_eq!(leaking(&served, false, false), right, "nothing leaks");
        for (window, diagonal) in [(true, false), (false, true), (true, true)] {
            let what = format!("window {window}, diagonal {diagonal}, head_dim {head_dim}");
            let wrong = leaking(&served, window, diagonal);
            let pairs = outputs(&served, &wrong).into_iter();
            let differ = pairs.zip(outputs(&served, &right)).map(|(a, b)| a != b);
            let differ: Vec<bool> = differ.collect();
            assert_eq!(differ, [false, true, true, true], "{what}");
            assert_eq!(wrong.shift_k != right.shift_k, window, "{what}: shift_k");
            assert_eq!(wrong.kv != right.kv, window, "{what}: kv");
            assert_ne!(wrong.ssm_out, right.ssm_out, "{what}: ssm_out");
            assert_ne!(wrong.state.diagonal, right.state.diagonal, "{what}");
            for (n, (wrong, right)) in states(&served, &wrong)
                .iter()
                .zip(states(&served, &right))
                .enumerate()
            {
                // A document as long as the window leaves nothing of what was in it before.
                let seen = window && n > 0 && LENGTHS[n] < 5;
                assert_eq!(wrong.shift != right.shift, seen, "{what}: window of {n}");
            }
        }
        // Both leaks: the row run as one document.
        let whole = served.layer.forward(&Form::Fft, &served.input, None);
        let whole = whole.expect("shapes fit");
        assert_eq!(leaking(&served, true, true).output, whole.output);
    }
}

/// Every form is as far from both leaks as the recurrence.
#[test]
fn no_form_takes_a_row_for_one_document() {
    let rng = &mut Rng::new(2);
    let served = Served::sample(shape(2), packed(&LENGTHS), false, rng);
    for form in forms(18, 4, rng) {
        let whole = served.layer.forward(&form, &served.input, None);
        let (whole, right) = (whole.expect("shapes fit"), served.stages(&form));
        assert_ne!(whole.output, right.output, "{form:?}");
        let back = |gradients: hungry_hippos::h3::LayerGradients<M61>| {
            (gradients.q, gradients.diagonal, gradients.input)
        };
        let whole = served
            .layer
            .gradients(&form, &served.input, None, &served.g, None);
        let right = served
            .clone()
            .with_cotangents(served.layer.zero_state(4))
            .gradients(&form);
        let (whole, right) = (back(whole.expect("shapes fit")), back(right));
        assert!(
            whole.0 != right.0 && whole.1 != right.1 && whole.2 != right.2,
            "{form:?}"
        );
    }
}

/// Rows of one token, full, shorter than the window and longer.
const ROWS: [usize; 4] = [1, 13, 3, 8];

fn padded(head_dim: usize, padding: Padding, rng: &mut Rng) -> Served {
    let documents = Documents::padded(13, &ROWS, padding).expect("fits");
    Served::sample(shape(head_dim), documents, false, rng)
}

/// Padding of zeros, which a bias makes something of.
fn with_zeros(served: &Served) -> Tensor<M61> {
    let mut data = served.input.data().to_vec();
    let d = served.layer.d_model();
    for (b, i) in served.documents.padding() {
        data[(b * 13 + i) * d..][..d].fill(M61::ZERO);
    }
    Tensor::new(served.input.shape(), data).expect("as before")
}

/// Right padding, run through: the outputs are right, the states those at the padded end.
#[test]
fn a_state_at_the_padded_end_is_seen() {
    let rng = &mut Rng::new(3);
    for head_dim in [1, 2, 4] {
        let served = padded(head_dim, Padding::Right, rng);
        let right = served.stages(&Form::Recurrence);
        for input in [served.input.clone(), with_zeros(&served)] {
            let run = served.layer.forward(&Form::Recurrence, &input, None);
            let run = run.expect("shapes fit");
            assert_eq!(outputs(&served, &run), outputs(&served, &right), "causal");
            for (n, (wrong, right)) in states(&served, &run)
                .iter()
                .zip(states(&served, &right))
                .enumerate()
            {
                let (window, diagonal) =
                    (wrong.shift != right.shift, wrong.diagonal != right.diagonal);
                assert_eq!((window, diagonal), (ROWS[n] < 13, ROWS[n] < 13), "row {n}");
            }
        }
    }
}

/// Padding masked in what the models read, and stepped through all the same: the states of a row are
/// advanced by as many tokens as it has padding.
#[test]
fn padding_stepped_through_is_seen() {
    let rng = &mut Rng::new(4);
    let served = padded(2, Padding::Right, rng);
    let right = served.stages(&Form::Recurrence).state;
    let layer = &served.layer;
    let advanced = |n: usize, by: usize| {
        let state = state_of(&right, n);
        let m = state.diagonal.shape()[4];
        let rows = state.diagonal.data().chunks_exact(m).enumerate();
        let diagonal = rows.flat_map(|(r, x)| layer.parts().diagonal[r % 2].advance(x, by));
        let rows = state.shift.data().chunks_exact(5).enumerate();
        let shift = rows.flat_map(|(r, x)| layer.parts().shift[r].advance(x, by));
        LayerState {
            shift: Tensor::new(state.shift.shape(), shift.collect()).expect("as before"),
            diagonal: Tensor::new(state.diagonal.shape(), diagonal.collect()).expect("as before"),
            position: state.position,
        }
    };
    for (n, len) in ROWS.into_iter().enumerate() {
        let (wrong, right) = (advanced(n, 13 - len), state_of(&right, n));
        assert_eq!(wrong != right, len < 13, "row {n}");
        assert_eq!(wrong.diagonal != right.diagonal, len < 13, "row {n}");
        assert_eq!(advanced(n, 0), right);
    }
}

/// Left padding, run through: even zeros are seen, by the biases of the projections.
#[test]
fn left_padding_is_seen() {
    let rng = &mut Rng::new(5);
    for head_dim in [1, 2, 4] {
        let served = padded(head_dim, Padding::Left, rng);
        let right = served.stages(&Form::Recurrence);
        for input in [served.input.clone(), with_zeros(&served)] {
            let run = served.layer.forward(&Form::Recurrence, &input, None);
            let run = run.expect("shapes fit");
            let pairs = outputs(&served, &run).into_iter();
            let differ = pairs.zip(outputs(&served, &right)).map(|(a, b)| a != b);
            assert_eq!(differ.collect::<Vec<_>>(), ROWS.map(|len| len < 13));
            let pairs = states(&served, &run).into_iter();
            let differ = pairs.zip(states(&served, &right)).map(|(a, b)| a != b);
            assert_eq!(differ.collect::<Vec<_>>(), ROWS.map(|len| len < 13));
        }
    }
}

/// A cotangent in another document's slot, and parameters of one document alone.
#[test]
fn exchanged_cotangents_and_missing_sums_are_seen() {
    let rng = &mut Rng::new(6);
    for head_dim in [1, 2, 4] {
        let served = Served::sample(shape(head_dim), packed(&LENGTHS), true, rng);
        let right = served.gradients(&Form::Recurrence);
        let slots = [1, 0, 2, 3].map(|n| state_of(&served.g_state, n));
        let exchanged = served.clone().with_cotangents(joined(slots.iter(), 0));
        let wrong = exchanged.gradients(&Form::Recurrence);
        assert_ne!(wrong.diagonal, right.diagonal, "head_dim {head_dim}");
        assert_ne!(wrong.shift, right.shift, "head_dim {head_dim}");
        for (n, (b, tokens)) in served.documents.iter().enumerate() {
            let [of_wrong, of_right] =
                [&wrong.input, &right.input].map(|x| cut(x, b, tokens.clone()));
            assert_eq!(of_wrong != of_right, n < 2, "input of document {n}");
            let [of_wrong, of_right] = [&wrong.state, &right.state].map(|x| state_of(x, n));
            assert_eq!(of_wrong != of_right, n < 2, "initial state of document {n}");
        }
        let last = served.each_alone().pop().expect("documents");
        let (state, g_state) = (last.state.as_ref(), Some(&last.g_state));
        let alone = served
            .layer
            .gradients(&Form::Fft, &last.input, state, &last.g, g_state);
        let alone = alone.expect("shapes fit");
        assert!(
            alone.k != right.k && alone.shift != right.shift,
            "not summed"
        );
        assert!(alone.output != right.output && alone.diagonal != right.diagonal);
    }
}
