//! Series and the reductions before them: as many terms as are promised, tails and roundings within what is
//! said of them, and each method up to its threshold.

use super::exact;
use crate::common::exact::{Dyadic, Int};
use crate::common::functions;
use hungry_hippos::algebra::ball::internals::{
    eighth_turn, exp_m1_over_t, negligible, reduced, series, sin_cos_series, twice_artanh,
    without_ln_2,
};
use hungry_hippos::algebra::ball::{BallN, DiscN};
use hungry_hippos::algebra::{ComplexScalar, Field, Real, Ring, Rng};

/// In use, series are cut where their tails no longer matter, and a wrong bound of the tail would
/// not show. Here they are cut early, after two terms and more, so that the tail is all there is
/// to the radius: the truth must be inside, and, the bounds being first terms left out times at
/// most 2 (4 where weights are ignored), a radius of a sixteenth must not do.
#[test]
fn tails_of_series() {
    let mut rng = Rng::new(6);
    let p = 400;
    for trial in 0..300 {
        let cut = [1.0, 1e-2, 1e-4, 1e-9][trial % 4];
        let x = [0.34, 0.78, 1.0, 0.2][trial / 4 % 4] * rng.unit();
        let (ball, point) = (BallN::<4>::from_f64(x), exact(x));
        let one = Dyadic::power_of_two(0);
        let check = |name: &str, y: BallN<4>, truth: &Dyadic| {
            let off = Dyadic::sum(&y.midpoint()).sub(truth).abs();
            let radius = exact(y.radius());
            assert!(off <= radius, "{name} of {x}, cut at {cut:e}: {y:?}");
            // Where the tail is far above rounding and the argument not tiny.
            if y.radius() > 1e-40 && x.abs() > 1e-3 {
                assert!(
                    off > radius.scaled(-4),
                    "{name} of {x}, cut at {cut:e}: {y:?}"
                );
            }
        };
        let quotient = |a: &Dyadic, b: &Dyadic| Dyadic::new(a.fixed(2 * p).div(&b.fixed(p)), -p);
        let exp_m1 = functions::exp_m1(&point, p).value;
        check("exp", exp_m1_over_t(ball, cut), &quotient(&exp_m1, &point));
        let (sin, cos) = functions::sin_cos(&point, p);
        let (sin_ball, cos_ball) = sin_cos_series(ball, cut);
        // The sine's tail is charged as the cosine's, which is larger by up to 2n + 1: only
        // containment is asked of it.
        let off = Dyadic::sum(&sin_ball.midpoint()).sub(&sin.value).abs();
        assert!(off <= exact(sin_ball.radius()), "sin {x}: {sin_ball:?}");
        check("cos", cos_ball, &cos.value);
        if x.abs() <= 0.5 {
            // ln((1 + x)/(1 - x)) = ln(1 + x) - ln(1 - x). The tail bound leaves out 1/(2n + 1).
            let truth = functions::ln_1p(&point, p).value;
            let truth = truth.sub(&functions::ln_1p(&point.neg(), p).value);
            let y = twice_artanh(ball, cut);
            let off = Dyadic::sum(&y.midpoint()).sub(&truth).abs();
            assert!(off <= exact(y.radius()), "artanh {x}: {y:?}");
        }
        // phi_1 and its derivative on the real axis, where tails are largest for x > 0.
        let z = DiscN::<4>::from_parts(ball, BallN::ZERO);
        let phi = quotient(&exp_m1, &point);
        let slope = quotient(&exp_m1.add(&one).sub(&phi), &point);
        for (y, truth) in [
            (series(z, 1, |_| 1, cut), phi),
            (series(z, 2, |k| k + 1, cut), slope),
        ] {
            let off = Dyadic::sum(&y.midpoint().0).sub(&truth).abs();
            assert!(off <= exact(y.radius()), "phi {x}: {y:?}");
            assert!(y.radius() < 2.0 * cut.max(x * x) + 1e-40, "{y:?}");
        }
    }
}

/// The sum of `numerator x^power / denominator` for `k < n`, with 400 bits after the point.
fn partial_sum(x: &Dyadic, n: usize, term: impl Fn(usize) -> (usize, Int, Int)) -> Dyadic {
    let p = 400;
    (0..n).fold(Dyadic::zero(), |sum, k| {
        let (power, numerator, denominator) = term(k);
        let power = (0..power).fold(Dyadic::power_of_two(0), |y, _| y.mul(x));
        let product = power.mul(&Dyadic::new(numerator, 0));
        sum.add(&Dyadic::new(product.fixed(p).div(&denominator), -p))
    })
}

