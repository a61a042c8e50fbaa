//! Claim: linear attention is a state space model; H3 is linear attention under a Toeplitz mask;
//! for head dimension 1 it is one matrix; and the Hyena paper's operator is another function.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Matrix, Ring, Rng, Sample};
use hungry_hippos::attention::{
    h3_on_k, h3_on_v, hyena_on_v, linear_attention_quadratic, linear_attention_recurrent,
    linear_attention_ssm, masked_attention, softmax_attention,
};
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape};
use hungry_hippos::ssm::{Diagonal, Shift, StateSpace, recurrence, toeplitz_matrix};
use proptest::prelude::*;

fn matrix(rows: usize, cols: usize, rng: &mut Rng) -> Matrix<M61> {
    Matrix::from_fn(rows, cols, |_, _| M61::sample(rng))
}

fn vector(n: usize, rng: &mut Rng) -> Vec<M61> {
    (0..n).map(|_| M61::sample(rng)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn linear_attention_is_one_function(
        n in 0usize..40, features in 1usize..6, d_v in 0usize..5, seed: u64,
    ) {
        let rng = &mut Rng::new(seed);
        let (q, k) = (matrix(n, features, rng), matrix(n, features, rng));
        let v = matrix(n, d_v, rng);
        let quadratic = linear_attention_quadratic(&q, &k, &v).expect("normalizers not zero");
        prop_assert_eq!(&linear_attention_recurrent(&q, &k, &v).expect("same"), &quadratic);
        prop_assert_eq!(&linear_attention_ssm(&q, &k, &v).expect("same"), &quadratic);
    }

    /// Without its normalizer, linear attention is the quadratic form under the mask of ones.
    #[test]
    fn the_mask_of_ones_is_linear_attention(n in 1usize..30, seed: u64) {
        let rng = &mut Rng::new(seed);
        let (q, k, v) = (matrix(n, 3, rng), matrix(n, 3, rng), matrix(n, 2, rng));
        let mask = toeplitz_matrix(&vec![M61::ONE; n], M61::ZERO, n);
        let masked = masked_attention(&q, &k, &v, &mask).expect("shapes fit");
        let normalized = linear_attention_recurrent(&q, &k, &v).expect("not zero");
        let ones = Matrix::from_fn(n, 1, |_, _| M61::ONE);
        let normalizer = masked_attention(&q, &k, &ones, &mask).expect("shapes fit");
        for i in 0..n {
            for c in 0..2 {
                let (o, z) = (normalized.get(i, c), normalizer.get(i, 0));
                prop_assert_eq!(o.expect("in") * z.expect("in"), masked.get(i, c).expect("in"));
            }
        }
    }

    /// D_q T_f D_kt on v = D_q T_f D_v T_shift on k = the gated stage of the layer, and the Hyena
    /// paper's operator, which shifts v, differs.
    #[test]
    fn surrogate_matrices(n in 2usize..40, m in 2usize..9, seed: u64) {
        let rng = &mut Rng::new(seed);
        let (q, k, v) = (vector(n, rng), vector(n, rng), vector(n, rng));
        let (shift, diagonal) = (Shift::sample(m, rng), Diagonal::sample(m / 2, rng));
        let shift_k = recurrence(&shift, &k, None).expect("fits").output;
        let kv: Vec<M61> = shift_k.iter().zip(&v).map(|(&k, &v)| k * v).collect();
        let ssm_out = recurrence(&diagonal, &kv, None).expect("fits").output;
        let gated: Vec<M61> = q.iter().zip(ssm_out).map(|(&q, y)| q * y).collect();

        let t_f = toeplitz_matrix(&diagonal.kernel(n), diagonal.feedthrough(), n);
        let t_shift = toeplitz_matrix(&shift.kernel(n), shift.feedthrough(), n);
        let on_v = h3_on_v(&q, &k, &t_f, &t_shift).expect("fits");
        let on_k = h3_on_k(&q, &v, &t_f, &t_shift).expect("fits");
        let hyena = hyena_on_v(&q, &k, &t_f, &t_shift).expect("fits");
        prop_assert_eq!(on_v.apply(&v).expect("fits"), gated.clone());
        prop_assert_eq!(on_k.apply(&k).expect("fits"), gated.clone());
        prop_assert_ne!(hyena.apply(&v).expect("fits"), gated.clone(), "it shifts v");
        // What it is: H3 with the roles of k and v exchanged.
        let exchanged = h3_on_v(&q, &v, &t_f, &t_shift).expect("fits");
        prop_assert_eq!(hyena.apply(&v).expect("fits"), exchanged.apply(&k).expect("fits"));
        // Causal: nothing above the diagonal.
        for i in 0..n {
            for j in i + 1..n {
                prop_assert_eq!(on_v.get(i, j), Some(M61::ZERO));
                prop_assert_eq!(on_k.get(i, j), Some(M61::ZERO));
            }
        }
    }
}

/// The same operator read off a whole layer of head dimension 1.
#[test]
fn the_surrogate_matrix_is_the_layer() {
    let rng = &mut Rng::new(2);
    let shape = LayerShape {
        n_heads: 3,
        head_dim: 1,
        d_state: 6,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let layer = Layer::<M61>::sample(shape, rng).expect("sizes are positive");
    let n = 20;
    let u = layer.sample_input(1, n, rng);
    let stages = layer.forward(&Form::Recurrence, &u, None).expect("fits");
    let channel = |x: &Tensor<M61>, c: usize| x.data()[c * n..(c + 1) * n].to_vec();
    for c in 0..3 {
        let (shift, diagonal) = (&layer.parts().shift[c], &layer.parts().diagonal[c]);
        let t_f = toeplitz_matrix(&diagonal.kernel(n), diagonal.feedthrough(), n);
        let t_shift = toeplitz_matrix(&shift.kernel(n), shift.feedthrough(), n);
        let (q, k) = (channel(&stages.q, c), channel(&stages.k, c));
        let matrix = h3_on_v(&q, &k, &t_f, &t_shift).expect("fits");
        let gated: Vec<M61> = (0..n).map(|i| stages.gated.data()[i * 3 + c]).collect();
        assert_eq!(matrix.apply(&channel(&stages.v, c)).expect("fits"), gated);
    }
}

/// Softmax attention against weights worked out by hand: scores 0 and ln 3 weigh 1/4 and 3/4.
#[test]
fn softmax_attention_by_hand() {
    let q = Matrix::new(2, 1, vec![1.0, 1.0]).expect("fits");
    let k = Matrix::new(2, 1, vec![0.0, 2.0 * 3f64.ln()]).expect("fits");
    let v = Matrix::new(2, 1, vec![8.0, 16.0]).expect("fits");
    let o = softmax_attention(&q, &k, &v, 0.5).expect("fits");
    assert_eq!(o.get(0, 0), Some(8.0), "the first token sees itself alone");
    let second = o.get(1, 0).expect("inside");
    approx::assert_relative_eq!(second, 14.0, max_relative = 4.0 * f64::EPSILON);
    // Large scores do not overflow, and the future is not seen.
    let k = Matrix::new(2, 1, vec![0.0, 1e6]).expect("fits");
    let o = softmax_attention(&q, &k, &v, 1.0).expect("fits");
    assert_eq!((o.get(0, 0), o.get(1, 0)), (Some(8.0), Some(16.0)));
}

#[test]
fn wrong_shapes_are_errors() {
    let rng = &mut Rng::new(1);
    let (q, k, v) = (matrix(3, 2, rng), matrix(3, 4, rng), matrix(2, 2, rng));
    assert!(linear_attention_quadratic(&q, &k, &v).is_err());
    assert!(linear_attention_recurrent(&q, &q, &v).is_err());
    assert!(linear_attention_ssm(&q, &k, &q).is_err());
    assert!(masked_attention(&q, &q, &q, &Matrix::identity(2)).is_err());
    // A zero normalizer is said, not divided by.
    let zero = Matrix::from_fn(2, 2, |_, _| M61::ZERO);
    let said = linear_attention_quadratic(&zero, &zero, &zero).expect_err("0 / 0");
    assert!(said.to_string().contains("normalizer"), "{said}");
}
