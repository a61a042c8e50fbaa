//! LayerNorm.

use crate::algebra::Real;
use crate::error::{Error, check_len};

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` of every token, the variance over `d`
/// (not `d - 1`) channels (Ba, Kiros and Hinton 2016; `torch.nn.LayerNorm`).
#[derive(Clone, Debug)]
pub struct LayerNorm<T> {
    pub(super) weight: Vec<T>,
    bias: Vec<T>,
    epsilon: T,
}

impl<T: Real> LayerNorm<T> {
    /// The norm with this weight (d) and bias (d).
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(weight: Vec<T>, bias: Vec<T>, epsilon: T) -> Result<Self, Error> {
        check_len("bias of a LayerNorm", bias.len(), weight.len())?;
        Ok(Self {
            weight,
            bias,
            epsilon,
        })
    }

    /// One token (d) normalized.
    ///
    /// # Errors
    ///
    /// If `x` has another length, or variance and epsilon are zero together.
    pub fn apply(&self, x: &[T]) -> Result<Vec<T>, Error> {
        let (center, variance) = self.moments(x)?;
        self.scaled(x, center, variance)
    }

    /// The factor of every channel.
    pub(crate) fn weight(&self) -> &[T] {
        &self.weight
    }

    /// The number added to the variance.
    pub(crate) fn epsilon(&self) -> T {
        self.epsilon
    }

    /// Mean and variance of one token (d).
    pub(crate) fn moments(&self, x: &[T]) -> Result<(T, T), Error> {
        check_len("token", x.len(), self.weight.len())?;
        let d = T::from_i64(x.len() as i64);
        let mean = |terms: &mut dyn Iterator<Item = T>| {
            let sum = terms.fold(T::ZERO, |sum, x| sum + x);
            divide(sum, d)
        };
        let center = mean(&mut x.iter().copied())?;
        let squares = &mut x.iter().map(|&x| x - center).map(|x| x * x);
        Ok((center, mean(squares)?))
    }

    /// `sqrt(variance + epsilon)`.
    pub(crate) fn deviation(&self, variance: T) -> T {
        (variance + self.epsilon).sqrt()
    }

    /// One token (d) of this mean and variance normalized.
    pub(crate) fn scaled(&self, x: &[T], center: T, variance: T) -> Result<Vec<T>, Error> {
        let deviation = self.deviation(variance);
        let scaled = x.iter().zip(&self.weight).zip(&self.bias);
        scaled
            .map(|((&x, &weight), &bias)| {
                let x = x - center;
                Ok(divide(x, deviation)? * weight + bias)
            })
            .collect()
    }
}

/// `a / b` inside a LayerNorm.
pub(super) fn divide<T: Real>(a: T, b: T) -> Result<T, Error> {
    a.divide(b)
        .ok_or_else(|| Error::value("LayerNorm", "variance + epsilon is not bounded away from 0"))
}