fn factorial(k: usize) -> Int {
    (1..=k as i64).fold(Int::one(), |product, i| product.mul(&Int::from(i)))
}

/// The series have the terms that are promised, no more and no fewer: two, and those above the cut.
/// The midpoints are the partial sums, which differ by far more than rounding.
#[test]
fn series_have_the_terms_above_the_cut() {
    let mut rng = Rng::new(7);
    for trial in 0..48 {
        let cut = [1.0, 1e-2, 1e-4, 1e-9][trial % 4];
        let x = 0.2 + 0.3 * rng.unit().abs();
        let x = [x, -x][trial / 4 % 2];
        let (ball, point) = (BallN::<4>::from_f64(x), exact(x));
        let terms = |bound: &dyn Fn(i32) -> f64| (2..).find(|&n| bound(n) <= cut).unwrap();
        let over_factorial = |size: f64, k: i32| (1..=k).fold(size, |y, i| y / f64::from(i));
        let is = |name: &str, y: [f64; 4], n: i32, term: &dyn Fn(usize) -> (usize, Int, Int)| {
            let truth = partial_sum(&point, n as usize, term);
            let off = Dyadic::sum(&y).sub(&truth).abs();
            assert!(
                off < Dyadic::power_of_two(-190),
                "{name} of {x}, cut at {cut:e}, is not the sum of {n} terms"
            );
        };
        let n = terms(&|n| over_factorial(x.abs().powi(n), n + 1));
        is("exp", exp_m1_over_t(ball, cut).midpoint(), n, &|k| {
            (k, Int::one(), factorial(k + 1))
        });
        let n = terms(&|n| x.abs().powi(2 * n));
        is("artanh", twice_artanh(ball, cut).midpoint(), n, &|k| {
            (2 * k + 1, Int::from(2), Int::from(2 * k as i64 + 1))
        });
        let n = terms(&|n| over_factorial(x.abs().powi(2 * n), 2 * n));
        let (sin, cos) = sin_cos_series(ball, cut);
        let sign = |k: usize| Int::from(1 - 2 * (k as i64 % 2));
        is("sin", sin.midpoint(), n, &|k| {
            (2 * k + 1, sign(k), factorial(2 * k + 1))
        });
        is("cos", cos.midpoint(), n, &|k| {
            (2 * k, sign(k), factorial(2 * k))
        });
        let z = DiscN::<4>::from_parts(ball, BallN::ZERO);
        let n = terms(&|n| over_factorial(x.abs().powi(n), n));
        is("phi", series(z, 1, |_| 1, cut).midpoint().0, n, &|k| {
            (k, Int::one(), factorial(k + 1))
        });
        is("phi'", series(z, 2, |k| k + 1, cut).midpoint().0, n, &|k| {
            (k, Int::from(k as i64 + 1), factorial(k + 2))
        });
    }
}

/// With nothing cut off, the series end with their tables and still say what they left out.
#[test]
fn series_end_with_their_tables() {
    let p = 200;
    let holds = |y: BallN<2>, truth: &Dyadic| {
        let off = Dyadic::sum(&y.midpoint()).sub(truth).abs();
        off <= exact(y.radius()) && y.radius() < 1e-30
    };
    let quotient = |a: &Dyadic, b: &Dyadic| Dyadic::new(a.fixed(2 * p).div(&b.fixed(p)), -p);
    let x = exact(0.99);
    let ball = BallN::<2>::from_f64(0.99);
    let exp = functions::exp(&x, p).value;
    let phi = quotient(&exp.sub(&exact(1.0)), &x);
    assert!(holds(exp_m1_over_t(ball, 0.0), &phi));
    let (sin, cos) = functions::sin_cos(&x, p);
    let (y_sin, y_cos) = sin_cos_series(ball, 0.0);
    assert!(holds(y_sin, &sin.value) && holds(y_cos, &cos.value));
    let z = DiscN::<2>::from_parts(ball, BallN::ZERO);
    assert!(holds(series(z, 1, |_| 1, 0.0).re(), &phi));
    let slope = quotient(&exp.sub(&phi), &x);
    assert!(holds(series(z, 2, |k| k + 1, 0.0).re(), &slope));
    // ln((1 + 1/4)/(1 - 1/4)) = ln(5/3) = 2 ln(5/4) - ln(15/16).
    let ln_1p = |x: f64| functions::ln_1p(&exact(x), p).value;
    let truth = ln_1p(0.25).scaled(1).sub(&ln_1p(-0.0625));
    assert!(holds(twice_artanh(BallN::from_f64(0.25), 0.0), &truth));
}

