//! The convolution within a chunk: block FFT, product, inverse block FFT, no permutation.

use crate::algebra::{ComplexScalar, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::fourier::block::FusedConvolution;
use crate::fourier::convolution::transform_len;
use crate::into_vec::IntoVec as _;

/// The longest short transform of the block FFT.
const MAX_FACTOR: usize = 16;

/// The causal convolution of chunks with one kernel, whose spectrum is computed once
/// ([`FusedConvolution`], zero-padded so that nothing wraps around).
#[derive(Clone, Debug)]
pub struct ChunkConvolution<T: Scalar> {
    fused: FusedConvolution<T::Complex>,
    longest: usize,
}

impl<T> ChunkConvolution<T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// Prepares a kernel for chunks at most as long as it is.
    ///
    /// # Errors
    ///
    /// If the scalar has no root of unity of the padded length.
    pub fn new(kernel: &[T]) -> Result<Self, Error> {
        let factors = block_factors(transform_len(kernel.len(), kernel.len())?);
        Ok(Self {
            fused: FusedConvolution::new(&embed(kernel), &factors)?,
            longest: kernel.len(),
        })
    }

    /// `f * u` of one chunk, as long as the chunk. For a shorter chunk the kernel's end meets
    /// only padding.
    ///
    /// # Errors
    ///
    /// If the chunk is longer than the kernel.
    pub fn apply(&self, chunk: &[T]) -> Result<Vec<T>, Error> {
        if chunk.len() > self.longest {
            return Err(Error::shape(
                "chunk",
                format_args!("at most {} elements, the kernel's length", self.longest),
                chunk.len(),
            ));
        }
        let mut y = self.fused.apply(&embed(chunk))?;
        y.truncate(chunk.len());
        Ok(y.into_iter().map(ComplexScalar::re).into_vec())
    }
}

fn embed<T: Scalar>(x: &[T]) -> Vec<T::Complex> {
    x.iter().map(|&x| T::Complex::from_base(x)).into_vec()
}

/// A power of two as factors of at most [`MAX_FACTOR`], the short transforms of the block FFT.
pub(crate) fn block_factors(n: usize) -> Vec<usize> {
    let mut factors = Vec::new();
    let mut rest = n;
    while rest > 1 {
        let factor = rest.min(MAX_FACTOR);
        factors.push(factor);
        rest /= factor;
    }
    factors
}
