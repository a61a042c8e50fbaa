//! The algorithm for the convolutions of a graph: a form, an error analysis that covers all forms,
//! or a known mistake.

use super::super::layer::Analysis;
use super::super::worst_response::{worst_convolution, worst_correlations};
use crate::algebra::{ComplexErrorScale, ErrorScale, Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::fourier::adjoint::adjoint_by_reversal;
use crate::h3::{Backward, Evaluate, Form, ModelForm, Plain};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, PackedGradients, PackedResponse, Shift, StateSpace};
use core::ops::Range;

/// A way to run filters over the documents of a row, forwards and backwards. `at` is the stage that a
/// filter is on the way to.
pub(crate) trait Filters<T: Scalar> {
    /// `sum_j f_j u_{i-j}` within every document, as long as `u`; zeros at padding. What of `f` is longer
    /// than a document meets no input.
    fn convolve(
        &self,
        at: &str,
        f: &[T],
        u: &[T],
        documents: &[Range<usize>],
    ) -> Result<Vec<T>, Error>;

    /// The cotangents of `f` and of `u`, given `u` and the cotangent of their convolution. That of what of `f` is
    /// longer than every document is zero.
    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[T],
        of: (&[T], &[T]),
        documents: &[Range<usize>],
    ) -> Result<(Vec<T>, Vec<T>), Error>;

    /// The kernel of a diagonal model.
    fn modes_kernel(&self, ssm: &Diagonal<T>, len: usize) -> Vec<T>;

    /// The response of a diagonal model to every document from a state of zeros, given its kernel.
    fn modes(
        &self,
        at: &str,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<Diagonal<T>>, Error>;

    /// The gradients of a diagonal model, given its inputs, and the cotangents of its outputs and of the
    /// state after every document.
    fn modes_adjoint(
        &self,
        at: &str,
        ssm: &Diagonal<T>,
        of: (&[T], &[T]),
        documents: &[Range<usize>],
        states: &[Vec<T::Complex>],
    ) -> Result<PackedGradients<Diagonal<T>>, Error>;
}

/// The same state for every document.
fn each<'a, T>(state: &'a [T], documents: &[Range<usize>]) -> Vec<&'a [T]> {
    vec![state; documents.len()]
}

/// An adjoint of convolutions, for every document alone.
pub(super) fn each_alone_back<T: Ring>(
    f: &[T],
    (u, g): (&[T], &[T]),
    documents: &[Range<usize>],
    back: impl Fn(&[T], &[T], &[T]) -> Result<(Vec<T>, Vec<T>), Error>,
) -> Result<(Vec<T>, Vec<T>), Error> {
    let mut of_kernel = vec![T::ZERO; f.len()];
    let mut of_input = vec![T::ZERO; u.len()];
    for tokens in documents {
        let (kernel, input) = back(f, &u[tokens.clone()], &g[tokens.clone()])?;
        let sums = of_kernel.iter_mut().zip(kernel);
        sums.for_each(|(sum, x)| *sum = *sum + x);
        of_input[tokens.clone()].copy_from_slice(&input);
    }
    Ok((of_kernel, of_input))
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
    fn convolve(
        &self,
        _at: &str,
        f: &[T],
        u: &[T],
        documents: &[Range<usize>],
    ) -> Result<Vec<T>, Error> {
        let f = cut(f, u);
        // What convolves needs no model beside the kernel.
        let ssm = taps_model(if self.0.is_by_states() { f } else { &[] }, u)?;
        let zeros = vec![T::ZERO; ssm.state_dim()];
        let x0 = each(&zeros, documents);
        let response = self.0.respond_to_row(&ssm, f, u, documents, &x0)?;
        Ok(response.output)
    }

    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[T],
        of: (&[T], &[T]),
        documents: &[Range<usize>],
    ) -> Result<(Vec<T>, Vec<T>), Error> {
        each_alone_back(f, of, documents, |f, u, g| {
            let whole = vec![0..u.len(); 1];
            adjoint_by_reversal(cut(f, u), u, g, |f, u| self.convolve(at, f, u, &whole))
        })
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
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<Diagonal<T>>, Error> {
        let zeros = vec![Ring::ZERO; ssm.state_dim()];
        let x0 = each(&zeros, documents);
        self.0.respond_to_row(ssm, kernel, u, documents, &x0)
    }

    fn modes_adjoint(
        &self,
        _at: &str,
        ssm: &Diagonal<T>,
        of: (&[T], &[T]),
        documents: &[Range<usize>],
        states: &[Vec<T::Complex>],
    ) -> Result<PackedGradients<Diagonal<T>>, Error> {
        modes_adjoint_by(self.0, ssm, of, documents, states)
    }
}

