//! Sums of floats ("expansions") and their arithmetic, each result with a bound on its error.
//!
//! No bound here is taken from a worst-case analysis. Every operation is written as a list of
//! floats whose sum is the exact result ([`Terms`]), up to a tracked loss; the list is condensed by
//! error-free transformations only, which do not change its sum; the leading words are returned
//! and the magnitudes of all others are added up. Whatever the order or the overlap of the terms,
//! the bound holds; they decide only how tight it is.

#![allow(clippy::float_cmp, reason = "exact zeros lose nothing")]

use super::bound::{Bound, add_down, sub_down, sum_of_magnitudes};
use super::eft::{ETA, Product, product, scale, two_sum};

/// The longest midpoint. The constants have the digits for it.
pub(super) const MAX_WORDS: usize = 6;

/// The longest list is a product with one guard word: `(W + 1)(W + 2)/2` pairs of two.
const CAPACITY: usize = (MAX_WORDS + 1) * (MAX_WORDS + 2);

/// An expansion and a bound of its distance from the exact result.
#[derive(Clone, Copy, Debug)]
pub struct Approx<const W: usize> {
    /// The words, of decreasing magnitude.
    pub words: [f64; W],
    /// The bound of the distance.
    pub error: Bound,
}

impl<const W: usize> Approx<W> {
    fn unknown() -> Self {
        Self {
            words: [f64::NAN; W],
            error: Bound::NONE,
        }
    }
}

/// A list of floats standing for its exact sum, known up to `lost`.
#[derive(Clone, Debug)]
pub struct Terms {
    x: [f64; CAPACITY],
    len: usize,
    lost: Bound,
}

impl Terms {
    /// The empty sum.
    #[allow(clippy::new_without_default, reason = "said as it is: an empty sum")]
    pub fn new() -> Self {
        Self {
            x: [0.0; CAPACITY],
            len: 0,
            lost: Bound::ZERO,
        }
    }

    /// Adds a term.
    pub fn push(&mut self, x: f64) {
        // A NaN is not equal to zero and stays.
        if x != 0.0 {
            self.x[self.len] = x;
            self.len += 1;
        }
    }

    /// Adds terms.
    pub fn extend(&mut self, words: &[f64]) {
        for &x in words {
            self.push(x);
        }
    }

    /// Adds `a * b`, exactly.
    pub(super) fn push_product(&mut self, a: f64, b: f64) {
        let Product { p, e, lost } = product(a, b);
        self.push(p);
        self.push(e);
        self.lose(Bound::of(lost));
    }

    /// Adds `factor` times a constant, of which these pieces leave out at most `left`.
    pub(super) fn push_multiple(&mut self, factor: f64, (pieces, left): (&[f64], Bound)) {
        for &piece in pieces {
            self.push_product(factor, piece);
        }
        self.lose(Bound::of(factor) * left);
    }

    /// Adds `a * b` rounded to one float: for products of low words.
    fn push_low_product(&mut self, a: f64, b: f64) {
        let Product { p, e, lost } = product(a, b);
        self.push(p);
        self.lose(Bound::of(e));
        self.lose(Bound::of(lost));
    }

    pub(super) fn lose(&mut self, loss: Bound) {
        self.lost = self.lost.charged(loss);
    }

    /// A bound of what the words leave out.
    pub fn lost(&self) -> Bound {
        self.lost
    }

    /// The terms.
    pub fn words(&self) -> &[f64] {
        &self.x[..self.len]
    }

    /// The largest word after [`condense`](Self::condense): the sum to working precision.
    fn leading(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.x[0] }
    }

    /// A bound of the magnitude of the sum.
    fn magnitude(&self) -> Bound {
        sum_of_magnitudes(self.words()) + self.lost
    }

    /// Gathers the sum in at most `n` words of decreasing magnitude; what is left goes to `lost`.
    ///
    /// Each pass of 2Sums from the last term to the first moves the rounded sum to the front and
    /// leaves the errors behind (VecSum in Ogita, Rump and Oishi, *Accurate sum and dot product*,
    /// 2005). After one pass more than there are words wanted, a pass from the front squeezes out
    /// the zeros (VecSumErrBranch in Joldes, Marty, Muller and Popescu, *Arithmetic algorithms
    /// for extended precision using floating-point expansions*, 2016).
    pub fn condense(&mut self, n: usize) {
        let mut first = 0;
        while first <= n && first < self.len {
            self.sweep(first);
            first += 1;
        }
        let mut dropped = Bound::ZERO;
        let (mut filled, mut next) = (0, 0);
        if self.len > 0 {
            // All n + 1 gathered words are brought into final form, the first n are kept.
            let gathered = self.len.min(n + 2);
            let mut s = self.x[gathered - 1];
            for i in (0..gathered - 1).rev() {
                (s, self.x[i + 1]) = two_sum(self.x[i], s);
            }
            next = 1;
            while next < gathered && filled < n {
                let (r, e) = two_sum(s, self.x[next]);
                next += 1;
                if e == 0.0 {
                    s = r;
                } else {
                    self.x[filled] = r;
                    filled += 1;
                    s = e;
                }
            }
            if filled < n {
                self.x[filled] = s;
                filled += 1;
            } else {
                dropped = Bound::of(s);
            }
        }
        if next < self.len {
            dropped = dropped + sum_of_magnitudes(&self.x[next..self.len]);
        }
        self.len = filled;
        self.lose(dropped);
    }

    /// One pass of 2Sums over the terms from `first` on, which drops the zeros it leaves.
    fn sweep(&mut self, first: usize) {
        let mut s = self.x[self.len - 1];
        // Errors are written back from the end, closing the gaps that zeros leave.
        let mut write = self.len;
        for i in (first..self.len - 1).rev() {
            let (sum, e) = two_sum(self.x[i], s);
            s = sum;
            if e != 0.0 {
                write -= 1;
                self.x[write] = e;
            }
        }
        self.x[first] = s;
        self.x.copy_within(write..self.len, first + 1);
        self.len = first + 1 + (self.len - write);
    }

    /// The sum in `W` words.
    pub(super) fn round<const W: usize>(mut self) -> Approx<W> {
        self.condense(W);
        let mut words = [0.0; W];
        words[..self.len].copy_from_slice(self.words());
        Approx {
            words,
            error: self.lost,
        }
    }
}

