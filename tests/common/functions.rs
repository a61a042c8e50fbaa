//! Elementary functions in fixed-point arithmetic on big integers.
//!
//! Nothing here comes from the crate, and the methods differ from the crate's: pi and ln 2 by
//! Machin-like formulas, the exponential by halving the argument and squaring, the logarithm by
//! Halley's iteration on the exponential, the reduction of angles by one long division.
//!
//! A number is an [`Int`] `X` standing for `X 2^-p`. Each multiplication, division and shift
//! truncates and errs by less than one unit `2^-p`; a function does fewer than `2^12` of them,
//! and squarings double what went before at most ten times, so a result is off by less than
//! `2^24` units. Precisions leave [`GUARD`] bits for that.
#![allow(dead_code, reason = "every test uses its own part of it")]

use super::exact::{Dyadic, Int};
use std::cell::RefCell;
use std::collections::HashMap;

/// Bits by which a result may be wrong, with room to spare.
pub(crate) const GUARD: i64 = 32;

/// A value known up to an error.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) value: Dyadic,
    pub(crate) error: Dyadic,
}

impl Known {
    fn fixed(x: Int, p: i64) -> Self {
        Self {
            value: Dyadic::new(x, -p),
            error: Dyadic::power_of_two(GUARD - p),
        }
    }
}

fn mul(a: &Int, b: &Int, p: i64) -> Int {
    a.mul(b).shift(-p)
}

fn div(a: &Int, b: &Int, p: i64) -> Int {
    a.shift(p).div(b)
}

fn one(p: i64) -> Int {
    Int::one().shift(p)
}

/// `sum_k (sign)^k / ((2k+1) n^(2k+1))`: `arctan(1/n)` for sign -1, `artanh(1/n)` for +1.
fn arc_of_reciprocal(n: u64, alternating: bool, p: i64) -> Int {
    let mut power = one(p).div_small(n);
    let mut sum = power.clone();
    let mut k = 1;
    while !power.is_zero() {
        power = power.div_small(n).div_small(n);
        let term = power.div_small(2 * k + 1);
        sum = if alternating && k % 2 == 1 {
            sum.sub(&term)
        } else {
            sum.add(&term)
        };
        k += 1;
    }
    sum
}

