//! What goes on from a state: the same logits as without a break; and states that are not the model's, which are
//! refused and change nothing.

use super::support::{config, parameters, with_heads_of};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::h3::{Form, Linear};
use hungry_hippos::model::{
    KeyValueCache, LayerNorm, Mixer, MixerState, Mlp, Model, ModelState, ModelStream,
    MultiHeadAttention,
};
use hungry_hippos::ssm::Documents;

fn model() -> Model<f64> {
    let config = with_heads_of(2, config(3, &[1], 2, 6));
    parameters(&config).build().expect("a model")
}

fn run(model: &Model<f64>, batch: usize, len: usize) -> ModelState<f64> {
    let ids = (0..batch * len).map(|i| i % 9).collect();
    let ids = Tensor::new([batch, len], ids).expect("fits");
    model.forward(&Form::Fft, &ids).expect("runs").state
}

#[test]
fn a_stream_goes_on_from_what_another_left() {
    let model = model();
    let attention = model
        .blocks()
        .iter()
        .map(|block| matches!(block.mixer, Mixer::Attention(_)));
    assert_eq!(attention.collect::<Vec<_>>(), [false, true, false]);
    let mut first = ModelStream::new(&model, 2);
    for token in [[1, 2], [3, 4], [5, 6]] {
        first.step(&token).expect("a step");
    }
    let state = first.state().clone();
    assert_eq!(state.positions, [3, 3]);
    assert!(state.h3(0).is_some() && state.h3(1).is_none() && state.h3(3).is_none());
    let mut second = ModelStream::resume(&model, state).expect("its own state");
    assert_eq!(second.positions(), [3, 3]);
    for token in [[7, 8], [0, 1]] {
        let (a, b) = (first.step(&token), second.step(&token));
        assert_eq!(a.expect("a step").logits, b.expect("a step").logits);
    }
    let said = first.step(&[1]).expect_err("one of two sequences");
    assert!(said.to_string().contains("input_ids of a step"), "{said}");
    assert_eq!(first.positions(), [5, 5], "as it was");
}

/// A prompt of all tokens is taken as a whole, which kernels that are cut allow; fewer leave steps to take, which
/// they do not.
#[test]
fn a_prompt_is_taken_as_a_whole_and_the_rest_by_steps() {
    let mut config = with_heads_of(2, config(3, &[1], 2, 6));
    config.h3.l_max = Some(3);
    let model: Model<f64> = parameters(&config).build().expect("a model");
    let run = |prompt: usize, len: usize| {
        let ids = Tensor::new([2, len], (0..2 * len).map(|i| i % 9).collect()).expect("fits");
        let stages = model.forward_from_prompt(&Form::Convolution, prompt, &ids);
        stages.map_err(|error| error.to_string())
    };
    let whole = run(5, 5).expect("cut kernels");
    assert_eq!(
        (whole.logits.shape(), whole.state.positions),
        (&[2, 5, 9][..], vec![5, 5])
    );
    for prompt in [0, 3, 4] {
        assert!(run(prompt, 5).expect_err("too many").contains("l_max"));
    }
    for prompt in [0, 1, 2] {
        assert_eq!(
            run(prompt, 3).expect("within l_max").state.positions,
            [3, 3]
        );
    }
    let said = run(6, 5).expect_err("more than there are");
    assert!(said.contains("6 tokens, but there are 5"), "{said}");
    let said = run(1, 0).expect_err("more than there are");
    assert!(said.contains("1 tokens, but there are 0"), "{said}");
    // No tokens at all are a whole prompt too.
    let none = run(0, 0).expect("nothing to take");
    assert_eq!(
        (none.logits.shape(), none.state.positions.clone()),
        (&[2, 0, 9][..], vec![0, 0])
    );
    let shapes = none.blocks.iter().flatten().map(Tensor::shape);
    assert_eq!(shapes.collect::<Vec<_>>(), [[2, 0, 6]; 6]);
    assert!(ModelStream::resume(&model, none.state).is_ok());
}

#[test]
fn states_of_another_model_are_refused() {
    let model = model();
    let refused = |state: ModelState<f64>, fragment: &str| {
        let said = ModelStream::resume(&model, state).expect_err(fragment);
        assert!(said.to_string().contains(fragment), "{fragment}: {said}");
    };
    let state = || run(&model, 2, 3);
    assert!(ModelStream::resume(&model, state()).is_ok());
    let mut one_fewer = state();
    one_fewer.positions.pop();
    refused(one_fewer, "state");
    // As many sequences have to come as the state is of.
    let ids = Tensor::new([1, 2], vec![0, 1]).expect("fits");
    let one = Documents::whole(1, 2);
    let said = model.forward_documents(&Form::Fft, &ids, &one, Some(&state()));
    let said = said.expect_err("one sequence of two").to_string();
    assert!(said.contains("sequences of the state"), "{said}");
    let mut fewer = state();
    fewer.mixers.pop();
    refused(fewer, "mixer states");
    let mut swapped = state();
    swapped.mixers.swap(0, 1);
    refused(swapped, "another kind of mixer");
    let mut later = state();
    later.positions = vec![4, 3];
    refused(later, "position of an H3 layer's state");
    // Keys and values of other sequences, or of other tokens.
    for (other, fragment) in [
        (run(&model, 1, 3), "sequences of the cache"),
        (run(&model, 2, 4), "keys or values of the cache"),
        (run(&model, 2, 2), "keys or values of the cache"),
    ] {
        let mut mixed = state();
        mixed.mixers[1] = other.mixers[1].clone();
        refused(mixed, fragment);
    }
}

