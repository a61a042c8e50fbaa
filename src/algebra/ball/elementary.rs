//! The exponential function and what follows from it; the square root; the positive part.
//!
//! Pattern of all elementary functions here: evaluate at the midpoint, in ball arithmetic, so that
//! rounding is accounted for by itself and only the truncation of the series needs a proof; then
//! widen by how far the function can move within the radius.

use super::bound::{Bound, add_down, mul_down, sqrt_down, sub_down};
use super::constants::{Constant, FACTORIALS, INVERSE_FACTORIALS, LN_2, QUARTER_PI};
use super::expansion::{self, MAX_WORDS, Terms};
use super::interval::BallN;
use core::cmp::Ordering;

/// From here down no exponential is a positive `f64`: `e^-746 < 2^-1075`.
const EXP_UNDERFLOW: f64 = -746.0;

/// The size at which a relative truncation error no longer matters compared with rounding.
pub const fn negligible<const W: usize>() -> f64 {
    super::eft::power_of_two(-53 * (W as i32) - 10)
}

/// The number of terms of a power series to sum, and a bound on the first omitted term. At least
/// two terms are summed, and then all that are above `cut`, out of the `most` terms whose
/// coefficients are tabulated.
///
/// `smaller(next, n)` is a bound for `n` terms, given `next` for `n - 1`; for none it is 1.
pub(super) fn terms_above(
    cut: f64,
    most: usize,
    smaller: impl Fn(Bound, usize) -> Bound,
) -> (usize, Bound) {
    let (mut n, mut next) = (2, smaller(smaller(Bound::of(1.0), 1), 2));
    while n < most && !next.at_most(cut) {
        n += 1;
        next = smaller(next, n);
    }
    (n, next)
}

impl<const W: usize> BallN<W> {
    /// A tabled constant.
    pub(super) fn constant(constant: &Constant) -> Self {
        let (pieces, left) = constant.guarded(W);
        let mut terms = Terms::new();
        terms.extend(pieces);
        terms.lose(left);
        Self::from(terms.round())
    }

    /// The natural logarithm of 2.
    #[must_use]
    pub fn ln_2() -> Self {
        Self::constant(&LN_2)
    }

    /// `1/k!` without rounding to nearest: for coefficients of series.
    pub(super) fn coefficient(constant: &Constant) -> Self {
        let (pieces, left) = constant.truncated(W);
        let mut mid = [0.0; W];
        mid.copy_from_slice(pieces);
        Self::from_parts(mid, left)
    }

    /// `(e^t - 1) / t` for `|t| <= 1`, by its Taylor series `sum_k t^k / (k+1)!`.
    ///
    /// With terms to `t^{n-1}/n!` the truncation error is at most
    /// `sum_{k >= n} |t|^k / (k+1)! <= |t|^n/(n+1)! * sum_j (|t|/(n+2))^j <= 2 |t|^n / (n+1)!`.
    ///
    /// Terms below `cut` are left out.
    pub(super) fn exp_m1_over_t(t: Self, cut: f64) -> Self {
        let size = t.magnitude();
        if !size.at_most(1.0) {
            return Self::UNKNOWN;
        }
        // next >= |t|^n / (n+1)!
        let (n, next) = terms_above(cut, FACTORIALS - 1, |next, n| {
            (next * size).over((n + 1) as f64)
        });
        let mut sum = Self::coefficient(&INVERSE_FACTORIALS[n]);
        for k in (1..n).rev() {
            sum = sum * t + Self::coefficient(&INVERSE_FACTORIALS[k]);
        }
        sum.widened(Bound::of(2.0) * next)
    }

    /// `(t, k)` with `t = m - k ln 2` and `|t|` about `ln 2 / 2` at most, for an exact `m`.
    pub(super) fn without_ln_2(self) -> (Self, i32) {
        let m = self.midpoint();
        // Any integer near the quotient will do. It fits 11 bits by the range of `m`.
        let k = (m[0] * core::f64::consts::LOG2_E).round_ties_even();
        let mut terms = Terms::new();
        terms.extend(&m);
        terms.push_multiple(-k, LN_2.guarded(W));
        (Self::from(terms.round()), k as i32)
    }

