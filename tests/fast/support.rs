//! Bounds, comparisons and models for the fast path's tests.

use hungry_hippos::algebra::{Real, Rng};
use hungry_hippos::fast::{DiagonalParameters, Element};
use hungry_hippos::ssm::{Diagonal, Response, recurrence};
use num_complex::Complex;

/// Lengths and why.
pub(crate) const LENGTHS: [(usize, &str); 12] = [
    (1, "a single step"),
    (2, "shorter than anything"),
    (15, "one less than a block"),
    (16, "a block"),
    (17, "a block and a step"),
    (48, "a tile of three blocks"),
    (95, "one less than a tile of six"),
    (96, "a tile of six blocks"),
    (97, "a prime, one more than a tile"),
    (128, "a power of two, no multiple of a tile"),
    (251, "a prime: whole tiles, a part of one, and steps"),
    (1000, "long enough for errors to add up"),
];

/// Holds `got` against `expected` with a bound for each element: length, finiteness, bound.
pub(crate) fn assert_within<T: Element>(what: &str, got: &[T], expected: &[f64], bound: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    assert_eq!(got.len(), bound.len(), "{what}: length of the bound");
    for (i, ((got, expected), bound)) in got.iter().zip(expected).zip(bound).enumerate() {
        let got = got.to_f64();
        assert!(got.is_finite(), "{what}: element {i} is {got}");
        assert!(bound.is_finite(), "{what}: bound {i} is {bound}");
        assert!(
            (got - expected).abs() <= *bound,
            "{what}: element {i} is {got}, expected {expected} within {bound:e}"
        );
    }
}

/// The largest share of the bound that was used.
pub(crate) fn share_used<T: Element>(got: &[T], expected: &[f64], bound: &[f64]) -> f64 {
    let shares = got.iter().zip(expected).zip(bound);
    shares.fold(0.0, |worst, ((got, expected), bound)| {
        let error = (got.to_f64() - expected).abs();
        f64::max(worst, if error == 0.0 { 0.0 } else { error / bound })
    })
}

/// The 2-norm.
pub(crate) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// How far a convolution through transforms of `points` points may be from its definition, for
/// every output.
///
/// A transform in unit roundoff `u` of `n` points is off by at most `c u log2(n)` of the norm of
/// what it transforms (Higham, Accuracy and Stability, section 24.1): here every butterfly of two
/// levels is at most 12 roundings (products, sums and rounded constants, `2 a - b` counted with
/// the magnitude of both), so c = 6 a level; the first and last step are sums of at most 8 terms,
/// 2 * 9 more. With both transforms, the product and the inverse: `3 (6 log2 n + 18) + 8` units of
/// `|f| |u|` (2-norms), which bounds every element of the convolution by Cauchy and Schwarz. A
/// longer signal is taken in parts of `n` steps: an output is what its own part gives and what
/// the part before adds, one rounding more.
pub(crate) fn transform_bound<T: Element>(points: usize, f: &[f64], u: &[f64]) -> Vec<f64> {
    let units = 3.0 * (6.0 * (points as f64).log2() + 18.0) + 9.0;
    let mut before = 0.0;
    let parts = u.chunks(points).flat_map(|part| {
        let own = norm(part);
        let bound = units * T::UNIT_ROUNDOFF * norm(f) * (before + own);
        before = own;
        vec![bound; part.len()]
    });
    parts.collect()
}

/// Random numbers in [-1, 1), such as `T` can hold exactly.
pub(crate) fn signal<T: Element>(len: usize, rng: &mut Rng) -> Vec<T> {
    (0..len).map(|_| T::from_f64(rng.unit())).collect()
}

