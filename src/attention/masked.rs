//! Attention without normalizer under a causal mask of any entries: H3's quadratic form.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;

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
