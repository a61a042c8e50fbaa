//! The MLP, backwards.

use super::super::mlp::{GELU_CUBE, Mlp, SQRT_2_OVER_PI, below};
use crate::algebra::{Real, erf_slope};
use crate::h3::Linear;
use crate::into_vec::IntoVec as _;

/// The gradients of an MLP, summed over tokens.
#[derive(Clone, Debug)]
pub(super) struct MlpGradient<T> {
    pub(super) fc1: Linear<T>,
    pub(super) fc2: Linear<T>,
}

/// The slope of [`gelu`](super::super::gelu): with `c = sqrt(2/pi)` and `t = tanh(c (x + 0.044715 x^3))`,
///
/// ```text
/// (1 + t)/2 + x/2 (1 - t)(1 + t) c (1 + 3 * 0.044715 x^2)
/// ```
pub(crate) fn gelu_slope<T: Real>(x: T) -> T {
    let (c, cube) = (T::from_f64(SQRT_2_OVER_PI), T::from_f64(GELU_CUBE));
    let t = (c * (x + cube * (x * x * x))).tanh();
    let half = T::from_f64(0.5);
    let inner_slope = c * (T::ONE + T::from_i64(3) * cube * (x * x));
    half * (T::ONE + t) + half * x * ((T::ONE - t) * (T::ONE + t)) * inner_slope
}

/// The slope of [`exact_gelu`](super::super::exact_gelu), `P(x) + x p(x)` with the normal distribution `P` and its
/// density `p`.
pub fn exact_gelu_slope<T: Real>(x: T) -> T {
    let half = T::from_f64(0.5);
    let root = half.sqrt();
    let density = half * root * erf_slope(x * root);
    below(x) + x * density
}

impl<T: Real> Mlp<T> {
    pub(super) fn zero_gradient(&self) -> MlpGradient<T> {
        let zeros =
            |linear: &Linear<T>| Linear::zeros(linear.weight().rows(), linear.weight().cols());
        MlpGradient {
            fc1: zeros(&self.fc1),
            fc2: zeros(&self.fc2),
        }
    }

    /// The adjoint at one token `x` (d), given the cotangent `g` (d) of its image, for an activation and
    /// its slope: returns that of `x`, adds to the gradient. The hidden values are computed again.
    ///
    /// ```text
    /// e = W2^T g * slope(W1 x + b1)        x: W1^T e
    /// ```
    pub(super) fn adjoint(
        &self,
        x: &[T],
        g: &[T],
        activation: impl Fn(T) -> T,
        slope: impl Fn(T) -> T,
        gradient: &mut MlpGradient<T>,
    ) -> Vec<T> {
        let inner = self.fc1.apply(x);
        let active: Vec<T> = inner.iter().map(|&x| activation(x)).into_vec();
        let of_active = self.fc2.adjoint(&active, g, &mut gradient.fc2);
        let of_inner = inner.iter().zip(of_active);
        let of_inner: Vec<T> = of_inner.map(|(&x, g)| g * slope(x)).into_vec();
        self.fc1.adjoint(x, &of_inner, &mut gradient.fc1)
    }
}
