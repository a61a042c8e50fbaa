//! The elementary functions of the layer, in any real scalars.

use crate::algebra::Real;
use crate::h3::sigmoid;

/// `x sigmoid(x)`.
pub(crate) fn silu<T: Real>(x: T) -> T {
    x * sigmoid(x)
}

/// The derivative of [`silu`].
pub(crate) fn silu_slope<T: Real>(x: T) -> T {
    let s = sigmoid(x);
    s * (T::ONE + x * (T::ONE - s))
}

/// Above this, softplus is the identity: by definition, as in the official code.
pub(crate) const SOFTPLUS_THRESHOLD: f64 = 20.0;

/// `ln(1 + e^v)`, and v itself above 20.
pub(crate) fn softplus<T: Real>(v: T) -> T {
    let above = v - T::from_f64(SOFTPLUS_THRESHOLD);
    T::select(above, || v, || v.exp().ln_1p())
}

/// The derivative of [`softplus`].
pub(crate) fn softplus_slope<T: Real>(v: T) -> T {
    let above = v - T::from_f64(SOFTPLUS_THRESHOLD);
    T::select(above, || T::ONE, || sigmoid(v))
}

/// A number between limits, of which the upper may be infinite.
///
/// The limit is multiplied by one: what a port clamps it stores, so that those elements have a rounding
/// of their own and are not taken for exact.
pub(crate) fn clamp<T: Real>(x: T, (low, high): (f64, f64)) -> T {
    let low = T::from_f64(low) * T::ONE;
    let x = T::select(low - x, || low, || x);
    match high.is_finite() {
        true => {
            let high = T::from_f64(high) * T::ONE;
            T::select(x - high, || high, || x)
        }
        false => x,
    }
}

/// A cotangent of [`clamp`]'s result, passed on where x is within the limits.
pub(crate) fn clamp_back<T: Real>(g: T, x: T, (low, high): (f64, f64)) -> T {
    let g = T::select(T::from_f64(low) - x, || T::ZERO, || g);
    match high.is_finite() {
        true => T::select(x - T::from_f64(high), || T::ZERO, || g),
        false => g,
    }
}
