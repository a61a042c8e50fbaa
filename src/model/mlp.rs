//! The MLP of a block.

use crate::algebra::Real;
use crate::error::{Error, check_len};
use crate::h3::Linear;
use crate::into_vec::IntoVec as _;

/// `sqrt(2 / pi)`, to the nearest `f64`, as PyTorch has it.
pub(crate) const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// The coefficient of the cube in [`gelu`].
pub(crate) const GELU_CUBE: f64 = 0.044715;

/// The tanh approximation of the Gaussian error linear unit (Hendrycks and Gimpel 2016),
/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: `F.gelu(x, approximate='tanh')`.
///
/// Its two constants are the `f64`s nearest to them, also in certified arithmetic: that is the
/// function which is evaluated.
pub fn gelu<T: Real>(x: T) -> T {
    let inner = x + T::from_f64(GELU_CUBE) * (x * x * x);
    let half = T::from_f64(0.5) * x;
    half * (T::ONE + (T::from_f64(SQRT_2_OVER_PI) * inner).tanh())
}

/// The Gaussian error linear unit itself, `x/2 (1 + erf(x / sqrt 2))`: `F.gelu(x)`, as S4D layers have it.
pub fn exact_gelu<T: Real>(x: T) -> T {
    x * below(x)
}

/// The share of the normal distribution below `x`, `(1 + erf(x / sqrt 2)) / 2`.
pub(super) fn below<T: Real>(x: T) -> T {
    let half = T::from_f64(0.5);
    half * (T::ONE + (x * half.sqrt()).erf())
}

/// `fc2(gelu(fc1(x)))` of every token (flash-attention `modules/mlp.py`).
#[derive(Clone, Debug)]
pub struct Mlp<T> {
    pub(super) fc1: Linear<T>,
    pub(super) fc2: Linear<T>,
}

impl<T: Real> Mlp<T> {
    /// The MLP with these two projections, d to `d_inner` to d.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(fc1: Linear<T>, fc2: Linear<T>) -> Result<Self, Error> {
        let (inner, d) = (fc1.weight().rows(), fc1.weight().cols());
        check_len("inputs of fc2", fc2.weight().cols(), inner)?;
        check_len("outputs of fc2", fc2.weight().rows(), d)?;
        Ok(Self { fc1, fc2 })
    }

    /// One token (d), with the activation given.
    pub(crate) fn apply(&self, x: &[T], activation: impl Fn(T) -> T) -> Vec<T> {
        let hidden: Vec<T> = self.fc1.apply(x).into_iter().map(activation).into_vec();
        self.fc2.apply(&hidden)
    }
}