/// Random stable models, some of them with a pole close to the unit circle.
pub(crate) fn models(models: usize, pairs: usize, rng: &mut Rng) -> DiagonalParameters {
    let size = models * pairs;
    let complex = |rng: &mut Rng| Complex::new(rng.unit(), rng.unit());
    DiagonalParameters {
        pairs,
        a: (0..size)
            .map(|i| {
                let radius = if i % 3 == 0 {
                    0.9995
                } else {
                    0.75 + 0.24 * rng.unit()
                };
                Complex::from_polar(radius, 3.2 * rng.unit())
            })
            .collect(),
        b: (0..size).map(|_| complex(rng)).collect(),
        c: (0..size).map(|_| complex(rng)).collect(),
        d: (0..models).map(|_| rng.unit()).collect(),
    }
}

/// One model of a bank, as the reference has it, in double precision.
pub(crate) fn reference_model(bank: &DiagonalParameters, h: usize) -> Diagonal<f64> {
    let of = |all: &[Complex<f64>]| all[h * bank.pairs..(h + 1) * bank.pairs].to_vec();
    Diagonal::new(of(&bank.a), of(&bank.b), of(&bank.c), bank.d[h]).unwrap()
}

/// What the reference answers, and how far a run in unit roundoff `u` may be from it.
pub(crate) struct Expected {
    pub(crate) output: Vec<f64>,
    pub(crate) output_bound: Vec<f64>,
    pub(crate) state: Vec<Complex<f64>>,
    pub(crate) state_bound: Vec<f64>,
}

/// The reference's answer for one model in double precision, with an a-priori bound.
///
/// Every term of an output is a product `2 c a^tau b u` of one input (or `2 c a^tau x_0`). With
/// `M0` the sum of the magnitudes of these terms and `M1` that of the magnitudes times their age
/// `tau`, both by the recurrence on absolute values,
///
/// |error| <= u (K0 M0 + K1 M1).
///
/// K1: the state is advanced by one complex multiplication and addition a block of 16 (`a^16`
/// rounded: 1; two products and two additions a part: at most 4 roundings; a part may be smaller
/// than the modulus that bounds it by sqrt 2, and both parts enter: factor 2): at most 10 a
/// block. The reference in f64 adds its own 2^-53 a step, which is 10/16 at most.
/// K0: whole sums of 16 inputs, of `2 pairs` states and 16 Toeplitz terms, rounded coefficients
/// and the product with the input, and at most 15 last steps of the recurrence at 10 each:
/// 2 (16 + 2 pairs + 16 + 4) + 150.
pub(crate) fn expected<T: Element>(
    bank: &DiagonalParameters,
    h: usize,
    u: &[f64],
    x0: &[Complex<f64>],
) -> Expected {
    let model = reference_model(bank, h);
    let Response { output, state } = recurrence(&model, u, Some(x0)).unwrap();
    let k0 = 2.0 * (36.0 + 2.0 * bank.pairs as f64) + 150.0;
    let (k1, unit) = (
        10.0 / 16.0 + 10.0 * f64::UNIT_ROUNDOFF / T::UNIT_ROUNDOFF,
        T::UNIT_ROUNDOFF,
    );
    let at = h * bank.pairs;
    let mut m0: Vec<f64> = x0.iter().map(|x| x.norm()).collect();
    let mut m1 = vec![0.0; bank.pairs];
    let mut output_bound = Vec::new();
    for &u in u {
        let mut sum = bank.d[h].abs() * u.abs() * k0;
        for n in 0..bank.pairs {
            let a = bank.a[at + n].norm();
            m1[n] = a * (m1[n] + m0[n]);
            m0[n] = a * m0[n] + bank.b[at + n].norm() * u.abs();
            sum += 2.0 * bank.c[at + n].norm() * (k0 * m0[n] + k1 * m1[n]);
        }
        output_bound.push(unit * sum);
    }
    let state_bound = m0
        .iter()
        .zip(&m1)
        .map(|(m0, m1)| unit * (k0 * m0 + k1 * m1));
    Expected {
        output,
        output_bound,
        state,
        state_bound: state_bound.collect(),
    }
}
