//! The radix-2 fast Fourier transform (Cooley and Tukey 1965), for lengths `n = 2^t`.

use super::twiddles::{Direction, Twiddles, check_power_of_two, divide_by_len};
use crate::algebra::RootsOfUnity;
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The same as [`dft`](super::dft::dft) in `n log2(n) / 2` butterflies, for `n = 2^t`.
///
/// # Errors
///
/// [`Error::Shape`] if the length is not a power of two (zero is none).
pub fn fft<C: RootsOfUnity>(x: &[C]) -> Result<Vec<C>, Error> {
    transform(x, Direction::Forward)
}

/// The inverse of [`fft`], factor `1/n` included.
///
/// # Errors
///
/// As [`fft`].
pub fn inverse_fft<C: RootsOfUnity>(bins: &[C]) -> Result<Vec<C>, Error> {
    let mut x = transform(bins, Direction::Inverse)?;
    divide_by_len(&mut x)?;
    Ok(x)
}

/// Decimation in time: `X_k = E_k + w_n^{-k} O_k` and `X_{k+n/2} = E_k - w_n^{-k} O_k`, where
/// `E` and `O` are the transforms of the elements of even and of odd index.
///
/// Followed down to single elements, that recursion sorts the input by the lowest bit of the
/// index first, then by the next: element `j` ends up where the bits of `j` read backwards
/// point. So the loop below first moves every element there, then runs the recursion from its
/// leaves up, with transforms of 1, 2, 4, ... elements lying side by side.
fn transform<C: RootsOfUnity>(x: &[C], direction: Direction) -> Result<Vec<C>, Error> {
    let n = x.len();
    check_power_of_two("FFT input", n)?;
    let twiddles = Twiddles::<C>::new(n, direction)?;
    let bits = n.trailing_zeros();
    let mut y: Vec<C> = (0..n).map(|i| x[reverse_bits(i, bits)]).into_vec();
    for half in (0..bits).map(|level| 1 << level) {
        for pair in y.chunks_exact_mut(2 * half) {
            let (even, odd) = pair.split_at_mut(half);
            for k in 0..half {
                let (e, o) = (even[k], twiddles.get(2 * half, k as u64) * odd[k]);
                even[k] = e + o;
                odd[k] = e - o;
            }
        }
    }
    Ok(y)
}

/// The number whose lowest `bits` binary digits are those of `i` in reverse order.
fn reverse_bits(i: usize, bits: u32) -> usize {
    // A shift by the full width, which bits = 0 would ask for, is no shift.
    i.reverse_bits()
        .checked_shr(usize::BITS - bits)
        .unwrap_or(0)
}
