//! One state space model, in every form: linear, time invariant, causal, passing its state on,
//! blind to the coordinates of the state, and transposed by its adjoint.

use crate::common::ragged;
use hungry_hippos::algebra::{ComplexScalar, Field, M61, Matrix, Ring, Rng, Sample};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::ssm::{
    Adjoint, Dense, Diagonal, Shift, StateSpace, recurrence, recurrence_adjoint,
};
use num_complex::Complex;
use proptest::prelude::*;

fn forms(n: usize, rng: &mut Rng) -> Vec<Form> {
    Form::all([Chunking::Uniform(1 + rng.below(9)), ragged(n, rng)])
}

/// What the laws need of a state's elements: random ones, and the real inner product.
trait Element: Ring + PartialEq {
    fn random(rng: &mut Rng) -> Self;
    fn scaled(self, by: M61) -> Self;
    fn inner(self, other: Self) -> M61;
}

impl Element for M61 {
    fn random(rng: &mut Rng) -> Self {
        Self::sample(rng)
    }
    fn scaled(self, by: M61) -> Self {
        self * by
    }
    fn inner(self, other: Self) -> M61 {
        self * other
    }
}

impl Element for Complex<M61> {
    fn random(rng: &mut Rng) -> Self {
        M61::sample_complex(rng)
    }
    fn scaled(self, by: M61) -> Self {
        self.scale(by)
    }
    fn inner(self, other: Self) -> M61 {
        self.re * other.re + self.im * other.im
    }
}

fn random<E: Element>(n: usize, rng: &mut Rng) -> Vec<E> {
    (0..n).map(|_| E::random(rng)).collect()
}

/// `alpha x + y`.
fn combined<E: Element>(alpha: M61, x: &[E], y: &[E]) -> Vec<E> {
    assert_eq!(x.len(), y.len());
    let pairs = x.iter().zip(y);
    pairs.map(|(&x, &y)| x.scaled(alpha) + y).collect()
}

fn inner<E: Element>(x: &[E], y: &[E]) -> M61 {
    assert_eq!(x.len(), y.len());
    let pairs = x.iter().zip(y);
    pairs.fold(M61::ZERO, |sum, (&x, &y)| sum + x.inner(y))
}

fn laws<S>(ssm: &S, n: usize, rng: &mut Rng)
where
    S: StateSpace<Scalar = M61> + Adjoint + PartialEq,
    S::Element: Element,
{
    let m = ssm.state_dim();
    for form in forms(n, rng) {
        let respond =
            |u: &[M61], x0: Option<&[S::Element]>| form.respond(ssm, u, x0).expect("shapes fit");
        let (u, w) = (random(n, rng), random(n, rng));
        let (x, z) = (random::<S::Element>(m, rng), random::<S::Element>(m, rng));
        let alpha = M61::sample(rng);

        // Linear in the input and the initial state together.
        let (of_u, of_w) = (respond(&u, Some(&x)), respond(&w, Some(&z)));
        let both = respond(&combined(alpha, &u, &w), Some(&combined(alpha, &x, &z)));
        assert_eq!(
            both.output,
            combined(alpha, &of_u.output, &of_w.output),
            "{form} linear"
        );
        assert_eq!(
            both.state,
            combined(alpha, &of_u.state, &of_w.state),
            "{form} linear"
        );

        // Time invariant: what comes later is answered later, by the same.
        let delay = rng.below(n + 1);
        let mut late = vec![M61::ZERO; delay];
        late.extend_from_slice(&u[..n - delay]);
        let mut expected = vec![M61::ZERO; delay];
        let from_rest = respond(&u, None);
        expected.extend_from_slice(&from_rest.output[..n - delay]);
        assert_eq!(
            respond(&late, None).output,
            expected,
            "{form} delayed by {delay}"
        );

        // Causal: an output knows no later input.
        let from = rng.below(n + 1);
        let mut other = u.clone();
        other[from..].copy_from_slice(&w[from..]);
        let other = respond(&other, Some(&x));
        assert_eq!(
            other.output[..from],
            of_u.output[..from],
            "{form} causal at {from}"
        );
    }
}

