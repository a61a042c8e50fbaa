//! Error-free transformations: a rounded result together with the rounding error, both floats.
//!
//! Everything certified in this module tree rests on these. They use `+ - *` of IEEE 754
//! `binary64` in the order written, no fused multiply-add and no library call, so they give the
//! same bits on every machine.

#![allow(
    clippy::float_cmp,
    reason = "error-free transformations ask whether something was lost at all"
)]

use core::ops::{Range, RangeTo};

/// `(s, e)` with `s = fl(a + b)` and `s + e = a + b` exactly.
///
/// Knuth's 2Sum (TAOCP 2, section 4.2.2, theorem B): six additions, no condition on the
/// magnitudes. An addition cannot underflow inexactly. If any of the six overflows, `e` is not
/// finite (an infinity meets either a finite number or the opposite infinity), so an overflow is
/// never silent.
#[inline(always)]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let b_virtual = s - a;
    let a_virtual = s - b_virtual;
    (s, (a - a_virtual) + (b - b_virtual))
}

/// Veltkamp's splitting: `a = high + low`, each of at most 26 significant bits.
///
/// Needs `|a| <= 2^996`, beyond which `2^27 a` overflows.
///
/// Of the splitter only the size matters; `2^27` and `2^27 - 1` give products as exact. For
/// `1 <= a < 2` the difference `t - a` rounds to a multiple of `2^-25` by `2^-26` at most, or, if it
/// stays below `2^27` and so `a` below `1 + 2^-25`, to a multiple of `2^-26` by `2^-27` at most. This
/// rounding is all that parts `high` from `a`: so `high` is at most `2^26 + 2` of its units and
/// `low` at most `2^26` of `2^-52`, and a product of two such numbers has 53 bits. Each difference of
/// [`product_error`] is a multiple of the unit of the product it takes off, and below `2^53` of them.
#[inline(always)]
pub(super) fn halves(a: f64) -> (f64, f64) {
    const SPLITTER: f64 = ((1u64 << 27) + 1) as f64;
    let t = SPLITTER * a;
    let high = t - (t - a);
    (high, a - high)
}

/// The rounding error of `p = fl(a * b)`, given the [`halves`] of `a` and `b`, by Dekker (1971): the four
/// partial products of the halves are exact, and so are the three differences in this order.
#[inline(always)]
pub(super) fn product_error(
    (a_high, a_low): (f64, f64),
    (b_high, b_low): (f64, f64),
    p: f64,
) -> f64 {
    a_low * b_low - (((p - a_high * b_high) - a_low * b_high) - a_high * b_low)
}

/// `a * b = p + e` up to an error of at most `lost`, which is zero unless a word underflows.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The product, rounded.
    pub p: f64,
    /// What rounding took.
    pub e: f64,
    /// A bound of what underflow took.
    pub lost: f64,
}

/// The exact product of two floats as the sum of two floats.
///
/// Dekker's algorithm is exact for `|a|, |b| <= 2^995` and `2^-969 <= |ab| <= 2^1021` (Boldo,
/// *Pitfalls of a full floating-point proof*, IJCAR 2006, proved in Coq). Inside a slightly
/// smaller range it is used as it stands; outside, [`product_by_exponents`] takes over.
#[inline(always)]
pub fn product(a: f64, b: f64) -> Product {
    let p = a * b;
    if SAFE_PRODUCT.contains(&p.abs())
        && SAFE_FACTOR.contains(&a.abs())
        && SAFE_FACTOR.contains(&b.abs())
    {
        Product {
            p,
            e: product_error(halves(a), halves(b), p),
            lost: 0.0,
        }
    } else {
        product_by_exponents(a, b)
    }
}

/// Below the start of this range the error of a product is not surely representable.
const SAFE_PRODUCT: Range<f64> = power_of_two(-960)..power_of_two(1000);
/// Well within what [`halves`] takes.
const SAFE_FACTOR: RangeTo<f64> = ..power_of_two(970);

/// [`product`] for any operands: Dekker on the significands in `[1, 2)`, where nothing over- or
/// underflows, and then two scalings by a power of two, each of which says what it lost.
#[cold]
#[inline(never)]
fn product_by_exponents(a: f64, b: f64) -> Product {
    if (a == 0.0 && b.is_finite()) || (b == 0.0 && a.is_finite()) {
        return Product {
            p: 0.0,
            e: 0.0,
            lost: 0.0,
        };
    }
    if !a.is_finite() || !b.is_finite() {
        return Product {
            p: f64::NAN,
            e: 0.0,
            lost: f64::INFINITY,
        };
    }
    let ((fa, ea), (fb, eb)) = (significand(a), significand(b));
    let p = fa * fb;
    let e = product_error(halves(fa), halves(fb), p);
    let (p, lost_p) = scale(p, ea + eb);
    let (e, lost_e) = scale(e, ea + eb);
    Product {
        p,
        e,
        lost: lost_p + lost_e,
    }
}

/// `2^k` for `-1022 <= k <= 1023`.
pub(in crate::algebra) const fn power_of_two(k: i32) -> f64 {
    assert!(k >= -1022 && k <= 1023);
    f64::from_bits(((1023 + k) as u64) << 52)
}

/// The smallest positive `f64`, `2^-1074`.
pub const ETA: f64 = f64::from_bits(1);

/// `(f, e)` with `x = f 2^e` and `1 <= |f| < 2`, for finite `x` other than zero.
pub fn significand(x: f64) -> (f64, i32) {
    const EXPONENT: u64 = 0x7ff << 52;
    let (x, shift) = if x.abs() < f64::MIN_POSITIVE {
        (x * power_of_two(64), -64)
    } else {
        (x, 0)
    };
    let bits = x.to_bits();
    let biased = ((bits & EXPONENT) >> 52) as i32;
    (
        f64::from_bits((bits & !EXPONENT) | (1023 << 52)),
        biased - 1023 + shift,
    )
}

/// `x 2^k` and a bound on its error: zero, unless the result is subnormal and drops digits.
///
/// An overflow gives an infinity.
pub fn scale(x: f64, k: i32) -> (f64, f64) {
    const CHUNK: i32 = 1000;
    // Beyond 3 chunks every non-zero number has over- or underflowed.
    let mut left = k.clamp(-3 * CHUNK, 3 * CHUNK);
    let (mut y, mut lost) = (x, 0.0);
    while left != 0 {
        let step = left.clamp(-CHUNK, CHUNK);
        let scaled = y * power_of_two(step);
        // Scaling down loses digits only if scaling up again does not give them back. Each loss
        // is at most half of ETA and is itself scaled down by later steps, so two losses stay
        // below ETA in total.
        if step < 0 && scaled * power_of_two(-step) != y {
            lost = ETA;
        }
        y = scaled;
        left -= step;
    }
    (y, lost)
}