fn cached(name: &'static str, p: i64, compute: impl Fn(i64) -> Int) -> Int {
    thread_local! {
        static CACHE: RefCell<HashMap<(&'static str, i64), Int>> = RefCell::new(HashMap::new());
    }
    if let Some(x) = CACHE.with(|c| c.borrow().get(&(name, p)).cloned()) {
        return x;
    }
    // Guard bits inside, so that the constant itself is off by one unit at most.
    let x = compute(p + 64).shift(-64);
    CACHE.with(|c| c.borrow_mut().insert((name, p), x.clone()));
    x
}

/// Machin: `pi = 16 arctan(1/5) - 4 arctan(1/239)`.
pub(crate) fn pi(p: i64) -> Int {
    cached("pi", p, |p| {
        arc_of_reciprocal(5, true, p)
            .shift(4)
            .sub(&arc_of_reciprocal(239, true, p).shift(2))
    })
}

/// Gauss: `pi = 48 arctan(1/18) + 32 arctan(1/57) - 20 arctan(1/239)`.
pub(crate) fn pi_again(p: i64) -> Int {
    let term = |factor: i64, n| Int::from(factor).mul(&arc_of_reciprocal(n, true, p + 64));
    term(48, 18)
        .add(&term(32, 57))
        .sub(&term(20, 239))
        .shift(-64)
}

/// `ln 2 = 18 artanh(1/26) - 2 artanh(1/4801) + 8 artanh(1/8749)`.
pub(crate) fn ln_2(p: i64) -> Int {
    cached("ln 2", p, |p| {
        let term = |factor: i64, n| Int::from(factor).mul(&arc_of_reciprocal(n, false, p));
        term(18, 26).sub(&term(2, 4801)).add(&term(8, 8749))
    })
}

/// `ln 2 = 2 artanh(1/3)`.
pub(crate) fn ln_2_again(p: i64) -> Int {
    arc_of_reciprocal(3, false, p + 64).shift(-63)
}

/// `e^t` for `|t| < 1`.
fn exp_small(t: &Int, p: i64) -> Int {
    const HALVINGS: i64 = 8;
    let t = t.shift(-HALVINGS);
    let (mut term, mut sum, mut k) = (one(p), one(p), 1);
    while !term.is_zero() {
        term = mul(&term, &t, p).div_small(k);
        sum = sum.add(&term);
        k += 1;
    }
    for _ in 0..HALVINGS {
        sum = mul(&sum, &sum, p);
    }
    sum
}

/// `e^x = y 2^k`: `y` in fixed point at precision `p`, and `k`.
fn exp_parts(x: &Int, p: i64) -> (Int, i64) {
    let ln_2 = ln_2(p);
    // Truncated quotient: the remainder is below ln 2 in magnitude. The constant's error times
    // the quotient, below 2^11, is within the guard bits.
    let k = x.div(&ln_2);
    let t = x.sub(&k.mul(&ln_2));
    let k_small = if k.is_negative() {
        -(k.low() as i64)
    } else {
        k.low() as i64
    };
    (exp_small(&t, p), k_small)
}

/// The exponent of an argument; zero needs no places.
fn exponent_of(x: &Dyadic) -> i64 {
    if x.is_zero() {
        0
    } else {
        x.magnitude_exponent()
    }
}

/// The precision at which a result of about `2^exponent` has `digits` bits.
fn precision(digits: i64, exponent: i64) -> i64 {
    digits + GUARD + (-exponent).max(0)
}

/// `e^x` to about `digits` bits.
pub(crate) fn exp(x: &Dyadic, digits: i64) -> Known {
    let p = precision(digits, 0) + exponent_of(x).max(0);
    let (y, k) = exp_parts(&x.fixed(p), p);
    let known = Known::fixed(y, p);
    Known {
        value: known.value.scaled(k),
        error: known.error.scaled(k),
    }
}

/// `e^x - 1`.
pub(crate) fn exp_m1(x: &Dyadic, digits: i64) -> Known {
    let p = precision(digits, exponent_of(x) - 1);
    let exact = x.fixed(p);
    let (y, k) = exp_parts(&exact, p);
    // e^x - 1 = y 2^k - 1, at the precision of the larger of the two.
    Known {
        value: Dyadic::new(y, k - p).sub(&Dyadic::power_of_two(0)),
        error: Dyadic::power_of_two(GUARD - p + k.max(0)),
    }
}

/// `tanh x = (e^{2x} - 1)/(e^{2x} + 1)`, for `|x|` below 2^9.
pub(crate) fn tanh(x: &Dyadic, digits: i64) -> Known {
    // For large |x| the digits of 1 - |tanh x| are wanted as well.
    let p = precision(digits, exponent_of(x) - 1) + 8;
    let (y, k) = exp_parts(&x.scaled(1).abs().fixed(p).neg(), p);
    // With z = e^{-2|x|} <= 1: tanh |x| = (1 - z)/(1 + z).
    let z = y.shift(k);
    let t = div(&one(p).sub(&z), &one(p).add(&z), p);
    Known::fixed(if x.int.is_negative() { t.neg() } else { t }, p)
}

/// `1 / sqrt(pi)`, by Newton's iteration `y <- y (3 - pi y^2) / 2`.
fn inverse_root_of_pi(p: i64) -> Int {
    cached("1/sqrt(pi)", p, |p| {
        let three = Int::from(3).shift(p);
        let mut y = Dyadic::from_f64(0.564_189_583_547_756_3).fixed(p);
        let mut digits = 50;
        while digits < 2 * p {
            let step = three.sub(&mul(&pi(p), &mul(&y, &y, p), p));
            y = mul(&y, &step, p).shift(-1);
            digits *= 2;
        }
        y
    })
}

/// `erf x = 2/sqrt(pi) sum_k (-1)^k x^{2k+1} / (k! (2k+1))`, for `|x|` below 2^5.
pub(crate) fn erf(x: &Dyadic, digits: i64) -> Known {
    // The terms reach e^{x^2}, as many times more than a unit as they may be off.
    let size = x.to_f64();
    let lost = (1.5 * size * size) as i64 + 24;
    let p = precision(digits, exponent_of(x));
    let wide = p + lost;
    let exact = x.fixed(wide);
    let square = mul(&exact, &exact, wide);
    let (mut power, mut sum, mut k) = (exact, Int::zero(), 0);
    while !power.is_zero() {
        sum = sum.add(&power.div_small(2 * k + 1));
        k += 1;
        power = mul(&power, &square, wide).div_small(k).neg();
    }
    // In steps of precision, since the root is kept per precision; the places too many are cut off.
    let root_at = (wide / 1024 + 1) * 1024;
    let root = inverse_root_of_pi(root_at).shift(wide - root_at);
    let value = mul(&sum, &root, wide).shift(1 - lost);
    Known::fixed(value, p)
}

/// `ln(1 + x)`: `y <- y + 2 (a - e^y)/(a + e^y)` triples the digits of `y = ln a`.
pub(crate) fn ln_1p(x: &Dyadic, digits: i64) -> Known {
    let a = x.add(&Dyadic::power_of_two(0));
    // Scaled to a = 2^k f, f in [1/2, 1), so that a large or tiny a is fixed-point friendly.
    let near_one = x.is_zero() || x.magnitude_exponent() < -1;
    let k = if near_one { 0 } else { a.magnitude_exponent() };
    let p = precision(digits, exponent_of(x) - 1) + 16;
    let f = a.scaled(-k).fixed(p);
    // The crude start may come from anywhere: the iteration corrects it.
    let guess = Dyadic::new(f.clone(), -p).to_f64();
    let start = if near_one { 0.0 } else { guess.ln() };
    let mut y = Dyadic::from_f64(start).fixed(p);
    loop {
        let (e, shift) = exp_parts(&y, p);
        let e = e.shift(shift);
        let step = div(&f.sub(&e), &f.add(&e), p).shift(1);
        y = y.add(&step);
        // The error after a step s is below |s|^3: nothing once that is below a unit.
        if step.bits() < 2 * p / 3 {
            break;
        }
    }
    let ln = y.add(&Int::from(k).mul(&ln_2(p)));
    Known::fixed(ln, p)
}

/// Sine and cosine, for any argument.
pub(crate) fn sin_cos(x: &Dyadic, digits: i64) -> (Known, Known) {
    // A float is never nearer to a multiple of pi/2 than about 2^-62; sums of several floats may
    // be. The caller asks for the digits it needs; small arguments need more places.
    let exponent = exponent_of(x);
    let p = precision(digits, exponent);
    // The quotient's digits multiply the error of pi: that many more places for it.
    let wide = p + exponent.max(0) + 8;
    let half_pi = pi(wide).shift(-1);
    let exact = x.fixed(wide);
    // Nearest quotient: (2x + pi/2) / pi, rounded down.
    let numerator = exact.shift(1).add(&half_pi);
    let divisor = half_pi.shift(1);
    let mut q = numerator.div(&divisor);
    if numerator.is_negative() && q.mul(&divisor) != numerator {
        q = q.sub(&Int::one());
    }
    let t = exact.sub(&q.mul(&half_pi)).shift(p - wide);
    let square = mul(&t, &t, p);
    let series = |first: Int, offset: u64| {
        let (mut term, mut sum, mut k) = (first.clone(), first, offset);
        while !term.is_zero() {
            term = mul(&term, &square, p)
                .div_small(k + 1)
                .div_small(k + 2)
                .neg();
            sum = sum.add(&term);
            k += 2;
        }
        sum
    };
    let (sin, cos) = (series(t.clone(), 1), series(one(p), 0));
    let quadrant = if q.is_negative() {
        (4 - q.low() % 4) % 4
    } else {
        q.low() % 4
    };
    let (sin, cos) = match quadrant {
        0 => (sin, cos),
        1 => (cos, sin.neg()),
        2 => (sin.neg(), cos.neg()),
        _ => (cos.neg(), sin),
    };
    (Known::fixed(sin, p), Known::fixed(cos, p))
}
