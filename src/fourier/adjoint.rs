//! The adjoint of causal convolution, by Fourier transform: correlations.
//!
//! The transpose of multiplying by a spectrum `F` is multiplying by `conj F`, once the transform
//! on either side is transposed into its inverse. In time: the transpose of a convolution with
//! `f` is a convolution with `f` run backwards, a correlation. Multiplying by `F` itself would
//! convolve once more, and send the gradient forward in time.

use super::convolution::{embed, real_parts, transform_len};
use super::fft::{fft, inverse_fft};
use crate::algebra::{ComplexScalar, RootsOfUnity, Scalar};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Given the cotangent `g` of `y = f * u`
/// ([`causal_convolution`](super::convolution::causal_convolution)), those of `f` and of `u`, in
/// this order and of their lengths: `F^{-1}(conj(F u) . F g)` and `F^{-1}(conj(F f) . F g)`.
///
/// The transform is as long as the forward one, and nothing wraps around ([`correlate`]).
///
/// # Errors
///
/// [`Error::Shape`] if `g` is not as long as `u`; else as the forward form.
pub fn causal_convolution_adjoint<T>(f: &[T], u: &[T], g: &[T]) -> Result<(Vec<T>, Vec<T>), Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    check_len("cotangent of the output", g.len(), u.len())?;
    let cut = f.len().min(u.len());
    let mut of_kernel = correlate(u, g, cut)?;
    of_kernel.resize(f.len(), T::ZERO);
    Ok((of_kernel, correlate(&f[..cut], g, u.len())?))
}

/// The first `len` entries of the correlation `sum_{i >= j} g_i x_{i-j}`, `j = 0, 1, ...`, where
/// `len` or `x` may be as long as `g`, but no longer: `F^{-1}(conj(F x) . F g)`.
///
/// # Errors
///
/// [`Error::Shape`] if `len` or `x` is longer than `g`; else as
/// [`causal_convolution`](super::convolution::causal_convolution).
pub fn correlate<T>(x: &[T], g: &[T], len: usize) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    if x.len().max(len) > g.len() {
        return Err(Error::shape(
            "correlation",
            format_args!("a signal and a result of at most {} elements", g.len()),
            format_args!("{} and {len}", x.len()),
        ));
    }
    if x.is_empty() || len == 0 {
        return Ok(vec![T::ZERO; len]);
    }
    // Entry j also meets x at n - j + i for i < j. That is at least n - len + 1, and lies in the
    // padding if n >= len + x.len() - 1; and g itself must fit.
    let n = transform_len(x.len(), len)?.max(transform_len(1, g.len())?);
    let product: Vec<T::Complex> = fft(&embed(x, n))?
        .iter()
        .zip(fft(&embed(g, n))?)
        .map(|(x, g)| x.conj() * g)
        .into_vec();
    Ok(real_parts(&inverse_fft(&product)?, len))
}

/// The same through any causal convolution: with `R` reversing the time of `N` steps, the
/// correlation of `g` with `x` is `R (x * R g)`. So a form that can convolve can be run backwards
/// as it is.
///
/// # Errors
///
/// [`Error::Shape`] if `g` is not as long as `u`; errors of `convolve`.
pub fn adjoint_by_reversal<T: Scalar>(
    f: &[T],
    u: &[T],
    g: &[T],
    convolve: impl Fn(&[T], &[T]) -> Result<Vec<T>, Error>,
) -> Result<(Vec<T>, Vec<T>), Error> {
    check_len("cotangent of the output", g.len(), u.len())?;
    let reversed: Vec<T> = g.iter().rev().copied().into_vec();
    let correlate = |x: &[T], len: usize| -> Result<Vec<T>, Error> {
        let mut y = convolve(x, &reversed)?;
        y.reverse();
        y.resize(len, T::ZERO);
        Ok(y)
    };
    Ok((correlate(u, f.len())?, correlate(f, u.len())?))
}
