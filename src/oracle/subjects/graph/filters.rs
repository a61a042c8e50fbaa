//! How the convolutions of a graph are computed: by a form, by an error analysis that stands for all
//! of them, or with a known mistake.

use super::super::layer::Analysis;
use super::super::worst_response::{worst_convolution, worst_correlations};
use crate::algebra::{ErrorScale, Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::fourier::adjoint::adjoint_by_reversal;
use crate::h3::{Backward, Evaluate, Form, ModelForm, Plain};
use crate::ssm::{Diagonal, Gradients, Response, Shift, StateSpace};

/// A way to run filters, forwards and backwards. `at` is the stage that a filter is on the way to.
pub(crate) trait Filters<T: Scalar> {
    /// `sum_j f_j u_{i-j}`, as long as `u`. What of `f` is longer than `u` meets no input.
    fn convolve(&self, at: &str, f: &[T], u: &[T]) -> Result<Vec<T>, Error>;

    /// The cotangents of `f`, cut to the length of `u`, and of `u`, given that of their convolution.
    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[T],
        u: &[T],
        g: &[T],
    ) -> Result<(Vec<T>, Vec<T>), Error>;

    /// The kernel of a diagonal model.
    fn modes_kernel(&self, ssm: &Diagonal<T>, len: usize) -> Vec<T>;

    /// The response of a diagonal model from a state of zeros, given its kernel.
    fn modes(
        &self,
        at: &str,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
    ) -> Result<Response<Diagonal<T>>, Error>;

    /// The gradients of a diagonal model, given the cotangent of its outputs.
    fn modes_adjoint(
        &self,
        at: &str,
        ssm: &Diagonal<T>,
        u: &[T],
        g: &[T],
    ) -> Result<Gradients<Diagonal<T>>, Error>;
}

/// Filters by a form of state space models: free taps are the shift model that has them as `C`.
pub(crate) struct ByForm<'a, F>(pub(crate) &'a F);

/// A form with what tells free taps apart.
pub(crate) trait TapsForm {
    /// True if the form does not read a kernel but passes states.
    fn is_by_states(&self) -> bool;
}

impl TapsForm for Form {
    fn is_by_states(&self) -> bool {
        self.passes_state()
    }
}

impl TapsForm for Plain {
    fn is_by_states(&self) -> bool {
        *self == Self::Recurrence
    }
}

impl<T, F> Filters<T> for ByForm<'_, F>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
    F: ModelForm + TapsForm + Backward<T>,
{
    fn convolve(&self, _at: &str, f: &[T], u: &[T]) -> Result<Vec<T>, Error> {
        let f = cut(f, u);
        // What convolves needs no model beside the kernel.
        let taps = if self.0.is_by_states() { f } else { &[] };
        let mut window = vec![T::ZERO; taps.len()];
        if let Some(newest) = window.first_mut() {
            *newest = T::ONE;
        }
        let ssm = Shift::new(window, taps.to_vec(), T::ZERO)?;
        let response = self.0.respond_by_kernel(&ssm, f, u, None)?;
        Ok(response.output)
    }

    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[T],
        u: &[T],
        g: &[T],
    ) -> Result<(Vec<T>, Vec<T>), Error> {
        adjoint_by_reversal(cut(f, u), u, g, |f, u| self.convolve(at, f, u))
    }

    fn modes_kernel(&self, ssm: &Diagonal<T>, len: usize) -> Vec<T> {
        ssm.kernel(len)
    }

    fn modes(
        &self,
        _at: &str,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
    ) -> Result<Response<Diagonal<T>>, Error> {
        self.0.respond_by_kernel(ssm, kernel, u, None)
    }

    fn modes_adjoint(
        &self,
        _at: &str,
        ssm: &Diagonal<T>,
        u: &[T],
        g: &[T],
    ) -> Result<Gradients<Diagonal<T>>, Error> {
        self.0.diagonal(ssm, u, None, g, None, u.len())
    }
}

impl Filters<ErrorScale> for Analysis {
    fn convolve(
        &self,
        _at: &str,
        f: &[ErrorScale],
        u: &[ErrorScale],
    ) -> Result<Vec<ErrorScale>, Error> {
        worst_convolution(cut(f, u), u)
    }

    fn convolve_adjoint(
        &self,
        _at: &str,
        f: &[ErrorScale],
        u: &[ErrorScale],
        g: &[ErrorScale],
    ) -> Result<(Vec<ErrorScale>, Vec<ErrorScale>), Error> {
        worst_correlations(cut(f, u), u, g)
    }

    fn modes_kernel(&self, ssm: &Diagonal<ErrorScale>, len: usize) -> Vec<ErrorScale> {
        self.ssm_kernel(ssm, len)
    }

    fn modes(
        &self,
        _at: &str,
        ssm: &Diagonal<ErrorScale>,
        kernel: &[ErrorScale],
        u: &[ErrorScale],
    ) -> Result<Response<Diagonal<ErrorScale>>, Error> {
        let zeros = vec![Ring::ZERO; ssm.state_dim()];
        Evaluate::diagonal(self, ssm, kernel, u, &zeros)
    }

    fn modes_adjoint(
        &self,
        _at: &str,
        ssm: &Diagonal<ErrorScale>,
        u: &[ErrorScale],
        g: &[ErrorScale],
    ) -> Result<Gradients<Diagonal<ErrorScale>>, Error> {
        Backward::diagonal(self, ssm, u, None, g, None, u.len())
    }
}

/// A kernel without what is longer than its input.
fn cut<'a, T>(f: &'a [T], u: &[T]) -> &'a [T] {
    &f[..f.len().min(u.len())]
}