/// `a + b`.
#[inline(always)]
pub(super) fn add<const W: usize>(a: &[f64; W], b: &[f64; W]) -> Approx<W> {
    if W == 2 {
        let (words, error) = add_double([a[0], a[1]], [b[0], b[1]]);
        return from_double(words, error);
    }
    let mut terms = Terms::new();
    for i in 0..W {
        terms.push(a[i]);
        terms.push(b[i]);
    }
    terms.round()
}

/// Two words, the common case: AccurateDWPlusDW (Joldes, Muller and Popescu 2017, algorithm 6)
/// with the two roundings it leaves in made error-free, and their errors returned.
#[inline(always)]
fn add_double(a: [f64; 2], b: [f64; 2]) -> ([f64; 2], Bound) {
    let (s, e) = two_sum(a[0], b[0]);
    let (t, f) = two_sum(a[1], b[1]);
    let (c, g) = two_sum(e, t);
    let (v, w) = two_sum(s, c);
    let (h, lost_h) = two_sum(g, f);
    let (low, lost_low) = two_sum(w, h);
    let (high, low) = two_sum(v, low);
    ([high, low], Bound::of(lost_h) + Bound::of(lost_low))
}

/// `a * b`.
#[inline(always)]
pub fn mul<const W: usize>(a: &[f64; W], b: &[f64; W]) -> Approx<W> {
    if W == 2 {
        let (words, error) = mul_double([a[0], a[1]], [b[0], b[1]]);
        return from_double(words, error);
    }
    mul_words(a, b)
}

fn mul_words<const W: usize>(a: &[f64; W], b: &[f64; W]) -> Approx<W> {
    let mut terms = Terms::new();
    // Products in order of decreasing weight. Words i and j weigh about 2^-53(i + j); from
    // i + j = W on a product reaches the result through its sum with others at most.
    for weight in 0..W {
        for i in 0..=weight {
            terms.push_product(a[i], b[weight - i]);
        }
    }
    for i in 1..W {
        terms.push_low_product(a[i], b[W - i]);
    }
    for i in 2..W {
        let rest = sum_of_magnitudes(&b[W + 1 - i..]);
        terms.lose(Bound::of(a[i]) * rest);
    }
    terms.round()
}

/// Two words, the common case: DWTimesDW (Joldes, Muller and Popescu 2017, algorithm 10) without
/// its sum of squares of low words. The roundings left in are those of the two cross products
/// and of their sum; with `u = 2^-53` each is at most `u` times its result, or half of `ETA` where
/// that is subnormal.
#[inline(always)]
fn mul_double(a: [f64; 2], b: [f64; 2]) -> ([f64; 2], Bound) {
    const U: f64 = f64::EPSILON / 2.0;
    let Product { p, e, lost } = product(a[0], b[0]);
    let cross = (a[0] * b[1], a[1] * b[0]);
    let t = cross.0 + cross.1;
    let (s, lost_s) = two_sum(e, t);
    let (high, low) = two_sum(p, s);
    let mut error = Bound::of(lost_s) + Bound::of(lost);
    if a[1] != 0.0 || b[1] != 0.0 {
        let rounded = (Bound::of(cross.0) + Bound::of(cross.1)) + Bound::of(t);
        // ETA once for the two cross products; their sum loses nothing where it is subnormal.
        // A factor zero makes everything exact.
        if a != [0.0; 2] && b != [0.0; 2] {
            error = error + (rounded * Bound::of(U) + Bound::of(ETA));
            error = error + Bound::of(a[1]) * Bound::of(b[1]);
        }
    }
    ([high, low], error)
}

#[inline(always)]
fn from_double<const W: usize>(two: [f64; 2], error: Bound) -> Approx<W> {
    let mut words = [0.0; W];
    words[0] = two[0];
    words[1] = two[1];
    Approx { words, error }
}

