//! The values that a correct port working at a given precision can compute: balls whose every
//! operation rounds.
//!
//! If a port's operands lie in two [`Rounded`] balls, then the port's result of an operation lies
//! in the resulting ball: the exact result does, by ball arithmetic, and the ball is widened by the
//! largest error the port's rounding can add. The midpoint is the double-double midpoint of the
//! exact evaluation, so the radius is a bound of `|port - exact|`, rigorous and to all orders.
//!
//! | operation of the port | error added |
//! |---|---|
//! | `+`, `-` of reals | `u |x|` (an addition does not underflow) |
//! | `*`, `/`, square root of reals | `max(u |x|, eta/2)` |
//! | exp, expm1, log1p, sin, cos, tanh | [`LIBRARY_FACTOR`]` max(u |x|, eta/2)` |
//! | `+`, `-` of complex numbers | `u |z|` (each part has relative error `u`) |
//! | `*` of complex numbers | `sqrt(5) u |z| + sqrt(2) (1 + u) eta` |
//! | inverse of a complex number | from its real operations, about `3.5 u |z|` |
//! | real times complex | `u |z| + eta/sqrt(2)` |
//! | a constant or input that the format does not hold | `max(u |x|, eta/2)` |
//! | negation, conjugate, parts, doubling, max(x, 0) | nothing |
//!
//! Here `x`, `z` range over the exact result's ball, `u` is the unit roundoff and `eta` the smallest
//! positive number. `sqrt(5) u` is the bound of Brent, Percival and Zimmermann (*Error bounds on
//! complex floating-point multiplication*, 2007, for at least 5 digits) for the product by four
//! multiplications and two additions; with fused multiply-adds it is `2u` (Jeannerod, Kornerup,
//! Louvet and Muller 2017), so those are covered. Each of the four products may lose another
//! `eta/2` to underflow, so each part `eta`, grown by its last rounding.
//!
//! Not covered: flushing subnormals to zero, and products of complex numbers by three
//! multiplications. A number that may overflow the format is unknown from there on.

#![allow(
    clippy::float_cmp,
    reason = "whether a format holds a number is an exact question"
)]

use super::ball::bound::{Bound, mul_down, sub_down};
use super::ball::{Ball, Disc};
use super::precision::Precision;
use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::sample::{Rng, Sample};
use super::scalar::{ComplexScalar, Scalar};
use crate::into_vec::IntoVec as _;
use core::marker::PhantomData;
use core::ops::{Add, Mul, Neg, Sub};

/// The largest error of a library's elementary function, in units of `u |f(x)|`.
///
/// `4 u` is two units in the last place at most: what CUDA documents for its `float` functions
/// used here, and more than glibc, musl, Apple's and Microsoft's libraries need. Fast-math
/// intrinsics are not meant.
pub const LIBRARY_FACTOR: f64 = 4.0;

/// A ball that contains the result of any port that rounds every operation to the format `P`.
#[derive(Clone, Copy, Debug)]
pub struct Rounded<P> {
    ball: Ball,
    format: PhantomData<P>,
}

/// The complex companion of [`Rounded`].
#[derive(Clone, Copy, Debug)]
pub struct RoundedDisc<P> {
    disc: Disc,
    format: PhantomData<P>,
}

impl<P: Precision> Rounded<P> {
    /// The ball as it is, with no rounding added.
    fn from_ball(ball: Ball) -> Self {
        Self {
            ball,
            format: PhantomData,
        }
    }

    /// The ball: around the result of exact arithmetic, with the port's error as its radius.
    #[must_use]
    pub fn ball(self) -> Ball {
        self.ball
    }

    /// The exact result's ball widened by one rounding of the port.
    ///
    /// `max(u |x|, eta/2)` covers normal and subnormal results at once: with gradual underflow the
    /// two are equal at the smallest normal number.
    fn round(exact: Ball) -> Self {
        Self::round_by(exact, 1.0)
    }

    fn round_by(exact: Ball, factor: f64) -> Self {
        let size = exact.magnitude();
        if size.is_zero() {
            return Self::from_ball(exact);
        }
        let error = (size * Bound::of(P::format().unit_roundoff()))
            .max(Bound::of(P::format().half_smallest()));
        Self::checked(exact.widened(error * Bound::of(factor)))
    }

    /// One rounding of a sum, which cannot underflow.
    fn round_sum(exact: Ball) -> Self {
        Self::checked(exact.widened(exact.magnitude() * Bound::of(P::format().unit_roundoff())))
    }

    /// Nothing is claimed of a number that may overflow.
    fn checked(ball: Ball) -> Self {
        Self::from_ball(if ball.upper_magnitude() <= P::format().largest() {
            ball
        } else {
            Ball::UNKNOWN
        })
    }

    fn library(exact: Ball) -> Self {
        Self::round_by(exact, LIBRARY_FACTOR)
    }
}

impl<P: Precision> RoundedDisc<P> {
    /// The disc as it is, with no rounding added.
    fn from_disc(disc: Disc) -> Self {
        Self {
            disc,
            format: PhantomData,
        }
    }

