//! LayerNorm, backwards.

use super::super::layer_norm::{LayerNorm, divide};
use crate::algebra::Real;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The gradients of one LayerNorm of one token, (d) each.
#[derive(Clone, Debug)]
pub(crate) struct NormGradient<T> {
    pub(crate) input: Vec<T>,
    pub(crate) weight: Vec<T>,
    pub(crate) bias: Vec<T>,
}

impl<T: Real> LayerNorm<T> {
    /// The adjoint at one token `x` (d), given the cotangent `g` (d) of its image. With
    /// `xhat = (x - mean) / deviation`, so that the image is `xhat weight + bias`,
    ///
    /// ```text
    /// bias: g        weight: g xhat        xhat: e = g weight
    /// x: (e - mean(e) - xhat mean(e xhat)) / deviation
    /// ```
    ///
    /// The two means are what `x` does to the mean and to the deviation.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and if `g` has another length.
    pub(crate) fn adjoint(&self, x: &[T], g: &[T]) -> Result<NormGradient<T>, Error> {
        let (center, variance) = self.moments(x)?;
        self.adjoint_of(x, (center, variance), g)
    }

    /// [`adjoint`](Self::adjoint) at a token of this mean and variance.
    pub(crate) fn adjoint_of(
        &self,
        x: &[T],
        (center, variance): (T, T),
        g: &[T],
    ) -> Result<NormGradient<T>, Error> {
        check_len("cotangent of a token", g.len(), x.len())?;
        let deviation = self.deviation(variance);
        let d = T::from_i64(x.len() as i64);
        let normed = x.iter().map(|&x| divide(x - center, deviation));
        let normed = normed.collect::<Result<Vec<T>, Error>>()?;
        let of_normed: Vec<T> = g.iter().zip(&self.weight).map(|(&g, &w)| g * w).into_vec();
        let mean = of_normed.iter().fold(T::ZERO, |sum, &e| sum + e);
        let mean = divide(mean, d)?;
        let along = divide(crate::algebra::dot(&of_normed, &normed), d)?;
        let input = of_normed.iter().zip(&normed);
        let input = input.map(|(&e, &x)| divide(e - mean - x * along, deviation));
        Ok(NormGradient {
            input: input.collect::<Result<_, Error>>()?,
            weight: g.iter().zip(&normed).map(|(&g, &x)| g * x).into_vec(),
            bias: g.to_vec(),
        })
    }
}
