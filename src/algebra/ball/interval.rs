//! The real ball: midpoint and radius.

use super::bound::{Bound, sub_down};
use super::decide;
use super::expansion::{self, Approx, MAX_WORDS, Terms};
use core::cmp::Ordering;
use core::fmt;
use core::ops::{Add, Mul, Neg, Sub};

/// A set of real numbers that is known to contain the exact one: `{x : |x - midpoint| <= radius}`.
///
/// The midpoint is the sum of `W` floats, so it carries about `53 W` binary digits; `W` is at
/// most 6. Whatever numbers are picked from the operands, the exact result of an operation on
/// them lies in the resulting ball. Where nothing is known (after an overflow, a NaN, a root of a
/// possibly negative number) the ball is the one that contains everything, with an infinite
/// radius.
///
/// # Invariant
///
/// Either all words and the radius are finite and `radius >= 0`, or all words are NaN and the
/// radius is infinite.
#[derive(Clone, Copy)]
pub struct BallN<const W: usize> {
    mid: [f64; W],
    rad: f64,
}

/// The ball with a double-double midpoint, the usual one.
pub type Ball = BallN<2>;

impl<const W: usize> BallN<W> {
    const WIDTH_IS_SUPPORTED: () = assert!(
        W >= 1 && W <= MAX_WORDS,
        "a ball's midpoint has 1 to 6 words"
    );

    pub(in crate::algebra) const ZERO: Self = Self::exact_float(0.0);
    pub(in crate::algebra) const ONE: Self = Self::exact_float(1.0);

    /// The ball that contains everything: nothing is known.
    pub const UNKNOWN: Self = Self {
        mid: [f64::NAN; W],
        rad: f64::INFINITY,
    };

    /// The ball around the sum of `words` with the given radius.
    ///
    /// The words may come in any order and overlap. A NaN, an infinity or a negative radius makes
    /// the ball [`UNKNOWN`](Self::UNKNOWN).
    #[must_use]
    pub fn new(words: [f64; W], radius: f64) -> Self {
        if radius.is_nan() || radius < 0.0 {
            return Self::UNKNOWN;
        }
        let mut terms = Terms::new();
        terms.extend(&words);
        terms.lose(Bound::of(radius));
        Self::from(terms.round())
    }

    /// The smallest ball this type has around the numbers from `low` to `high`.
    ///
    /// [`UNKNOWN`](Self::UNKNOWN) unless `low <= high` and both are finite.
    #[must_use]
    pub fn hull(low: f64, high: f64) -> Self {
        if !(low <= high && low.is_finite() && high.is_finite()) {
            return Self::UNKNOWN;
        }
        // Halving first avoids overflow; what it may lose is below 2^-1074.
        let mid = low / 2.0 + high / 2.0;
        let reach = |end: f64| {
            let mut terms = Terms::new();
            terms.push(end);
            terms.push(-mid);
            let distance: Approx<1> = terms.round();
            Bound::of(distance.words[0]) + distance.error
        };
        Self::assemble([mid].into_iter(), reach(low).max(reach(high)))
    }

    const fn exact_float(x: f64) -> Self {
        let () = Self::WIDTH_IS_SUPPORTED;
        let mut mid = [0.0; W];
        mid[0] = x;
        Self { mid, rad: 0.0 }
    }

    /// An `f64`, exactly; [`UNKNOWN`](Self::UNKNOWN) for a NaN or an infinity.
    pub(in crate::algebra) fn exact(x: f64) -> Self {
        if x.is_finite() {
            Self::exact_float(x)
        } else {
            Self::UNKNOWN
        }
    }

    fn assemble(words: impl Iterator<Item = f64>, radius: Bound) -> Self {
        let mut mid = [0.0; W];
        for (to, from) in mid.iter_mut().zip(words) {
            *to = from;
        }
        Self::from_parts(mid, radius)
    }

    /// The ball of these words and this radius, or the unknown ball if any is not finite.
    #[inline(always)]
    pub(in crate::algebra) fn from_parts(mid: [f64; W], rad: Bound) -> Self {
        let () = Self::WIDTH_IS_SUPPORTED;
        let size = mid.iter().fold(rad.get(), |sum, x| sum + x.abs());
        if size <= f64::MAX {
            Self {
                mid,
                rad: rad.get(),
            }
        } else {
            Self::UNKNOWN
        }
    }

