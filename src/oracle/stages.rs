//! The stages of a case under their names in files.

use super::case::{Case, flat_diagonal_state};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Layer, Stages};
use crate::tensor::Tensor;

/// The stages as they stand in files: name and array, the diagonal states as
/// (batch d1 d2, H, m/2, 2).
#[must_use]
pub fn named_stages<T: Real>(
    layer: &Layer<T>,
    stages: &Stages<T>,
) -> Vec<(&'static str, Tensor<T>)> {
    let len = stages.output.shape()[1];
    let mut named = vec![
        ("q", stages.q.clone()),
        ("k", stages.k.clone()),
        ("v", stages.v.clone()),
        ("shift_kernel", layer.shift_kernel(len)),
        ("shift_k", stages.shift_k.clone()),
        ("kv", stages.kv.clone()),
        ("ssm_kernel", layer.ssm_kernel(len)),
        ("gated", stages.gated.clone()),
        ("output", stages.output.clone()),
        ("final_state_k", stages.state.shift.clone()),
        (
            "final_state",
            flat_diagonal_state::<T>(&stages.state.diagonal),
        ),
    ];
    if let Some(ssm_out) = &stages.ssm_out {
        named.insert(7, ("ssm_out", ssm_out.clone()));
    }
    named
}

impl Case {
    /// Every stage of the layer in one form, in the scalars of a precision, under its name in files;
    /// with `gradients`, every gradient too.
    ///
    /// # Errors
    ///
    /// As [`Layer::forward`] and, with gradients, [`gradients`](Case::gradients).
    pub fn stages<T>(&self, form: &Form, gradients: bool) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let (layer, input, state) = self.in_precision::<T>()?;
        let stages = layer.forward(form, &input, state.as_ref())?;
        let mut named: Vec<_> = named_stages(&layer, &stages)
            .into_iter()
            .map(|(name, stage)| (name.to_string(), stage))
            .collect();
        if gradients {
            named.extend(self.gradients(form)?);
        }
        Ok(named)
    }
}
