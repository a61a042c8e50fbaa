//! Random tensors for the cases of the suite.

use super::super::round_to_16_bits::round_to_16_bits;
use crate::algebra::{FloatFormat, Rng};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;

/// A source of numbers, by name.
pub(crate) struct Numbers {
    rng: Rng,
    exact: bool,
}

impl Numbers {
    /// Numbers that need 24 bits, or, for cases in which nothing rounds, halves of -1, 0 and 1.
    pub(crate) fn named(seed: u64, name: &str, exact: bool) -> Self {
        Self {
            rng: Rng::named(seed, name),
            exact,
        }
    }

    /// A tensor of numbers from -1.5 to 1.5.
    pub(crate) fn tensor(&mut self, shape: &[usize]) -> Result<Tensor<f64>, Error> {
        self.scaled(shape, 1.5)
    }

    /// The same, up to this size.
    pub(crate) fn scaled(&mut self, shape: &[usize], size: f64) -> Result<Tensor<f64>, Error> {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| match self.exact {
            true => (self.rng.below(3) as f64 - 1.0) / 2.0,
            false => round_to_16_bits(size * self.rng.unit()),
        });
        Tensor::new(shape, numbers.into_vec())
    }

    /// Numbers up to this size that only formats of 24 bits and more hold.
    pub(crate) fn fine(&mut self, shape: &[usize], size: f64) -> Result<Tensor<f64>, Error> {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| FloatFormat::F32.round(size * self.rng.unit()));
        Tensor::new(shape, numbers.into_vec())
    }
}
