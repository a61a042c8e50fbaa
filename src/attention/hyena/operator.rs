//! Hyena of order n, in its recursive form and as a matrix.

use super::filter::Filter;
use crate::algebra::{Matrix, Ring, check_matrix_size};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::causal_convolution;

/// One step of the recursion: filter, then gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<T> {
    /// `h_n`, with a feedthrough.
    pub filter: Filter<T>,
    /// `x_n`, as long as the signal.
    pub gate: Vec<T>,
}

/// The recursive form (Poli et al. 2023):
///
/// ```text
/// z_1     = v
/// z_{n+1} = x_n o (h_n * z_n + d_n z_n)      n = 1, ..., order = steps.len()
/// ```
///
/// of length N like `v`. O(order N^2) by the convolution's definition; with
/// [`recursive_with`] as fast as the convolution given.
///
/// # Errors
///
/// If a gate is not as long as `v`.
pub fn recursive<T: Ring>(steps: &[Step<T>], v: &[T]) -> Result<Vec<T>, Error> {
    recursive_with(steps, v, |f, u| Ok(causal_convolution(f, u)))
}

/// [`recursive`] by another causal convolution of a kernel with a signal, such as
/// [`via_real_fft`](crate::fourier::convolution::via_real_fft).
///
/// # Errors
///
/// If a gate is not as long as `v`; what `convolve` returns.
pub fn recursive_with<T: Ring>(
    steps: &[Step<T>],
    v: &[T],
    convolve: impl Fn(&[T], &[T]) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Error> {
    let mut z = v.to_vec();
    for step in steps {
        check_len("gate", step.gate.len(), v.len())?;
        let filtered = step.filter.apply(&z, &convolve)?;
        z = step
            .gate
            .iter()
            .zip(filtered)
            .map(|(&x, y)| x * y)
            .into_vec();
    }
    Ok(z)
}

/// The matrix form, `D_{x_n} T_{h_n} ... D_{x_1} T_{h_1}`, `n x n`, which acts on `v`.
///
/// `T_h` is the Toeplitz matrix with the feedthrough on its diagonal. Every factor is lower
/// triangular, so the product is: the operator is causal for any filters and gates.
///
/// # Errors
///
/// If a gate is not of length `n`, or `n` is too large for a dense matrix (above 4096).
pub fn matrix<T: Ring>(steps: &[Step<T>], n: usize) -> Result<Matrix<T>, Error> {
    check_matrix_size(n)?;
    let mut product = Matrix::identity(n);
    for step in steps {
        check_len("gate", step.gate.len(), n)?;
        let filtered = step.filter.matrix(n).times(&product)?;
        product = Matrix::diagonal(&step.gate).times(&filtered)?;
    }
    Ok(product)
}