    /// The words of the midpoint, whose exact sum it is, in decreasing order of magnitude. NaN
    /// for the unknown ball.
    #[must_use]
    pub fn midpoint(self) -> [f64; W] {
        self.mid
    }

    /// The radius; infinite for the unknown ball.
    #[must_use]
    pub fn radius(self) -> f64 {
        self.rad
    }

    pub(in crate::algebra) fn rad(self) -> Bound {
        Bound::of(self.rad)
    }

    /// True if nothing is known about the number.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.rad > f64::MAX
    }

    /// True if the number is known exactly.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.rad <= 0.0
    }

    /// The least upper bound of `|x|` this ball proves, rounded up: infinite if unknown.
    #[must_use]
    pub fn upper_magnitude(self) -> f64 {
        let bound = self.magnitude().get();
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// A bound of `|x|` for all `x` of the ball.
    #[inline(always)]
    pub(in crate::algebra) fn magnitude(self) -> Bound {
        expansion::upper_magnitude(&self.mid) + self.rad()
    }

    /// The greatest lower bound of `|x|` this ball proves, rounded down: zero if it may be zero.
    #[must_use]
    pub fn lower_magnitude(self) -> f64 {
        sub_down(expansion::lower_magnitude(&self.mid), self.rad)
    }

    /// True if `x` lies in the ball; decided exactly. The unknown ball contains everything; a NaN
    /// lies in no other ball.
    #[must_use]
    pub fn contains(self, x: f64) -> bool {
        self.contains_sum(&[x])
    }

    /// True if the exact sum of `words` lies in the ball, for at most 16 words.
    pub(in crate::algebra) fn contains_sum(self, words: &[f64]) -> bool {
        self.is_unknown() || {
            let side = |sign: f64| {
                let terms = self.mid.iter().copied().chain([sign * self.rad]);
                decide::sign(terms.chain(words.iter().map(|x| -x)))
            };
            matches!(side(1.0), Some(Ordering::Greater | Ordering::Equal))
                && matches!(side(-1.0), Some(Ordering::Less | Ordering::Equal))
        }
    }

    /// True if the ball contains zero.
    #[must_use]
    pub fn contains_zero(self) -> bool {
        self.contains(0.0)
    }

    /// The sign of the number, or `None` where the ball does not settle it.
    #[must_use]
    pub fn sign(self) -> Option<Ordering> {
        self.compare(Self::ZERO)
    }

    /// True if no number of the ball is negative.
    pub(in crate::algebra) fn is_nonnegative(self) -> bool {
        matches!(
            decide::sign(self.mid.iter().copied().chain([-self.rad])),
            Some(Ordering::Greater | Ordering::Equal)
        )
    }

    /// The order of the two numbers, or `None` if the balls do not determine it.
    ///
    /// `Equal` needs two exact balls: overlapping balls of positive radius may hold equal numbers
    /// and may hold different ones.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        // The sign of the difference at both ends, exactly; none where a word is a NaN.
        let end = |sign: f64| {
            let difference = self.mid.iter().copied().chain(other.mid.iter().map(|x| -x));
            decide::sign(difference.chain([sign * self.rad, sign * other.rad]))
        };
        match (end(-1.0)?, end(1.0)?) {
            (Ordering::Greater, _) => Some(Ordering::Greater),
            (_, Ordering::Less) => Some(Ordering::Less),
            (Ordering::Equal, Ordering::Equal) => Some(Ordering::Equal),
            _ => None,
        }
    }

    /// True if the balls have a number in common, so that they can be enclosures of the same
    /// number; decided exactly.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        !matches!(self.reach_below(other), Some(Ordering::Less))
            && !matches!(other.reach_below(self), Some(Ordering::Less))
    }

    /// The sign of (upper end of self) - (lower end of other), `None` if either is unknown.
    fn reach_below(self, other: Self) -> Option<Ordering> {
        let difference = self.mid.iter().copied().chain(other.mid.iter().map(|x| -x));
        decide::sign(difference.chain([self.rad, other.rad]))
    }

    /// The number rounded to `f64`, to nearest with ties to even, or `None` if the ball contains
    /// numbers that round differently.
    ///
    /// `Some(x)` is a proof: `x` is *the* correctly rounded value. `None` asks for more words. A
    /// number that rounds to zero gives `+0.0`, whatever its sign; one that rounds beyond the
    /// largest `f64` gives `None`.
    #[must_use]
    pub fn rounded(self) -> Option<f64> {
        decide::rounded_f64(&self.mid, self.rad)
    }

    /// The number rounded to `f32`, under the same terms as [`rounded`](Self::rounded).
    ///
    /// In one rounding: rounding to `f64` first may differ.
    #[must_use]
    pub fn rounded_f32(self) -> Option<f32> {
        decide::rounded_f32(&self.mid, self.rad)
    }

    /// The same number with a midpoint of another length; rounding it off widens the radius.
    #[must_use]
    pub fn with_words<const V: usize>(self) -> BallN<V> {
        let mut terms = Terms::new();
        terms.extend(&self.mid);
        terms.lose(self.rad());
        BallN::from(terms.round())
    }

    /// The ball of the same midpoint and radius zero.
    pub(in crate::algebra) fn center(self) -> Self {
        Self {
            mid: self.mid,
            rad: if self.is_unknown() { self.rad } else { 0.0 },
        }
    }

    /// The ball with its radius increased.
    pub(in crate::algebra) fn widened(self, by: Bound) -> Self {
        if by.is_zero() {
            return self;
        }
        Self::from_parts(self.mid, self.rad().charged(by))
    }

    /// `2^k` times the number.
    pub(in crate::algebra) fn scaled(self, k: i32) -> Self {
        Self::from(expansion::scaled(
            Approx {
                words: self.mid,
                error: self.rad(),
            },
            k,
        ))
    }

    /// The reciprocal; `None` if the ball contains zero or is unknown.
    pub(in crate::algebra) fn reciprocal(self) -> Option<Self> {
        Self::ONE.quotient(self)
    }

    /// `self / divisor`; `None` if the divisor may be zero.
    ///
    /// With midpoints `a`, `b`, radii `r`, `s` and `q = a/b`:
    /// `|(a + d)/(b + e) - a/b| = |d - q e| / |b + e| <= (r + |q| s) / (|b| - s)`.
    pub(in crate::algebra) fn quotient(self, divisor: Self) -> Option<Self> {
        let lower = divisor.lower_magnitude();
        if lower <= 0.0 {
            return None;
        }
        let q: Approx<W> = expansion::div(&self.mid, &divisor.mid);
        let spread = if self.is_exact() && divisor.is_exact() {
            Bound::ZERO
        } else {
            let size = expansion::upper_magnitude(&q.words) + q.error;
            (self.rad() + size * divisor.rad()).over(lower)
        };
        Some(Self::from_parts(q.words, q.error + spread))
    }
}

