//! The adjoint of every form of one model, by name.

use super::form::{Form, is_whole};
use crate::algebra::{Matrix, Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::flashconv::{block_factors, flashconv_adjoint, flashconv_adjoint_packed};
use crate::fourier::adjoint as fourier;
use crate::fourier::convolution::{transform_len, via_block_fft, via_real_fft};
use crate::into_vec::IntoVec as _;
use crate::ssm::{
    Adjoint, Gradients, PackedGradients, causal_convolution_adjoint, convolution_adjoint_with,
    each_document_back, recurrence_adjoint, scan_adjoint, scan_adjoint_packed, toeplitz_matrix,
};
use core::ops::Range;

/// A backward algorithm for one model of any structure. A type that implements it can run a layer
/// backwards.
pub trait AdjointForm {
    /// A model's gradients, given the cotangents `g` of the outputs and `g_state` of the final state
    /// (zeros if `None`), with the kernel cut to `window` in what convolves.
    fn gradients_within<S>(
        &self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
        g: &[S::Scalar],
        g_state: Option<&[S::Element]>,
        window: usize,
    ) -> Result<Gradients<S>, Error>
    where
        S: Adjoint,
        <S::Scalar as Scalar>::Complex: RootsOfUnity;

    /// A model's gradients over a row of documents, given two states for each: the one it begins from
    /// and the cotangent of the one it leaves.
    fn gradients_of_row<S>(
        &self,
        ssm: &S,
        (u, g): (&[S::Scalar], &[S::Scalar]),
        documents: &[Range<usize>],
        states: [&[&[S::Element]]; 2],
        window: usize,
    ) -> Result<PackedGradients<S>, Error>
    where
        S: Adjoint,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        each_alone(self, ssm, (u, g), documents, states, window)
    }
}

/// One document of a row after another.
fn each_alone<S>(
    by: &(impl AdjointForm + ?Sized),
    ssm: &S,
    (u, g): (&[S::Scalar], &[S::Scalar]),
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
    window: usize,
) -> Result<PackedGradients<S>, Error>
where
    S: Adjoint,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let states = [x0, g_states];
    each_document_back(ssm, (u, g), documents, states, &|tokens, [x0, g_state]| {
        let window = window.min(tokens.len());
        let (u, g) = (&u[tokens.clone()], &g[tokens]);
        by.gradients_within(ssm, u, Some(x0), g, Some(g_state), window)
    })
}

impl Form {
    /// The gradients of [`respond`](Self::respond), given the cotangents `g` of the outputs and
    /// `g_state` of the final state (zeros if `None`), by the adjoint of this form. As forward, the
    /// models inside attention are written as Toeplitz matrices.
    ///
    /// # Errors
    ///
    /// As [`respond`](Self::respond), and if a cotangent does not fit.
    pub fn gradients<S>(
        &self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
        g: &[S::Scalar],
        g_state: Option<&[S::Element]>,
    ) -> Result<Gradients<S>, Error>
    where
        S: Adjoint,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        self.gradients_within(ssm, u, x0, g, g_state, u.len())
    }
}

impl AdjointForm for Form {
    fn gradients_within<S>(
        &self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
        g: &[S::Scalar],
        g_state: Option<&[S::Element]>,
        window: usize,
    ) -> Result<Gradients<S>, Error>
    where
        S: Adjoint,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        match self {
            Self::Recurrence => return recurrence_adjoint(ssm, u, x0, g, g_state),
            Self::Scan => return scan_adjoint(ssm, u, x0, g, g_state),
            Self::FlashConv(chunking) => {
                return flashconv_adjoint(ssm, u, x0, g, g_state, chunking);
            }
            _ => {}
        }
        convolution_adjoint_with(ssm, u, x0, g, g_state, window, |f| match self {
            Self::Toeplitz | Self::Attention => toeplitz_adjoint(f, u, g),
            Self::Fft => fourier::causal_convolution_adjoint(f, u, g),
            Self::RealFft => fourier::adjoint_by_reversal(f, u, g, via_real_fft),
            Self::BlockFft => fourier::adjoint_by_reversal(f, u, g, |f, u| {
                let factors = block_factors(transform_len(f.len(), u.len())?);
                via_block_fft(f, u, &factors)
            }),
            _ => Ok(causal_convolution_adjoint(f, u, g)),
        })
    }

    fn gradients_of_row<S>(
        &self,
        ssm: &S,
        (u, g): (&[S::Scalar], &[S::Scalar]),
        documents: &[Range<usize>],
        states: [&[&[S::Element]]; 2],
        window: usize,
    ) -> Result<PackedGradients<S>, Error>
    where
        S: Adjoint,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        let [x0, g_states] = states;
        match self {
            _ if is_whole(documents, u.len()) => {}
            Self::Scan => return scan_adjoint_packed(ssm, (u, g), documents, [x0, g_states]),
            Self::FlashConv(chunking) => {
                let states = [x0, g_states];
                return flashconv_adjoint_packed(ssm, (u, g), documents, states, chunking);
            }
            _ => {}
        }
        each_alone(self, ssm, (u, g), documents, states, window)
    }
}

/// Through the matrix: `u` receives `T_f^T g`, and `f_j` what its diagonal of `g u^T` adds up to.
fn toeplitz_adjoint<T: Ring>(f: &[T], u: &[T], g: &[T]) -> Result<(Vec<T>, Vec<T>), Error> {
    let n = u.len();
    let of_input = toeplitz_matrix(f, T::ZERO, n).transpose().apply(g)?;
    let outer = Matrix::from_fn(n, n, |i, j| g[i] * u[j]);
    let of_kernel = (0..f.len())
        .map(|j| (j..n).fold(T::ZERO, |sum, i| sum + outer.row(i)[i - j]))
        .into_vec();
    Ok((of_kernel, of_input))
}
