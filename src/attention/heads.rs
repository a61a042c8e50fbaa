//! Several heads: the same attention, on slices of the channels.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// Multi-head attention without its projections: cuts the channels of `q`, `k` and `v` (tokens x
/// channels each, `(h c)`: head h has consecutive channels) into `n_heads` equal parts, gives each
/// to `head(h, q_h, k_h, v_h)`, and lays the results side by side.
///
/// `head` is any attention of this module: softmax, linear, or H3's under a separate mask for
/// each h.
///
/// # Errors
///
/// If `n_heads` does not divide the channels; what `head` returns, or if its result has not as many
/// rows as `q`.
pub fn multi_head<T: Ring>(
    q: &Matrix<T>,
    k: &Matrix<T>,
    v: &Matrix<T>,
    n_heads: usize,
    mut head: impl FnMut(usize, &Matrix<T>, &Matrix<T>, &Matrix<T>) -> Result<Matrix<T>, Error>,
) -> Result<Matrix<T>, Error> {
    let width = |what: &str, x: &Matrix<T>| {
        if n_heads == 0 || !x.cols().is_multiple_of(n_heads) {
            return Err(Error::value(
                "n_heads",
                format!(
                    "{n_heads} does not divide the {} channels of {what}",
                    x.cols()
                ),
            ));
        }
        Ok(x.cols() / n_heads)
    };
    let widths = [width("Q", q)?, width("K", k)?, width("V", v)?];
    let mut outputs = Vec::with_capacity(n_heads);
    for h in 0..n_heads {
        let part = |x: &Matrix<T>, width: usize| {
            Matrix::from_fn(x.rows(), width, |i, c| x.row(i)[h * width + c])
        };
        let o = head(
            h,
            &part(q, widths[0]),
            &part(k, widths[1]),
            &part(v, widths[2]),
        )?;
        crate::error::check_len("rows of a head's output", o.rows(), q.rows())?;
        outputs.push(o);
    }
    let cols = outputs.iter().map(Matrix::cols).sum();
    let rows = (0..q.rows()).flat_map(|i| outputs.iter().flat_map(move |o| o.row(i).to_vec()));
    Matrix::new(q.rows(), cols, rows.into_vec())
}
