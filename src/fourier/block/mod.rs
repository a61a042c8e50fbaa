//! The block FFT: one long transform as two batches of short ones (Cooley and Tukey 1965; the
//! form of FlashConv).
//!
//! For `N = N1 N2`, with input index `n = n1 + N1 n2` and output index `k = N2 k1 + k2`,
//!
//! ```text
//! F_N = P (I_N2 (x) F_N1) P^T D (I_N1 (x) F_N2) P
//! ```
//!
//! - `P` is the same permutation in all three places: it gathers with stride `N1`,
//!   `(P x)[N2 a + b] = x[a + N1 b]` for `a < N1`, `b < N2`, which is the transposition of `x`
//!   read as an `N2 x N1` array in row-major order. `P^T`, its inverse, transposes an
//!   `N1 x N2` array.
//! - `D` is diagonal, `D[N2 n1 + k2] = w_N^{-n1 k2}`: the twiddle factors.
//!
//! A list of factors `[r_1, ..., r_s]` means `N2 = r_s` and `N1 = r_1 ... r_{s-1}`, whose
//! transform is done by the same step: the general mixed radix.

mod fused;
mod matrices;

use crate::into_vec::IntoVec as _;
pub use fused::FusedConvolution;
pub use matrices::BlockFactors;

internals!(fused::{inverse_permuted_fft, permuted_fft, permuted_order});

use super::twiddles::{Direction, Twiddles, divide_by_len};
use crate::algebra::RootsOfUnity;
use crate::error::Error;
use crate::internals::internals;

/// The same as [`dft`](super::dft::dft), by recursive block steps over the given factors.
///
/// The factors' product must be the length; factors 1 are allowed and do nothing. The short
/// transforms are sums by definition, `F_r` as a dense matrix, so that `[N1, N2]` costs
/// `N (N1 + N2)` and `[2, 2, ..., 2]` is a radix-2 FFT.
///
/// # Errors
///
/// [`Error::Shape`] if the factors do not multiply to the length; [`Error::Unsupported`] if
/// there is no root of unity of that order.
pub fn block_fft<C: RootsOfUnity>(x: &[C], factors: &[usize]) -> Result<Vec<C>, Error> {
    let factors = check_factors(factors, x.len())?;
    let twiddles = Twiddles::new(x.len(), Direction::Forward)?;
    Ok(step(x, &factors, &twiddles))
}

/// The inverse of [`block_fft`], factor `1/N` included.
///
/// # Errors
///
/// As [`block_fft`].
pub fn inverse_block_fft<C: RootsOfUnity>(bins: &[C], factors: &[usize]) -> Result<Vec<C>, Error> {
    let factors = check_factors(factors, bins.len())?;
    let twiddles = Twiddles::new(bins.len(), Direction::Inverse)?;
    let mut x = step(bins, &factors, &twiddles);
    divide_by_len(&mut x)?;
    Ok(x)
}

/// The block factorization, read from right to left, a line for each of its factors.
fn step<C: RootsOfUnity>(x: &[C], factors: &[usize], twiddles: &Twiddles<C>) -> Vec<C> {
    let n = x.len();
    let Some((&n2, rest)) = factors.split_last() else {
        return x.to_vec();
    };
    if rest.is_empty() {
        return twiddles.dft(x);
    }
    let n1 = n / n2;
    // P
    let mut y = transpose(x, n2, n1);
    for (j1, row) in y.chunks_exact_mut(n2).enumerate() {
        // I_N1 (x) F_N2
        row.copy_from_slice(&twiddles.dft(row));
        // D
        for (k2, z) in row.iter_mut().enumerate() {
            *z = *z * twiddles.get(n, (j1 * k2) as u64);
        }
    }
    // P^T
    let mut y = transpose(&y, n1, n2);
    // I_N2 (x) F_N1
    for row in y.chunks_exact_mut(n1) {
        row.copy_from_slice(&step(row, rest, twiddles));
    }
    // P
    transpose(&y, n2, n1)
}

/// The transposition of a row-major `rows x cols` array, as a vector.
fn transpose<C: Copy>(x: &[C], rows: usize, cols: usize) -> Vec<C> {
    (0..rows * cols)
        .map(|i| x[i / rows + cols * (i % rows)])
        .into_vec()
}

/// The factors other than 1, if the product of all of them is `n`.
///
/// Without the ones, a list is no longer than `n` has bits, which bounds the recursion.
fn check_factors(factors: &[usize], n: usize) -> Result<Vec<usize>, Error> {
    let product = product(factors)?;
    if product != n {
        return Err(Error::shape(
            "block FFT factors",
            format_args!("product {n}, the length of the transform"),
            format_args!("{factors:?}, product {product}"),
        ));
    }
    Ok(factors.iter().copied().filter(|&r| r != 1).into_vec())
}

/// The length that the factors make.
pub(super) fn product(factors: &[usize]) -> Result<usize, Error> {
    factors
        .iter()
        .try_fold(1usize, |product, &r| product.checked_mul(r))
        .filter(|&product| product > 0)
        .ok_or_else(|| {
            Error::value(
                "block FFT factors",
                format!("{factors:?}: each must be at least 1 and the product must fit usize"),
            )
        })
}
