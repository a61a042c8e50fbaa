//! Claim: each HiPPO matrix equals its closed form, is rational after a diagonal scaling, and is
//! the derivative of the projection it belongs to: exactly, over the prime field.

use super::official::numbers;
use crate::common::{assert_close, close, largest};
use hungry_hippos::algebra::{Dual, Field, M61, Matrix, Real, Ring, Rng, Sample};
use hungry_hippos::ssm::hippo::{
    Measure, fout_integers, fout_weight, lagt, laguerre, legendre, legendre_of_affine,
    legs_extension, legs_integers, legt_integers, lmu,
};

const SIZES: [usize; 4] = [1, 2, 5, 12];

fn int(n: i64) -> M61 {
    M61::from_i64(n)
}

/// `P_n(x)` from its explicit sum, `sum_j (-1)^j C(n,j) C(n+j,j) ((1-x)/2)^j`.
fn legendre_by_sum(n: i64, x: M61) -> M61 {
    let z = (M61::ONE - x).divide(int(2)).expect("2 is not zero");
    let (mut term, mut sum) = (M61::ONE, M61::ONE);
    for j in 0..n {
        let ratio = int((n - j) * (n + j + 1)).divide(int((j + 1) * (j + 1)));
        term = -(term * ratio.expect("not zero") * z);
        sum = sum + term;
    }
    sum
}

#[test]
fn legendre_polynomials_are_their_sums_and_transform() {
    let rng = &mut Rng::new(1);
    let (x, a, b) = (M61::sample(rng), M61::sample(rng), M61::sample(rng));
    let values = legendre(13, x).expect("a field");
    for (n, &p) in values.iter().enumerate() {
        assert_eq!(p, legendre_by_sum(n as i64, x), "P_{n}");
    }
    let expansion = legendre_of_affine(13, a, b).expect("a field");
    assert_eq!(
        expansion.apply(&values).expect("fits"),
        legendre(13, a * x + b).expect("a field")
    );
}

/// Extending the history by a factor `1 + e` changes the coefficients by `e (A c + B u)`: the
/// matrix of LegS is the derivative of the exact update, with `==`.
#[test]
fn legs_is_the_derivative_of_the_exact_projection() {
    for m in SIZES {
        let model = legs_integers::<M61>(m);
        // 1 / (1 + e) = 1 - e.
        let ratio = Dual::new(M61::ONE, -M61::ONE);
        let (transition, input) = legs_extension(m, ratio).expect("a field");
        assert_eq!(transition.map(|z| z.value), Matrix::identity(m), "m = {m}");
        assert_eq!(transition.map(|z| z.derivative), model.a, "m = {m}");
        for (n, r) in input.iter().enumerate() {
            assert_eq!((r.value, r.derivative), (M61::ZERO, model.b[n]), "B_{n}");
        }
    }
}

/// For a signal that is a polynomial of degree below m the sliding window's coefficients obey
/// `c' = A c + B u` exactly: nothing is lost where the window ends.
#[test]
fn legt_is_exact_on_polynomials() {
    let rng = &mut Rng::new(2);
    for m in SIZES {
        let model = legt_integers::<M61>(m);
        let c: Vec<M61> = (0..m).map(|_| M61::sample(rng)).collect();
        let weight = |n: usize| int(2 * n as i64 + 1);
        // The window moved by e: p(x + e), whose Legendre argument 2x - 1 moves by 2e.
        let moved = legendre_of_affine(m, Dual::constant(M61::ONE), Dual::new(M61::ZERO, int(2)))
            .expect("a field");
        let now = (0..m).fold(M61::ZERO, |sum, n| sum + weight(n) * c[n]); // P_n(1) = 1
        let change = model.a.apply(&c).expect("fits");
        for k in 0..m {
            let sum = (0..m).fold(Dual::constant(M61::ZERO), |sum, n| {
                sum + Dual::constant(weight(n) * c[n]) * moved.get(n, k).expect("inside")
            });
            assert_eq!(sum.value, weight(k) * c[k]);
            assert_eq!(
                sum.derivative,
                weight(k) * (change[k] + model.b[k] * now),
                "m = {m}, k = {k}"
            );
        }
    }
}

/// The LMU's matrix is LegT's in the coordinates `(-1)^n (2n+1) c_n`.
#[test]
fn lmu_is_legt_in_other_coordinates() {
    for m in SIZES {
        let (legt, lmu) = (legt_integers::<M61>(m), lmu::<M61>(m));
        let sign = |n: usize| if n.is_multiple_of(2) { 1 } else { -1 };
        let d: Vec<M61> = (0..m).map(|n| int(sign(n) * (2 * n as i64 + 1))).collect();
        let d = Matrix::diagonal(&d);
        let left = lmu.a.times(&d).expect("square");
        assert_eq!(left, d.times(&legt.a).expect("square"), "m = {m}");
        assert_eq!(d.apply(&legt.b).expect("fits"), lmu.b);
    }
}

/// `d/ds e^{-s/2} L_n(s) = sum_k A_nk e^{-s/2} L_k(s)`: with it LagT follows by differentiating
/// under the integral.
#[test]
fn lagt_differentiates_laguerre_functions() {
    let rng = &mut Rng::new(3);
    for m in SIZES {
        let model = lagt::<M61>(m).expect("a field");
        let s = M61::sample(rng);
        let functions = laguerre(m, Dual::variable(s)).expect("a field");
        let values: Vec<M61> = functions.iter().map(|l| l.value).collect();
        let half = int(2).inverse().expect("not zero");
        let slopes: Vec<M61> = functions
            .iter()
            .map(|l| l.derivative - half * l.value)
            .collect();
        assert_eq!(model.a.apply(&values).expect("fits"), slopes, "m = {m}");
        assert_eq!(
            model.b,
            laguerre(m, M61::ZERO).expect("a field"),
            "L_n(0) = 1"
        );
    }
}

