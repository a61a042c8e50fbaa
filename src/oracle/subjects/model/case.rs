//! A language model's case: its parameters and tokens.

use crate::error::Error;
use crate::model::{ModelParameters, StoredNames, Targets, Text};
use crate::oracle::sequence::Sequence;
use crate::safetensors::Tensors;
use crate::tensor::Tensor;

/// A language model and the tokens it is run on.
#[derive(Clone, Debug)]
pub struct ModelCase {
    pub(super) parameters: ModelParameters<f64>,
    pub(super) text: Text,
    /// The division of the text's rows into sequences, as stated in files.
    pub(super) sequence: Sequence,
    /// The vocabulary without its padding, where that is known.
    pub(super) unpadded: Option<usize>,
    /// The targets, if there is a loss.
    pub(super) targets: Option<Targets>,
    /// False where the loss is a stage, and no gradient.
    pub(super) has_gradients: bool,
}

impl ModelCase {
    /// The case of a model and tokens (batch, seq_len).
    ///
    /// # Errors
    ///
    /// If there is no token, or one is outside the vocabulary.
    pub fn new(parameters: ModelParameters<f64>, ids: Tensor<usize>) -> Result<Self, Error> {
        Self::of(parameters, Text::new(ids)?, Sequence::Whole)
    }

    /// The case of a model and a text made of sequences in this way.
    ///
    /// # Errors
    ///
    /// If a token is outside the vocabulary, except at padding, which is not read; or if the text is run
    /// in parts and `l_max` is below the number of its tokens.
    pub(super) fn of(
        parameters: ModelParameters<f64>,
        text: Text,
        sequence: Sequence,
    ) -> Result<Self, Error> {
        let config = parameters.config();
        let (ids, documents) = text.rows();
        config.check_end(documents.longest())?;
        for (b, tokens) in documents.iter() {
            let mut places = tokens.map(|i| b * documents.seq_len() + i);
            places.try_for_each(|at| config.check_token(at, ids.data()[at]))?;
        }
        if sequence.schedule().is_some() && config.cuts_kernels(documents.longest()) {
            return Err(Error::unsupported(
                "metadata schedule: no state passes through a layer whose l_max is below its length",
            ));
        }
        Ok(Self {
            parameters,
            text,
            sequence,
            unpadded: None,
            targets: None,
            has_gradients: true,
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

    /// The case with the token to be predicted at every place (batch, seq_len), from which its loss and
    /// gradients come.
    #[must_use]
    pub fn with_targets(self, targets: Targets) -> Self {
        Self {
            targets: Some(targets),
            ..self
        }
    }

    /// The case without gradients: of its targets there is the loss alone.
    #[must_use]
    pub fn without_gradients(self) -> Self {
        Self {
            has_gradients: false,
            ..self
        }
    }

    /// The case with only the first `prompt` tokens of each sequence taken as a whole; the others
    /// come one at a time. The stages are the same.
    ///
    /// # Errors
    ///
    /// As [`Text::with_prompt`].
    pub fn with_prompt(self, prompt: usize) -> Result<Self, Error> {
        let text = self.text.with_prompt(prompt)?;
        Ok(Self { text, ..self })
    }

    /// The model.
    #[must_use]
    pub fn parameters(&self) -> &ModelParameters<f64> {
        &self.parameters
    }

    /// The tokens (batch, seq_len) it is run on.
    #[must_use]
    pub fn ids(&self) -> &Tensor<usize> {
        self.text.ids()
    }

    /// True if a file holds a language model: if some tensor has the name of a model's parameter.
    #[must_use]
    pub fn is_in(file: &dyn Tensors) -> bool {
        let names = StoredNames::new(file.names().into_iter());
        names.map_or(true, |names| names.official().next().is_some())
    }
}
