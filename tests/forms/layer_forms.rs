//! Claim: the whole H3 layer is the same function in every form, exactly, for every head
//! dimension and head order, and goes on from a saved state as if it had never stopped.

use crate::common::{ragged, trials};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Rng};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape, LayerState, LayerStream, Stages};
use proptest::prelude::*;

fn forms(n: usize, rng: &mut Rng) -> Vec<Form> {
    Form::all([Chunking::Uniform(1 + rng.below(20)), ragged(n, rng)])
}

/// Equality of all stages; the attention form has no `ssm_out` to compare.
fn assert_same(what: &str, got: &Stages<M61>, expected: &Stages<M61>) {
    let mut expected = expected.clone();
    if got.ssm_out.is_none() {
        expected.ssm_out = None;
    }
    assert_eq!(got, &expected, "{what}");
}

/// Equality means every stage: one number that differs anywhere is seen.
#[test]
fn stages_differ_where_one_does() {
    let rng = &mut Rng::new(2);
    let shape = LayerShape {
        n_heads: 1,
        head_dim: 2,
        d_state: 2,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
    let u = layer.sample_input(1, 3, rng);
    let stages = layer
        .forward(&Form::Recurrence, &u, None)
        .expect("shapes fit");
    let bumped = |tensor: &Tensor<M61>| {
        let mut data = tensor.data().to_vec();
        data[1] = data[1] + M61::new(1);
        Tensor::new(tensor.shape(), data).expect("as before")
    };
    let other = |change: &dyn Fn(&mut Stages<M61>)| {
        let mut other = stages.clone();
        assert_eq!(other, stages);
        change(&mut other);
        assert_ne!(other, stages);
    };
    other(&|s| s.q = bumped(&s.q));
    other(&|s| s.k = bumped(&s.k));
    other(&|s| s.v = bumped(&s.v));
    other(&|s| s.shift_k = bumped(&s.shift_k));
    other(&|s| s.kv = bumped(&s.kv));
    other(&|s| s.ssm_out = s.ssm_out.as_ref().map(bumped));
    other(&|s| s.gated = bumped(&s.gated));
    other(&|s| s.output = bumped(&s.output));
    other(&|s| s.state.shift = bumped(&s.state.shift));
    other(&|s| s.state.position += 1);
}

/// The tokens `from..to` of every sequence.
fn tokens(u: &Tensor<M61>, from: usize, to: usize) -> Tensor<M61> {
    let &[batch, len, d] = u.shape() else {
        panic!("an input has three axes")
    };
    let data = (0..batch)
        .flat_map(|b| u.data()[(b * len + from) * d..(b * len + to) * d].to_vec())
        .collect();
    Tensor::new([batch, to - from, d], data).expect("cut to shape")
}

/// The outputs of two consecutive parts, joined along the sequence.
fn joined(first: &Tensor<M61>, second: &Tensor<M61>) -> Tensor<M61> {
    let (&[batch, a, d], &[_, b, _]) = (first.shape(), second.shape()) else {
        panic!("outputs have three axes")
    };
    let data = (0..batch)
        .flat_map(|i| {
            let mut row = first.data()[i * a * d..(i + 1) * a * d].to_vec();
            row.extend_from_slice(&second.data()[i * b * d..(i + 1) * b * d]);
            row
        })
        .collect();
    Tensor::new([batch, a + b, d], data).expect("joined to shape")
}

fn agree(shape: LayerShape, batch: usize, n: usize, seed: u64) {
    let rng = &mut Rng::new(seed);
    let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
    let u = layer.sample_input(batch, n, rng);
    let state = layer.sample_state(batch, 5, rng);
    for state in [None, Some(&state)] {
        let expected = layer
            .forward(&Form::Recurrence, &u, state)
            .expect("shapes fit");
        for form in forms(n, rng) {
            let stages = layer.forward(&form, &u, state).expect("shapes fit");
            assert_same(&format!("{form:?}, {shape:?}"), &stages, &expected);
        }
        streaming_agrees(&layer, &u, state, &expected);
        resuming_agrees(&layer, &u, state, &expected, rng);
    }
}

/// Token by token, the stream gives the outputs and the state of the one pass.
fn streaming_agrees(
    layer: &Layer<M61>,
    u: &Tensor<M61>,
    state: Option<&LayerState<M61>>,
    expected: &Stages<M61>,
) {
    let &[batch, n, d] = u.shape() else {
        panic!("an input has three axes")
    };
    let mut stream = match state {
        Some(state) => LayerStream::resume(layer, state.clone()).expect("a state of this layer"),
        None => LayerStream::new(layer, batch),
    };
    for i in 0..n {
        let y = stream
            .step(tokens(u, i, i + 1).data())
            .expect("a token of this layer");
        let row = tokens(&expected.output, i, i + 1);
        assert_eq!(y, row.data(), "streamed token {i} of {n}, d {d}");
    }
    assert_eq!(stream.state(), &expected.state, "streamed state");
}

/// Two parts with the state handed on, each in a form of its own, give the one pass.
fn resuming_agrees(
    layer: &Layer<M61>,
    u: &Tensor<M61>,
    state: Option<&LayerState<M61>>,
    expected: &Stages<M61>,
    rng: &mut Rng,
) {
    let n = u.shape()[1];
    let cut = rng.below(n + 1);
    let choices = forms(cut, rng);
    let first = layer
        .forward(
            &choices[rng.below(choices.len())],
            &tokens(u, 0, cut),
            state,
        )
        .expect("shapes fit");
    let choices = forms(n - cut, rng);
    let second = layer
        .forward(
            &choices[rng.below(choices.len())],
            &tokens(u, cut, n),
            Some(&first.state),
        )
        .expect("shapes fit");
    assert_eq!(
        joined(&first.output, &second.output),
        expected.output,
        "cut at {cut} of {n}"
    );
    assert_eq!(second.state, expected.state, "state after a cut at {cut}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(24)))]

    #[test]
    fn forms_agree_exactly(
        n_heads in 1usize..=3,
        head_dim in prop::sample::select(vec![1usize, 2, 4]),
        d_state in 1usize..=16,
        hd2: bool,
        batch in 1usize..=2,
        n in 1usize..=200,
        seed: u64,
    ) {
        // The scan copies a transition a token; long sequences are left to single heads.
        let n = if n_heads * head_dim > 4 { n % 40 + 1 } else { n };
        let head_order = if hd2 { HeadOrder::HD2 } else { HeadOrder::D2H };
        let shape = LayerShape { n_heads, head_dim, d_state, l_max: None, head_order };
        agree(shape, batch, n, seed);
    }

    /// With kernels cut to l_max, the forms that have a kernel agree; those that pass a state
    /// refuse, unless the window covers the sequence.
    #[test]
    fn cut_kernels_agree_or_are_refused(n in 1usize..=40, l_max in 1usize..=40, seed: u64) {
        let rng = &mut Rng::new(seed);
        let shape = LayerShape {
            n_heads: 2, head_dim: 2, d_state: 5, l_max: Some(l_max), head_order: HeadOrder::D2H,
        };
        let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
        let u = layer.sample_input(1, n, rng);
        let expected = layer.forward(&Form::Convolution, &u, None).expect("has a kernel");
        for form in forms(n, rng) {
            let passes_state =
                matches!(form, Form::Recurrence | Form::Scan | Form::FlashConv(_));
            match layer.forward(&form, &u, None) {
                Ok(stages) => {
                    prop_assert!(!passes_state || n <= l_max, "{form} must refuse");
                    assert_same(&form.to_string(), &stages, &expected);
                }
                Err(e) => {
                    prop_assert!(passes_state && n > l_max, "{form}: {e}");
                    prop_assert!(e.to_string().contains("l_max"), "{e}");
                }
            }
        }
        // Handing on a state through a cut kernel is refused by every form, also in parts.
        if n > l_max {
            for form in forms(n, rng) {
                prop_assert!(layer.forward(&form, &u, Some(&expected.state)).is_err());
            }
            let mut stream = LayerStream::new(&layer, 1);
            for i in 0..n {
                let step = stream.step(tokens(&u, i, i + 1).data());
                prop_assert_eq!(step.is_ok(), i < l_max, "token {}", i);
            }
        }
    }
}

/// With one head dimension the two head orders are one; with more they are a permutation of
/// channels before the output projection, and so different functions.
#[test]
fn head_orders_differ_exactly_where_they_should() {
    for (head_dim, same) in [(1, true), (2, false), (4, false)] {
        let run = |head_order| {
            let rng = &mut Rng::new(11);
            let shape = LayerShape {
                n_heads: 2,
                head_dim,
                d_state: 4,
                l_max: None,
                head_order,
            };
            let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
            let u = layer.sample_input(1, 7, rng);
            layer
                .forward(&Form::Recurrence, &u, None)
                .expect("shapes fit")
        };
        let (d2h, hd2) = (run(HeadOrder::D2H), run(HeadOrder::HD2));
        assert_eq!(d2h.output == hd2.output, same, "head_dim {head_dim}");
        assert_eq!(d2h.ssm_out, hd2.ssm_out, "only the order of channels moves");
        let sorted = |gated: &Tensor<M61>, i: usize| {
            let d = 2 * head_dim;
            let mut row: Vec<u64> = gated.data()[i * d..(i + 1) * d]
                .iter()
                .map(|x| x.value())
                .collect();
            row.sort_unstable();
            row
        };
        for i in 0..7 {
            assert_eq!(
                sorted(&d2h.gated, i),
                sorted(&hd2.gated, i),
                "a permutation"
            );
        }
    }
}
