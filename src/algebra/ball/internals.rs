//! Tests of what cannot be reached from outside: the exactness of the error-free transformations,
//! upward rounding, every digit of the tables.

use super::bound::{Bound, add_down, hypot_down, mul_down, sqrt_down, sub_down, sum_of_magnitudes};
use super::common::exact::{Dyadic, Int};
use super::common::functions;
use super::constants::{
    Constant, FACTORIALS, INVERSE_FACTORIALS, INVERSE_ODDS, LN_2, LN_2_BITS, QUARTER_PI,
    QUARTER_PI_BITS, TWO_OVER_PI_BITS, WORDS,
};
use super::decide;
use super::disc::DiscN;
use super::eft::{ETA, product, scale, significand, two_sum};
use super::elementary::negligible;
use super::expansion::{self, Terms};
use super::interval::BallN;
use crate::algebra::Rng;
use std::cmp::Ordering;

/// Floats of all kinds: every exponent, few and many digits, subnormals, zeros.
fn any_float(rng: &mut Rng) -> f64 {
    loop {
        let bits = rng.next_u64();
        let x = f64::from_bits(match rng.below(8) {
            // Few digits.
            0..3 => bits & !((1 << 48) - 1),
            // Subnormal.
            3 => bits & !(0x7ff << 52),
            // Ordinary size.
            4 => (bits & !(0x7ff << 52)) | ((1013 + (bits >> 58)) << 52),
            5 if bits.is_multiple_of(5) => 0,
            _ => bits,
        });
        if x.is_finite() {
            return x;
        }
    }
}

fn exact(x: f64) -> Dyadic {
    Dyadic::from_f64(x)
}

#[test]
fn sums_are_split_exactly() {
    let mut rng = Rng::new(1);
    for _ in 0..50_000 {
        let (a, b) = (any_float(&mut rng), any_float(&mut rng));
        let (s, e) = two_sum(a, b);
        assert_eq!(s.to_bits(), (a + b).to_bits());
        if s.is_finite() && e.is_finite() {
            assert_eq!(
                exact(s).add(&exact(e)),
                exact(a).add(&exact(b)),
                "{a:e} + {b:e}"
            );
        } else {
            // An overflow leaves its mark in the error.
            assert!(!e.is_finite());
        }
    }
}

#[test]
fn products_are_split_exactly_or_say_what_they_lost() {
    let mut rng = Rng::new(2);
    let (mut lossless, mut lossy) = (0, 0);
    for _ in 0..100_000 {
        let (a, b) = (any_float(&mut rng), any_float(&mut rng));
        let split = product(a, b);
        if !split.p.is_finite() || !split.e.is_finite() {
            assert!((a * b).abs() > f64::MAX / 2.0, "{a:e} * {b:e} = {split:?}");
            continue;
        }
        let truth = exact(a).mul(&exact(b));
        let off = exact(split.p).add(&exact(split.e)).sub(&truth).abs();
        assert!(off <= exact(split.lost), "{a:e} * {b:e} = {split:?}");
        if split.lost == 0.0 {
            lossless += 1;
        } else {
            assert!(split.lost <= 2.0 * ETA && split.p.abs() < 1e-280);
            lossy += 1;
        }
    }
    assert!(lossless > 40_000 && lossy > 1000, "{lossless} {lossy}");
    // (1 - u)^2 = (1 - 2 u) + u^2, at the end of the range, where the upper half rounds to 1 and its
    // square would overflow.
    let split = product(2f64.powi(512).next_down(), 2f64.powi(512).next_down());
    assert_eq!((split.p, split.e), (f64::MAX.next_down(), 2f64.powi(918)));
    assert!(split.lost == 0.0);
}

#[test]
fn scaling_says_what_it_lost() {
    let mut rng = Rng::new(3);
    for _ in 0..50_000 {
        let x = any_float(&mut rng);
        let k = rng.below(4400) as i32 - 2200;
        let (y, lost) = scale(x, k);
        if y.is_finite() {
            let off = exact(y).sub(&exact(x).scaled(i64::from(k))).abs();
            assert!(off <= exact(lost), "{x:e} 2^{k} = {y:e} lost {lost:e}");
        } else {
            assert!(exact(x).magnitude_exponent() + i64::from(k) > 1023);
        }
        if x != 0.0 {
            let (f, e) = significand(x);
            assert!((1.0..2.0).contains(&f.abs()));
            assert_eq!(exact(f).scaled(i64::from(e)), exact(x));
        }
    }
}

