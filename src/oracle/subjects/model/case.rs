//! A language model's case: its parameters and tokens.

use crate::error::Error;
use crate::model::{ModelParameters, StoredNames};
use crate::safetensors::Tensors;
use crate::tensor::Tensor;

/// A language model and the tokens it is run on.
#[derive(Clone, Debug)]
pub struct ModelCase {
    pub(super) parameters: ModelParameters<f64>,
    pub(super) ids: Tensor<usize>,
    /// The vocabulary without its padding, where that is known.
    pub(super) unpadded: Option<usize>,
    pub(super) prompt: usize,
}

impl ModelCase {
    /// The case of a model and tokens (batch, seq_len).
    ///
    /// # Errors
    ///
    /// If there is no token, or one is outside the vocabulary.
    pub fn new(parameters: ModelParameters<f64>, ids: Tensor<usize>) -> Result<Self, Error> {
        let &[batch, len] = ids.shape() else {
            let got = format_args!("{:?}", ids.shape());
            return Err(Error::shape("input_ids", "shape (batch, seq_len)", got));
        };
        if batch == 0 || len == 0 {
            return Err(Error::value(
                "input_ids",
                "holds nothing; expected at least one token",
            ));
        }
        parameters.config().check_tokens(ids.data(), batch, 0)?;
        Ok(Self {
            parameters,
            ids,
            unpadded: None,
            prompt: len,
        })
    }

    /// The case with a vocabulary that is padded from `vocab_size` tokens.
    #[must_use]
    pub fn with_unpadded(self, vocab_size: usize) -> Self {
        Self {
            unpadded: Some(vocab_size),
            ..self
        }
    }

    /// The case with only the first `prompt` tokens of each sequence taken as a whole; the others
    /// come one at a time. The stages are the same.
    #[must_use]
    pub fn with_prompt(self, prompt: usize) -> Self {
        Self { prompt, ..self }
    }

    /// The model.
    #[must_use]
    pub fn parameters(&self) -> &ModelParameters<f64> {
        &self.parameters
    }

    /// The tokens (batch, seq_len) it is run on.
    #[must_use]
    pub fn ids(&self) -> &Tensor<usize> {
        &self.ids
    }

    /// True if a file holds a language model: if some tensor has the name of a model's parameter.
    #[must_use]
    pub fn is_in(file: &dyn Tensors) -> bool {
        let names = StoredNames::new(file.names().into_iter());
        names.map_or(true, |names| names.official().next().is_some())
    }
}
