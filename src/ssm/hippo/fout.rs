//! FouT: the last stretch of the signal as a truncated Fourier series.

use super::continuous::Continuous;
use crate::algebra::{Matrix, Real, Ring, pi};
use crate::error::Error;

/// The two integer matrices of FouT, `A = pi K - C` in coordinates where `B = (1, 0, 1, 0, ...)`:
/// the rotation `K` (frequency `k` between places `2k` and `2k+1`) and the correction
/// `C_ij = b_i b_j w_j` with the weight `w` 1 for the constant and 2 for cosines and sines.
///
/// # Errors
///
/// If m is odd: every frequency takes a cosine and a sine.
pub fn fout_integers<T: Ring>(m: usize) -> Result<(Matrix<T>, Matrix<T>), Error> {
    if m % 2 == 1 {
        return Err(Error::value(
            "state dimension of fout",
            format!("{m}; expected an even number"),
        ));
    }
    let rotation = Matrix::from_fn(m, m, |i, j| {
        let k = (i / 2) as i64;
        T::from_i64(match (i / 2 == j / 2, i.cmp(&j)) {
            (true, core::cmp::Ordering::Less) => -k,
            (true, core::cmp::Ordering::Greater) => k,
            _ => 0,
        })
    });
    let correction = Matrix::from_fn(m, m, |i, j| {
        T::from_i64(if (i | j) % 2 == 0 { fout_weight(j) } else { 0 })
    });
    Ok((rotation, correction))
}

/// The squared norm of the `i`-th basis function: 1 for the constant, 2 for cosines and sines.
#[must_use]
pub fn fout_weight(i: usize) -> i64 {
    if i == 0 { 1 } else { 2 }
}

/// FouT in orthonormal coordinates for a window of length 2 (`hippo.py`, `transition('fout')`):
/// `A = pi K - B B^T`, `B = (1, 0, sqrt 2, 0, sqrt 2, ...)`.
///
/// The state is `c_{2k} = (1/2) int_0^2 u(t - s) sqrt(2) cos(pi k s) ds`, and `c_{2k+1}` with the
/// sine; `c_1`, the sine of frequency zero, stays zero. What leaves the window is estimated from the
/// series itself, which at a jump takes the mean of both sides.
///
/// # Errors
///
/// If m is odd.
pub fn fout<T: Real>(m: usize) -> Result<Continuous<T>, Error> {
    let (rotation, correction) = fout_integers::<T>(m)?;
    let pi: T = pi();
    let scaled = Continuous::from_fn(
        m,
        |i, j| pi * rotation.row(i)[j] - correction.row(i)[j],
        |i| T::from_i64(i64::from(i % 2 == 0)),
    );
    Ok(scaled.orthonormal(fout_weight))
}