/// `a / b`, or a result without bound where `b` may be zero.
///
/// Long division gives the quotient `q` digit by digit, a digit being a word. Nothing is assumed
/// of it: the remainder `r = a - q b` is computed exactly, and the error is at most `|r| / |b|`.
pub fn div<const W: usize>(a: &[f64; W], b: &[f64; W]) -> Approx<W> {
    // Scaled to leading words near 1, so that no partial product underflows needlessly.
    let ((a, lost_a), ea) = normalized(a);
    let ((b, lost_b), eb) = normalized(b);
    let b_lower = sub_down(lower_magnitude(&b), lost_b.get());
    if b_lower <= 0.0 {
        return Approx::unknown();
    }
    let mut remainder = Terms::new();
    remainder.extend(&a);
    let mut quotient = Terms::new();
    // One digit more than fits, since a digit is good to 51 bits or so.
    for _ in 0..=W {
        let digit = remainder.leading() / b[0];
        quotient.push(digit);
        for &word in &b {
            remainder.push_product(-digit, word);
        }
        remainder.condense(W + 1);
    }
    // What scaling lost of a and b (only ever words below 2^-1022 of the leading one).
    remainder.lose(lost_a + sum_of_magnitudes(quotient.words()) * lost_b);
    quotient.lose(remainder.magnitude().over(b_lower));
    scaled(quotient.round(), ea - eb)
}

/// `sqrt(a)` for an expansion above zero, or a result without bound.
///
/// Digit by digit as in [`div`]; the root `s > 0` found is off by
/// `|sqrt a - s| = |r| / (sqrt a + s)` with `r = a - s^2`, hence by at most `|r| / s`, hence
/// `sqrt a >= s - |r|/s`, and the error is at most `|r| / (2s - |r|/s)`.
pub fn sqrt<const W: usize>(a: &[f64; W]) -> Approx<W> {
    if a.iter().all(|&x| x == 0.0) {
        return Approx {
            words: [0.0; W],
            error: Bound::ZERO,
        };
    }
    // The first word decides the sign if it outweighs the others.
    if sub_down(a[0], sum_of_magnitudes(&a[1..]).get()) <= 0.0 {
        return Approx::unknown();
    }
    let half_exponent = super::eft::significand(a[0]).1.div_euclid(2);
    let (a, lost) = scale_words(a, -2 * half_exponent);
    let mut remainder = Terms::new();
    remainder.extend(&a);
    remainder.lose(lost);
    let mut root = [0.0; MAX_WORDS + 1];
    for k in 0..=W {
        let digit = if k == 0 {
            a[0].sqrt()
        } else {
            remainder.leading() / (2.0 * root[0])
        };
        for &earlier in &root[..k] {
            remainder.push_product(-2.0 * earlier, digit);
        }
        remainder.push_product(-digit, digit);
        root[k] = digit;
        remainder.condense(W + 1);
    }
    let lower = sub_down(root[0], sum_of_magnitudes(&root[1..]).get());
    let mut terms = Terms::new();
    terms.extend(&root);
    let residual = remainder.magnitude();
    let root_of_a = sub_down(lower, residual.over(lower).get());
    terms.lose(residual.over(add_down(lower, root_of_a)));
    scaled(terms.round(), half_exponent)
}

/// An upper bound of `|sum of words|`.
#[inline(always)]
pub(super) fn upper_magnitude<const W: usize>(words: &[f64; W]) -> Bound {
    sum_of_magnitudes(words)
}

/// A lower bound of `|sum of words|`.
#[inline(always)]
pub(super) fn lower_magnitude<const W: usize>(words: &[f64; W]) -> f64 {
    sub_down(words[0].abs(), sum_of_magnitudes(&words[1..]).get())
}

pub(super) fn negate<const W: usize>(words: &[f64; W]) -> [f64; W] {
    words.map(|x| -x)
}

/// `2^k` times the words, and a bound of what underflows.
pub(super) fn scale_words<const W: usize>(words: &[f64; W], k: i32) -> ([f64; W], Bound) {
    let mut result = [0.0; W];
    let mut lost = Bound::ZERO;
    for (to, &from) in result.iter_mut().zip(words) {
        let (y, loss) = scale(from, k);
        *to = y;
        lost = lost.charged(Bound::of(loss));
    }
    (result, lost)
}

/// `2^k` times the expansion and its error.
pub(super) fn scaled<const W: usize>(a: Approx<W>, k: i32) -> Approx<W> {
    let (words, lost) = scale_words(&a.words, k);
    Approx {
        words,
        error: scale_bound(a.error, k).charged(lost),
    }
}

/// `2^k` times a bound.
pub(super) fn scale_bound(bound: Bound, k: i32) -> Bound {
    if bound.is_zero() {
        return Bound::ZERO;
    }
    let (y, lost) = scale(bound.get(), k);
    Bound::of(y).charged(Bound::of(lost))
}

/// The words scaled so that the first lies in `[1, 2)`, what was lost, and the exponent taken out.
/// A first word zero, infinite or NaN remains what it is.
fn normalized<const W: usize>(words: &[f64; W]) -> (([f64; W], Bound), i32) {
    let exponent = super::eft::significand(words[0]).1;
    (scale_words(words, -exponent), exponent)
}
