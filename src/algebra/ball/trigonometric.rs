//! Sine and cosine.

use super::bound::Bound;
use super::constants::{FACTORIALS, INVERSE_FACTORIALS, QUARTER_PI};
use super::elementary::{negligible, terms_above};
use super::interval::BallN;

impl<const W: usize> BallN<W> {
    /// The ratio of a circle's circumference to its diameter.
    #[must_use]
    pub fn pi() -> Self {
        Self::constant(&QUARTER_PI).scaled(2)
    }

    /// `(sin t, cos t)` for `|t| <= 1`, by Taylor series in `t^2`.
    ///
    /// `sin t / t = sum_j (-t^2)^j / (2j+1)!` and `cos t = sum_j (-t^2)^j / (2j)!`. Terms alternate
    /// and decrease for `|t| <= 1`, so truncation before `j = n` errs by at most the first term
    /// left out, `|t|^{2n}/(2n)!` for both.
    ///
    /// Terms below `cut` are left out.
    pub(super) fn sin_cos_series(t: Self, cut: f64) -> (Self, Self) {
        let square = t * t;
        let size = square.magnitude();
        if !size.at_most(1.0) {
            return (Self::UNKNOWN, Self::UNKNOWN);
        }
        // next >= |t|^{2n} / (2n)!
        let (n, next) = terms_above(cut, FACTORIALS / 2, |next, n| {
            (next * size).over(((2 * n - 1) * (2 * n)) as f64)
        });
        let minus_square = -square;
        let mut sine = Self::coefficient(&INVERSE_FACTORIALS[2 * n - 1]);
        let mut cosine = Self::coefficient(&INVERSE_FACTORIALS[2 * n - 2]);
        for j in (0..n - 1).rev() {
            sine = sine * minus_square + Self::coefficient(&INVERSE_FACTORIALS[2 * j + 1]);
            cosine = cosine * minus_square + Self::coefficient(&INVERSE_FACTORIALS[2 * j]);
        }
        (t * sine.widened(next), cosine.widened(next))
    }

    /// Sine and cosine of the midpoint.
    pub(super) fn sin_cos_of_center(self) -> (Self, Self) {
        if self.is_unknown() {
            return (self, self);
        }
        let (t, quadrant) = self.reduced();
        let (sin, cos) = Self::sin_cos_series(t, negligible::<W>());
        match quadrant {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        }
    }

    /// By the addition theorem, `|sin(m + d) - sin m| <= |cos m| |sin d| + |sin m| (1 - cos d)
    /// <= |cos m| r + r^2/2`, likewise for the cosine with `|sin m|`; also at most `r`; and nothing
    /// is further than `1 + |sin m|` from the center's value.
    pub(super) fn sine_cosine(self) -> (Self, Self) {
        let (sin, cos) = self.sin_cos_of_center();
        if self.is_exact() {
            return (sin, cos);
        }
        let r = self.rad();
        let second_order = r * r * Bound::of(0.5);
        let spread = |value: Self, slope: Self| {
            let near = slope.magnitude() * r + second_order;
            let apart = Bound::of(1.0) + value.magnitude();
            near.min(r).min(apart)
        };
        let (spread_sin, spread_cos) = (spread(sin, cos), spread(cos, sin));
        (sin.widened(spread_sin), cos.widened(spread_cos))
    }
}