    /// The disc: around the result of exact arithmetic, with the port's error as its radius.
    #[must_use]
    pub fn disc(self) -> Disc {
        self.disc
    }

    /// The exact result's disc widened by `relative * |z| + underflow`.
    fn round(exact: Disc, relative: f64, underflow: f64) -> Self {
        let size = exact.modulus();
        if size.is_zero() {
            return Self::from_disc(exact);
        }
        let error = (size * Bound::of(relative)).charged(Bound::of(underflow));
        let disc = exact.widened(error);
        // A part is no larger than the modulus.
        Self::from_disc(if disc.upper_modulus() <= P::format().largest() {
            disc
        } else {
            Disc::UNKNOWN
        })
    }

    /// A disc around both, centered as the first.
    fn join(self, other: Self) -> Self {
        let apart = (self.disc.center() - other.disc.center()).modulus() + other.disc.rad();
        Self::from_disc(self.disc.center().widened(self.disc.rad().max(apart)))
    }
}

impl<P: Precision> Add for Rounded<P> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::round_sum(self.ball + other.ball)
    }
}

impl<P: Precision> Sub for Rounded<P> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::round_sum(self.ball - other.ball)
    }
}

impl<P: Precision> Neg for Rounded<P> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::from_ball(-self.ball)
    }
}

impl<P: Precision> Mul for Rounded<P> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::round(self.ball * other.ball)
    }
}

impl<P: Precision> Ring for Rounded<P> {
    const ZERO: Self = Self {
        ball: Ball::ZERO,
        format: PhantomData,
    };
    const ONE: Self = Self {
        ball: Ball::ONE,
        format: PhantomData,
    };

    /// Rounded if the format does not hold it.
    fn from_i64(n: i64) -> Self {
        let ball = Ball::from_i64(n);
        match ball.rounded() {
            Some(x) if ball.contains(x) && P::format().holds(x) => Self::from_ball(ball),
            _ => Self::round(ball),
        }
    }
}

impl<P: Precision> Field for Rounded<P> {
    fn inverse(self) -> Option<Self> {
        Some(Self::round(self.ball.inverse()?))
    }

    /// One rounding.
    fn divide(self, divisor: Self) -> Option<Self> {
        Some(Self::round(self.ball.divide(divisor.ball)?))
    }
}

impl<P: Precision> Scalar for Rounded<P> {
    type Complex = RoundedDisc<P>;
}

impl<P: Precision> Real for Rounded<P> {
    const UNIT_ROUNDOFF: f64 = P::FORMAT.unit_roundoff();

    /// `x`, rounded if the format does not hold it: so data and parameters given in `f64` carry
    /// the error of having been rounded to the port's format.
    fn from_f64(x: f64) -> Self {
        let ball = Ball::from_f64(x);
        if P::format().holds(x) {
            Self::from_ball(ball)
        } else {
            Self::round(ball)
        }
    }

    fn to_f64(self) -> f64 {
        self.ball.to_f64()
    }

    fn exp(self) -> Self {
        Self::library(self.ball.exp())
    }

    fn exp_m1(self) -> Self {
        Self::library(self.ball.exp_m1())
    }

    fn ln_1p(self) -> Self {
        Self::library(self.ball.ln_1p())
    }

    fn sin_cos(self) -> (Self, Self) {
        let (sin, cos) = self.ball.sin_cos();
        (Self::library(sin), Self::library(cos))
    }

    /// One rounding.
    fn sqrt(self) -> Self {
        Self::round(self.ball.sqrt())
    }

    fn tanh(self) -> Self {
        Self::library(self.ball.tanh())
    }

    fn erf(self) -> Self {
        Self::library(self.ball.erf())
    }

    /// Exact in any format.
    fn relu(self) -> Self {
        Self::from_ball(self.ball.relu())
    }

    fn step(self) -> Self {
        Self::from_ball(self.ball.step())
    }

    /// The official code computes `(exp(z) - 1)/z`, which loses a factor `1/|z|` for small `z`; a
    /// careful port does not. Both are honest: the disc covers either. Where `z` may be zero the
    /// quotient is not available, and a careful port's error of `8 u` is assumed.
    fn phi1(z: RoundedDisc<P>) -> RoundedDisc<P> {
        let careful =
            RoundedDisc::round(Ball::phi1(z.disc), 8.0 * P::format().unit_roundoff(), 0.0);
        match (Self::exp_complex(z) - RoundedDisc::ONE).divide(z) {
            Some(official) => careful.join(official),
            None => careful,
        }
    }

    /// As for [`phi1`](Real::phi1): the quotient `(e^z - phi_1(z))/z` or a careful evaluation with
    /// an error of `8 u`.
    fn phi1_derivative(z: RoundedDisc<P>) -> RoundedDisc<P> {
        let exact = Ball::phi1_derivative(z.disc);
        let careful = RoundedDisc::round(exact, 8.0 * P::format().unit_roundoff(), 0.0);
        match (Self::exp_complex(z) - Self::phi1(z)).divide(z) {
            Some(quotient) => careful.join(quotient),
            None => careful,
        }
    }
}