    /// `e^m` at the midpoint. Where it overflows, so does the last scaling, or already the reduction.
    fn exp_of_center(self) -> Self {
        let m = self.center();
        if m.midpoint()[0] <= EXP_UNDERFLOW {
            return Self::ZERO.widened(Bound::of(super::eft::ETA));
        }
        let (t, k) = m.without_ln_2();
        (Self::ONE + t * Self::exp_m1_over_t(t, negligible::<W>())).scaled(k)
    }

    /// A bound of `e^r - 1` for the radius `r`.
    ///
    /// For `r <= 1`, `e^r <= (2 + r)/(2 - r)` (compare the series: `2 (r/2)^k >= r^k/k!`), so
    /// `e^r - 1 <= 2r/(2 - r)`.
    pub(super) fn exp_m1_of_radius(r: Bound) -> Bound {
        if r.is_zero() {
            return Bound::ZERO;
        }
        if r.at_most(1.0) {
            return (Bound::of(2.0) * r).over(sub_down(2.0, r.get()));
        }
        Self::exact(r.get()).exp_of_center().magnitude()
    }

    /// `|e^{m+d} - e^m| <= e^m (e^r - 1)`.
    pub(super) fn exponential(self) -> Self {
        let center = self.exp_of_center();
        center.widened(center.magnitude() * Self::exp_m1_of_radius(self.rad()))
    }

    /// `e^m - 1` at the midpoint: the series where it does not cancel, else the exponential.
    fn exp_m1_of_center(self) -> Self {
        let m = self.center();
        if m.midpoint()[0].abs() < 0.35 {
            return m * Self::exp_m1_over_t(m, negligible::<W>());
        }
        m.exp_of_center() - Self::ONE
    }

    /// The spread is that of the exponential.
    pub(super) fn exponential_minus_one(self) -> Self {
        let center = self.exp_m1_of_center();
        if self.is_exact() {
            return center;
        }
        let slope = (center + Self::ONE).magnitude();
        center.widened(slope * Self::exp_m1_of_radius(self.rad()))
    }

    /// `tanh m = -e/(2 + e)` with `e = e^{-2|m|} - 1`, which cancels nowhere: both parts of the
    /// quotient are accurate relative to themselves, and `1 <= 2 + e <= 2`.
    fn tanh_of_center(self) -> Self {
        let m = self.center();
        if m.is_unknown() {
            return m;
        }
        let negative = m.midpoint()[0] < 0.0;
        let size = if negative { -m } else { m };
        let positive = if size.midpoint()[0] >= 400.0 {
            // 1 - tanh m <= 2 e^{-2m} < 2^-1100.
            Self::ONE.widened(Bound::of(super::eft::ETA))
        } else {
            let e = (-size.scaled(1)).exp_m1_of_center();
            let two = Self::exact(2.0);
            (-e).quotient(two + e).unwrap_or(Self::UNKNOWN)
        };
        if negative { -positive } else { positive }
    }

    /// The slope at distance `r` from `m` is `sech^2(m + d) <= min(1, sech^2(m) e^{2r})`, since
    /// the logarithm of `sech^2` has slope `-2 tanh`; and no two values are more than
    /// `1 + |tanh m|` apart from the center's.
    pub(super) fn hyperbolic_tangent(self) -> Self {
        let center = self.tanh_of_center();
        if self.is_exact() {
            return center;
        }
        let r = self.rad();
        let sech_squared = (Self::ONE - center * center).magnitude();
        let growth = Bound::of(1.0) + Self::exp_m1_of_radius(r + r);
        let slope = (sech_squared * growth).min(Bound::of(1.0));
        let apart = Bound::of(1.0) + center.magnitude();
        center.widened((slope * r).min(apart))
    }

