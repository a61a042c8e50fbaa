//! Reverse mode through the discretizations.

use super::discretization::Discretization;
use crate::algebra::{ComplexScalar, Field, Real, Ring, Scalar, complex_exp};
use crate::error::Error;

/// The cotangents of one continuous mode and its step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModeGradient<T: Scalar> {
    /// With respect to `lambda`.
    pub lambda: T::Complex,
    /// With respect to the continuous `B`.
    pub b: T::Complex,
    /// With respect to `dt`.
    pub dt: T,
}

impl Discretization {
    /// The adjoint of [`apply`](Self::apply), given the cotangents `g` of the discrete `(a, b)`.
    ///
    /// # Errors
    ///
    /// As [`bilinear`](super::bilinear).
    pub fn adjoint<T: Real>(
        self,
        lambda: T::Complex,
        b: T::Complex,
        dt: T,
        g: (T::Complex, T::Complex),
    ) -> Result<ModeGradient<T>, Error> {
        match self {
            Self::Bilinear => bilinear_adjoint(lambda, b, dt, g),
            Self::ZeroOrderHold => Ok(zero_order_hold_adjoint(lambda, b, dt, g)),
        }
    }
}

/// The adjoint of [`bilinear`](super::bilinear), given the cotangents `g` of the discrete
/// `(a, b)`. With `z = dt lambda` and `q = 1 / (1 - z/2)`:
/// `a = (1 + z/2) q`, `da/dz = q^2`; `b = dt B q`, `dq/dz = q^2 / 2`.
///
/// # Errors
///
/// If `dt lambda = 2`: the pole of the map.
pub fn bilinear_adjoint<T: Scalar>(
    lambda: T::Complex,
    b: T::Complex,
    dt: T,
    g: (T::Complex, T::Complex),
) -> Result<ModeGradient<T>, Error> {
    let (one, two) = (T::Complex::ONE, T::Complex::from_i64(2));
    let half_z = lambda.scale(dt).divide(two);
    let q = half_z.and_then(|h| (one - h).inverse());
    let slope = q.and_then(|q| (q * q).divide(two)).map(|s| b.scale(dt) * s);
    let (Some(q), Some(slope)) = (q, slope) else {
        return Err(Error::value(
            "bilinear discretization",
            "dt * lambda = 2 is the pole of the map; a stable lambda has a negative real part",
        ));
    };
    Ok(through_z(lambda, b, dt, g, (q * q, slope), q))
}

/// The adjoint of [`zero_order_hold`](super::zero_order_hold), given the cotangents `g` of the
/// discrete `(a, b)`. With `z = dt lambda`: `a = e^z`, `b = dt B phi_1(z)`.
pub fn zero_order_hold_adjoint<T: Real>(
    lambda: T::Complex,
    b: T::Complex,
    dt: T,
    g: (T::Complex, T::Complex),
) -> ModeGradient<T> {
    let z = lambda.scale(dt);
    let slope = b.scale(dt) * T::phi1_derivative(z);
    through_z(lambda, b, dt, g, (complex_exp(z), slope), T::phi1(z))
}

/// The common part of both discretizations: `a = a(z)` and `b = dt B q(z)` with `z = dt lambda`,
/// given the slopes of the discrete `a` and `b` in `z`, and `q`.
fn through_z<T: Scalar>(
    lambda: T::Complex,
    b: T::Complex,
    dt: T,
    (g_a, g_b): (T::Complex, T::Complex),
    (slope_a, slope_b): (T::Complex, T::Complex),
    q: T::Complex,
) -> ModeGradient<T> {
    let g_z = slope_a.conj() * g_a + slope_b.conj() * g_b;
    ModeGradient {
        lambda: g_z.scale(dt),
        b: q.conj().scale(dt) * g_b,
        dt: (lambda.conj() * g_z).re() + ((b * q).conj() * g_b).re(),
    }
}
