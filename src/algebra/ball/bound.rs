//! Upper bounds: non-negative floats whose arithmetic rounds up.

use super::eft::{ETA, power_of_two};
use core::ops::{Add, Mul, Range};

/// An upper bound of a non-negative real number.
///
/// Sums and products of bounds are bounds of the sums and products. Rounding upward is done by
/// rounding to nearest and enlarging, since the rounding mode of the machine is not ours to set:
/// with `u = 2^-53`, `fl(x op y) >= (x op y)(1 - u)`, so multiplying by `1 + 4u` and rounding once
/// more gives at least `(x op y)(1 - u)^2 (1 + 4u) > x op y`. In the subnormal range sums are
/// exact, and for products `ETA`, twice the largest error there, is added.
///
/// An infinity or a NaN means "no bound"; both survive every operation (but a product with zero,
/// which is zero), and the constructors of balls turn them into the ball that knows nothing. An
/// exact zero stays zero.
#[derive(Clone, Copy, Debug)]
pub struct Bound(f64);

/// `1 + 4u`, covering two roundings.
const UP: f64 = 1.0 + 1.0 / (1u64 << 51) as f64;
/// `1 - 4u`.
const DOWN: f64 = 1.0 - 1.0 / (1u64 << 51) as f64;
/// `1 + 8u`, covering four roundings.
const UP_MORE: f64 = 1.0 + 1.0 / (1u64 << 50) as f64;
/// `1 - 8u`.
const DOWN_MORE: f64 = 1.0 - 1.0 / (1u64 << 50) as f64;

impl Bound {
    /// The bound of zero.
    pub const ZERO: Self = Self(0.0);
    /// No bound.
    pub const NONE: Self = Self(f64::INFINITY);

    /// The bound `|x|`; exact.
    #[inline(always)]
    pub const fn of(x: f64) -> Self {
        Self(x.abs())
    }

    /// The bound as a float.
    #[inline(always)]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// True if the number is zero.
    #[inline(always)]
    pub fn is_zero(self) -> bool {
        self.0 <= 0.0
    }

    /// True if the bound proves that the number is at most `limit`.
    pub fn at_most(self, limit: f64) -> bool {
        self.0 <= limit
    }

    /// The sum with a loss that often is none: then, and if there was none before, it is exact.
    pub(in crate::algebra) fn charged(self, loss: Self) -> Self {
        if loss.is_zero() {
            self
        } else if self.is_zero() {
            loss
        } else {
            self + loss
        }
    }

    /// The better of two bounds of the same number.
    pub(in crate::algebra) fn min(self, other: Self) -> Self {
        // A NaN on either side leaves the other.
        Self(self.0.min(other.0))
    }

    /// A bound of both numbers.
    pub fn max(self, other: Self) -> Self {
        if self.0.is_nan() || other.0.is_nan() {
            return Self::NONE;
        }
        Self(self.0.max(other.0))
    }

    /// A bound of `self / divisor` where the divisor is at least `lower >= 0`.
    pub fn over(self, lower: f64) -> Self {
        let q = self.0 / lower;
        if self.0 <= 0.0 && lower > 0.0 {
            return Self::ZERO;
        }
        // 0/0 is a NaN and x/0 an infinity: no bound in either case.
        Self(q * UP + ETA)
    }

    /// A bound of `sqrt(x^2 + y^2)`.
    #[inline(always)]
    pub fn hypot(x: Self, y: Self) -> Self {
        let (x, y) = (x.0, y.0);
        if SAFE_TO_SQUARE.contains(&x.max(y)) {
            // Two roundings under the root count half; the one of the root and the last make
            // less than four. The smaller square may underflow, by 2^-75 of the larger at most.
            return Self((x * x + y * y).sqrt() * UP_MORE);
        }
        Self::hypot_scaled(x, y)
    }

    #[cold]
    fn hypot_scaled(x: f64, y: f64) -> Self {
        if x <= 0.0 && y <= 0.0 {
            return Self::ZERO;
        }
        let down = Self(power_of_two(-600));
        let up = Self(power_of_two(600));
        if x >= SAFE_TO_SQUARE.end || y >= SAFE_TO_SQUARE.end {
            let (x, y) = (Self(x) * down, Self(y) * down);
            Self((x.0 * x.0 + y.0 * y.0).sqrt() * UP_MORE) * up
        } else {
            // Both small, or a NaN, which the square root passes on.
            let (x, y) = (Self(x) * up, Self(y) * up);
            Self((x.0 * x.0 + y.0 * y.0).sqrt() * UP_MORE) * down
        }
    }
}

/// The range in which the larger of two numbers must lie, so that the sum of their squares only
/// rounds.
const SAFE_TO_SQUARE: Range<f64> = power_of_two(-500)..power_of_two(500);

impl Add for Bound {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self((self.0 + other.0) * UP)
    }
}

impl Mul for Bound {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        if self.0 == 0.0 || other.0 == 0.0 {
            // Zero times an unbounded number is zero.
            return Self::ZERO;
        }
        Self(self.0 * other.0 * UP + ETA)
    }
}

/// A bound of a sum of magnitudes.
#[inline(always)]
pub fn sum_of_magnitudes(terms: &[f64]) -> Bound {
    let sum = terms.iter().fold(0.0, |sum: f64, x| sum + x.abs());
    // n - 1 roundings and one more: (1 - u)^n (1 + 2 n u) > 1 for n below 2^20.
    Bound(sum * (1.0 + terms.len() as f64 * f64::EPSILON))
}

/// The lower bound of a non-negative number that a computed bound proves: 0 for a NaN; the largest
/// float for an infinity, which may be an overflow.
#[expect(clippy::manual_clamp, reason = "clamp would keep a NaN")]
fn known(lower: f64) -> f64 {
    lower.max(0.0).min(f64::MAX)
}

/// A lower bound of `a - b` for non-negative `a` and `b`, and zero where that is the best known.
#[inline(always)]
pub fn sub_down(a: f64, b: f64) -> f64 {
    // A NaN gives way to zero.
    ((a - b) * DOWN).max(0.0)
}

/// A lower bound of `a + b` for non-negative lower bounds.
pub fn add_down(a: f64, b: f64) -> f64 {
    // The product may round up by half of ETA only where the sum is subnormal and hence exact,
    // and then it rounds to the sum itself at most.
    known((a + b) * DOWN)
}

/// A lower bound of `a * b` for non-negative lower bounds.
pub fn mul_down(a: f64, b: f64) -> f64 {
    known(a * b * DOWN - ETA)
}

/// A lower bound of `sqrt a` for a non-negative lower bound `a`.
pub fn sqrt_down(a: f64) -> f64 {
    a.sqrt() * DOWN
}

/// A lower bound of `sqrt(x^2 + y^2)` for non-negative `x` and `y`.
pub fn hypot_down(x: f64, y: f64) -> f64 {
    let larger = x.max(y);
    if SAFE_TO_SQUARE.contains(&larger) {
        (x * x + y * y).sqrt() * DOWN_MORE
    } else {
        // Off by a factor sqrt 2 at most, where the squares would not be safe.
        larger
    }
}
