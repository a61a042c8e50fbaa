//! Linear attention: one function in three forms, the last of them a state space model.

use crate::algebra::{Field, Matrix, Scalar, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Dense, recurrence};

fn check_shapes<T: Field>(
    phi_q: &Matrix<T>,
    phi_k: &Matrix<T>,
    v: &Matrix<T>,
) -> Result<(), Error> {
    check_len("columns of phi(K)", phi_k.cols(), phi_q.cols())?;
    check_len("rows of phi(K)", phi_k.rows(), phi_q.rows())?;
    check_len("rows of V", v.rows(), phi_q.rows())
}

fn normalize<T: Field>(numerator: T, normalizer: T) -> Result<T, Error> {
    numerator.divide(normalizer).ok_or_else(|| {
        Error::value(
            "linear attention",
            "a normalizer phi(q_i) . z_i is zero; expected features with positive products",
        )
    })
}

/// Causal linear attention as a quadratic form:
/// `o_i = sum_{j <= i} (phi(q_i) . phi(k_j)) v_j / sum_{j <= i} phi(q_i) . phi(k_j)`.
///
/// `phi_q`, `phi_k`: seq_len x d_phi, the features already applied; `v`: seq_len x d_v.
/// O(N^2) time.
///
/// # Errors
///
/// If the shapes disagree or a normalizer is zero.
pub fn linear_attention_quadratic<T: Field>(
    phi_q: &Matrix<T>,
    phi_k: &Matrix<T>,
    v: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    check_shapes(phi_q, phi_k, v)?;
    let mut o = Vec::with_capacity(v.rows() * v.cols());
    for i in 0..v.rows() {
        let weights: Vec<T> = (0..=i).map(|j| dot(phi_q.row(i), phi_k.row(j))).into_vec();
        let normalizer = weights.iter().fold(T::ZERO, |sum, &w| sum + w);
        for c in 0..v.cols() {
            let sum = weights
                .iter()
                .enumerate()
                .fold(T::ZERO, |sum, (j, &w)| sum + w * v.row(j)[c]);
            o.push(normalize(sum, normalizer)?);
        }
    }
    Matrix::new(v.rows(), v.cols(), o)
}

/// Causal linear attention as a recurrence over the running sums
/// `S_i = S_{i-1} + phi(k_i) v_i^T` and `z_i = z_{i-1} + phi(k_i)`:
/// `o_i = phi(q_i)^T S_i / (phi(q_i)^T z_i)`. O(N) time.
///
/// Shapes as for [`linear_attention_quadratic`].
///
/// # Errors
///
/// If the shapes disagree or a normalizer is zero.
pub fn linear_attention_recurrent<T: Field>(
    phi_q: &Matrix<T>,
    phi_k: &Matrix<T>,
    v: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    check_shapes(phi_q, phi_k, v)?;
    // s[c] is column c of S, so that the contraction with phi(q) is a dot product.
    let mut s = vec![vec![T::ZERO; phi_k.cols()]; v.cols()];
    let mut z = vec![T::ZERO; phi_k.cols()];
    let mut o = Vec::with_capacity(v.rows() * v.cols());
    for i in 0..v.rows() {
        for (a, &k) in phi_k.row(i).iter().enumerate() {
            z[a] = z[a] + k;
            for (column, &v) in s.iter_mut().zip(v.row(i)) {
                column[a] = column[a] + k * v;
            }
        }
        let normalizer = dot(phi_q.row(i), &z);
        for column in &s {
            o.push(normalize(dot(phi_q.row(i), column), normalizer)?);
        }
    }
    Matrix::new(v.rows(), v.cols(), o)
}

/// Causal linear attention as a state space model: every entry of `S` and of `z` is the state
/// of a model with `A = 1`, `B = 1`, `C = 1`, `D = 0`, driven by that entry of `phi(k_i) v_i^T`
/// or of `phi(k_i)`.
///
/// Shapes as for [`linear_attention_quadratic`].
///
/// # Errors
///
/// If the shapes disagree or a normalizer is zero.
pub fn linear_attention_ssm<T: Scalar>(
    phi_q: &Matrix<T>,
    phi_k: &Matrix<T>,
    v: &Matrix<T>,
) -> Result<Matrix<T>, Error> {
    check_shapes(phi_q, phi_k, v)?;
    let sum = Dense::new(Matrix::identity(1), vec![T::ONE], vec![T::ONE], T::ZERO)?;
    let keys = phi_k.transpose();
    // What the model makes of the sequence w_i phi(k_i), one row a feature: d_phi x seq_len.
    let states = |weight: &dyn Fn(usize) -> T| -> Result<Matrix<T>, Error> {
        let mut rows = Vec::with_capacity(keys.rows() * keys.cols());
        for a in 0..keys.rows() {
            let driven: Vec<T> = (0..keys.cols())
                .map(|i| keys.row(a)[i] * weight(i))
                .into_vec();
            rows.extend(recurrence(&sum, &driven, None)?.output);
        }
        Ok(Matrix::new(keys.rows(), keys.cols(), rows)?.transpose())
    };
    let z = states(&|_| T::ONE)?;
    let mut columns = Vec::with_capacity(v.rows() * v.cols());
    for c in 0..v.cols() {
        let s = states(&|i| v.row(i)[c])?;
        for i in 0..v.rows() {
            columns.push(normalize(
                dot(phi_q.row(i), s.row(i)),
                dot(phi_q.row(i), z.row(i)),
            )?);
        }
    }
    Ok(Matrix::new(v.cols(), v.rows(), columns)?.transpose())
}
