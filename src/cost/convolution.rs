//! Operations of a causal convolution, by definition and by each Fourier transform.

use super::{ADD, COMPLEX_PRODUCT, COMPLEX_SUM, DIVIDE, SCALE, TERM, triangle};
use crate::algebra::OperationCount;
use crate::error::Error;
use crate::flashconv::block_factors;
use crate::fourier::convolution::transform_len;

/// A way to convolve a signal of n elements with a kernel of n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convolution {
    /// The sum, [`causal_convolution`](crate::ssm::causal_convolution).
    Direct,
    /// [`causal_convolution`](crate::fourier::convolution::causal_convolution).
    Fft,
    /// [`via_real_fft`](crate::fourier::convolution::via_real_fft).
    RealFft,
    /// [`via_block_fft`](crate::fourier::convolution::via_block_fft), with factors of 16 as far as
    /// they go.
    BlockFft,
}

impl Convolution {
    /// Its operations.
    ///
    /// # Errors
    ///
    /// If 2 n does not fit `usize`.
    pub fn operations(self, n: usize) -> Result<OperationCount, Error> {
        if n == 0 {
            return Ok(OperationCount::default());
        }
        let padded = transform_len(n, n)?;
        Ok(match self {
            Self::Direct => triangle(n as u64) * TERM,
            Self::Fft => 3 * fft(padded) + padded as u64 * (COMPLEX_PRODUCT + 2 * DIVIDE),
            Self::RealFft => {
                let half = padded.max(2) / 2;
                // Bins taken apart: two sums, two halvings, a twiddle; put together once more.
                let unpacked = 3 * COMPLEX_SUM + 2 * SCALE + COMPLEX_PRODUCT;
                let forward = fft(half) + (half as u64 + 1) * unpacked + DIVIDE;
                let backward = fft(half) + half as u64 * (unpacked + 2 * DIVIDE) + DIVIDE;
                2 * forward + (half as u64 + 1) * COMPLEX_PRODUCT + backward
            }
            Self::BlockFft => 3 * block_fft(padded) + block_product(padded),
        })
    }
}

/// `(n/2) log2(n)` butterflies, each a twiddle, a sum and a difference.
fn fft(n: usize) -> OperationCount {
    let butterflies = (n as u64 / 2) * u64::from(n.trailing_zeros());
    butterflies * (COMPLEX_PRODUCT + 2 * COMPLEX_SUM)
}

/// For every factor r: r terms and a twiddle for each of n elements.
pub(super) fn block_fft(n: usize) -> OperationCount {
    let factors = block_factors(n).into_iter();
    factors.fold(OperationCount::default(), |sum, r| {
        let dft = r as u64 * (COMPLEX_PRODUCT + COMPLEX_SUM);
        sum + n as u64 * (dft + COMPLEX_PRODUCT)
    })
}

/// The product between the transforms, and the scaling after them.
pub(super) fn block_product(n: usize) -> OperationCount {
    n as u64 * (COMPLEX_PRODUCT + 2 * DIVIDE)
}

/// `T_f u`: the matrix, whose diagonal is a sum, and its product with `u`.
pub(super) fn toeplitz(n: usize) -> OperationCount {
    let n = n as u64;
    n * ADD + n * n * TERM
}
