//! Plain ways of a layer's models, for scalars in which not every form is wanted.

use super::form::ModelForm;
use super::gradients_form::AdjointForm;
use crate::algebra::{RootsOfUnity, Scalar};
use crate::error::Error;
use crate::ssm::{
    Adjoint, Gradients, Response, StateSpace, causal_convolution, causal_convolution_adjoint,
    convolution_adjoint_with, finish_convolution, recurrence, recurrence_adjoint,
};

/// A layer's models by the recurrence or the convolution sum.
///
/// The same as the [`Form`](super::Form)s of these names. A form is one of nine, and all nine are
/// compiled for every scalar they are used with; what is needed of expansions of four words is these
/// two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Recurrence,
    Convolution,
}

impl Plain {
    /// The recurrence, which keeps exact zeros exact; the convolution if `l_max` truncates kernels.
    pub(crate) fn by_default(is_cut: bool) -> Self {
        match is_cut {
            true => Self::Convolution,
            false => Self::Recurrence,
        }
    }
}

impl ModelForm for Plain {
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
            Self::Convolution => causal_convolution(kernel, u),
        };
        finish_convolution(ssm, convolved, u, x0)
    }
}

impl AdjointForm for Plain {
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
        if *self == Self::Recurrence {
            return recurrence_adjoint(ssm, u, x0, g, g_state);
        }
        convolution_adjoint_with(ssm, u, x0, g, g_state, window, |f| {
            Ok(causal_convolution_adjoint(f, u, g))
        })
    }
}
