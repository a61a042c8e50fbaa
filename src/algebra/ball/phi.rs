//! Complex functions of a disc: the exponential, `phi_1` and its derivative, roots of unity.

use super::bound::Bound;
use super::constants::{FACTORIALS, INVERSE_FACTORIALS, QUARTER_PI};
use super::disc::DiscN;
use super::elementary::{negligible, terms_above};
use super::expansion::Terms;
use super::interval::BallN;
use crate::algebra::roots::fold_turn;
use crate::into_vec::IntoVec as _;

impl<const W: usize> DiscN<W> {
    /// `e^m` at the midpoint `m = x + i y`: `e^x (cos y + i sin y)`.
    fn exp_of_center(self) -> Self {
        let (x, y) = (self.real().center(), self.imaginary().center());
        let (sin, cos) = y.sin_cos_of_center();
        let value = Self::of_parts(cos, sin).times_real(x.exponential());
        value.as_real_as(self)
    }

    /// `|e^{m+d} - e^m| <= |e^m| (e^r - 1)`.
    pub(super) fn exponential(self) -> Self {
        let center = self.exp_of_center();
        center.widened(center.modulus() * BallN::<W>::exp_m1_of_radius(self.rad()))
    }

    /// `sum_k weight(k) z^k / (k + shift)!` at the midpoint, `|z| <= 1`, where
    /// `1 <= weight(k) <= k + 1`.
    ///
    /// The terms left out from `k = n` on add up to at most
    /// `sum_{k >= n} (k+1) |z|^k / (k+1)! = sum_{k >= n} |z|^k / k! <= 2 |z|^n / n!`, for
    /// `shift >= 1` and `n >= 1`.
    ///
    /// Terms below `cut` are left out.
    pub(super) fn series(self, shift: usize, weight: fn(usize) -> usize, cut: f64) -> Self {
        let z = self.center();
        let size = z.center_modulus();
        if !size.at_most(1.0) {
            return Self::UNKNOWN;
        }
        // next >= |z|^n / n!
        let (n, next) = terms_above(cut, FACTORIALS - shift, |next, n| {
            (next * size).over(n as f64)
        });
        let term = |k: usize| -> Self {
            let coefficient = BallN::coefficient(&INVERSE_FACTORIALS[k + shift]);
            let weighted = coefficient * BallN::exact(weight(k) as f64);
            Self::of_parts(weighted, BallN::ZERO)
        };
        let mut sum = term(n - 1);
        for k in (0..n - 1).rev() {
            sum = sum * z + term(k);
        }
        sum.widened(Bound::of(2.0) * next)
    }

    /// A bound of `max(1, e^x)` over the disc, `x` the real part.
    fn largest_exponential(self) -> Bound {
        let top = self.real();
        let positive = top.positive_part();
        if positive.magnitude().is_zero() {
            return Bound::of(1.0);
        }
        positive.exponential().magnitude().max(Bound::of(1.0))
    }

    /// True if the midpoint is close enough to zero for the series.
    fn is_small(self) -> bool {
        self.center_modulus().at_most(1.0)
    }

    /// `e^z - 1`, accurate relative to itself also near the multiples of `2 pi i`:
    /// `expm1(x) cos y - 2 sin^2(y/2) + i e^x sin y` at the midpoint.
    fn exponential_minus_one(self) -> Self {
        let (x, y) = (self.real().center(), self.imaginary().center());
        let (sin, cos) = y.sin_cos_of_center();
        // Halving a subnormal number loses a digit, which the ball's own radius then says.
        let (sin_half, _) = y.scaled(-1).sine_cosine();
        let exp = x.exponential();
        let re = x.exponential_minus_one() * cos - sin_half * sin_half.scaled(1);
        let center = Self::of_parts(re, exp * sin).as_real_as(self);
        let spread = exp.magnitude() * BallN::<W>::exp_m1_of_radius(self.rad());
        center.widened(spread)
    }

    /// `phi_1(z) = (e^z - 1)/z = int_0^1 e^{sz} ds`, with `phi_1(0) = 1`.
    ///
    /// Near zero by its Taylor series at the midpoint, and
    /// `|phi_1'(z)| = |int_0^1 s e^{sz} ds| <= max(1, e^x)/2` bounds the spread, whether or not the
    /// disc contains zero. Elsewhere by division.
    pub(super) fn phi1(self) -> Self {
        if self.is_small() {
            let center = self.series(1, |_| 1, negligible::<W>());
            if self.rad().is_zero() {
                return center;
            }
            let slope = Bound::of(0.5) * self.largest_exponential();
            return center.widened(slope * self.rad());
        }
        let divided = |z: Self| Some(z.exponential_minus_one() * z.reciprocal()?);
        divided(self)
            .or_else(|| {
                // Wide enough to hold zero.
                let slope = Bound::of(0.5) * self.largest_exponential();
                Some(divided(self.center())?.widened(slope * self.rad()))
            })
            .unwrap_or(Self::UNKNOWN)
    }

    /// `phi_1'(z) = int_0^1 s e^{sz} ds = sum_k (k + 1) z^k / (k + 2)!`; elsewhere
    /// `(e^z - phi_1(z))/z`.
    ///
    /// The spread near zero is bounded by `|phi_1''(z)| = |int_0^1 s^2 e^{sz} ds| <= max(1, e^x)/3`.
    pub(super) fn phi1_derivative(self) -> Self {
        if self.is_small() {
            let center = self.series(2, |k| k + 1, negligible::<W>());
            if self.rad().is_zero() {
                return center;
            }
            let slope = self.largest_exponential().over(3.0);
            return center.widened(slope * self.rad());
        }
        let divided = |z: Self| Some((z.exponential() - z.phi1()) * z.reciprocal()?);
        divided(self)
            .or_else(|| {
                let slope = self.largest_exponential().over(3.0);
                Some(divided(self.center())?.widened(slope * self.rad()))
            })
            .unwrap_or(Self::UNKNOWN)
    }

    /// `exp(2 pi i k/n)` for `k = 0 .. n`, each from its own angle, folded in integers into the
    /// first eighth of a turn; quarter turns are exact.
    pub(super) fn roots(n: usize) -> Vec<Self> {
        (0..n)
            .map(|k| {
                let (cos, sin) = fold_turn(k, n, Self::eighth_turn);
                Self::of_parts(cos, sin)
            })
            .into_vec()
    }

    /// Cosine and sine of `2 pi k/n` for `0 <= 8 k <= n`.
    pub(super) fn eighth_turn(k: u128, n: u128) -> (BallN<W>, BallN<W>) {
        if 8 * k == n {
            // On the diagonal both are sqrt(1/2), bit for bit.
            let equal = BallN::exact(0.5).square_root();
            return (equal, equal);
        }
        let integer = |x: u128| -> BallN<W> {
            // Two halves of at most 64 bits, each as two floats.
            let mut terms = Terms::new();
            for shift in [96u32, 64, 32, 0] {
                let digit = (x >> shift) as u32;
                terms.push(f64::from(digit) * super::eft::power_of_two(shift as i32));
            }
            BallN::from(terms.round())
        };
        // 2 pi = 8 (pi/4).
        let angle = (integer(k) * BallN::constant(&QUARTER_PI).scaled(3)).quotient(integer(n));
        let angle = angle.unwrap_or(BallN::UNKNOWN);
        // The angle's own radius is of the order of rounding; the series carries it along.
        let (sin, cos) = BallN::sin_cos_series(angle, negligible::<W>());
        (cos, sin)
    }
}