/// Reduced arguments are the exact remainders rounded to `W` words, and the radius is that rounding:
/// beside it, what the guard words leave out is nothing.
#[test]
fn remainders_lose_their_last_rounding_only() {
    fn check<const W: usize>(t: BallN<W>, truth: &Dyadic) {
        let off = Dyadic::sum(&t.midpoint()).sub(truth).abs();
        let radius = exact(t.radius());
        assert!(off <= radius, "{t:?}");
        let unseen = exact(t.midpoint()[0].abs()).scaled(-53 * W as i64 - 20);
        let most = off.add(&off.scaled(-20)).add(&unseen);
        assert!(radius <= most, "{t:?} is off by {:e} only", off.to_f64());
    }
    fn all<const W: usize>(pi: &Dyadic, ln_2: &Dyadic) {
        let mut rng = Rng::new(8);
        let ln_2_rounded = core::f64::consts::LN_2;
        let near = [1.0, 2.0, 1024.0].map(|k| k * ln_2_rounded);
        for x in near.into_iter().chain((0..40).map(|_| 700.0 * rng.unit())) {
            let (t, k) = without_ln_2(BallN::<W>::from_f64(x));
            let multiple = ln_2.mul(&Dyadic::new(Int::from(i64::from(k)), 0));
            check(t, &exact(x).sub(&multiple));
        }
        for _ in 0..40 {
            let x = 1000.0 * rng.unit();
            let (t, quadrant) = reduced(BallN::<W>::from_f64(x));
            // The quarter turns taken out, known modulo 4, from a rounded quotient.
            let quarters = (x / core::f64::consts::FRAC_PI_2).round() as i64;
            assert_eq!(quarters.rem_euclid(4), i64::from(quadrant));
            let multiple = pi.scaled(-1).mul(&Dyadic::new(Int::from(quarters), 0));
            check(t, &exact(x).sub(&multiple));
        }
    }
    let p = 600;
    let pi = Dyadic::new(functions::pi(p), -p);
    let ln_2 = Dyadic::new(functions::ln_2(p), -p);
    all::<1>(&pi, &ln_2);
    all::<2>(&pi, &ln_2);
    all::<3>(&pi, &ln_2);
}

/// `e^m - 1` is what its name says from `m = 0.35` on, and below a series, which is tighter.
#[test]
fn the_series_of_exp_m1_ends_at_its_threshold() {
    let both = |x: f64| {
        let m = BallN::<2>::from_f64(x);
        let difference = m.exp() - BallN::ONE;
        (m.exp_m1(), difference)
    };
    for x in [0.35, -0.35] {
        let (y, difference) = both(x);
        assert_eq!(y.midpoint(), difference.midpoint());
        assert_eq!(y.radius(), difference.radius());
    }
    for x in [0.35f64.next_down(), -0.35f64.next_down()] {
        let (y, difference) = both(x);
        assert!(y.radius() < difference.radius());
    }
}

/// `ln(1 + m)` up to `1 + m = sqrt 2` is `2 artanh(m/(2 + m))`, with no multiple of `ln 2`.
#[test]
fn the_series_of_ln_1p_ends_at_its_threshold() {
    let root = core::f64::consts::SQRT_2;
    for (one_plus_m, series) in [
        (root.next_down(), true),
        (root, true),
        (root.next_up(), false),
    ] {
        let m = BallN::<2>::from_f64(one_plus_m - 1.0);
        let s = m.divide(m + BallN::from_f64(2.0)).expect("not zero");
        let y = twice_artanh(s, negligible::<2>());
        let found = m.ln_1p();
        assert_eq!(
            found.midpoint() == y.midpoint() && found.radius() == y.radius(),
            series
        );
    }
}

/// An angle is the same whatever the fraction of a turn is extended by, beyond 64 bits too.
#[test]
fn angles_from_long_integers() {
    for (k, n) in [(1u128, 16u128), (3, 25), (1000, 8001)] {
        let plain = eighth_turn::<2>(k, n);
        for shift in [1, 31, 32, 60, 90, 110] {
            let (cos, sin) = eighth_turn::<2>(k << shift, n << shift);
            assert_eq!(cos.midpoint(), plain.0.midpoint(), "{k}/{n}, {shift}");
            assert_eq!(sin.midpoint(), plain.1.midpoint(), "{k}/{n}, {shift}");
        }
    }
}
