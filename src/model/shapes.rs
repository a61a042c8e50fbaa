//! The parameters of a model of given sizes, and their shapes.

use super::config::ModelConfig;
use super::names::{BlockName, ModelName};
use crate::h3::Name;

impl ModelConfig {
    /// The names of all parameters, in the order in which they are used.
    #[must_use]
    pub fn names(&self) -> Vec<ModelName> {
        let mut names = vec![ModelName::Embeddings];
        if self.max_position_embeddings > 0 {
            names.push(ModelName::Positions);
        }
        for block in 0..self.n_layer {
            let ssm = (!self.is_attention(block)).then_some(self.ssm);
            let of_block = BlockName::all(ssm);
            names.extend(of_block.map(|name| ModelName::Block(block, name)));
        }
        names.extend([ModelName::NormWeight, ModelName::NormBias]);
        names
    }

    /// The parameter of a block's mixer that is what an H3 layer calls so, as [`BlockName::of_mixer`].
    pub(crate) fn mixer_name(&self, block: usize, name: Name) -> ModelName {
        ModelName::Block(block, BlockName::of_mixer(self.ssm, name))
    }

    /// The number of scalar parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let sizes = self.names().into_iter();
        sizes
            .map(|name| name.shape(self).iter().product::<usize>())
            .sum()
    }
}

impl ModelName {
    /// The shape in a model of these sizes.
    #[must_use]
    pub fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let d = config.d_model();
        match self {
            Self::Embeddings => vec![config.vocab_size, d],
            Self::Positions => vec![config.max_position_embeddings, d],
            Self::Block(_, name) => name.shape(config),
            Self::NormWeight | Self::NormBias => vec![d],
        }
    }
}

impl BlockName {
    fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let (d, inner) = (config.d_model(), config.d_inner);
        match self {
            Self::H3(name) => name.shape(&config.h3),
            // Officially of one channel each.
            Self::S4d(Name::D) => vec![1, d],
            Self::S4d(name) => name.shape(&config.h3),
            Self::QkvWeight => vec![3 * d, d],
            Self::QkvBias => vec![3 * d],
            Self::OutWeight => vec![d, d],
            Self::Fc1Weight => vec![inner, d],
            Self::Fc1Bias => vec![inner],
            Self::Fc2Weight => vec![d, inner],
            Self::Norm1Weight
            | Self::Norm1Bias
            | Self::OutBias
            | Self::Norm2Weight
            | Self::Norm2Bias
            | Self::Fc2Bias => vec![d],
        }
    }
}
