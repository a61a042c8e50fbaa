//! The layer: it may call its heads, its channels and its sequences what it likes, sees no later
//! token, and without biases is of degree three in its input.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Matrix, Ring, Rng, Sample};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerParts, LayerShape, Linear};
use proptest::prelude::*;

fn layer(n_heads: usize, head_dim: usize, head_order: HeadOrder, rng: &mut Rng) -> Layer<M61> {
    let shape = LayerShape {
        n_heads,
        head_dim,
        d_state: 4,
        l_max: None,
        head_order,
    };
    Layer::sample(shape, rng).expect("sizes are positive")
}

fn outputs(layer: &Layer<M61>, u: &Tensor<M61>) -> Vec<Tensor<M61>> {
    [
        Form::Recurrence,
        Form::Fft,
        Form::Attention,
        Form::FlashConv(Chunking::Uniform(5)),
    ]
    .into_iter()
    .map(|form| layer.forward(&form, u, None).expect("shapes fit").output)
    .collect()
}

/// A random order of `n` things.
fn shuffled(n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.below(i + 1));
    }
    order
}

/// The linear map whose output `i` is this one's output `order[i]`.
fn rows(linear: &Linear<M61>, order: &[usize]) -> Linear<M61> {
    let weight = Matrix::from_fn(order.len(), order.len(), |i, j| {
        linear.weight().get(order[i], j).expect("inside")
    });
    let bias = order.iter().map(|&i| linear.bias()[i]).collect();
    Linear::new(weight, bias).expect("fits")
}

/// The linear map that takes as input `j` what this one takes as input `order[j]`.
fn columns(linear: &Linear<M61>, order: &[usize]) -> Linear<M61> {
    let weight = Matrix::from_fn(order.len(), order.len(), |i, j| {
        linear.weight().get(i, order[j]).expect("inside")
    });
    Linear::new(weight, linear.bias().to_vec()).expect("fits")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Heads renamed everywhere (the rows of the projections in, the models, the columns of the
    /// projection out) give the same outputs; renamed everywhere but on the way out they do not.
    #[test]
    fn heads_have_no_order(n_heads in 2usize..5, head_dim in 1usize..4, hd2: bool, seed: u64) {
        let rng = &mut Rng::new(seed);
        let head_order = if hd2 { HeadOrder::HD2 } else { HeadOrder::D2H };
        let layer = layer(n_heads, head_dim, head_order, rng);
        let u = layer.sample_input(2, 13, rng);
        let heads = shuffled(n_heads, rng);
        let d = n_heads * head_dim;
        // Channel h d_h + d1 on the way in; on the way out as the head order has it.
        let inward: Vec<usize> = (0..d).map(|c| heads[c / head_dim] * head_dim + c % head_dim).collect();
        let outward: Vec<usize> = match hd2 {
            true => inward.clone(),
            false => (0..d).map(|c| c / n_heads * n_heads + heads[c % n_heads]).collect(),
        };
        let parts = layer.parts();
        let renamed = |output: Linear<M61>| Layer::new(LayerParts {
            q: rows(&parts.q, &inward),
            k: rows(&parts.k, &inward),
            v: rows(&parts.v, &inward),
            output,
            shift: inward.iter().map(|&c| parts.shift[c].clone()).collect(),
            diagonal: heads.iter().map(|&h| parts.diagonal[h].clone()).collect(),
            ..parts.clone()
        }).expect("fits");
        let expected = outputs(&layer, &u);
        prop_assert_eq!(&outputs(&renamed(columns(&parts.output, &outward)), &u), &expected);
        if heads.iter().enumerate().any(|(i, &h)| i != h) {
            prop_assert_ne!(&outputs(&renamed(parts.output.clone()), &u), &expected);
        }
    }

    #[test]
    fn sequences_do_not_meet_and_tokens_do_not_look_ahead(batch in 2usize..4, n in 2usize..20, seed: u64) {
        let rng = &mut Rng::new(seed);
        let layer = layer(2, 2, HeadOrder::D2H, rng);
        let u = layer.sample_input(batch, n, rng);
        let (d, changed, from) = (layer.d_model(), rng.below(batch), rng.below(n));
        let mut other = u.data().to_vec();
        for x in &mut other[(changed * n + from) * d..(changed + 1) * n * d] {
            *x = M61::sample(rng);
        }
        let other = Tensor::new([batch, n, d], other).expect("fits");
        for (before, after) in outputs(&layer, &u).iter().zip(outputs(&layer, &other)) {
            for b in 0..batch {
                for i in 0..n {
                    let token = (b * n + i) * d..(b * n + i + 1) * d;
                    let same = before.data()[token.clone()] == after.data()[token];
                    prop_assert_eq!(same, b != changed || i < from, "sequence {}, token {}", b, i);
                }
            }
        }
    }

    /// Without biases every term of the output is a product of one query, one key and one value.
    #[test]
    fn the_layer_is_a_cubic_form(n in 1usize..20, seed: u64) {
        let rng = &mut Rng::new(seed);
        let layer = layer(2, 2, HeadOrder::HD2, rng);
        let unbiased = |l: &Linear<M61>| {
            Linear::new(l.weight().clone(), vec![M61::ZERO; l.bias().len()]).expect("fits")
        };
        let parts = layer.parts();
        let layer = Layer::new(LayerParts {
            q: unbiased(&parts.q),
            k: unbiased(&parts.k),
            v: unbiased(&parts.v),
            output: unbiased(&parts.output),
            ..parts.clone()
        }).expect("fits");
        let u = layer.sample_input(1, n, rng);
        let s = M61::sample(rng);
        let scaled = outputs(&layer, &u.map(|x| x * s));
        for (y, of_scaled) in outputs(&layer, &u).iter().zip(&scaled) {
            prop_assert_eq!(&y.map(|y| y * s * s * s), of_scaled);
        }
    }
}
