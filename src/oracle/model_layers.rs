//! A layer's known mistakes, made in every H3 layer of a language model.

use super::model_mutants::NamedStages;
use super::mutants::{Mutant, mutated_forward};
use crate::error::Error;
use crate::h3::{Layer, Parameters};
use crate::model::{Mixed, Model, ModelHooks, ModelParameters};
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

impl ModelHooks<f64> for With<'_> {
    fn h3(&self, block: usize, layer: &Layer<f64>, u: &Tensor<f64>) -> Result<Mixed<f64>, Error> {
        let missing = || Error::missing("output of a mutant");
        let parameters = self.layers.get(block).and_then(Option::as_ref);
        let stages = mutated_forward(parameters.ok_or_else(missing)?, u, None, &[self.mutant])?;
        let output = stages.into_iter().find(|(name, _)| *name == "output");
        let (_, output) = output.ok_or_else(missing)?;
        Ok((output, layer.zero_state(u.shape()[0])))
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_PRODUCTS, WrongLayers};
    use crate::model::{ModelParameters, ModelPreset};
    use crate::tensor::Tensor;

    /// Whether the mistakes are tried of a model of 20 pairs of channels in every layer, with attention in some
    /// of its blocks.
    fn tried(n_layer: usize, attention: &[usize], batch: usize, len: usize) -> bool {
        let mut config = ModelPreset::Tiny.config();
        (config.n_layer, config.attn_layer_idx) = (n_layer, attention.to_vec());
        (config.h3.d_model, config.h3.head_dim, config.h3.n_ssm) = (10, 2, 1);
        (config.d_inner, config.vocab_size, config.num_heads) = (1, 1, 1);
        let parameters = ModelParameters::new(config.clone(), |name| {
            Ok(vec![0.5; name.shape(&config).iter().product()])
        });
        let ids = Tensor::new([batch, len], vec![0; batch * len]).expect("fits");
        let layers = WrongLayers::of(&parameters.expect("a model"), &ids);
        layers.expect("a model").is_some()
    }

    /// A direct convolution takes a product for every pair of tokens, of channels and for every layer.
    #[test]
    fn layers_are_tried_up_to_some_products() {
        assert_eq!(MOST_PRODUCTS, 1000 * 1000 * 20);
        assert!(tried(1, &[], 1, 1000) && !tried(1, &[], 1, 1001));
        assert!(tried(4, &[], 1, 500) && !tried(4, &[], 1, 501));
        assert!(tried(5, &[0], 1, 500) && tried(1, &[], 4, 500));
        assert!(!tried(1, &[], 5, 500) && !tried(2, &[], 1, 1000));
    }

    #[test]
    fn attention_alone_has_no_layers_to_try() {
        assert!(tried(1, &[], 1, 2) && !tried(1, &[0], 1, 2));
    }
}
