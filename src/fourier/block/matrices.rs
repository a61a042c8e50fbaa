//! The factors of the block FFT as matrices, to be multiplied out.

use super::super::dft::dft_matrix;
use super::super::twiddles::{Direction, Twiddles};
use crate::algebra::{Matrix, RootsOfUnity, check_matrix_size};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The factors of `F_N = P (I_N2 (x) F_N1) P^T D (I_N1 (x) F_N2) P`, each an `N x N` matrix,
/// `N = N1 N2`.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockFactors<C> {
    /// `P`: `(P x)[N2 a + b] = x[a + N1 b]`, `a < N1`, `b < N2`.
    pub permutation: Matrix<C>,
    /// `I_N1 (x) F_N2`, applied first: `N1` transforms of length `N2`.
    pub short_n2: Matrix<C>,
    /// `D`: diagonal, `w_N^{-n1 k2}` at `N2 n1 + k2`.
    pub twiddles: Matrix<C>,
    /// `I_N2 (x) F_N1`, applied second: `N2` transforms of length `N1`.
    pub short_n1: Matrix<C>,
}

impl<C: RootsOfUnity> BlockFactors<C> {
    /// The factors for `N = n1 * n2`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there is no root of unity of order `N`; [`Error::Value`] if a
    /// factor is zero or `N` is too large for dense matrices (above 4096).
    pub fn new(n1: usize, n2: usize) -> Result<Self, Error> {
        let n = super::product(&[n1, n2])?;
        check_matrix_size(n)?;
        let twiddles = Twiddles::<C>::new(n, Direction::Forward)?;
        let source: Vec<usize> = (0..n).map(|i| i / n2 + n1 * (i % n2)).into_vec();
        let diagonal: Vec<C> = (0..n)
            .map(|i| twiddles.get(n, ((i / n2) * (i % n2)) as u64))
            .into_vec();
        Ok(Self {
            permutation: Matrix::permutation(&source),
            short_n2: Matrix::identity(n1).kronecker(&dft_matrix(n2)?),
            twiddles: Matrix::diagonal(&diagonal),
            short_n1: Matrix::identity(n2).kronecker(&dft_matrix(n1)?),
        })
    }

    /// `(I_N2 (x) F_N1) P^T D (I_N1 (x) F_N2) P = P^T F_N`: all but the last permutation, so
    /// the transform with its output in the order the fused convolution leaves it.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the (public) factors have been replaced by some of other sizes.
    pub fn permuted_product(&self) -> Result<Matrix<C>, Error> {
        self.short_n1
            .times(&self.permutation.transpose())?
            .times(&self.twiddles)?
            .times(&self.short_n2)?
            .times(&self.permutation)
    }

    /// `P (I_N2 (x) F_N1) P^T D (I_N1 (x) F_N2) P`, which is `F_N`.
    ///
    /// # Errors
    ///
    /// As [`permuted_product`](Self::permuted_product).
    pub fn product(&self) -> Result<Matrix<C>, Error> {
        self.permutation.times(&self.permuted_product()?)
    }
}
