//! Causal convolution of a signal with a kernel, by Fourier transform.
//!
//! `y_i = sum_{j=0}^{i} f_j u_{i-j}`, `i = 0, ..., N - 1`, where `N` is the length of `u`; `f_j`
//! beyond the kernel's end is zero. All functions here take any lengths, 0 included.
//!
//! A kernel longer than the input is cut to `N` first. That cannot change an output: `f_j` meets
//! `u_{i-j}` only if `j <= i < N`. Left uncut, it would need a longer transform, or wrap around.

use super::block::FusedConvolution;
use super::dft::{dft, inverse_dft};
use super::fft::{fft, inverse_fft};
use super::real::{inverse_real_fft, real_fft};
use crate::algebra::{ComplexScalar, RootsOfUnity, Scalar};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The shortest power of two at which no product wraps around.
///
/// A kernel of `M` and an input of `N` elements make a linear convolution of `N + M - 1`. Even
/// where only the first `N` outputs are wanted nothing less will do: what a shorter transform
/// wraps around lands on the first outputs.
///
/// # Errors
///
/// [`Error::Value`] if that length does not fit `usize`.
pub fn transform_len(kernel_len: usize, input_len: usize) -> Result<usize, Error> {
    let linear = kernel_len
        .checked_add(input_len)
        .map(|sum| sum.saturating_sub(1));
    linear
        .and_then(usize::checked_next_power_of_two)
        .ok_or_else(|| {
            Error::value(
                "convolution lengths",
                format!("{kernel_len} + {input_len} does not fit a power of two in usize"),
            )
        })
}

/// Causal convolution by the complex FFT: pad with zeros, multiply the spectra, cut to `N`.
///
/// # Errors
///
/// [`Error::Unsupported`] if the scalar has no root of unity of the order
/// [`transform_len`] (which can happen for no length that fits memory, over floats and `M61`).
pub fn causal_convolution<T>(f: &[T], u: &[T]) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let Some((f, n)) = prepare(f, u)? else {
        return Ok(vec![T::ZERO; u.len()]);
    };
    let product = multiply(&fft(&embed(f, n))?, &fft(&embed(u, n))?);
    Ok(real_parts(&inverse_fft(&product)?, u.len()))
}

/// Causal convolution by the real FFT: the same with half the work, on `n/2 + 1` bins.
///
/// # Errors
///
/// As [`causal_convolution`].
pub fn via_real_fft<T>(f: &[T], u: &[T]) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let Some((f, n)) = prepare(f, u)? else {
        return Ok(vec![T::ZERO; u.len()]);
    };
    // Packing needs an even length.
    let n = n.max(2);
    let padded = |x: &[T]| {
        let mut x = x.to_vec();
        x.resize(n, T::ZERO);
        x
    };
    let product: Vec<T::Complex> = multiply(&real_fft(&padded(f))?, &real_fft(&padded(u))?);
    let mut y = inverse_real_fft(&product, n)?;
    y.truncate(u.len());
    Ok(y)
}

/// Causal convolution by the fused block FFT over the given factors, which make its length.
///
/// # Errors
///
/// [`Error::Shape`] if the product of the factors is below `N + M - 1`, `M` the length of the
/// kernel after the cut to `N`; [`Error::Unsupported`] if there is no root of unity of that
/// order; [`Error::Value`] if a factor is zero or the product overflows.
pub fn via_block_fft<T>(f: &[T], u: &[T], factors: &[usize]) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let n = super::block::product(factors)?;
    let Some((f, _)) = prepare(f, u)? else {
        return Ok(vec![T::ZERO; u.len()]);
    };
    let linear = f.len() + u.len() - 1;
    if n < linear {
        return Err(Error::shape(
            "block FFT factors",
            format_args!("a product of at least {linear}, so that nothing wraps around"),
            format_args!("{factors:?}, product {n}"),
        ));
    }
    let y = FusedConvolution::<T::Complex>::new(&embed(f, f.len()), factors)?
        .apply(&embed(u, u.len()))?;
    Ok(real_parts(&y, u.len()))
}

/// Circular convolution, `y_i = sum_{j=0}^{n-1} f_j u_{(i-j) mod n}`, of two signals of one
/// length `n`: what multiplying spectra without padding computes.
///
/// It is *not* causal: `u_{n-1}` reaches `y_0`. It is here to be compared with. Lengths that are
/// no power of two go through the transform's definition, in O(n^2).
///
/// # Errors
///
/// [`Error::Shape`] if the lengths differ; [`Error::Unsupported`] if there is no root of unity
/// of order `n` (`M61` has few).
pub fn circular_convolution<T>(f: &[T], u: &[T]) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let n = u.len();
    check_len("circular convolution kernel", f.len(), n)?;
    if n == 0 {
        return Ok(Vec::new());
    }
    let (f, u) = (embed(f, n), embed(u, n));
    let y: Vec<T::Complex> = if n.is_power_of_two() {
        inverse_fft(&multiply(&fft(&f)?, &fft(&u)?))?
    } else {
        inverse_dft(&multiply(&dft(&f)?, &dft(&u)?))?
    };
    Ok(real_parts(&y, n))
}

/// The kernel cut to the input's length, and the length of the transform; `None` if either is
/// empty, where the convolution is zero and there is nothing to transform.
fn prepare<'a, T>(f: &'a [T], u: &[T]) -> Result<Option<(&'a [T], usize)>, Error> {
    let f = &f[..f.len().min(u.len())];
    if f.is_empty() {
        return Ok(None);
    }
    Ok(Some((f, transform_len(f.len(), u.len())?)))
}

/// A real signal as a complex one, padded with zeros to `n`.
pub(super) fn embed<T: Scalar>(x: &[T], n: usize) -> Vec<T::Complex> {
    let mut z: Vec<T::Complex> = x.iter().map(|&x| T::Complex::from_base(x)).into_vec();
    z.resize(n, T::Complex::from_base(T::ZERO));
    z
}

fn multiply<C: ComplexScalar>(a: &[C], b: &[C]) -> Vec<C> {
    a.iter().zip(b).map(|(&a, &b)| a * b).into_vec()
}

/// The real parts of the first `len` elements. The imaginary parts are zero up to rounding,
/// and over `M61` exactly.
pub(super) fn real_parts<C: ComplexScalar>(z: &[C], len: usize) -> Vec<C::Base> {
    z[..len].iter().map(|z| z.re()).into_vec()
}
