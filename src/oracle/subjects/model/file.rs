//! A language model's file on disk, without a second copy in memory.

use super::case::ModelCase;
use super::layout::ModelLayout;
use crate::error::Error;
use crate::model::{ModelConfig, ModelName, ModelParameters, StoredNames, Text};
use crate::oracle::read::{optional, read_tensor};
use crate::safetensors::TensorFile;
use crate::tensor::Tensor;
use std::path::Path;

/// A language model's file. Its header is read and checked at once, its tensors when they are asked
/// for.
#[derive(Debug)]
pub struct ModelFile {
    file: TensorFile,
    layout: ModelLayout,
}

impl ModelFile {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        if let Some(kind) = file.metadata().get("kind")
            && !ModelCase::is_in(&file)
        {
            let why = format!("is {kind:?}; expected a file with a language model");
            return Err(Error::value("metadata kind", why).in_file(path));
        }
        let layout = ModelLayout::read(&file).map_err(|e| e.in_file(path))?;
        Ok(Self { file, layout })
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.layout.config
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// The vocabulary without the rows that pad it (metadata `vocab_size`), where the file says.
    ///
    /// # Errors
    ///
    /// If it is no number.
    pub fn unpadded_vocabulary(&self) -> Result<Option<usize>, Error> {
        optional(self.file.metadata(), "vocab_size")
    }

    /// The names under which the file holds the parameters.
    #[must_use]
    pub fn names(&self) -> &StoredNames {
        &self.layout.names
    }

    /// One parameter, row-major; zeros for the biases of queries, keys and values where metadata
    /// `qkv_bias` is `false`: the official `attn_cfg = {"bias": False}`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or holds a number that is not finite.
    pub fn parameter(&self, name: ModelName) -> Result<Vec<f64>, Error> {
        self.layout.parameter(&self.file, name)
    }

    /// All parameters, in memory.
    ///
    /// # Errors
    ///
    /// As [`parameter`](Self::parameter).
    pub fn parameters(&self) -> Result<ModelParameters<f64>, Error> {
        self.layout.parameters(&self.file)
    }

    /// The tokens, `input_ids` (batch, seq_len); a single axis is one sequence.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text).
    pub fn ids(&self) -> Result<Tensor<usize>, Error> {
        Ok(self.text()?.ids().clone())
    }

    /// The tokens, with the documents that lie in their rows (metadata `sequence`: `packed` or `padded`)
    /// or the parts in which they are run (`schedule`).
    ///
    /// # Errors
    ///
    /// If there is none, or one is outside the vocabulary, except at padding; or naming
    /// what the file says of sequences that a model's case does not take.
    pub fn text(&self) -> Result<Text, Error> {
        Ok(self.layout.text(&self.file)?.0)
    }

    /// The case that the file holds.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text) and [`parameters`](Self::parameters).
    pub fn case(&self) -> Result<ModelCase, Error> {
        ModelCase::of_layout(&self.layout, &self.file)
    }

    /// Any tensor of tokens (batch, tokens) of the file.
    ///
    /// # Errors
    ///
    /// If it is missing, holds nothing, or holds a token outside the vocabulary.
    pub fn saved_ids(&self, name: &str) -> Result<Tensor<usize>, Error> {
        self.layout.saved_ids(&self.file, name)
    }

    /// The length of the prompt in `input_ids` (metadata `prompt_len`); all of it if the file does
    /// not say.
    ///
    /// # Errors
    ///
    /// If it is not a number from 1 to `seq_len`.
    pub fn prompt_len(&self, seq_len: usize) -> Result<usize, Error> {
        match optional(self.file.metadata(), "prompt_len")? {
            None => Ok(seq_len),
            Some(len) if (1..=seq_len).contains(&len) => Ok(len),
            Some(len) => Err(Error::value(
                "metadata prompt_len",
                format!("{len}; input_ids has {seq_len} tokens a sequence"),
            )),
        }
    }

    /// A float tensor that was saved with the model, of a known shape; `None` if it was not.
    ///
    /// # Errors
    ///
    /// If it has another shape, is not a float type, or holds a number that is not finite.
    pub fn saved(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor<f64>>, Error> {
        let stored = self.file.get(name);
        stored
            .map(|_| read_tensor(&self.file, name, shape))
            .transpose()
    }
}
