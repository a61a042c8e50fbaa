//! Transforms of real input by Hermitian packing, for even lengths `n = 2^t >= 2`.
//!
//! The bins of a real signal obey `X_{n-k} = conj X_k`, so `n/2 + 1` of them say everything:
//! `k = 0, ..., n/2`. Bins `0` and `n/2` (the Nyquist bin) are real, and each stands for itself;
//! every other one stands for a pair. Two signals, or two halves of one, therefore fit into one
//! complex transform, as its real and its imaginary input.
//!
//! Packing needs `conj(w) = 1/w`. [`RootsOfUnity`] promises that for powers of two alone (over
//! `M61` a root of order 3 is its own conjugate), hence the lengths.

use super::fft::{fft, inverse_fft};
use super::twiddles::{Direction, Twiddles};
use crate::algebra::{ComplexScalar, RootsOfUnity, Scalar, one_half, real_and_imaginary};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Bins `0, ..., n/2` of the transform of `n` real numbers, by one complex FFT of length `n/2`.
///
/// They equal the first `n/2 + 1` of [`fft`]'s bins; the others are `X_{n-k} = conj X_k`. The
/// imaginary parts of bins `0` and `n/2` are zero.
///
/// # Errors
///
/// [`Error::Shape`] if the length is not a power of two, or is 1.
pub fn real_fft<T>(x: &[T]) -> Result<Vec<T::Complex>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let n = x.len();
    check_real_len("real FFT input", n)?;
    let h = n / 2;
    let twiddles = Twiddles::<T::Complex>::new(n, Direction::Forward)?;
    let packed: Vec<T::Complex> = (0..h)
        .map(|j| T::Complex::from_parts(x[2 * j], x[2 * j + 1]))
        .into_vec();
    let z = fft(&packed)?;
    let half = one_half()?;
    Ok((0..=h)
        .map(|k| {
            let (even, odd) = unpack(z[k % h], z[(h - k) % h], half);
            even + twiddles.get(n, k as u64) * odd
        })
        .into_vec())
}

/// The `n` real numbers with the given bins `0, ..., n/2`: the inverse of [`real_fft`].
///
/// `n` is stated, not guessed: `m` bins could belong to length `2(m - 1)` or, in conventions
/// that allow it, to the odd length `2m - 1`. The imaginary parts of bins `0` and `n/2`, which
/// no real signal has, are not read.
///
/// # Errors
///
/// [`Error::Shape`] if `n` is not a power of two, or is 1, or if there are not `n/2 + 1` bins.
pub fn inverse_real_fft<T>(bins: &[T::Complex], n: usize) -> Result<Vec<T>, Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    check_real_len("inverse real FFT output", n)?;
    let h = n / 2;
    check_len("inverse real FFT bins", bins.len(), h + 1)?;
    let twiddles = Twiddles::<T::Complex>::new(n, Direction::Inverse)?;
    let half = one_half()?;
    let bin = |k: usize| {
        if k == 0 || k == h {
            T::Complex::from_base(bins[k].re())
        } else {
            bins[k]
        }
    };
    let packed: Vec<T::Complex> = (0..h)
        .map(|k| {
            // The bin half way around, X_{k+h} = conj X_{h-k}, undoes the last butterfly:
            // E = (X_k + X_{k+h})/2, w^{-k} O = (X_k - X_{k+h})/2.
            let (near, far) = (bin(k), bin(h - k).conj());
            let even = (near + far).scale(half);
            let odd = twiddles.get(n, k as u64) * (near - far).scale(half);
            even + times_i(odd)
        })
        .into_vec();
    let z = inverse_fft(&packed)?;
    Ok(real_and_imaginary(&z))
}

/// Bins `0, ..., n/2` of two real signals of length `n` at once, by one complex FFT of length
/// `n` of `x + i y`.
///
/// # Errors
///
/// [`Error::Shape`] if the lengths differ, or are no power of two, or are 1.
#[expect(
    clippy::type_complexity,
    reason = "two spectra of the same kind, in the order of the two signals"
)]
pub fn real_fft_pair<T>(x: &[T], y: &[T]) -> Result<(Vec<T::Complex>, Vec<T::Complex>), Error>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    let n = x.len();
    check_real_len("real FFT input", n)?;
    check_len("second real FFT input", y.len(), n)?;
    let packed: Vec<T::Complex> = x
        .iter()
        .zip(y)
        .map(|(&x, &y)| T::Complex::from_parts(x, y))
        .into_vec();
    let z = fft(&packed)?;
    let half = one_half()?;
    Ok((0..=n / 2)
        .map(|k| unpack(z[k], z[(n - k) % n], half))
        .unzip())
}

/// The bins `X_k`, `Y_k` of two real signals from `Z_k` and `Z_{n-k}`, the bins of `x + i y`:
/// `Z_k = X_k + i Y_k` and `conj Z_{n-k} = X_k - i Y_k`.
fn unpack<C: ComplexScalar>(near: C, far: C, half: C::Base) -> (C, C) {
    let far = far.conj();
    let (sum, difference) = (near + far, near - far);
    // (a + i b)/i = b - i a.
    let quotient = C::from_parts(difference.im(), -difference.re());
    (sum.scale(half), quotient.scale(half))
}

fn times_i<C: ComplexScalar>(z: C) -> C {
    C::from_parts(-z.im(), z.re())
}

fn check_real_len(what: &str, n: usize) -> Result<(), Error> {
    if n >= 2 && n.is_power_of_two() {
        Ok(())
    } else {
        Err(Error::shape(
            what,
            "a power of two of elements, at least 2",
            n,
        ))
    }
}