/// Bounds are bounds, and no further off than a few units in the last place.
#[test]
fn bounds_round_outward() {
    let mut rng = Rng::new(4);
    for _ in 0..100_000 {
        let (x, y) = (any_float(&mut rng).abs(), any_float(&mut rng).abs());
        let (a, b) = (exact(x), exact(y));
        let (bx, by) = (Bound::of(x), Bound::of(y));
        // (upper bound, what it is compared with): squares for roots.
        let upper = |bound: Bound, truth: &Dyadic, square: bool| {
            let got = bound.get();
            assert!(got >= 0.0);
            if got.is_finite() {
                let got = exact(got);
                let got = if square { got.mul(&got) } else { got };
                assert!(got >= *truth, "{x:e}, {y:e}: {bound:?}");
                // Not more than 2^-47 or four smallest numbers above.
                let slack = truth.mul(&exact(1.0 + 2f64.powi(-47)));
                let tiny = exact(ETA).scaled(2);
                let limit = if square {
                    slack.add(&tiny.mul(&got))
                } else {
                    slack.add(&tiny)
                };
                let limit = if square { limit.add(&tiny) } else { limit };
                assert!(got <= limit.add(&tiny), "{x:e}, {y:e}: {bound:?} is loose");
            } else {
                assert!(truth.magnitude_exponent() >= if square { 2046 } else { 1023 });
            }
        };
        upper(bx + by, &a.add(&b), false);
        upper(bx * by, &a.mul(&b), false);
        upper(sum_of_magnitudes(&[x, -y]), &a.add(&b), false);
        upper(Bound::hypot(bx, by), &a.mul(&a).add(&b.mul(&b)), true);
        if y > 0.0 {
            // x / y <= q: x <= q y.
            let q = bx.over(y).get();
            assert!(
                q == f64::INFINITY || exact(q).mul(&b) >= a,
                "{x:e} / {y:e} <= {q:e}"
            );
        }
        let lower = |got: f64, truth: &Dyadic| {
            assert!(got >= 0.0 && exact(got) <= *truth, "{x:e}, {y:e}: {got:e}");
        };
        lower(add_down(x, y), &a.add(&b));
        // And near: 4 u are taken off, and two roundings may take u each.
        if x + y < f64::MAX {
            let near = exact(add_down(x, y)).mul(&exact(1.0 + 2f64.powi(-49)));
            assert!(near.add(&exact(ETA)) >= a.add(&b), "{x:e} + {y:e}");
        }
        lower(mul_down(x, y), &a.mul(&b));
        let root = sqrt_down(x);
        lower(root * root, &a.mul(&exact(1.0 + 2f64.powi(-50))));
        assert!(exact(root).mul(&exact(root)) <= a);
        let h = exact(hypot_down(x, y));
        assert!(h.mul(&h) <= a.mul(&a).add(&b.mul(&b)));
        if x >= y {
            lower(sub_down(x, y), &a.sub(&b));
        } else {
            assert!(sub_down(x, y) <= 0.0);
        }
    }
    assert!((Bound::ZERO + Bound::ZERO).is_zero() && (Bound::ZERO * Bound::NONE).is_zero());
    assert!(Bound::ZERO.over(1.0).is_zero() && !Bound::ZERO.over(0.0).at_most(f64::MAX));
    assert!(!Bound::of(1.0).over(0.0).at_most(f64::MAX));
    // What is not known on one side is not known of both.
    let (one, nothing) = (Bound::of(1.0), Bound::of(f64::NAN));
    assert!(!one.max(nothing).at_most(f64::MAX) && !nothing.max(one).at_most(f64::MAX));
}

/// Condensing keeps the sum up to what it says it lost, whatever the terms.
#[test]
fn condensing_keeps_the_sum() {
    let mut rng = Rng::new(5);
    for trial in 0..20_000 {
        let mut terms = Terms::new();
        let mut truth = Dyadic::zero();
        let spread = [20, 200, 900][trial % 3];
        // Twice 28 terms is the most a list holds.
        for _ in 0..rng.below(29) {
            let x = rng.unit() * 2f64.powi(rng.below(spread) as i32 - spread as i32 / 2);
            for x in [x, -x.next_up()].into_iter().take(1 + rng.below(2)) {
                terms.push(x);
                truth = truth.add(&exact(x));
            }
        }
        let words = 1 + rng.below(6);
        terms.condense(words);
        assert!(terms.words().len() <= words);
        let off = Dyadic::sum(terms.words()).sub(&truth).abs();
        assert!(off <= exact(terms.lost().get()), "{terms:?}");
        // Nothing is lost that fits: the loss is small beside the last word.
        let size = truth.magnitude_exponent();
        let lost = exact(terms.lost().get()).magnitude_exponent();
        assert!(
            terms.lost().is_zero() || lost <= size - 53 * words as i64 + 2,
            "lost 2^{lost} of 2^{size} at {words} words"
        );
    }
    // One word holds this sum; two passes leave it in two, and the last pass joins them.
    let (a, sum) = (2f64.powi(53) + 2.0, -1f64.next_up());
    let mut terms = Terms::new();
    terms.extend(&[-2.0 * a, a, sum, a]);
    terms.condense(1);
    assert!(terms.words() == [sum] && terms.lost().is_zero());
}

