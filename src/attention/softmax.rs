//! Causal softmax attention: the definition.

use crate::algebra::{Matrix, Real};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Causal softmax attention of one head:
/// `o_i = sum_{j <= i} softmax_j(scale * q_i . k_j) v_j`.
///
/// `q` and `k` are seq_len x d_k, `v` is seq_len x d_v, the result seq_len x d_v. `scale` is
/// usually `1 / sqrt(d_k)`. The largest exponent of each row is subtracted first, which changes
/// nothing but the range. If `q` has fewer rows than `k` and `v`, its rows are the last tokens: those
/// before have keys and values in a cache.
///
/// # Errors
///
/// If the shapes disagree.
pub fn softmax_attention<T: Real>(
    q: &Matrix<T>,
    k: &Matrix<T>,
    v: &Matrix<T>,
    scale: T,
) -> Result<Matrix<T>, Error> {
    let scores = q.times(&k.transpose())?;
    let before = k.rows().checked_sub(q.rows()).ok_or_else(|| {
        let expected = format_args!("at least the {} of Q", q.rows());
        Error::shape("rows of K", expected, k.rows())
    })?;
    check_len("rows of V", v.rows(), k.rows())?;
    let mut weights = Vec::with_capacity(q.rows() * k.rows());
    for i in 0..q.rows() {
        let seen = &scores.row(i)[..=before + i];
        let row: Vec<T> = seen.iter().map(|&s| scale * s).into_vec();
        weights.extend(softmax(&row)?);
        weights.resize((i + 1) * k.rows(), T::ZERO);
    }
    Matrix::new(q.rows(), k.rows(), weights)?.times(v)
}

/// `e^{s_j} / sum_j e^{s_j}`.
///
/// # Errors
///
/// If the normalizer, which is at least 1, cannot be told from zero: the scores are balls too wide,
/// or not finite.
pub(crate) fn softmax<T: Real>(scores: &[T]) -> Result<Vec<T>, Error> {
    // Any number may be subtracted; one whose nearest f64 is the largest keeps exp small. The first of
    // those: max_by takes the last of equals.
    let top = scores.iter().copied().rev();
    let top = top
        .max_by(|a, b| a.to_f64().total_cmp(&b.to_f64()))
        .unwrap_or(T::ZERO);
    let exps: Vec<T> = scores.iter().map(|&s| (s - top).exp()).into_vec();
    let sum = exps.iter().fold(T::ZERO, |sum, &e| sum + e);
    exps.into_iter()
        .map(|e| {
            e.divide(sum).ok_or_else(|| {
                Error::value(
                    "softmax attention",
                    "the normalizer is not bounded away from 0",
                )
            })
        })
        .collect()
}
