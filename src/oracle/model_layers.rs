//! A layer's known mistakes, made in every H3 layer of a language model.

use super::model_mutants::NamedStages;
use super::mutants::{Mutant, mutated_forward};
use crate::error::Error;
use crate::h3::{Layer, Parameters};
use crate::model::{Mixed, Model, ModelParameters, Parts};
use crate::tensor::Tensor;

/// Products of all mutants' direct convolutions beyond which they are not tried: some ten seconds.
const MOST_PRODUCTS: usize = 20_000_000;

/// A model whose H3 layers can be computed with a mistake.
pub(super) struct WrongLayers {
    model: Model<f64>,
    /// Of every block's layer; of none where the mixer is attention.
    layers: Vec<Option<Parameters<f64>>>,
}

/// One mistake in all layers.
struct With<'a> {
    layers: &'a [Option<Parameters<f64>>],
    mutant: Mutant,
}

impl WrongLayers {
    /// `None` if there are no H3 layers, or so much of them that trying all mistakes would take long.
    ///
    /// # Errors
    ///
    /// As [`ModelParameters::build`].
    pub(super) fn of(
        parameters: &ModelParameters<f64>,
        ids: &Tensor<usize>,
    ) -> Result<Option<Self>, Error> {
        let config = parameters.config();
        let layers: Vec<Option<Parameters<f64>>> = (0..config.n_layer)
            .map(|block| match config.is_attention(block) {
                true => Ok(None),
                false => parameters.h3(block).map(Some),
            })
            .collect::<Result<_, Error>>()?;
        let count = layers.iter().flatten().count();
        let len = ids.shape().last().copied().unwrap_or(0);
        let pairs = config.d_model().saturating_mul(config.h3.head_dim);
        let products = ids.data().len().saturating_mul(len).saturating_mul(pairs);
        if count == 0 || products.saturating_mul(count) > MOST_PRODUCTS {
            return Ok(None);
        }
        let model = parameters.build()?;
        Ok(Some(Self { model, layers }))
    }

    /// Every stage of the model with this mistake in its layers, under its name in files.
    ///
    /// # Errors
    ///
    /// As [`mutated_forward`].
    pub(super) fn stages(&self, mutant: Mutant, ids: &Tensor<usize>) -> Result<NamedStages, Error> {
        let layers = &self.layers;
        Ok(self
            .model
            .forward_by(&With { layers, mutant }, ids)?
            .named())
    }
}

impl Parts<f64> for With<'_> {
    fn h3(&self, block: usize, layer: &Layer<f64>, u: &Tensor<f64>) -> Result<Mixed<f64>, Error> {
        let missing = || Error::missing("output of a mutant");
        let parameters = self.layers.get(block).and_then(Option::as_ref);
        let stages = mutated_forward(parameters.ok_or_else(missing)?, u, None, &[self.mutant])?;
        let output = stages.into_iter().find(|(name, _)| *name == "output");
        let (_, output) = output.ok_or_else(missing)?;
        Ok((output, layer.zero_state(u.shape()[0])))
    }
}