/// The laws of the four matrices that pass a state from chunk to chunk.
fn state_passing<S>(ssm: &S, rng: &mut Rng)
where
    S: StateSpace<Scalar = M61>,
    S::Element: Element,
{
    let x = random::<S::Element>(ssm.state_dim(), rng);
    let (j, k) = (rng.below(20), rng.below(20));
    let later = ssm.advance(&x, j);
    assert_eq!(
        ssm.advance(&x, j + k),
        ssm.advance(&later, k),
        "A^(j+k) = A^k A^j"
    );
    let mut rows = ssm.state_to_output(&x, j);
    rows.extend(ssm.state_to_output(&later, k));
    assert_eq!(ssm.state_to_output(&x, j + k), rows, "M_xy of j + k rows");
    let (u, w) = (random::<M61>(j, rng), random::<M61>(k, rng));
    let whole = ssm.input_to_state(&[&u[..], &w[..]].concat());
    let carried = ssm.advance(&ssm.input_to_state(&u), k);
    assert_eq!(
        whole,
        combined(M61::ONE, &carried, &ssm.input_to_state(&w)),
        "M_ux of j + k columns"
    );
}

/// `<L (u, x0), (g, g_N)> = <(u, x0), L^T (g, g_N)>`: the adjoint is the transpose.
fn transposed<S>(ssm: &S, n: usize, rng: &mut Rng)
where
    S: StateSpace<Scalar = M61> + Adjoint + PartialEq,
    S::Element: Element,
{
    let m = ssm.state_dim();
    let (u, g) = (random::<M61>(n, rng), random::<M61>(n, rng));
    let (x0, g_state) = (random::<S::Element>(m, rng), random::<S::Element>(m, rng));
    let forward = recurrence(ssm, &u, Some(&x0)).expect("shapes fit");
    let backward = recurrence_adjoint(ssm, &u, Some(&x0), &g, Some(&g_state)).expect("shapes fit");
    // Linear in the cotangents: gradients add up.
    let (h, h_state) = (random::<M61>(n, rng), random::<S::Element>(m, rng));
    let gradient = |g: &[M61], g_state: &[S::Element]| {
        recurrence_adjoint(ssm, &u, Some(&x0), g, Some(g_state)).expect("shapes fit")
    };
    let mut sum = gradient(&g, &g_state).model;
    sum.add_gradient(&gradient(&h, &h_state).model);
    let both = gradient(
        &combined(M61::ONE, &g, &h),
        &combined(M61::ONE, &g_state, &h_state),
    );
    assert!(both.model == sum, "gradients of the model");
    assert_eq!(
        inner(&forward.output, &g) + inner(&forward.state, &g_state),
        inner(&u, &backward.input) + inner(&x0, &backward.state)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_form_of_every_structure(m in 1usize..9, n in 1usize..60, seed: u64) {
        let rng = &mut Rng::new(seed);
        laws(&Dense::sample(m, rng), n, rng);
        laws(&Diagonal::sample(m, rng), n, rng);
        laws(&Shift::sample(m, rng), n, rng);
    }

    #[test]
    fn states_are_passed_on(m in 1usize..9, n in 1usize..60, seed: u64) {
        let rng = &mut Rng::new(seed);
        let (dense, diagonal, shift) = (Dense::sample(m, rng), Diagonal::sample(m, rng), Shift::sample(m, rng));
        state_passing(&dense, rng);
        state_passing(&diagonal, rng);
        state_passing(&shift, rng);
        transposed(&dense, n, rng);
        transposed(&diagonal, n, rng);
        transposed(&shift, n, rng);
    }

    /// `(P A P^-1, P B, C P^-1)` answers as `(A, B, C)` does: a state has no coordinates of its own.
    /// `P` is a product of two triangular matrices with ones on the diagonal and a diagonal one.
    #[test]
    fn similar_models_are_one(m in 1usize..7, n in 1usize..40, seed: u64) {
        let rng = &mut Rng::new(seed);
        let scales: Vec<M61> = (0..m).map(|_| M61::sample(rng)).collect();
        let inverses: Vec<M61> = scales.iter().map(|s| s.inverse().expect("zero is drawn once in 2^61 times")).collect();
        let lower = Matrix::from_fn(m, m, |i, j| if i > j { M61::sample(rng) } else { M61::from_i64((i == j).into()) });
        let p = Matrix::diagonal(&scales).times(&lower).expect("square");
        let inverse = unit_lower_inverse(&lower).times(&Matrix::diagonal(&inverses)).expect("square");
        prop_assert_eq!(p.times(&inverse).expect("square"), Matrix::identity(m));

        let a = Matrix::from_fn(m, m, |_, _| M61::sample(rng));
        let (b, c) = (random::<M61>(m, rng), random::<M61>(m, rng));
        let d = M61::sample(rng);
        let similar = Dense::new(
            p.times(&a).and_then(|pa| pa.times(&inverse)).expect("square"),
            p.apply(&b).expect("fits"),
            inverse.transpose().apply(&c).expect("fits"),
            d,
        ).expect("fits");
        let model = Dense::new(a, b, c, d).expect("fits");
        let u = random::<M61>(n, rng);
        let (x, y) = (
            recurrence(&model, &u, None).expect("fits"),
            recurrence(&similar, &u, None).expect("fits"),
        );
        prop_assert_eq!(&x.output, &y.output);
        prop_assert_eq!(p.apply(&x.state).expect("fits"), y.state);
        prop_assert_eq!(model.kernel(n), similar.kernel(n));

        // A diagonal model: scaling B against C, permuting the modes, or conjugating all three
        // (which of a pair is stored) changes nothing; conjugating one of them does.
        let modes = random::<Complex<M61>>(3 * m, rng);
        let (a, b, c) = (&modes[..m], &modes[m..2 * m], &modes[2 * m..]);
        let with = |a: Vec<_>, b: Vec<_>, c: Vec<_>| Diagonal::new(a, b, c, d).expect("fits").kernel(n + 1);
        let kernel = with(a.to_vec(), b.to_vec(), c.to_vec());
        let s = Complex::new(M61::sample(rng), M61::sample(rng));
        if let Some(inverse) = s.inverse() {
            let scaled = |z: &[Complex<M61>], by| z.iter().map(|&z| z * by).collect::<Vec<_>>();
            prop_assert_eq!(&kernel, &with(a.to_vec(), scaled(b, s), scaled(c, inverse)));
        }
        let reversed = |z: &[Complex<M61>]| z.iter().rev().copied().collect::<Vec<_>>();
        prop_assert_eq!(&kernel, &with(reversed(a), reversed(b), reversed(c)));
        let conj = |z: &[Complex<M61>]| z.iter().map(|&z| ComplexScalar::conj(z)).collect::<Vec<_>>();
        prop_assert_eq!(&kernel, &with(conj(a), conj(b), conj(c)));
        prop_assert_ne!(&kernel, &with(a.to_vec(), b.to_vec(), conj(c)));
    }
}

/// The inverse of a lower triangular matrix with ones on its diagonal, by forward substitution.
fn unit_lower_inverse(lower: &Matrix<M61>) -> Matrix<M61> {
    let m = lower.rows();
    let columns: Vec<Vec<M61>> = (0..m)
        .map(|j| {
            let mut x = vec![M61::ZERO; m];
            for i in 0..m {
                let known = (0..i).fold(M61::ZERO, |sum, k| {
                    sum + lower.get(i, k).expect("inside") * x[k]
                });
                x[i] = M61::from_i64((i == j).into()) - known;
            }
            x
        })
        .collect();
    Matrix::from_fn(m, m, |i, j| columns[j][i])
}
