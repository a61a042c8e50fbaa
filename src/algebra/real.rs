//! Elementary functions, which decoding and discretizing parameters need in addition to a field.

use super::ring::{Field, Ring};
use super::scalar::{ComplexScalar, Scalar};

/// A scalar with elementary functions and a magnitude: floats, balls, dual numbers over floats.
pub trait Real: Scalar {
    /// The largest relative error of one rounding of this scalar's arithmetic.
    const UNIT_ROUNDOFF: f64;

    /// The scalar nearest to `x`.
    fn from_f64(x: f64) -> Self;

    /// The `f64` nearest to this number (for a ball: to its midpoint).
    fn to_f64(self) -> f64;

    /// `e^self`.
    fn exp(self) -> Self;

    /// `e^self - 1` without cancellation near zero.
    fn exp_m1(self) -> Self;

    /// `ln(1 + self)` without cancellation near zero.
    fn ln_1p(self) -> Self;

    /// Sine and cosine.
    fn sin_cos(self) -> (Self, Self);

    /// The square root; not a number below zero.
    fn sqrt(self) -> Self;

    /// The hyperbolic tangent.
    fn tanh(self) -> Self;

    /// The error function: `2/sqrt(pi)` times the integral of `e^{-t^2}` from 0 to `self`.
    fn erf(self) -> Self;

    /// `max(self, 0)`. A ball that straddles zero yields the hull of both cases.
    fn relu(self) -> Self;

    /// The slope of [`relu`](Real::relu): 1 above zero, else 0 (also at zero, by convention). A
    /// ball that straddles zero yields the hull of both; a NaN stays one.
    fn step(self) -> Self {
        let x = self.to_f64();
        if x > 0.0 {
            Self::ONE
        } else if x <= 0.0 {
            Self::ZERO
        } else {
            Self::from_f64(x)
        }
    }

    /// One of two numbers by the sign of `at`, which is above zero or not; their hull where a ball
    /// straddles zero.
    fn select(at: Self, above: impl FnOnce() -> Self, below: impl FnOnce() -> Self) -> Self {
        let step = at.step();
        let place = step.to_f64();
        if place == 1.0 {
            above()
        } else if place == 0.0 {
            below()
        } else {
            let below = below();
            below + step * (above() - below)
        }
    }

    /// `e^z` for complex `z = x + i y`: `e^x (cos y + i sin y)`.
    fn exp_complex(z: Self::Complex) -> Self::Complex {
        let (sin, cos) = z.im().sin_cos();
        Self::Complex::from_parts(cos, sin).scale(z.re().exp())
    }

    /// `phi_1(z) = (e^z - 1) / z`, with `phi_1(0) = 1`: the zero-order hold's input factor.
    ///
    /// The numerator is evaluated without cancellation: with `z = x + i y`,
    /// `re(e^z - 1) = expm1(x) cos y - 2 sin^2(y/2)` and `im(e^z - 1) = e^x sin y`. For a decaying
    /// mode (`x <= 0`) with `cos y >= 0` both terms of the real part have one sign; elsewhere
    /// `|e^z - 1|` is not small. So the error relative to `|phi_1|` stays a few units roundoff,
    /// where the official `(exp(z) - 1) / z` loses a factor `1/|z|`.
    ///
    /// At `z = 0`, which cannot be divided by, the limit takes its place. (A dual number has its
    /// derivative by [`phi1_derivative`](Real::phi1_derivative).)
    fn phi1(z: Self::Complex) -> Self::Complex {
        let (x, y, two) = (z.re(), z.im(), Self::from_i64(2));
        let (sin, cos) = y.sin_cos();
        let (sin_half, _) = (y * Self::from_f64(0.5)).sin_cos();
        let numerator =
            Self::Complex::from_parts(x.exp_m1() * cos - two * sin_half * sin_half, x.exp() * sin);
        numerator.divide(z).unwrap_or(Self::Complex::ONE)
    }

    /// `phi_1'(z) = (e^z - phi_1(z)) / z`, with `phi_1'(0) = 1/2`: what the derivative of a
    /// zero-order hold needs.
    ///
    /// The quotient cancels near zero. There (where the parts of `z` add up to at most 1) the
    /// series `sum_k (k+1) z^k / (k+2)!` is used, as many terms as this scalar's unit roundoff
    /// asks for: the ones left out add up to less than `2/n! <= 2 UNIT_ROUNDOFF`.
    fn phi1_derivative(z: Self::Complex) -> Self::Complex {
        let quotient = (Self::exp_complex(z) - Self::phi1(z)).divide(z);
        let size = z.re().to_f64().abs() + z.im().to_f64().abs();
        if let Some(quotient) = quotient
            && size > 1.0
        {
            return quotient;
        }
        let (mut term, mut n) = (1.0, 0i64);
        while term > Self::UNIT_ROUNDOFF {
            n += 1;
            term /= n as f64;
        }
        // Nested by the ratios of coefficients, (k+2) / ((k+1)(k+3)).
        let mut sum = Self::Complex::ONE;
        for k in (0..n).rev() {
            let ratio = Self::from_i64(k + 2).divide(Self::from_i64((k + 1) * (k + 3)));
            sum = Self::Complex::ONE + (z * sum).scale(ratio.unwrap_or(Self::ZERO));
        }
        sum.scale(Self::from_f64(0.5))
    }
}

/// [`Real::exp_complex`], for a number known by its complex type.
pub(crate) fn complex_exp<C: ComplexScalar>(z: C) -> C
where
    C::Base: Real,
{
    C::Base::exp_complex(z)
}

/// `pi` in any real scalar. `x + sin x` is a third-order iteration towards it: from the nearest
/// `f64` two steps leave less than `1e-140`.
pub fn pi<T: Real>() -> T {
    let x = T::from_f64(core::f64::consts::PI);
    let x = x + x.sin_cos().0;
    x + x.sin_cos().0
}

/// The slope of [`Real::erf`], `2/sqrt(pi) e^{-x^2}`.
pub(crate) fn erf_slope<T: Real>(x: T) -> T {
    // pi is never zero.
    let square = T::from_i64(4).divide(pi()).unwrap_or(T::ONE);
    square.sqrt() * (-(x * x)).exp()
}