impl<P: Precision> Add for RoundedDisc<P> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::round(self.disc + other.disc, P::format().unit_roundoff(), 0.0)
    }
}

impl<P: Precision> Sub for RoundedDisc<P> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::round(self.disc - other.disc, P::format().unit_roundoff(), 0.0)
    }
}

impl<P: Precision> Neg for RoundedDisc<P> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::from_disc(-self.disc)
    }
}

impl<P: Precision> Mul for RoundedDisc<P> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        // A little above sqrt 5 and above 2 sqrt 2 (1 + 2^-8).
        Self::round(
            self.disc * other.disc,
            2.236_068 * P::format().unit_roundoff(),
            2.85 * P::format().half_smallest(),
        )
    }
}

impl<P: Precision> Ring for RoundedDisc<P> {
    const ZERO: Self = Self {
        disc: Disc::ZERO,
        format: PhantomData,
    };
    const ONE: Self = Self {
        disc: Disc::ONE,
        format: PhantomData,
    };

    fn from_i64(n: i64) -> Self {
        Self::from_base(Rounded::from_i64(n))
    }
}

impl<P: Precision> Field for RoundedDisc<P> {
    /// `conj(z) / (x^2 + y^2)` in the port's arithmetic.
    ///
    /// The squared modulus `s` is computed with an error of at most
    /// `rho s = ((1 + u)^2 - 1) s + (1 + u) eta`, its two squares losing `eta/2` each to underflow;
    /// a division by it adds `u`, so each part, hence the number, is off by a factor within
    /// `(1 + u)/(1 - rho)` of 1, and by `eta/2` in each part.
    ///
    /// Another `u/2` is added, so that a division, this inverse and a product, covers the 5.42 u of
    /// Smith's algorithm as well: with `r` the smaller part of the divisor over the larger one,
    /// its numerator is off by `(1 + 2r/sqrt(1 + r^2)) u <= (1 + sqrt 2) u`, its denominator
    /// by `2 u`, and the division adds `u`.
    fn inverse(self) -> Option<Self> {
        let exact = self.disc.inverse()?;
        let lower = self.disc.lower_modulus();
        let (u, eta) = (
            P::format().unit_roundoff(),
            2.0 * P::format().half_smallest(),
        );
        // Upper bounds throughout: (1 + u)^2 - 1 <= 2.01 u and 1 + u <= 1.01.
        let underflow = Bound::of(1.01 * eta).over(mul_down(lower, lower));
        let rho = Bound::of(2.01 * u) + underflow;
        if !rho.at_most(0.5) {
            // The port's squared modulus may vanish.
            return None;
        }
        // (1 + u)/(1 - rho) - 1 = (u + rho)/(1 - rho).
        let relative = (Bound::of(u) + rho).over(sub_down(1.0, rho.get())) + Bound::of(0.5 * u);
        Some(Self::round(
            exact,
            relative.get(),
            1.42 * P::format().half_smallest(),
        ))
    }
}

impl<P: Precision> ComplexScalar for RoundedDisc<P> {
    type Base = Rounded<P>;

    fn from_parts(re: Rounded<P>, im: Rounded<P>) -> Self {
        Self::from_disc(Disc::from_parts(re.ball, im.ball))
    }

    fn re(self) -> Rounded<P> {
        Rounded::from_ball(self.disc.re())
    }

    fn im(self) -> Rounded<P> {
        Rounded::from_ball(self.disc.im())
    }

    fn conj(self) -> Self {
        Self::from_disc(self.disc.conj())
    }

    /// One rounding in each part.
    fn scale(self, factor: Rounded<P>) -> Self {
        Self::round(
            self.disc.scale(factor.ball),
            P::format().unit_roundoff(),
            1.42 * P::format().half_smallest(),
        )
    }

    /// Doubling is exact.
    fn trace(self) -> Rounded<P> {
        Rounded::checked(self.disc.trace())
    }
}

impl<P: Precision> RootsOfUnity for RoundedDisc<P> {
    /// Each root rounded once in each part; quarter turns are exact.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = Disc::roots_of_unity(n)?;
        let rounded = roots.into_iter().map(|w| {
            if w.radius() == 0.0 {
                Self::from_disc(w)
            } else {
                Self::round(
                    w,
                    P::format().unit_roundoff(),
                    1.42 * P::format().half_smallest(),
                )
            }
        });
        Some(rounded.into_vec())
    }
}

/// The draws of `f64`, rounded to the format.
impl<P: Precision> Sample for Rounded<P> {
    fn sample(rng: &mut Rng) -> Self {
        Self::from_f64(f64::sample(rng))
    }

    fn sample_pole(rng: &mut Rng) -> RoundedDisc<P> {
        let z = f64::sample_pole(rng);
        RoundedDisc::from_parts(Self::from_f64(z.re), Self::from_f64(z.im))
    }

    fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self {
        Self::from_f64(f64::sample_dense_entry(m, rng))
    }
}
