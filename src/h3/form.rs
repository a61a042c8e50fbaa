//! The forms by name, so that one layer text runs all of them.

use crate::algebra::{RootsOfUnity, Scalar};
use crate::error::Error;
use crate::flashconv::{Chunking, block_factors, flashconv};
use crate::fourier::convolution::{self as fourier, transform_len};
use crate::ssm::{
    Response, StateSpace, causal_convolution, finish_convolution, recurrence, scan, toeplitz_matrix,
};
use core::fmt;

/// A way to compute the layer. All give the same function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// One step at a time.
    Recurrence,
    /// The kernel as a lower triangular Toeplitz matrix.
    Toeplitz,
    /// The convolution sum, O(N^2).
    Convolution,
    /// Convolution by FFT.
    Fft,
    /// Convolution by FFTs of real signals packed into complex ones of half the length.
    RealFft,
    /// Convolution by the block (Cooley-Tukey) FFT.
    BlockFft,
    /// Blelloch's associative scan.
    Scan,
    /// The quadratic form `((Q Kt^T) o T_f) V` of every head.
    Attention,
    /// State passing between chunks, a fused FFT within.
    FlashConv(Chunking),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recurrence => "recurrence",
            Self::Toeplitz => "toeplitz",
            Self::Convolution => "convolution",
            Self::Fft => "fft",
            Self::RealFft => "real-fft",
            Self::BlockFft => "block-fft",
            Self::Scan => "scan",
            Self::Attention => "attention",
            Self::FlashConv(_) => "flashconv",
        })
    }
}

impl Form {
    /// Whether the form goes through a state that is passed on, and so cannot end a kernel at
    /// `l_max`: a diagonal model has no recurrence of finite window.
    pub(crate) fn passes_state(&self) -> bool {
        matches!(self, Self::Recurrence | Self::Scan | Self::FlashConv(_))
    }

    /// One model's response to `u` from the state `x0` (zeros if `None`), in this form.
    ///
    /// Attention is a form of the layer, not of one model; the models inside it are written as
    /// Toeplitz matrices.
    ///
    /// # Errors
    ///
    /// If `x0` is not a state of the model or the chunking does not fit `u`.
    pub fn respond<S>(
        &self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
    ) -> Result<Response<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        let kernel = match self.passes_state() {
            true => Vec::new(),
            false => ssm.kernel(u.len()),
        };
        self.respond_by_kernel(ssm, &kernel, u, x0)
    }

    /// [`respond`](Self::respond) in the forms that convolve with this kernel, which may be shorter
    /// than `u`; the forms that pass a state do not read it.
    pub(crate) fn respond_by_kernel<S>(
        &self,
        ssm: &S,
        kernel: &[S::Scalar],
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
    ) -> Result<Response<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        let convolved = match self {
            Self::Recurrence => return recurrence(ssm, u, x0),
            Self::Scan => return scan(ssm, u, x0),
            Self::FlashConv(chunking) => return flashconv(ssm, u, x0, chunking),
            Self::Toeplitz | Self::Attention => {
                let zero = crate::algebra::Ring::ZERO;
                toeplitz_matrix(kernel, zero, u.len()).apply(u)?
            }
            Self::Convolution => causal_convolution(kernel, u),
            Self::Fft => fourier::causal_convolution(kernel, u)?,
            Self::RealFft => fourier::via_real_fft(kernel, u)?,
            Self::BlockFft => {
                let factors = block_factors(transform_len(kernel.len(), u.len())?);
                fourier::via_block_fft(kernel, u, &factors)?
            }
        };
        finish_convolution(ssm, convolved, u, x0)
    }
}
