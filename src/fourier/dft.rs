//! The discrete Fourier transform by its definition, O(n^2): what every fast form must equal.

use super::twiddles::{Direction, Twiddles, divide_by_len};
use crate::algebra::{Matrix, RootsOfUnity, check_matrix_size};
use crate::error::Error;

/// `X_k = sum_{j=0}^{n-1} x_j w_n^{-jk}`, with `w_n = exp(2 pi i / n)` over floats.
///
/// Takes `n` elements, returns `n` bins in the order `k = 0, 1, ..., n - 1`, without a factor.
///
/// # Errors
///
/// [`Error::Unsupported`] if the scalar has no root of unity of order `n`, in particular for
/// an empty input.
pub fn dft<C: RootsOfUnity>(x: &[C]) -> Result<Vec<C>, Error> {
    Ok(Twiddles::new(x.len(), Direction::Forward)?.dft(x))
}

/// `x_j = (1/n) sum_{k=0}^{n-1} X_k w_n^{+jk}`: the inverse of [`dft`], by its definition.
///
/// # Errors
///
/// As [`dft`].
pub fn inverse_dft<C: RootsOfUnity>(bins: &[C]) -> Result<Vec<C>, Error> {
    let mut x = Twiddles::new(bins.len(), Direction::Inverse)?.dft(bins);
    divide_by_len(&mut x)?;
    Ok(x)
}

/// The DFT as a matrix: `F_n[k, j] = w_n^{-jk}`, so that `dft(x) = F_n x`. It is symmetric.
///
/// # Errors
///
/// [`Error::Unsupported`] if there is no root of unity of order `n`; [`Error::Value`] if `n` is
/// too large for a dense matrix (above 4096).
pub fn dft_matrix<C: RootsOfUnity>(n: usize) -> Result<Matrix<C>, Error> {
    check_matrix_size(n)?;
    let twiddles = Twiddles::new(n, Direction::Forward)?;
    Ok(Matrix::from_fn(n, n, |k, j| {
        twiddles.get(n, j as u64 * k as u64)
    }))
}
