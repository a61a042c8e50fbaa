//! `ln(1 + x)`.

use super::bound::{Bound, sub_down};
use super::constants::{INVERSE_ODDS, LN_2, ODDS};
use super::eft::significand;
use super::elementary::{negligible, terms_above};
use super::expansion::{Terms, add};
use super::interval::BallN;

impl<const W: usize> BallN<W> {
    /// `ln((1 + s)/(1 - s)) = 2 artanh s = 2 s sum_j s^{2j} / (2j + 1)` for `|s| <= 1/2`.
    ///
    /// With the terms below `j = n` the truncation error of the sum is at most
    /// `s^{2n}/(2n + 1) * 1/(1 - s^2) <= 2 s^{2n}`.
    ///
    /// Terms below `cut` are left out.
    pub(super) fn twice_artanh(s: Self, cut: f64) -> Self {
        let square = s * s;
        let size = square.magnitude();
        if !size.at_most(0.25) {
            return Self::UNKNOWN;
        }
        // next >= s^{2n}
        let (n, next) = terms_above(cut, ODDS, |next, _| next * size);
        let mut sum = Self::coefficient(&INVERSE_ODDS[n - 1]);
        for j in (0..n - 1).rev() {
            sum = sum * square + Self::coefficient(&INVERSE_ODDS[j]);
        }
        s.scaled(1) * sum.widened(Bound::of(2.0) * next)
    }

    /// `ln(1 + m)` at the midpoint: `1 + m = 2^k f` with `f` near 1, and
    /// `ln(1 + m) = k ln 2 + 2 artanh((f - 1)/(f + 1))`.
    ///
    /// For `k = 0`, where the result may be small, `f - 1 = m` is taken exactly. For other `k` it
    /// is at least 0.34 in magnitude and nothing cancels by more than a factor 2.
    ///
    /// If `1 + m <= 0` there is no logarithm; then `|f - 1| >= |f + 1|`, and the series refuses the
    /// quotient.
    fn ln_1p_of_center(self) -> Self {
        let m = self.center();
        let sum = Self::from(add(&Self::ONE.midpoint(), &m.midpoint()));
        let (f, e) = significand(sum.midpoint()[0]);
        let k = if f > core::f64::consts::SQRT_2 {
            e + 1
        } else {
            e
        };
        let (numerator, denominator) = if k == 0 {
            (m, m + Self::exact(2.0))
        } else {
            let f = sum.scaled(-k);
            (f - Self::ONE, f + Self::ONE)
        };
        let Some(s) = numerator.quotient(denominator) else {
            return Self::UNKNOWN;
        };
        let small = Self::twice_artanh(s, negligible::<W>());
        if k == 0 {
            return small;
        }
        let mut terms = Terms::new();
        terms.push_multiple(f64::from(k), LN_2.guarded(W));
        Self::from(terms.round()) + small
    }

    /// `|ln(1 + m + d) - ln(1 + m)| <= -ln(1 - q) <= q/(1 - q)` with `q = r/(1 + m) < 1`.
    pub(super) fn log_one_plus(self) -> Self {
        let center = self.ln_1p_of_center();
        if self.is_exact() {
            return center;
        }
        // q/(1 - q) = r/(1 + m - r).
        let one_plus_m = Self::from(add(&Self::ONE.midpoint(), &self.midpoint()));
        let lowest = sub_down(one_plus_m.lower_magnitude(), self.radius());
        center.widened(self.rad().over(lowest))
    }
}
