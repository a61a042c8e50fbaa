//! The fused FFT -> pointwise product -> inverse FFT of one chunk, with no permutation at all.
//!
//! Without the last `P`, the block FFT yields the bins in another order: `G = P^T F`. The
//! pointwise product does not care in which order it meets the bins, as long as both spectra
//! come in the same one, and `G^{-1}` takes them back from there:
//! `F^{-1}(F u . F f) = G^{-1}(G u . G f)`. What is left of the permutations, `P^T D (I (x) F_N2)
//! P`, is a transform down the columns of an `N2 x N1` array, done where the elements lie. So
//! decimation in frequency forward and decimation in time backward move no element anywhere.

use super::super::twiddles::{Direction, Twiddles, divide_by_len};
use super::{check_factors, product};
use crate::algebra::RootsOfUnity;
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The bins of [`dft`](super::super::dft::dft) in the order of [`permuted_order`]: the block
/// FFT in place, by decimation in frequency.
///
/// # Errors
///
/// As [`block_fft`](super::block_fft).
pub fn permuted_fft<C: RootsOfUnity>(x: &[C], factors: &[usize]) -> Result<Vec<C>, Error> {
    let factors = check_factors(factors, x.len())?;
    let twiddles = Twiddles::new(x.len(), Direction::Forward)?;
    let mut y = x.to_vec();
    decimate_in_frequency(&mut y, &factors, &twiddles);
    Ok(y)
}

/// The inverse of [`permuted_fft`], factor `1/N` included: takes bins in the order of
/// [`permuted_order`], by decimation in time.
///
/// # Errors
///
/// As [`block_fft`](super::block_fft).
pub fn inverse_permuted_fft<C: RootsOfUnity>(
    bins: &[C],
    factors: &[usize],
) -> Result<Vec<C>, Error> {
    let factors = check_factors(factors, bins.len())?;
    let twiddles = Twiddles::new(bins.len(), Direction::Inverse)?;
    let mut x = bins.to_vec();
    decimate_in_time(&mut x, &factors, &twiddles);
    divide_by_len(&mut x)?;
    Ok(x)
}

/// The order of the bins after [`permuted_fft`]: position `i` holds bin `permuted_order[i]`.
///
/// With factors `[r_1, ..., r_s]` the digits of the index, in the mixed radix they make, are
/// reversed; `[2, ..., 2]` gives bit reversal.
///
/// # Errors
///
/// [`Error::Value`] if a factor is zero or the product exceeds 2^24 positions.
pub fn permuted_order(factors: &[usize]) -> Result<Vec<usize>, Error> {
    const MAX_POSITIONS: usize = 1 << 24;
    if product(factors)? > MAX_POSITIONS {
        return Err(Error::value(
            "block FFT factors",
            format!("a table of more than {MAX_POSITIONS} positions"),
        ));
    }
    // Position N1 k2 + i holds bin k2 + N2 k1, where i is the place of k1 in the order of the
    // factors before the last.
    let mut order = vec![0];
    for &n2 in factors {
        order = (0..n2)
            .flat_map(|k2| order.iter().map(move |&k1| k2 + n2 * k1))
            .into_vec();
    }
    Ok(order)
}

/// `(I_N2 (x) G_N1) D (F_N2 (x) I_N1)`, in place: columns of the `N2 x N1` array, then rows.
fn decimate_in_frequency<C: RootsOfUnity>(x: &mut [C], factors: &[usize], twiddles: &Twiddles<C>) {
    let Some((&n2, rest)) = factors.split_last() else {
        return;
    };
    let (n, n1) = (x.len(), x.len() / n2);
    for j1 in 0..n1 {
        let column: Vec<C> = (0..n2).map(|j2| x[j1 + n1 * j2]).into_vec();
        for (k2, z) in twiddles.dft(&column).into_iter().enumerate() {
            x[j1 + n1 * k2] = z * twiddles.get(n, (j1 * k2) as u64);
        }
    }
    for row in x.chunks_exact_mut(n1) {
        decimate_in_frequency(row, rest, twiddles);
    }
}

/// The inverse of [`decimate_in_frequency`] times `N`, given inverse twiddles: its steps
/// undone in the opposite order, rows, then columns.
fn decimate_in_time<C: RootsOfUnity>(x: &mut [C], factors: &[usize], twiddles: &Twiddles<C>) {
    let Some((&n2, rest)) = factors.split_last() else {
        return;
    };
    let (n, n1) = (x.len(), x.len() / n2);
    for row in x.chunks_exact_mut(n1) {
        decimate_in_time(row, rest, twiddles);
    }
    for j1 in 0..n1 {
        let column: Vec<C> = (0..n2)
            .map(|k2| x[j1 + n1 * k2] * twiddles.get(n, (j1 * k2) as u64))
            .into_vec();
        for (j2, z) in twiddles.dft(&column).into_iter().enumerate() {
            x[j1 + n1 * j2] = z;
        }
    }
}

/// Circular convolution of length `N` with a fixed kernel, whose spectrum is kept in permuted
/// order: FlashConv's fused convolution of one chunk.
///
/// It is causal as long as no product wraps around: input length + kernel length - 1 <= `N`.
#[derive(Clone, Debug)]
pub struct FusedConvolution<C> {
    factors: Vec<usize>,
    spectrum: Vec<C>,
    forward: Twiddles<C>,
    inverse: Twiddles<C>,
}

impl<C: RootsOfUnity> FusedConvolution<C> {
    /// Prepares the kernel: pads it with zeros to the product `N` of the factors and transforms
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if a factor is zero or the product overflows; [`Error::Shape`] if the
    /// kernel is longer than `N`; [`Error::Unsupported`] if there is no root of unity of order
    /// `N`.
    pub fn new(kernel: &[C], factors: &[usize]) -> Result<Self, Error> {
        let n = product(factors)?;
        let mut spectrum = pad("kernel", kernel, n)?;
        let factors = check_factors(factors, n)?;
        let forward = Twiddles::new(n, Direction::Forward)?;
        decimate_in_frequency(&mut spectrum, &factors, &forward);
        Ok(Self {
            factors,
            spectrum,
            forward,
            inverse: Twiddles::new(n, Direction::Inverse)?,
        })
    }

    /// The `N` outputs of the circular convolution of the kernel with `u`, which is padded with
    /// zeros to `N`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `u` is longer than `N`.
    pub fn apply(&self, u: &[C]) -> Result<Vec<C>, Error> {
        let mut y = pad("input", u, self.spectrum.len())?;
        decimate_in_frequency(&mut y, &self.factors, &self.forward);
        for (y, &f) in y.iter_mut().zip(&self.spectrum) {
            *y = *y * f;
        }
        decimate_in_time(&mut y, &self.factors, &self.inverse);
        divide_by_len(&mut y)?;
        Ok(y)
    }
}

fn pad<C: RootsOfUnity>(what: &str, x: &[C], n: usize) -> Result<Vec<C>, Error> {
    if x.len() > n {
        return Err(Error::shape(
            what,
            format_args!("at most {n} elements, the product of the factors"),
            x.len(),
        ));
    }
    // A product of factors that no memory holds is bad input, not a reason to abort.
    let mut padded = Vec::new();
    padded
        .try_reserve_exact(n)
        .map_err(|_| Error::value("block FFT factors", format!("no memory for {n} elements")))?;
    padded.extend_from_slice(x);
    padded.resize(n, C::ZERO);
    Ok(padded)
}