    /// `erf m` at the midpoint. For `s = |m|` it is `2/sqrt(pi) e^{-s^2}` times
    /// `sum_k 2^k s^{2k+1} / (1 3 5 ... (2k+1))` (Abramowitz and Stegun 7.1.6): all terms have one sign, and nothing
    /// cancels. Each is `2 s^2/(2k+1)` times the one before. From where this ratio is at most 1/2 on, the
    /// terms left out add up to no more than twice the first of them.
    ///
    /// Far out `1 - erf s < e^{-s^2}`, which is true from `s = 1/sqrt(pi)` on.
    fn erf_of_center(self) -> Self {
        let m = self.center();
        if m.is_unknown() {
            return m;
        }
        let negative = m.midpoint()[0] < 0.0;
        let size = if negative { -m } else { m };
        let s = size.midpoint()[0];
        let square = size * size;
        let positive = if s >= 40.0 {
            // e^{-1600} < 2^-2300.
            Self::ONE.widened(Bound::of(super::eft::ETA))
        } else if s * s * core::f64::consts::LOG2_E >= (53 * W + 10) as f64 {
            Self::ONE.widened((-square).exponential().magnitude())
        } else {
            let (mut term, mut sum, mut odd) = (size, Self::ZERO, 1.0);
            while 4.0 * s * s >= odd || term.midpoint()[0] > negligible::<W>() * sum.midpoint()[0] {
                sum = sum + term;
                odd += 2.0;
                let next = term * square.scaled(1);
                term = next.quotient(Self::exact(odd)).unwrap_or(Self::UNKNOWN);
            }
            let sum = sum.widened(Bound::of(2.0) * term.magnitude());
            // 2/sqrt(pi) = 1/sqrt(pi/4).
            let root = Self::constant(&QUARTER_PI).square_root();
            let value = (sum * (-square).exponential()).quotient(root);
            value.unwrap_or(Self::UNKNOWN)
        };
        if negative { -positive } else { positive }
    }

    /// The slope is `2/sqrt(pi) e^{-t^2}`, with `t` at least the least magnitude in the ball; and no two values
    /// are more than `1 + |erf m|` apart from the center's.
    pub(super) fn error_function(self) -> Self {
        let center = self.erf_of_center();
        if self.is_exact() {
            return center;
        }
        let least = self.lower_magnitude();
        let power = Self::exact(-mul_down(least, least)).exp_of_center();
        let slope = Bound::of(1.128_379_168) * power.magnitude();
        let apart = Bound::of(1.0) + center.magnitude();
        center.widened((slope * self.rad()).min(apart))
    }

    /// With `l = m - r >= 0`, `|sqrt(m + d) - sqrt m| <= sqrt m - sqrt l = r/(sqrt m + sqrt l)`.
    ///
    /// A ball that reaches below zero has no square root.
    pub(super) fn square_root(self) -> Self {
        if self.is_exact() {
            return Self::from(expansion::sqrt(&self.midpoint()));
        }
        if !self.is_nonnegative() {
            return Self::UNKNOWN;
        }
        let center = Self::from(expansion::sqrt(&self.midpoint()));
        let slope_below = add_down(center.lower_magnitude(), sqrt_down(self.lower_magnitude()));
        center.widened(self.rad().over(slope_below))
    }

    /// `max(x, 0)` over the ball: itself, zero, or, if it straddles zero, the hull of `[0, m + r]`.
    pub(super) fn positive_part(self) -> Self {
        if self.is_unknown() {
            return self;
        }
        match self.sign() {
            Some(Ordering::Greater | Ordering::Equal) => self,
            Some(Ordering::Less) => Self::ZERO,
            None => {
                // Around a midpoint c near h = (m + r)/2, |c - h| <= e, the numbers from 0 to 2h are
                // at most max(c, 2h - c) <= c + 2e away.
                let half = (self.center() + Self::exact(self.radius())).scaled(-1);
                half.center().widened(half.magnitude().charged(half.rad()))
            }
        }
    }

    /// The slope of the positive part: 1, 0, or anything between if the sign is open.
    pub(super) fn unit_step(self) -> Self {
        if self.is_unknown() {
            return self;
        }
        match self.sign() {
            Some(Ordering::Greater) => Self::ONE,
            Some(Ordering::Less | Ordering::Equal) => Self::ZERO,
            None => Self::exact(0.5).widened(Bound::of(0.5)),
        }
    }
}

const _: () = assert!(
    MAX_WORDS + 2 < super::constants::WORDS,
    "the constants carry two guard words and a bound of the rest"
);
