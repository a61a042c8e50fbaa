//! The forms by name, so that one layer text runs all of them.

use crate::algebra::{RootsOfUnity, Scalar};
use crate::error::Error;
use crate::flashconv::{Chunking, block_factors, flashconv, flashconv_packed};
use crate::fourier::convolution::{self as fourier, transform_len};
use crate::ssm::{
    PackedResponse, Response, StateSpace, causal_convolution, each_document, finish_convolution,
    recurrence, scan, scan_packed, toeplitz_matrix, toeplitz_of_documents,
};
use core::fmt;
use core::ops::Range;

/// An algorithm for one model of any structure. A type that implements it can evaluate a layer.
pub trait ModelForm {
    /// A model's response to `u` from the state `x0` (zeros if `None`). What convolves takes this
    /// kernel, which may be shorter than `u`; what passes a state does not read it.
    fn respond_by_kernel<S>(
        &self,
        ssm: &S,
        kernel: &[S::Scalar],
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
    ) -> Result<Response<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity;

    /// A model's response to a row of documents, each from its own state: one after another,
    /// where the form has no way of its own across their boundaries.
    fn respond_to_row<S>(
        &self,
        ssm: &S,
        kernel: &[S::Scalar],
        u: &[S::Scalar],
        documents: &[Range<usize>],
        x0: &[&[S::Element]],
    ) -> Result<PackedResponse<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        each_alone(self, ssm, kernel, u, documents, x0)
    }
}

/// One document of a row after another.
fn each_alone<S>(
    by: &(impl ModelForm + ?Sized),
    ssm: &S,
    kernel: &[S::Scalar],
    u: &[S::Scalar],
    documents: &[Range<usize>],
    x0: &[&[S::Element]],
) -> Result<PackedResponse<S>, Error>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    each_document(ssm, u.len(), documents, x0, &|tokens, x0| {
        let kernel = &kernel[..kernel.len().min(tokens.len())];
        by.respond_by_kernel(ssm, kernel, &u[tokens], Some(x0))
    })
}

/// True if a row is one document, which is run as it is.
pub(super) fn is_whole(documents: &[Range<usize>], len: usize) -> bool {
    matches!(documents, [all] if *all == (0..len))
}

/// A way to compute the layer. All give the same function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// One step at a time.
    Recurrence,
    /// Blelloch's associative scan.
    Scan,
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
    /// State passing between chunks, a fused FFT within.
    FlashConv(Chunking),
    /// The quadratic form `((Q Kt^T) o T_f) V` of every head.
    Attention,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Form {
    /// Every form, in the order of declaration, with [`FlashConv`](Self::FlashConv) once per
    /// chunking.
    #[must_use]
    pub fn all(chunkings: impl IntoIterator<Item = Chunking>) -> Vec<Self> {
        let mut forms = vec![
            Self::Recurrence,
            Self::Scan,
            Self::Toeplitz,
            Self::Convolution,
            Self::Fft,
            Self::RealFft,
            Self::BlockFft,
        ];
        forms.extend(chunkings.into_iter().map(Self::FlashConv));
        forms.push(Self::Attention);
        forms
    }

    /// The name, as on the command line; a chunking is no part of it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Recurrence => "recurrence",
            Self::Scan => "scan",
            Self::Toeplitz => "toeplitz",
            Self::Convolution => "convolution",
            Self::Fft => "fft",
            Self::RealFft => "real-fft",
            Self::BlockFft => "block-fft",
            Self::FlashConv(_) => "flashconv",
            Self::Attention => "attention",
        }
    }

    /// The form of this name, with `chunking` if it is FlashConv.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] listing the names, if there is none.
    pub fn from_name(name: &str, chunking: Chunking) -> Result<Self, Error> {
        let mut forms = Self::all([chunking]);
        match forms.iter().position(|form| form.name() == name) {
            Some(at) => Ok(forms.swap_remove(at)),
            None => Err(Error::unknown("form", name, forms.iter().map(Self::name))),
        }
    }

    /// True if the form passes on a state, and so cannot truncate a kernel at `l_max`: a diagonal
    /// model has no recurrence with a finite window.
    #[must_use]
    pub fn passes_state(&self) -> bool {
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
}

impl ModelForm for Form {
    fn respond_by_kernel<S>(
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

    /// A scan resets its state, chunks have their blocks cut, and a Toeplitz matrix has zeros between
    /// documents. A convolution has no boundaries: it is one for each document.
    fn respond_to_row<S>(
        &self,
        ssm: &S,
        kernel: &[S::Scalar],
        u: &[S::Scalar],
        documents: &[Range<usize>],
        x0: &[&[S::Element]],
    ) -> Result<PackedResponse<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        let toeplitz = match self {
            _ if is_whole(documents, u.len()) => None,
            Self::Scan => return scan_packed(ssm, u, documents, x0),
            Self::FlashConv(chunking) => {
                return flashconv_packed(ssm, u, documents, x0, chunking);
            }
            Self::Toeplitz | Self::Attention => {
                let zero = crate::algebra::Ring::ZERO;
                Some(toeplitz_of_documents(kernel, zero, documents, u.len()))
            }
            _ => None,
        };
        let Some(toeplitz) = toeplitz else {
            return each_alone(self, ssm, kernel, u, documents, x0);
        };
        let convolved = toeplitz.apply(u)?;
        each_document(ssm, u.len(), documents, x0, &|tokens, x0| {
            let convolved = convolved[tokens.clone()].to_vec();
            finish_convolution(ssm, convolved, &u[tokens], Some(x0))
        })
    }
}