/// The adjoint of a diagonal model over documents that begin from zeros.
fn modes_adjoint_by<T: Scalar>(
    by: &impl Backward<T>,
    ssm: &Diagonal<T>,
    (u, g): (&[T], &[T]),
    documents: &[Range<usize>],
    states: &[Vec<T::Complex>],
) -> Result<PackedGradients<Diagonal<T>>, Error> {
    let zeros = vec![Ring::ZERO; ssm.state_dim()];
    let states: Vec<&[T::Complex]> = states.iter().map(|state| &state[..]).into_vec();
    let states = [&each(&zeros, documents)[..], &states];
    by.diagonal_row(ssm, (u, g), documents, states, u.len())
}

impl Filters<ErrorScale> for Analysis {
    fn convolve(
        &self,
        _at: &str,
        f: &[ErrorScale],
        u: &[ErrorScale],
        documents: &[Range<usize>],
    ) -> Result<Vec<ErrorScale>, Error> {
        let mut output = vec![ErrorScale::ZERO; u.len()];
        for tokens in documents {
            let u = &u[tokens.clone()];
            let y = worst_convolution(cut(f, u), u, self.transforms())?;
            output[tokens.clone()].copy_from_slice(&y);
        }
        Ok(output)
    }

    fn convolve_adjoint(
        &self,
        _at: &str,
        f: &[ErrorScale],
        of: (&[ErrorScale], &[ErrorScale]),
        documents: &[Range<usize>],
    ) -> Result<(Vec<ErrorScale>, Vec<ErrorScale>), Error> {
        // Uncut: a transform that is long enough for all taps rounds in those too that meet no input.
        each_alone_back(f, of, documents, |f, u, g| {
            worst_correlations(f, u, g, self.transforms())
        })
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
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<Diagonal<ErrorScale>>, Error> {
        let zeros = vec![Ring::ZERO; ssm.state_dim()];
        let x0 = each(&zeros, documents);
        Evaluate::diagonal_row(self, ssm, kernel, u, documents, &x0)
    }

    fn modes_adjoint(
        &self,
        _at: &str,
        ssm: &Diagonal<ErrorScale>,
        of: (&[ErrorScale], &[ErrorScale]),
        documents: &[Range<usize>],
        states: &[Vec<ComplexErrorScale>],
    ) -> Result<PackedGradients<Diagonal<ErrorScale>>, Error> {
        modes_adjoint_by(self, ssm, of, documents, states)
    }
}

/// Free taps as a state space model, for inputs no longer than these.
///
/// # Errors
///
/// None that taps can give reason for.
pub(crate) fn taps_model<T: Scalar>(f: &[T], u: &[T]) -> Result<Shift<T>, Error> {
    let taps = cut(f, u);
    let mut window = vec![T::ZERO; taps.len()];
    if let Some(newest) = window.first_mut() {
        *newest = T::ONE;
    }
    Shift::new(window, taps.to_vec(), T::ZERO)
}

/// A kernel without what is longer than its input.
fn cut<'a, T>(f: &'a [T], u: &[T]) -> &'a [T] {
    &f[..f.len().min(u.len())]
}
