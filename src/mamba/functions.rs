//! The elementary functions of the layer, in any real scalars.

use crate::algebra::Real;
use crate::h3::sigmoid;

/// One of two values by the sign of a number, both where a ball straddles zero.
pub(crate) fn select<T: Real>(at: T, above: impl FnOnce() -> T, below: impl FnOnce() -> T) -> T {
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
    select(above, || v, || v.exp().ln_1p())
}

/// The derivative of [`softplus`].
pub(crate) fn softplus_slope<T: Real>(v: T) -> T {
    let above = v - T::from_f64(SOFTPLUS_THRESHOLD);
    select(above, || T::ONE, || sigmoid(v))
}

/// A number between limits, of which the upper may be infinite.
///
/// The limit is multiplied by one: what a port clamps it stores, so that those elements have a rounding
/// of their own and are not taken for exact.
pub(crate) fn clamp<T: Real>(x: T, (low, high): (f64, f64)) -> T {
    let low = T::from_f64(low) * T::ONE;
    let x = select(low - x, || low, || x);
    match high.is_finite() {
        true => {
            let high = T::from_f64(high) * T::ONE;
            select(x - high, || high, || x)
        }
        false => x,
    }
}

/// A cotangent of [`clamp`]'s result, passed on where x is within the limits.
pub(crate) fn clamp_back<T: Real>(g: T, x: T, (low, high): (f64, f64)) -> T {
    let g = select(T::from_f64(low) - x, || T::ZERO, || g);
    match high.is_finite() {
        true => select(x - T::from_f64(high), || T::ZERO, || g),
        false => g,
    }
}