/// The two cross products and their sum are rounded, by half a unit each, and not by more.
#[test]
fn products_of_two_words_charge_their_roundings_once() {
    let x = [1.0, 2f64.powi(-60)];
    let product = expansion::mul(&x, &x);
    // Roundings of 2^-60 twice and of 2^-59; and 2^-120 is left out.
    let charged = 2f64.powi(-58) * 2f64.powi(-53) + 2f64.powi(-120);
    assert_eq!(product.words, [1.0, 2f64.powi(-59)]);
    assert!(product.error.at_most(charged * (1.0 + 1e-14)));
}

/// Powers of two leave the digits of a quotient alone and its radius with them, where products
/// of words as small would underflow.
#[test]
fn quotients_do_not_depend_on_the_unit() {
    let (a, b) = ([1.0, 2f64.powi(-60)], [3.0, 2f64.powi(-54)]);
    let quotient = expansion::div(&a, &b);
    for k in [-960, -300, 300, 960] {
        let scaled = |x: [f64; 2]| x.map(|x| scale(x, k).0);
        let again = expansion::div(&scaled(a), &scaled(b));
        assert_eq!(again.words, quotient.words);
        assert_eq!(again.error.get(), quotient.error.get());
    }
}

/// A root of what may be negative is not known, be it the first word that says so or the rest.
#[test]
fn roots_of_what_may_be_negative_are_not_known() {
    for words in [
        [-4.0, 0.0],
        [-4.0, 1.0],
        [1.0, -1.0],
        [1.0, -2.0],
        [f64::NAN, 0.0],
    ] {
        assert!(
            !expansion::sqrt(&words).error.at_most(f64::MAX),
            "{words:?}"
        );
    }
    assert!(expansion::sqrt(&[1.0, -0.5]).error.at_most(1.0));
}

#[test]
fn signs_of_what_is_not_finite_are_not_known() {
    let sign = |terms: &[f64]| decide::sign(terms.iter().copied());
    assert_eq!(sign(&[f64::MAX, -1.0]), Some(Ordering::Greater));
    for terms in [&[f64::INFINITY][..], &[f64::MAX, f64::MAX], &[f64::NAN]] {
        assert_eq!(sign(terms), None, "{terms:?}");
    }
}

fn bits_match(limbs: &[u64], truth: &Int) -> bool {
    // The truth has as many fractional bits as the limbs.
    let mut value = Int::zero();
    for &limb in limbs {
        let (high, low) = ((limb >> 32) as i64, (limb & 0xffff_ffff) as i64);
        value = value
            .shift(32)
            .add(&Int::from(high))
            .shift(32)
            .add(&Int::from(low));
    }
    value == *truth
}

/// Every bit of the three constants, computed again (and twice over, by two formulas each).
#[test]
fn constants_to_the_last_bit() {
    let truncated = |x: &Int, guard: i64| x.shift(-guard);
    let (short, long, guard) = (512, 1664, 128);
    let quarter_pi = truncated(&functions::pi(short + guard), guard + 2);
    let quarter_pi_again = truncated(&functions::pi_again(short + guard), guard + 2);
    let ln_2 = truncated(&functions::ln_2(short + guard), guard);
    let ln_2_again = truncated(&functions::ln_2_again(short + guard), guard);
    let p = long + guard;
    let two_over = |pi: Int| truncated(&Int::one().shift(2 * p + 1).div(&pi), guard);
    let two_over_pi = two_over(functions::pi(p));
    let two_over_pi_again = two_over(functions::pi_again(p));
    for (bits, truths) in [
        (&LN_2_BITS[..], [ln_2, ln_2_again]),
        (&QUARTER_PI_BITS[..], [quarter_pi, quarter_pi_again]),
        (&TWO_OVER_PI_BITS[..], [two_over_pi, two_over_pi_again]),
    ] {
        for truth in &truths {
            assert!(bits_match(bits, truth));
            // Any single wrong bit is noticed.
            for wrong in 0..64 * bits.len() {
                let mut bits = bits.to_vec();
                bits[wrong / 64] ^= 1 << (wrong % 64);
                assert!(!bits_match(&bits, truth), "bit {wrong}");
            }
        }
    }
}

