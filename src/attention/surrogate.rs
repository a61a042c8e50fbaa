//! For head dimension 1, the whole of an H3 head as one matrix acting on a projection.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;

/// `D_q T_f D_kt`, acting on `v`, where `kt = T_shift k` is the shifted key.
///
/// All vectors have length N, both matrices are N x N: `t_f` of the diagonal model and
/// `t_shift` of the shift model, each with its `D` on the diagonal
/// ([`toeplitz_matrix`](crate::ssm::toeplitz_matrix)).
///
/// # Errors
///
/// If the shapes disagree.
pub fn h3_on_v<T: Ring>(
    q: &[T],
    k: &[T],
    t_f: &Matrix<T>,
    t_shift: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    let shifted = t_shift.apply(k)?;
    Matrix::diagonal(q)
        .times(t_f)?
        .times(&Matrix::diagonal(&shifted))
}

/// The same head as a matrix acting on `k`: `D_q T_f D_v T_shift`.
///
/// Shapes as for [`h3_on_v`].
///
/// # Errors
///
/// If the shapes disagree.
pub fn h3_on_k<T: Ring>(
    q: &[T],
    v: &[T],
    t_f: &Matrix<T>,
    t_shift: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    Matrix::diagonal(q)
        .times(t_f)?
        .times(&Matrix::diagonal(v))?
        .times(t_shift)
}

/// The operator the Hyena paper writes for H3, `D_q T_psi D_k T_phi` acting on `v`: it shifts
/// `v` where H3 shifts `k`, and is a different function of the same parameters.
///
/// Shapes as for [`h3_on_v`].
///
/// # Errors
///
/// If the shapes disagree.
pub fn hyena_on_v<T: Ring>(
    q: &[T],
    k: &[T],
    t_psi: &Matrix<T>,
    t_phi: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    h3_on_k(q, k, t_psi, t_phi)
}
