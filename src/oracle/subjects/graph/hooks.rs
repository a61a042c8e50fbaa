//! The places in a graph where a mistake can be made, and the graph with mistakes.

use super::filters::{ByForm, Filters, each_alone_back};
use super::forward::Computed;
use crate::error::Error;
use crate::h3::Plain;
use crate::ssm::{Diagonal, PackedGradients, PackedResponse};
use crate::tensor::Tensor;
use core::ops::Range;
use num_complex::Complex;

/// A causal convolution, and what a wrong one makes of it: of the kernel, not cut, and the inputs.
pub(crate) type WrongConvolution = fn(&[f64], &[f64]) -> Vec<f64>;

/// An adjoint of `f * u`: of `f`, `u` and the cotangent of their convolution, those of `f` and `u`.
type WrongAdjoint = fn(&[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

/// The tokens that filters take for every document of a row of so many tokens.
type WrongDocuments = fn(&[Range<usize>], usize) -> Vec<Range<usize>>;

/// An edit of a stage, given its inputs.
type EditStage<K> = fn(&mut Tensor<f64>, &Moment<'_, K>);

/// One edit of the reference: of what a case is given and how it is wired, of a filter, or of what a
/// stage or a gradient holds.
pub(crate) enum GraphHook<K: 'static> {
    /// Tensors and choices.
    Case(fn(&mut K)),
    /// The convolutions on the way to a stage.
    Convolution(&'static str, WrongConvolution),
    /// Their adjoint.
    Adjoint(&'static str, WrongAdjoint),
    /// The ranges of documents for the filters that lead to a stage or to the state of one. Ranges
    /// that begin before their document leak into it.
    Documents(&'static str, WrongDocuments),
    /// The same for their adjoints.
    AdjointDocuments(&'static str, WrongDocuments),
    /// A stage.
    Stage(&'static str, EditStage<K>),
    /// A stage, in a way that depends on the run's chunk length: that of a prompt.
    AfterPrompt(&'static str, EditStage<K>),
    /// The gradient of this name.
    Gradient(&'static str, fn(&mut Tensor<f64>, &K)),
}

// By hand, since a derive would ask it of the case.
impl<K> Clone for GraphHook<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for GraphHook<K> {}

/// A stage about to be saved.
pub(crate) struct Moment<'a, K> {
    pub(crate) case: &'a K,
    /// The values computed before.
    pub(crate) so_far: &'a Computed<'a, f64>,
    /// The tokens of the prompt.
    pub(crate) prompt: usize,
    /// Of a state at a mark of a schedule, the tokens before it.
    pub(crate) mark: Option<usize>,
}

impl<K> Moment<'_, K> {
    /// A stage computed before, or something given; nothing is read of one that is not there.
    pub(crate) fn stage(&self, name: &str) -> Option<&Tensor<f64>> {
        self.so_far.stage(name)
    }
}

/// The convolution sum, with mistakes.
pub(super) struct WrongFilters<'a, K: 'static> {
    pub(super) hooks: &'a [GraphHook<K>],
}

/// The right computation.
const RIGHT: ByForm<'static, Plain> = ByForm(&Plain::Convolution);

/// The contents of the first hook of a kind at this stage.
macro_rules! hook {
    ($filters:expr, $kind:ident, $at:expr) => {
        $filters.hooks.iter().find_map(|hook| match hook {
            GraphHook::$kind(stage, by) if *stage == $at => Some(by),
            _ => None,
        })
    };
}

impl<K> Filters<f64> for WrongFilters<'_, K> {
    fn convolve(
        &self,
        at: &str,
        f: &[f64],
        u: &[f64],
        documents: &[Range<usize>],
    ) -> Result<Vec<f64>, Error> {
        let seen = hook!(self, Documents, at).map(|of| of(documents, u.len()));
        let documents = seen.as_deref().unwrap_or(documents);
        let Some(by) = hook!(self, Convolution, at) else {
            return RIGHT.convolve(at, f, u, documents);
        };
        let mut output = vec![0.0; u.len()];
        for tokens in documents {
            output[tokens.clone()].copy_from_slice(&by(f, &u[tokens.clone()]));
        }
        Ok(output)
    }

    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[f64],
        of: (&[f64], &[f64]),
        documents: &[Range<usize>],
    ) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let seen = hook!(self, AdjointDocuments, at).map(|seen| seen(documents, of.0.len()));
        let documents = seen.as_deref().unwrap_or(documents);
        match hook!(self, Adjoint, at) {
            Some(by) => each_alone_back(f, of, documents, |f, u, g| Ok(by(f, u, g))),
            None => RIGHT.convolve_adjoint(at, f, of, documents),
        }
    }

    fn modes_kernel(&self, ssm: &Diagonal<f64>, len: usize) -> Vec<f64> {
        RIGHT.modes_kernel(ssm, len)
    }

    fn modes(
        &self,
        at: &str,
        ssm: &Diagonal<f64>,
        kernel: &[f64],
        u: &[f64],
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<Diagonal<f64>>, Error> {
        let seen = hook!(self, Documents, at).map(|of| of(documents, u.len()));
        let documents = seen.as_deref().unwrap_or(documents);
        // The kernel of the longest document may be shorter than what is taken for one.
        let longest = documents.iter().map(Range::len).max().unwrap_or(0);
        match longest > kernel.len() {
            true => RIGHT.modes(at, ssm, &RIGHT.modes_kernel(ssm, longest), u, documents),
            false => RIGHT.modes(at, ssm, kernel, u, documents),
        }
    }

    fn modes_adjoint(
        &self,
        at: &str,
        ssm: &Diagonal<f64>,
        of: (&[f64], &[f64]),
        documents: &[Range<usize>],
        states: &[Vec<Complex<f64>>],
    ) -> Result<PackedGradients<Diagonal<f64>>, Error> {
        let seen = hook!(self, AdjointDocuments, at).map(|seen| seen(documents, of.0.len()));
        let Some(seen) = seen else {
            return RIGHT.modes_adjoint(at, ssm, of, documents, states);
        };
        // Of what is taken for one document the last state has the cotangent.
        let states = &states[states.len().saturating_sub(seen.len())..];
        RIGHT.modes_adjoint(at, ssm, of, &seen, states)
    }
}
