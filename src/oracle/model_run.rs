//! A language model's stages in any scalars, and certified.

use super::certified::{Certified, Computation, certify};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::model::ModelParameters;
use crate::tensor::Tensor;

/// A model and the tokens it is run on.
#[derive(Clone, Debug)]
pub struct ModelRun<'a> {
    /// The model's parameters.
    pub parameters: &'a ModelParameters<f64>,
    /// The tokens (batch, seq_len).
    pub ids: &'a Tensor<usize>,
    /// How many tokens of each sequence are taken as a whole; the others come one at a time.
    pub prompt: usize,
    /// How H3 layers are run over what is taken as a whole.
    pub form: Form,
}

impl Computation for ModelRun<'_> {
    fn form(&self) -> String {
        self.form.to_string()
    }

    fn stages<T>(&self) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        ModelRun::stages(self)
    }
}

impl<'a> ModelRun<'a> {
    /// The model over whole sequences: its H3 layers by recurrence, which keeps exact zeros exact;
    /// by convolution where `l_max` cuts the kernels.
    #[must_use]
    pub fn whole(parameters: &'a ModelParameters<f64>, ids: &'a Tensor<usize>) -> Self {
        let seq_len = ids.shape().last().copied().unwrap_or(0);
        Self {
            parameters,
            ids,
            prompt: seq_len,
            form: parameters.config().h3.default_form(seq_len),
        }
    }

    /// Every stage in the scalars of a precision, under its name in files: `block{i}.hidden`,
    /// `block{i}.residual`, `logits`.
    ///
    /// # Errors
    ///
    /// As [`Model::forward_from_prompt`](crate::model::Model::forward_from_prompt).
    pub fn stages<T>(&self) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let model = self.parameters.build::<T>()?;
        let stages = model.forward_from_prompt(&self.form, self.prompt, self.ids)?;
        Ok(stages.named())
    }

    /// Every stage correctly rounded, as [`certified`](super::certified()) does for a layer.
    ///
    /// # Errors
    ///
    /// As [`stages`](Self::stages); and if four words do not decide some element.
    pub fn certified(&self) -> Result<Certified, Error> {
        certify(self)
    }
}
