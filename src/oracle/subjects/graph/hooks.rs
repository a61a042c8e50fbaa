//! The places in a graph where a mistake can be made, and the graph with mistakes.

use super::filters::{ByForm, Filters};
use super::forward::Computed;
use crate::error::Error;
use crate::h3::Plain;
use crate::ssm::{Diagonal, Gradients, Response};
use crate::tensor::Tensor;

/// A causal convolution, and what a wrong one makes of it: of the kernel, not cut, and the inputs.
pub(crate) type WrongConvolution = fn(&[f64], &[f64]) -> Vec<f64>;

/// An adjoint of `f * u`: of `f`, `u` and the cotangent of their convolution, those of `f` and `u`.
type WrongAdjoint = fn(&[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

/// What a stage holds, given what the reference computed and what it is computed from.
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
    /// What was computed before.
    pub(crate) so_far: &'a Computed<'a, f64>,
    /// The tokens of the prompt.
    pub(crate) prompt: usize,
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

/// The right way.
const RIGHT: ByForm<'static, Plain> = ByForm(&Plain::Convolution);

impl<K> Filters<f64> for WrongFilters<'_, K> {
    fn convolve(&self, at: &str, f: &[f64], u: &[f64]) -> Result<Vec<f64>, Error> {
        let wrong = self.hooks.iter().find_map(|hook| match hook {
            GraphHook::Convolution(stage, by) if *stage == at => Some(by),
            _ => None,
        });
        match wrong {
            Some(by) => Ok(by(f, u)),
            None => RIGHT.convolve(at, f, u),
        }
    }

    fn convolve_adjoint(
        &self,
        at: &str,
        f: &[f64],
        u: &[f64],
        g: &[f64],
    ) -> Result<(Vec<f64>, Vec<f64>), Error> {
        let wrong = self.hooks.iter().find_map(|hook| match hook {
            GraphHook::Adjoint(stage, by) if *stage == at => Some(by),
            _ => None,
        });
        match wrong {
            Some(by) => Ok(by(f, u, g)),
            None => RIGHT.convolve_adjoint(at, f, u, g),
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
    ) -> Result<Response<Diagonal<f64>>, Error> {
        RIGHT.modes(at, ssm, kernel, u)
    }

    fn modes_adjoint(
        &self,
        at: &str,
        ssm: &Diagonal<f64>,
        u: &[f64],
        g: &[f64],
    ) -> Result<Gradients<Diagonal<f64>>, Error> {
        RIGHT.modes_adjoint(at, ssm, u, g)
    }
}
