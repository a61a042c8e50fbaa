//! Claim: Hyena of order n is one matrix, lower triangular; with models as filters order 2 is H3,
//! up to which projection is filtered; and an H3 layer is a Hyena operator.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Linear, M61, Matrix, Ring, Rng, Sample};
use hungry_hippos::attention::hyena::{
    Filter, HyenaLayer, ShortFilter, Step, matrix, recursive, recursive_with,
};
use hungry_hippos::attention::{h3_on_k, h3_on_v, hyena_on_v};
use hungry_hippos::fourier::convolution::{causal_convolution, via_real_fft};
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape};
use hungry_hippos::ssm::{Diagonal, Shift, StateSpace, recurrence};
use proptest::prelude::*;

fn vector(n: usize, rng: &mut Rng) -> Vec<M61> {
    (0..n).map(|_| M61::sample(rng)).collect()
}

fn step(filter: &Filter<M61>, gate: &[M61]) -> Step<M61> {
    Step {
        filter: filter.clone(),
        gate: gate.to_vec(),
    }
}

/// Free filters, shorter than the signal, as long, and longer.
fn free(order: usize, n: usize, rng: &mut Rng) -> Vec<Step<M61>> {
    let lengths = [n, 1 + n / 2, n + 3];
    (0..order)
        .map(|i| Step {
            filter: Filter {
                kernel: vector(lengths[i % 3], rng),
                feedthrough: M61::sample(rng),
            },
            gate: vector(n, rng),
        })
        .collect()
}

