//! Error-free transformations, bounds, expansions, signs: exact, or off by what they say.

use super::exact;
use crate::common::exact::Dyadic;
use hungry_hippos::algebra::Rng;
use hungry_hippos::algebra::ball::DiscN;
use hungry_hippos::algebra::ball::internals::{
    self, Bound, ETA, Terms, add_down, hypot_down, mul_down, product, scale, scaled, significand,
    sqrt_down, sub_down, sum_of_magnitudes, two_sum,
};
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
    let product = internals::mul(&x, &x);
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
    let quotient = internals::div(&a, &b);
    for k in [-960, -300, 300, 960] {
        let scaled = |x: [f64; 2]| x.map(|x| scale(x, k).0);
        let again = internals::div(&scaled(a), &scaled(b));
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
            !internals::sqrt(&words).error.at_most(f64::MAX),
            "{words:?}"
        );
    }
    assert!(internals::sqrt(&[1.0, -0.5]).error.at_most(1.0));
}

#[test]
fn signs_of_what_is_not_finite_are_not_known() {
    let sign = |terms: &[f64]| internals::sign(terms.iter().copied());
    assert_eq!(sign(&[f64::MAX, -1.0]), Some(Ordering::Greater));
    for terms in [&[f64::INFINITY][..], &[f64::MAX, f64::MAX], &[f64::NAN]] {
        assert_eq!(sign(terms), None, "{terms:?}");
    }
}

/// Scaling a disc down into the subnormal range is charged to the radius, whichever part loses.
#[test]
fn scaled_discs_hold_what_they_held() {
    for (re, im) in [(1.0, 1.0 + f64::EPSILON), (1.0 + f64::EPSILON, 1.0)] {
        for k in [-1060, -1000, 0, 1000] {
            let z = scaled(DiscN::<2>::new([re, 0.0], [im, 0.0], 0.0), k);
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