/// What makes the split work, in rational numbers: `a_ij / w_j + a_ji / w_i + 2 p_i p_j = 0` off
/// the diagonal, one number on it.
#[test]
fn the_normal_part_is_skew_up_to_the_identity() {
    let half = int(2).inverse().expect("not zero");
    let (m, legendre_weight) = (8, |n: usize| int(2 * n as i64 + 1));
    type Case<'a> = (
        &'a str,
        Matrix<M61>,
        &'a dyn Fn(usize) -> M61,
        &'a dyn Fn(usize, usize) -> M61,
        M61,
    );
    let (rotation, correction) = fout_integers::<M61>(m).expect("even");
    // pi is transcendental, so its matrix must be skew by itself; a random number stands for it.
    let pi = M61::sample(&mut Rng::new(4));
    let fout = Matrix::from_fn(m, m, |i, j| {
        let of = |x: &Matrix<M61>| x.get(i, j).expect("inside");
        pi * of(&rotation) - of(&correction)
    });
    let cases: [Case<'_>; 4] = [
        (
            "legs",
            legs_integers(m).a,
            &legendre_weight,
            &|_, _| half,
            -half,
        ),
        // Two vectors: pairs of one parity. Window 1: twice the official halved matrix.
        (
            "legt",
            legt_integers(m).a,
            &legendre_weight,
            &|i, j| int(i64::from((i + j) % 2 == 0)),
            M61::ZERO,
        ),
        (
            "lagt",
            lagt(m).expect("a field").a,
            &|_| M61::ONE,
            &|_, _| half,
            M61::ZERO,
        ),
        (
            "fout",
            fout,
            &|i| int(fout_weight(i)),
            &|i, j| int(i64::from((i | j) % 2 == 0)),
            M61::ZERO,
        ),
    ];
    for (name, a, weight, pp, real) in cases {
        let normal = |i: usize, j: usize| {
            let entry = a
                .get(i, j)
                .expect("inside")
                .divide(weight(j))
                .expect("not zero");
            entry + pp(i, j)
        };
        for i in 0..m {
            // sqrt(w_i w_j) times this is the orthonormal entry.
            assert_eq!(normal(i, i) * weight(i), real, "{name}, {i}");
            for j in 0..i {
                assert_eq!(normal(i, j), -normal(j, i), "{name}, {i}, {j}");
            }
        }
    }
}

/// The orthonormal matrices are the official ones.
#[test]
fn matrices_are_the_official_ones() {
    for measure in Measure::ALL {
        let model = measure.model::<f64>(8).expect("even");
        let (a, b) = (
            numbers(&format!("transition.{measure}.A")),
            numbers(&format!("transition.{measure}.B")),
        );
        let bound = 4.0 * f64::UNIT_ROUNDOFF * largest(&a);
        assert_close(&format!("{measure} A"), model.a.entries(), &a, bound);
        assert_close(&format!("{measure} B"), &model.b, &b, bound);
        // The transposed matrix, and another window, are refused.
        let transposed = model.a.transpose();
        assert!(close("transposed", transposed.entries(), &a, bound).is_err());
        let half: Vec<f64> = model.b.iter().map(|b| b / 2.0).collect();
        assert!(close("half", &half, &b, bound).is_err());
    }
}

#[test]
fn closed_forms_in_floats() {
    for m in SIZES {
        let legs = Measure::LegS.model::<f64>(m).expect("any m");
        let legt = Measure::LegT.model::<f64>(m).expect("any m");
        let r = |n: usize| (2.0 * n as f64 + 1.0).sqrt();
        for n in 0..m {
            for k in 0..m {
                let expected = match n.cmp(&k) {
                    core::cmp::Ordering::Greater => -r(n) * r(k),
                    core::cmp::Ordering::Equal => -(n as f64 + 1.0),
                    core::cmp::Ordering::Less => 0.0,
                };
                let sign = if n < k && (k - n) % 2 == 1 { -1.0 } else { 1.0 };
                let bound = 4.0 * f64::UNIT_ROUNDOFF * r(n) * r(k);
                let got = [legs.a.get(n, k).expect("in"), legt.a.get(n, k).expect("in")];
                assert_close(
                    "LegS, LegT",
                    &got,
                    &[expected, -0.5 * sign * r(n) * r(k)],
                    bound,
                );
            }
        }
    }
}

#[test]
fn what_has_no_matrix_is_said() {
    let e = Measure::FouT.model::<f64>(5).expect_err("odd");
    assert!(e.to_string().contains("even"), "{e}");
    let e = "legz".parse::<Measure>().expect_err("no such measure");
    assert!(e.to_string().contains("legs, legt"), "{e}");
    let singular = Matrix::from_fn(2, 2, |_, _| M61::ONE);
    assert!(singular.solve(&Matrix::identity(2)).is_err());
    assert!(singular.solve(&Matrix::identity(3)).is_err());
    let rng = &mut Rng::new(5);
    let a = Matrix::from_fn(7, 7, |_, _| M61::sample(rng));
    let x = a.solve(&Matrix::identity(7)).expect("not singular");
    assert_eq!(a.times(&x).expect("square"), Matrix::identity(7));
}