fn is_lower_triangular(matrix: &Matrix<M61>) -> bool {
    let n = matrix.rows();
    (0..n).all(|i| (i + 1..n).all(|j| matrix.get(i, j) == Some(M61::ZERO)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn recursive_is_matrix_and_causal(n in 1usize..28, seed: u64) {
        let rng = &mut Rng::new(seed);
        let v = vector(n, rng);
        for order in 0..=3 {
            let steps = free(order, n, rng);
            let y = recursive(&steps, &v).expect("fits");
            let whole = matrix(&steps, n).expect("small");
            prop_assert_eq!(&whole.apply(&v).expect("fits"), &y);
            prop_assert!(is_lower_triangular(&whole), "order {}", order);
            // By Fourier transform too.
            prop_assert_eq!(&recursive_with(&steps, &v, causal_convolution).expect("fits"), &y);
            prop_assert_eq!(&recursive_with(&steps, &v, via_real_fft).expect("fits"), &y);
            // Entry (i, j) is what a unit at j makes of place i: the matrix is the operator.
            let unit: Vec<M61> = (0..n).map(|i| if i == n / 2 { M61::ONE } else { M61::ZERO }).collect();
            let column = recursive(&steps, &unit).expect("fits");
            for i in 0..n {
                prop_assert_eq!(whole.get(i, n / 2), Some(column[i]));
            }
            // The order of steps matters.
            if order > 1 && n > 2 {
                let reversed: Vec<_> = steps.iter().rev().cloned().collect();
                prop_assert_ne!(&recursive(&reversed, &v).expect("fits"), &y);
            }
        }
    }

    /// What equals what, for head dimension 1.
    #[test]
    fn order_two_is_h3(n in 3usize..28, m in 2usize..8, seed: u64) {
        let rng = &mut Rng::new(seed);
        let (q, k, v) = (vector(n, rng), vector(n, rng), vector(n, rng));
        let (shift, diagonal) = (Shift::sample(m, rng), Diagonal::sample(m / 2, rng));
        let (phi, psi) = (Filter::of_model(&shift, n), Filter::of_model(&diagonal, n));
        let (t_phi, t_psi) = (phi.matrix(n), psi.matrix(n));
        let shift_k = recurrence(&shift, &k, None).expect("fits").output;
        let kv: Vec<M61> = shift_k.iter().zip(&v).map(|(&k, &v)| k * v).collect();
        let ssm_out = recurrence(&diagonal, &kv, None).expect("fits").output;
        let gated: Vec<M61> = q.iter().zip(ssm_out).map(|(&q, y)| q * y).collect();

        // On k, gated by v: the shift model is the first filter.
        let on_k = [step(&phi, &v), step(&psi, &q)];
        prop_assert_eq!(&recursive(&on_k, &k).expect("fits"), &gated);
        prop_assert_eq!(matrix(&on_k, n).expect("small"), h3_on_k(&q, &v, &t_psi, &t_phi).expect("fits"));
        // On v, gated by the shifted key, with no first filter: the official operator's form.
        let on_v = [step(&Filter::identity(), &shift_k), step(&psi, &q)];
        prop_assert_eq!(&recursive(&on_v, &v).expect("fits"), &gated);
        prop_assert_eq!(matrix(&on_v, n).expect("small"), h3_on_v(&q, &k, &t_psi, &t_phi).expect("fits"));
        // On v, gated by k as the Hyena paper writes it: H3 with k and v exchanged, another function.
        let paper = [step(&phi, &k), step(&psi, &q)];
        prop_assert_eq!(matrix(&paper, n).expect("small"), hyena_on_v(&q, &k, &t_psi, &t_phi).expect("fits"));
        prop_assert_ne!(&recursive(&paper, &v).expect("fits"), &gated);
        prop_assert_eq!(
            recursive(&paper, &v).expect("fits"),
            h3_on_v(&q, &v, &t_psi, &t_phi).expect("fits").apply(&k).expect("fits")
        );
    }
}

/// A whole H3 layer of head dimension 1 as a Hyena operator of order 2: the short filter of k is
/// the shift model, those of q and v do nothing; the long filters are the diagonal models.
fn as_hyena(layer: &Layer<M61>, n: usize, filtered: usize) -> HyenaLayer<M61> {
    let parts = layer.parts();
    let d = parts.shift.len();
    let projections = [&parts.q, &parts.k, &parts.v];
    let weight: Vec<M61> = projections
        .iter()
        .flat_map(|p| p.weight().entries().to_vec())
        .collect();
    let bias: Vec<M61> = projections.iter().flat_map(|p| p.bias().to_vec()).collect();
    let in_proj = Linear::new(Matrix::new(3 * d, d, weight).expect("fits"), bias).expect("fits");
    let mut short = vec![ShortFilter::identity(); 3 * d];
    for (c, shift) in parts.shift.iter().enumerate() {
        let mut taps = shift.kernel(shift.state_dim());
        taps[0] = taps[0] + shift.feedthrough();
        short[filtered * d + c].taps = taps;
    }
    let mut long = vec![Filter::identity(); d];
    long.extend(parts.diagonal.iter().map(|ssm| Filter::of_model(ssm, n)));
    HyenaLayer::new(in_proj, short, long, parts.output.clone()).expect("fits")
}

#[test]
fn an_h3_layer_is_a_hyena_operator() {
    let rng = &mut Rng::new(7);
    let shape = LayerShape {
        n_heads: 3,
        head_dim: 1,
        d_state: 4,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
    let n = 17;
    let u = layer.sample_input(2, n, rng);
    let output = layer
        .forward(&Form::Recurrence, &u, None)
        .expect("fits")
        .output;
    let hyena = as_hyena(&layer, n, 1);
    assert_eq!(hyena.forward(&u).expect("fits"), output);
    assert_eq!(
        hyena.forward_with(&u, causal_convolution).expect("fits"),
        output
    );
    // Not with the shift on q or on v.
    for other in [0, 2] {
        assert_ne!(
            as_hyena(&layer, n, other).forward(&u).expect("fits"),
            output
        );
    }
}

#[test]
fn wrong_shapes_are_said() {
    let one = vec![M61::ONE; 3];
    let steps = [step(&Filter::identity(), &one)];
    let said = |e: hungry_hippos::Error| e.to_string();
    assert!(said(recursive(&steps, &one[..2]).expect_err("short")).contains("gate"));
    assert!(said(matrix(&steps, 4).expect_err("short")).contains("gate"));
    assert!(said(matrix::<M61>(&[], 1 << 20).expect_err("large")).contains("matrix size"));
    let linear = |rows: usize, cols: usize| {
        let weight = Matrix::from_fn(rows, cols, |_, _| M61::ONE);
        Linear::new(weight, vec![M61::ONE; rows]).expect("fits")
    };
    let build = |inputs: Linear<M61>, short: usize, long: usize| {
        let short = vec![ShortFilter::identity(); short];
        HyenaLayer::new(inputs, short, vec![Filter::identity(); long], linear(2, 2))
    };
    assert!(build(linear(6, 2), 6, 4).is_ok());
    for (layer, expected) in [
        (build(linear(6, 2), 6, 3), "long filters"),
        (build(linear(6, 2), 6, 0), "long filters"),
        (build(linear(5, 2), 5, 4), "outputs of in_proj"),
        (build(linear(6, 3), 6, 4), "inputs of in_proj"),
        (build(linear(6, 2), 5, 4), "short filters"),
    ] {
        assert!(said(layer.expect_err(expected)).contains(expected));
    }
    let layer = build(linear(6, 2), 6, 4).expect("fits");
    let input = Tensor::new([1, 3, 3], vec![M61::ONE; 9]).expect("fits");
    assert!(layer.forward(&input).is_err());
    let flat = Tensor::new([3, 2], vec![M61::ONE; 6]).expect("fits");
    assert!(layer.forward(&flat).is_err());
}