fn linear(outputs: usize, inputs: usize) -> Linear<f64> {
    let weight = Matrix::from_fn(outputs, inputs, |i, j| {
        ((i * 5 + j * 3) % 7) as f64 / 8.0 - 0.375
    });
    Linear::new(weight, vec![0.25; outputs]).expect("fits")
}

#[test]
fn parts_of_other_sizes_are_refused() {
    let attention = |heads, qkv: (usize, usize), output: (usize, usize)| {
        let made = MultiHeadAttention::new(heads, linear(qkv.0, qkv.1), linear(output.0, output.1));
        made.map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(attention(2, (12, 4), (4, 4)), Ok(()));
    for (heads, qkv, output, fragment) in [
        (2, (12, 4), (4, 3), "inputs of out_proj"),
        (2, (12, 3), (4, 4), "inputs of Wqkv"),
        (2, (8, 4), (4, 4), "outputs of Wqkv"),
        (0, (12, 4), (4, 4), "0 does not divide d_model = 4"),
        (3, (12, 4), (4, 4), "3 does not divide d_model = 4"),
    ] {
        let said = attention(heads, qkv, output).expect_err(fragment);
        assert!(said.contains(fragment), "{fragment}: {said}");
    }
    let norm = |bias: usize| LayerNorm::new(vec![1.0; 3], vec![0.0; bias], 0.0);
    assert!(norm(2).is_err());
    let norm = norm(3).expect("fits");
    assert!(norm.apply(&[1.0, 2.0]).is_err());
    let said = norm.apply(&[2.0; 3]).expect_err("nothing to divide by");
    assert!(said.to_string().contains("variance + epsilon"), "{said}");
    assert!(Mlp::new(linear(5, 3), linear(3, 5)).is_ok());
    assert!(Mlp::new(linear(5, 3), linear(3, 4)).is_err());
    assert!(Mlp::new(linear(5, 3), linear(4, 5)).is_err());
}

/// Attention a token at a time is that over the whole sequence, and leaves the same keys and values.
#[test]
fn a_cache_grows_by_the_keys_and_values_of_a_token() {
    let attention = MultiHeadAttention::new(2, linear(12, 4), linear(4, 4)).expect("fits");
    let u = (0..2 * 3 * 4)
        .map(|i| f64::from(i * i % 11) / 4.0 - 1.0)
        .collect();
    let u = Tensor::new([2, 3, 4], u).expect("fits");
    let (whole, kept) = attention.forward(&u).expect("runs");
    let mut cache = KeyValueCache::new(2);
    assert_eq!((cache.batch(), kept.batch()), (2, 2));
    for i in 0..3 {
        let at = |b: usize| &u.data()[(b * 3 + i) * 4..][..4];
        let token = Tensor::new([2, 1, 4], [at(0), at(1)].concat()).expect("fits");
        let (got, after) = attention.forward_from(&token, &cache).expect("a step");
        cache = after;
        for (b, got) in got.data().chunks(4).enumerate() {
            for (x, y) in got.iter().zip(&whole.data()[(b * 3 + i) * 4..]) {
                assert!((x - y).abs() < 1e-14, "token {i} of sequence {b}");
            }
        }
    }
    assert_eq!(cache, kept);
    // Of two sequences each two tokens more, and one sequence, which the cache is not of.
    let two = Tensor::new([2, 2, 4], u.data()[..16].to_vec()).expect("fits");
    let (later, _) = attention.forward_from(&two, &cache).expect("runs");
    assert_eq!(later.shape(), [2, 2, 4]);
    let one = Tensor::new([1, 2, 4], u.data()[..8].to_vec()).expect("fits");
    assert!(attention.forward_from(&one, &cache).is_err());
    let two_axes = Tensor::new([3, 4], vec![0.0; 12]).expect("fits");
    let narrow = Tensor::new([1, 3, 3], vec![0.0; 9]).expect("fits");
    for other in [two_axes, narrow] {
        assert!(attention.forward(&other).is_err());
    }
    let MixerState::Attention(cache) = &model().zero_state(3).mixers[1] else {
        panic!("attention in the second block")
    };
    assert_eq!(*cache, KeyValueCache::new(3));
}
