//! Attention without normalizer under a causal mask of any entries: H3's quadratic form.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use crate::ssm::Varying;

/// `((Q K^T) o M) V` with the entrywise product `o`.
///
/// `q`, `k`: seq_len x d_k, `mask`: seq_len x seq_len, `v`: seq_len x d_v. With the mask of ones
/// on and below the diagonal this is linear attention without its normalizer; with the Toeplitz
/// matrix of the diagonal model's kernel (`D` on its diagonal) and keys that went through the
/// shift model it is one H3 head (paper, section 3.2).
///
/// # Errors
///
/// If the shapes disagree.
pub fn masked_attention<T: Ring>(
    q: &Matrix<T>,
    k: &Matrix<T>,
    v: &Matrix<T>,
    mask: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    q.times(&k.transpose())?.hadamard(mask)?.times(v)
}

/// The mask of products of decays (seq_len x seq_len): `L_ij = a_i ... a_{j+1}` on and below the
/// diagonal, so ones on it, and zeros above.
///
/// With it [`masked_attention`] is gated linear attention with one decay per step (SSD); with all
/// decays 1 it is linear attention without its normalizer, with one constant decay RetNet's core.
/// Decays per state channel have no mask of their own:
/// [`Varying::matrix`](crate::ssm::Varying::matrix) is what takes its place.
///
/// # Errors
///
/// If the sequence is too long for a matrix to be written out.
pub fn decay_mask<T: Ring>(a: &[T]) -> Result<Matrix<T>, Error> {
    let column = |x: &[T]| Matrix::new(x.len(), 1, x.to_vec());
    let ones = column(&vec![T::ONE; a.len()])?;
    Varying::new(column(a)?, ones.clone(), ones)?.matrix()
}
