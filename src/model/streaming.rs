//! The model one token at a time.

use super::forward::{Model, ModelStages, ModelState};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::{Error, check_len};
use crate::h3::Plain;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A model as an object that takes one token of every sequence of a batch at a time (the official
/// `inference_params` path).
///
/// Its H3 layers remember a state of one size, its attention layers the keys and values of every
/// token: the first cost the same for every token, the second more for each.
#[derive(Clone, Debug)]
pub struct ModelStream<'a, T: Real> {
    model: &'a Model<T>,
    state: ModelState<T>,
}

impl<'a, T> ModelStream<'a, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// A stream over a batch, before any token.
    #[must_use]
    pub fn new(model: &'a Model<T>, batch: usize) -> Self {
        Self {
            model,
            state: model.zero_state(batch),
        }
    }

    /// A stream that continues from a state: a saved one, or that of prompts ([`Model::forward`]),
    /// also of different lengths ([`Model::forward_documents`]).
    ///
    /// # Errors
    ///
    /// If it is not a state of this model.
    pub fn resume(model: &'a Model<T>, state: ModelState<T>) -> Result<Self, Error> {
        model.check_state(&state, state.positions.len())?;
        Ok(Self { model, state })
    }

    /// Number of tokens of every sequence processed so far.
    #[must_use]
    pub fn positions(&self) -> &[usize] {
        &self.state.positions
    }

    /// The state after the last token.
    #[must_use]
    pub fn state(&self) -> &ModelState<T> {
        &self.state
    }

    /// Takes the next token of every sequence, `ids` (batch), and returns the model's stages
    /// (batch, 1, ...); the logits are those of the following tokens.
    ///
    /// # Errors
    ///
    /// If there is not one token per sequence, one is outside the vocabulary, or `l_max` is reached. The
    /// state is then as it was.
    pub fn step(&mut self, ids: &[usize]) -> Result<ModelStages<T>, Error> {
        let batch = self.state.positions.len();
        check_len("input_ids of a step", ids.len(), batch)?;
        let ids = Tensor::new([batch, 1], ids.to_vec())?;
        let one = Documents::whole(batch, 1);
        let state = Some(&self.state);
        let stages = self
            .model
            .forward_by(&Plain::Recurrence, (&ids, &one), state)?;
        self.state = stages.state.clone();
        Ok(stages)
    }
}