impl<const W: usize> From<Approx<W>> for BallN<W> {
    #[inline(always)]
    fn from(a: Approx<W>) -> Self {
        Self::from_parts(a.words, a.error)
    }
}

impl<const W: usize> Add for BallN<W> {
    type Output = Self;
    // A call costs little beside the sums of words; in place everywhere, they cost a tenth of the
    // compiler's time.
    #[inline(never)]
    fn add(self, other: Self) -> Self {
        let sum = expansion::add(&self.mid, &other.mid);
        Self::from_parts(sum.words, sum.error + (self.rad() + other.rad()))
    }
}

impl<const W: usize> Neg for BallN<W> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self {
            mid: expansion::negate(&self.mid),
            rad: self.rad,
        }
    }
}

impl<const W: usize> Sub for BallN<W> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<const W: usize> Mul for BallN<W> {
    type Output = Self;

    /// `|(a + d)(b + e) - ab| <= |a| s + |b| r + r s`.
    #[inline(never)]
    fn mul(self, other: Self) -> Self {
        let product = expansion::mul(&self.mid, &other.mid);
        let (r, s) = (self.rad(), other.rad());
        let spread = expansion::upper_magnitude(&self.mid) * s
            + (expansion::upper_magnitude(&other.mid) + s) * r;
        Self::from_parts(product.words, product.error + spread)
    }
}

impl<const W: usize> fmt::Debug for BallN<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} +- {:e}", self.mid, self.rad)
    }
}

impl<const W: usize> fmt::Display for BallN<W> {
    /// The nearest `f64` and a bound of the distance of any number of the ball from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unknown() {
            return f.write_str("unknown");
        }
        let nearest = decide::nearest(&self.mid);
        let distance = (*self - Self::exact(nearest)).magnitude();
        write!(f, "{} +- {:.1e}", nearest, distance.get())
    }
}
