//! Filters: a long filter with a feedthrough, and a short filter with a bias.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{StateSpace, causal_convolution, toeplitz_matrix};

/// A causal filter, `y_i = sum_{j <= i} f_j u_{i-j} + d u_i`: a kernel with a feedthrough, wherever
/// it comes from. The official code calls the feedthrough `bias`.
///
/// Beyond its end a kernel is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter<T> {
    /// `f_0, f_1, ...`.
    pub kernel: Vec<T>,
    /// `d`.
    pub feedthrough: T,
}

impl<T: Ring> Filter<T> {
    /// The filter that changes nothing: no kernel, feedthrough one.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            kernel: Vec::new(),
            feedthrough: T::ONE,
        }
    }

    /// The filter of a state space model on signals of at most `len` elements: its kernel, and its
    /// `D`.
    pub fn of_model<S>(ssm: &S, len: usize) -> Self
    where
        S: StateSpace<Scalar = T>,
        T: crate::algebra::Scalar,
    {
        Self {
            kernel: ssm.kernel(len),
            feedthrough: ssm.feedthrough(),
        }
    }

    /// `T_f + d I`, `n x n` ([`toeplitz_matrix`]).
    #[must_use]
    pub fn matrix(&self, n: usize) -> Matrix<T> {
        toeplitz_matrix(&self.kernel, self.feedthrough, n)
    }

    /// The filtered signal, given how to convolve.
    ///
    /// # Errors
    ///
    /// Those of `convolve`.
    pub(super) fn apply(
        &self,
        u: &[T],
        convolve: impl Fn(&[T], &[T]) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let convolved = convolve(&self.kernel, u)?;
        let outputs = convolved.iter().zip(u);
        Ok(outputs.map(|(&y, &u)| y + self.feedthrough * u).into_vec())
    }
}

/// The filter before the operator, over the last few inputs: `y_i = sum_j taps_j u_{i-j} + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortFilter<T> {
    /// In the order of delay: `taps[0]` meets the present input.
    pub taps: Vec<T>,
    /// Added to every output.
    pub bias: T,
}

impl<T: Ring> ShortFilter<T> {
    /// The filter that changes nothing.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            taps: vec![T::ONE],
            bias: T::ZERO,
        }
    }

    /// One channel of a depthwise `torch.nn.Conv1d` of kernel size K, padding K - 1, cut to the
    /// input's length. It correlates: the *last* weight meets the present input.
    #[must_use]
    pub fn of_conv1d(weight: &[T], bias: T) -> Self {
        Self {
            taps: weight.iter().rev().copied().into_vec(),
            bias,
        }
    }

    /// The filtered signal, as long as `u`.
    #[must_use]
    pub fn apply(&self, u: &[T]) -> Vec<T> {
        let convolved = causal_convolution(&self.taps, u);
        convolved.into_iter().map(|y| y + self.bias).into_vec()
    }
}
