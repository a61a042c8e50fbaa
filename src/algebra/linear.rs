//! A projection with a bias: what the layers of a network are between their own steps.

use super::matrix::Matrix;
use super::ring::{Ring, dot};
use crate::error::{Error, check_len};

/// A projection `W u + b` of d channels to d channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear<T> {
    pub(crate) weight: Matrix<T>,
    pub(crate) bias: Vec<T>,
}

impl<T: Ring> Linear<T> {
    /// The projection with this weight (out x in, as PyTorch stores it) and bias (out).
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(weight: Matrix<T>, bias: Vec<T>) -> Result<Self, Error> {
        check_len("bias", bias.len(), weight.rows())?;
        Ok(Self { weight, bias })
    }

    /// The same projection in other scalars.
    #[must_use]
    pub fn map<U: Ring>(&self, f: impl Fn(T) -> U) -> Linear<U> {
        Linear {
            weight: self.weight.map(&f),
            bias: self.bias.iter().map(|&x| f(x)).collect(),
        }
    }

    /// `W` (out x in).
    #[must_use]
    pub fn weight(&self) -> &Matrix<T> {
        &self.weight
    }

    /// `b` (out).
    #[must_use]
    pub fn bias(&self) -> &[T] {
        &self.bias
    }

    /// `W u + b` of a vector known to fit.
    pub(crate) fn apply(&self, u: &[T]) -> Vec<T> {
        self.bias
            .iter()
            .enumerate()
            .map(|(i, &b)| dot(self.weight.row(i), u) + b)
            .collect()
    }

    /// The zero projection of this many channels.
    pub(crate) fn zeros(outputs: usize, inputs: usize) -> Self {
        Self {
            weight: Matrix::from_fn(outputs, inputs, |_, _| T::ZERO),
            bias: vec![T::ZERO; outputs],
        }
    }

    /// The adjoint of `W u + b`: returns `W^T g`, adds `g u^T` and `g` to the gradient.
    pub(crate) fn adjoint(&self, u: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut of_input = vec![T::ZERO; u.len()];
        for (i, &g) in g.iter().enumerate() {
            gradient.bias[i] = gradient.bias[i] + g;
            let (weight, of_weight) = (self.weight.row(i), gradient.weight.row_mut(i));
            for j in 0..u.len() {
                of_weight[j] = of_weight[j] + g * u[j];
                of_input[j] = of_input[j] + g * weight[j];
            }
        }
        of_input
    }
}