/// Whether the first `n` pieces leave out what they say, of a constant times `factor` that is 1.
fn pieces_of_reciprocal(constant: &Constant, n: usize, factor: &Int) -> bool {
    let (pieces, left) = constant.truncated(n);
    // 0 <= 1 - factor * sum <= factor * left.
    let factor = Dyadic::new(factor.clone(), 0);
    let rest = Dyadic::power_of_two(0).sub(&Dyadic::sum(pieces).mul(&factor));
    rest >= Dyadic::zero() && rest <= factor.mul(&exact(left.get()))
}

#[test]
fn tables_of_reciprocals() {
    let mut factorial = Int::one();
    for (k, constant) in INVERSE_FACTORIALS.iter().enumerate() {
        factorial = factorial.mul(&Int::from(k.max(1) as i64));
        for n in 1..WORDS {
            assert!(
                pieces_of_reciprocal(constant, n, &factorial),
                "1/{k}!, {n} pieces"
            );
            // Relative to the value the rest is below 2^(3 - 53 n): the table is not just bounded
            // but accurate.
            let (_, left) = constant.truncated(n);
            let scaled = exact(left.get()).mul(&Dyadic::new(factorial.clone(), 0));
            assert!(scaled.magnitude_exponent() <= 3 - 53 * n as i64);
        }
        let (_, left) = constant.truncated(2);
        assert_eq!(left.is_zero(), k <= 2, "only 1, 1 and 1/2 are exact");
    }
    assert_eq!(INVERSE_FACTORIALS.len(), FACTORIALS);
    for (k, constant) in INVERSE_ODDS.iter().enumerate() {
        for n in 1..WORDS {
            assert!(pieces_of_reciprocal(
                constant,
                n,
                &Int::from(2 * k as i64 + 1)
            ));
        }
    }
    // A wrong entry is noticed: 1/3! is not 1/7.
    assert!(!pieces_of_reciprocal(
        &INVERSE_FACTORIALS[3],
        2,
        &Int::from(7)
    ));
    assert!(!pieces_of_reciprocal(&LN_2, 8, &Int::from(1)));
    assert!(!pieces_of_reciprocal(&QUARTER_PI, 8, &Int::from(1)));
}

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
        let (ball, point) = (BallN::<4>::exact(x), exact(x));
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
        check(
            "exp",
            BallN::exp_m1_over_t(ball, cut),
            &quotient(&exp_m1, &point),
        );
        let (sin, cos) = functions::sin_cos(&point, p);
        let (sin_ball, cos_ball) = BallN::sin_cos_series(ball, cut);
        // The sine's tail is charged as the cosine's, which is larger by up to 2n + 1: only
        // containment is asked of it.
        let off = Dyadic::sum(&sin_ball.midpoint()).sub(&sin.value).abs();
        assert!(off <= exact(sin_ball.radius()), "sin {x}: {sin_ball:?}");
        check("cos", cos_ball, &cos.value);
        if x.abs() <= 0.5 {
            // ln((1 + x)/(1 - x)) = ln(1 + x) - ln(1 - x). The tail bound leaves out 1/(2n + 1).
            let truth = functions::ln_1p(&point, p).value;
            let truth = truth.sub(&functions::ln_1p(&point.neg(), p).value);
            let y = BallN::twice_artanh(ball, cut);
            let off = Dyadic::sum(&y.midpoint()).sub(&truth).abs();
            assert!(off <= exact(y.radius()), "artanh {x}: {y:?}");
        }
        // phi_1 and its derivative on the real axis, where tails are largest for x > 0.
        let z = DiscN::<4>::of_parts(ball, BallN::ZERO);
        let phi = quotient(&exp_m1, &point);
        let slope = quotient(&exp_m1.add(&one).sub(&phi), &point);
        for (y, truth) in [
            (z.series(1, |_| 1, cut), phi),
            (z.series(2, |k| k + 1, cut), slope),
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
        let (ball, point) = (BallN::<4>::exact(x), exact(x));
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
        is("exp", BallN::exp_m1_over_t(ball, cut).midpoint(), n, &|k| {
            (k, Int::one(), factorial(k + 1))
        });
        let n = terms(&|n| x.abs().powi(2 * n));
        is(
            "artanh",
            BallN::twice_artanh(ball, cut).midpoint(),
            n,
            &|k| (2 * k + 1, Int::from(2), Int::from(2 * k as i64 + 1)),
        );
        let n = terms(&|n| over_factorial(x.abs().powi(2 * n), 2 * n));
        let (sin, cos) = BallN::sin_cos_series(ball, cut);
        let sign = |k: usize| Int::from(1 - 2 * (k as i64 % 2));
        is("sin", sin.midpoint(), n, &|k| {
            (2 * k + 1, sign(k), factorial(2 * k + 1))
        });
        is("cos", cos.midpoint(), n, &|k| {
            (2 * k, sign(k), factorial(2 * k))
        });
        let z = DiscN::<4>::of_parts(ball, BallN::ZERO);
        let n = terms(&|n| over_factorial(x.abs().powi(n), n));
        is("phi", z.series(1, |_| 1, cut).midpoint().0, n, &|k| {
            (k, Int::one(), factorial(k + 1))
        });
        is("phi'", z.series(2, |k| k + 1, cut).midpoint().0, n, &|k| {
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
    let ball = BallN::<2>::exact(0.99);
    let exp = functions::exp(&x, p).value;
    let phi = quotient(&exp.sub(&exact(1.0)), &x);
    assert!(holds(BallN::exp_m1_over_t(ball, 0.0), &phi));
    let (sin, cos) = functions::sin_cos(&x, p);
    let (y_sin, y_cos) = BallN::sin_cos_series(ball, 0.0);
    assert!(holds(y_sin, &sin.value) && holds(y_cos, &cos.value));
    let z = DiscN::<2>::of_parts(ball, BallN::ZERO);
    assert!(holds(z.series(1, |_| 1, 0.0).real(), &phi));
    let slope = quotient(&exp.sub(&phi), &x);
    assert!(holds(z.series(2, |k| k + 1, 0.0).real(), &slope));
    // ln((1 + 1/4)/(1 - 1/4)) = ln(5/3) = 2 ln(5/4) - ln(15/16).
    let ln_1p = |x: f64| functions::ln_1p(&exact(x), p).value;
    let truth = ln_1p(0.25).scaled(1).sub(&ln_1p(-0.0625));
    assert!(holds(BallN::twice_artanh(BallN::exact(0.25), 0.0), &truth));
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
            let (t, k) = BallN::<W>::exact(x).without_ln_2();
            let multiple = ln_2.mul(&Dyadic::new(Int::from(i64::from(k)), 0));
            check(t, &exact(x).sub(&multiple));
        }
        for _ in 0..40 {
            let x = 1000.0 * rng.unit();
            let (t, quadrant) = BallN::<W>::exact(x).reduced();
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
        let m = BallN::<2>::exact(x);
        let difference = m.exponential() - BallN::ONE;
        (m.exponential_minus_one(), difference)
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
        let m = BallN::<2>::exact(one_plus_m - 1.0);
        let s = m.quotient(m + BallN::exact(2.0)).expect("not zero");
        let y = BallN::twice_artanh(s, negligible::<2>());
        let found = m.log_one_plus();
        assert_eq!(
            found.midpoint() == y.midpoint() && found.radius() == y.radius(),
            series
        );
    }
}

/// Scaling a disc down into the subnormal range is charged to the radius, whichever part loses.
#[test]
fn scaled_discs_hold_what_they_held() {
    for (re, im) in [(1.0, 1.0 + f64::EPSILON), (1.0 + f64::EPSILON, 1.0)] {
        for k in [-1060, -1000, 0, 1000] {
            let z = DiscN::<2>::new([re, 0.0], [im, 0.0], 0.0).scaled(k);
            let (x, y) = z.midpoint();
            let off = |words: [f64; 2], truth: f64| {
                let off = Dyadic::sum(&words).sub(&exact(truth).scaled(i64::from(k)));
                off.mul(&off)
            };
            let radius = exact(z.radius());
            assert!(off(x, re).add(&off(y, im)) <= radius.mul(&radius), "{z:?}");
            assert_eq!(z.radius() > 0.0, k == -1060, "{z:?}");
        }
    }
}

/// An angle is the same whatever the fraction of a turn is extended by, beyond 64 bits too.
#[test]
fn angles_from_long_integers() {
    for (k, n) in [(1u128, 16u128), (3, 25), (1000, 8001)] {
        let plain = DiscN::<2>::eighth_turn(k, n);
        for shift in [1, 31, 32, 60, 90, 110] {
            let (cos, sin) = DiscN::<2>::eighth_turn(k << shift, n << shift);
            assert_eq!(cos.midpoint(), plain.0.midpoint(), "{k}/{n}, {shift}");
            assert_eq!(sin.midpoint(), plain.1.midpoint(), "{k}/{n}, {shift}");
        }
    }
}
