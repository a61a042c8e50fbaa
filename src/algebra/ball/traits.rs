//! Balls and discs as scalars and their complex companions.

use super::bound::Bound;
use super::disc::DiscN;
use super::expansion::Terms;
use super::interval::BallN;
use crate::algebra::real::Real;
use crate::algebra::ring::{Field, Ring};
use crate::algebra::roots::RootsOfUnity;
use crate::algebra::sample::{Rng, Sample};
use crate::algebra::scalar::{ComplexScalar, Scalar};
use crate::algebra::side_by_side;

impl<const W: usize> Ring for BallN<W> {
    const ZERO: Self = BallN::<W>::ZERO;
    const ONE: Self = BallN::<W>::ONE;

    /// Exact for `W >= 2`.
    fn from_i64(n: i64) -> Self {
        // A float of 33 bits and one of 32.
        let mut terms = Terms::new();
        terms.push((n >> 32) as f64 * 4_294_967_296.0);
        terms.push((n & 0xffff_ffff) as f64);
        Self::from(terms.round())
    }

    /// Enclosures of the same numbers, with bounds of the radii of whole sums.
    fn products(a: &[&[Self]], b: &[&[Self]]) -> Vec<Self> {
        side_by_side::products(a, b)
    }
}

impl<const W: usize> Field for BallN<W> {
    /// `None` if the ball contains zero or is unknown.
    fn inverse(self) -> Option<Self> {
        self.reciprocal()
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        self.quotient(divisor)
    }
}

impl<const W: usize> Scalar for BallN<W> {
    type Complex = DiscN<W>;
}

impl<const W: usize> Real for BallN<W> {
    /// The approximate error of the midpoint per operation: `2^(4 - 53 W)`. No proof uses it, since
    /// the radius holds the actual error.
    const UNIT_ROUNDOFF: f64 = super::eft::power_of_two(4 - 53 * (W as i32));

    /// Exactly `x`; [`UNKNOWN`](BallN::UNKNOWN) for a NaN or an infinity.
    fn from_f64(x: f64) -> Self {
        Self::exact(x)
    }

    /// The `f64` nearest to the midpoint; a NaN for the unknown ball.
    fn to_f64(self) -> f64 {
        super::decide::nearest(&self.midpoint())
    }

    fn exp(self) -> Self {
        self.exponential()
    }

    fn exp_m1(self) -> Self {
        self.exponential_minus_one()
    }

    fn ln_1p(self) -> Self {
        self.log_one_plus()
    }

    fn sin_cos(self) -> (Self, Self) {
        self.sine_cosine()
    }

    fn sqrt(self) -> Self {
        self.square_root()
    }

    fn tanh(self) -> Self {
        self.hyperbolic_tangent()
    }

    fn erf(self) -> Self {
        self.error_function()
    }

    fn relu(self) -> Self {
        self.positive_part()
    }

    fn step(self) -> Self {
        self.unit_step()
    }

    fn exp_complex(z: DiscN<W>) -> DiscN<W> {
        z.exponential()
    }

    fn phi1(z: DiscN<W>) -> DiscN<W> {
        z.phi1()
    }

    fn phi1_derivative(z: DiscN<W>) -> DiscN<W> {
        z.phi1_derivative()
    }
}

impl<const W: usize> Ring for DiscN<W> {
    const ZERO: Self = DiscN::<W>::ZERO;
    const ONE: Self = DiscN::<W>::ONE;

    fn from_i64(n: i64) -> Self {
        Self::of_parts(BallN::from_i64(n), BallN::ZERO)
    }
}

impl<const W: usize> Field for DiscN<W> {
    /// `None` if the disc may contain zero or is unknown.
    fn inverse(self) -> Option<Self> {
        self.reciprocal()
    }
}

impl<const W: usize> ComplexScalar for DiscN<W> {
    type Base = BallN<W>;

    fn from_parts(re: BallN<W>, im: BallN<W>) -> Self {
        Self::of_parts(re, im)
    }

    fn re(self) -> BallN<W> {
        self.real()
    }

    fn im(self) -> BallN<W> {
        self.imaginary()
    }

    fn conj(self) -> Self {
        self.conjugate()
    }

    fn scale(self, factor: BallN<W>) -> Self {
        self.times_real(factor)
    }

    fn trace(self) -> BallN<W> {
        self.real().scaled(1)
    }
}

impl<const W: usize> RootsOfUnity for DiscN<W> {
    /// Discs around `exp(2 pi i k/n)`, for any `n > 0`.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        (n > 0).then(|| Self::roots(n))
    }
}

/// The same draws as for `f64`, exactly, so that a seed names one problem in both.
impl<const W: usize> Sample for BallN<W> {
    fn sample(rng: &mut Rng) -> Self {
        Self::exact(f64::sample(rng))
    }

    fn sample_pole(rng: &mut Rng) -> DiscN<W> {
        let z = f64::sample_pole(rng);
        DiscN::of_parts(Self::exact(z.re), Self::exact(z.im)).widened(Bound::ZERO)
    }

    fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self {
        Self::exact(f64::sample_dense_entry(m, rng))
    }
}
