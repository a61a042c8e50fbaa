//! The unrolled recurrence, written as a lower triangular Toeplitz matrix.

use super::convolution::finish_convolution;
use super::state_space::{Response, StateSpace};
use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use core::ops::Range;

/// The causal Toeplitz matrix `T_f` of a kernel with `d` added on its diagonal, `n x n`:
/// `T[i, j] = f_{i-j}` for `i >= j`, zero above the diagonal and beyond the kernel's end.
pub fn toeplitz_matrix<T: Ring>(f: &[T], d: T, n: usize) -> Matrix<T> {
    Matrix::from_fn(n, n, |i, j| {
        if i < j {
            return T::ZERO;
        }
        let f = f.get(i - j).copied().unwrap_or(T::ZERO);
        if i == j { f + d } else { f }
    })
}

/// The same over a row of documents: block diagonal, since no output depends on another document.
/// Padding has rows and columns of zeros.
pub(crate) fn toeplitz_of_documents<T: Ring>(
    f: &[T],
    d: T,
    documents: &[Range<usize>],
    n: usize,
) -> Matrix<T> {
    let whole = toeplitz_matrix(f, d, n);
    Matrix::from_fn(n, n, |i, j| {
        let within = |tokens: &Range<usize>| tokens.contains(&i) && tokens.contains(&j);
        match documents.iter().any(within) {
            true => whole.row(i)[j],
            false => T::ZERO,
        }
    })
}

/// The outputs as `T_f u + D u` plus the contribution of the initial state, and the final state in
/// closed form. O(N^2) time and memory: the definition written as a matrix.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub fn toeplitz<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let matrix = toeplitz_matrix(&ssm.kernel(u.len()), S::Scalar::ZERO, u.len());
    finish_convolution(ssm, matrix.apply(u)?, u, x0)
}
