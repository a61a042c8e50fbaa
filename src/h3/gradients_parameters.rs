//! From the gradients of the discrete layer to those of the official parameters.

use super::gradients::LayerGradients;
use super::parameters::{Name, Parameters};
use crate::algebra::Real;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::StateSpace;

impl<T: Real> Parameters<T> {
    /// The gradient with respect to every official parameter, in the parameters' own shapes, given
    /// the gradients of the [discrete layer](Self::discretize): back through the discretization
    /// (summed over the heads that share a model), `dt = exp(log_dt)` and `real_type`.
    ///
    /// # Errors
    ///
    /// If `gradients` is not of a layer of these sizes, or as [`discretize`](Self::discretize).
    pub fn gradients(&self, gradients: &LayerGradients<T>) -> Result<Self, Error> {
        let of_models = self.diagonal_models().gradients(&gradients.diagonal)?;
        Self::new(self.config().clone(), |name| {
            Ok(match name {
                Name::QWeight => gradients.q.weight.entries().to_vec(),
                Name::KWeight => gradients.k.weight.entries().to_vec(),
                Name::VWeight => gradients.v.weight.entries().to_vec(),
                Name::OutputWeight => gradients.output.weight.entries().to_vec(),
                Name::QBias => gradients.q.bias.clone(),
                Name::KBias => gradients.k.bias.clone(),
                Name::VBias => gradients.v.bias.clone(),
                Name::OutputBias => gradients.output.bias.clone(),
                Name::ShiftB => joined(&gradients.shift, |s| s.b().to_vec()),
                Name::ShiftC => joined(&gradients.shift, |s| s.c().to_vec()),
                Name::ShiftD => gradients.shift.iter().map(|s| s.feedthrough()).into_vec(),
                Name::D | Name::C | Name::B | Name::LogDt | Name::InvAReal | Name::AImag => {
                    of_models.get(name).unwrap_or(&[]).to_vec()
                }
            })
        })
    }
}

/// One array per model, joined.
fn joined<S, T: Copy>(models: &[S], read: fn(&S) -> Vec<T>) -> Vec<T> {
    let mut all = Vec::new();
    for model in models {
        all.extend_from_slice(&read(model));
    }
    all
}
