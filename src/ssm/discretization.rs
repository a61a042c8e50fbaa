//! From a continuous to a discrete diagonal model.

use crate::algebra::{ComplexScalar, Field, Real, Ring, Scalar};
use crate::error::Error;
use crate::spelled::spelled;

/// The discretization of a continuous model `x' = lambda x + B u` with step `dt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discretization {
    /// The trapezoidal rule, the official default.
    Bilinear,
    /// The exact solution for an input held constant over each step.
    ZeroOrderHold,
}

spelled!(Discretization, "disc",
    Bilinear => "bilinear",
    ZeroOrderHold => "zoh",
);

impl Discretization {
    /// One mode `(lambda, b)` sampled with step `dt`: the discrete `(a, b)`.
    ///
    /// # Errors
    ///
    /// As [`bilinear`].
    pub fn apply<T: Real>(
        self,
        lambda: T::Complex,
        b: T::Complex,
        dt: T,
    ) -> Result<(T::Complex, T::Complex), Error> {
        match self {
            Self::Bilinear => bilinear(lambda, b, dt),
            Self::ZeroOrderHold => Ok(zero_order_hold(lambda, b, dt)),
        }
    }
}

/// Bilinear discretization of one mode (`ss_kernel_diag.py`, `disc = 'bilinear'`):
/// `a = (1 + dt lambda / 2) / (1 - dt lambda / 2)`, `b = dt B / (1 - dt lambda / 2)`.
///
/// It is rational in its arguments, so it runs over any scalar, including the prime field.
///
/// # Errors
///
/// If `dt lambda = 2`: the pole of the map.
pub fn bilinear<T: Scalar>(
    lambda: T::Complex,
    b: T::Complex,
    dt: T,
) -> Result<(T::Complex, T::Complex), Error> {
    let (one, two) = (T::Complex::ONE, T::Complex::from_i64(2));
    let z = lambda.scale(dt);
    // Halving as a division keeps it exact over floats and defined over the prime field.
    let half_z = z.divide(two);
    half_z
        .and_then(|h| Some(((one + h).divide(one - h)?, b.scale(dt).divide(one - h)?)))
        .ok_or_else(|| {
            Error::value(
                "bilinear discretization",
                "dt * lambda = 2 is the pole of the map; a stable lambda has a negative real part",
            )
        })
}

/// Zero-order hold of one mode (`ss_kernel_diag.py`, `disc = 'zoh'`):
/// `a = exp(dt lambda)`, `b = B (a - 1) / lambda`.
///
/// The second is evaluated as `B dt phi_1(dt lambda)` ([`Real::phi1`]), which neither cancels
/// where `|dt lambda|` is small, as the official `(exp(dtA) - 1) / A` does, nor divides by zero.
pub fn zero_order_hold<T: Real>(
    lambda: T::Complex,
    b: T::Complex,
    dt: T,
) -> (T::Complex, T::Complex) {
    let z = lambda.scale(dt);
    (crate::algebra::complex_exp(z), b.scale(dt) * T::phi1(z))
}
