#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/17-language-model.md")]

mod attention;
mod backward;
mod block;
mod config;
mod forward;
mod initial;
mod initialization;
mod layer_norm;
mod mlp;
mod named;
mod names;
mod operations;
mod parameters;
mod perplexity;
mod prompt;
mod s4d;
mod sampling;
mod shapes;
mod streaming;
mod text;

use crate::internals::internals;

pub use attention::{KeyValueCache, MultiHeadAttention};
pub(crate) use backward::{
    Cotangent, ModelBackward, NormGradient, cross_entropy, gelu_slope, mean_loss,
    weights_of_counted,
};
pub use backward::{ModelGradients, Targets};
pub(crate) use block::documents_of_ids;
pub use block::{Block, Mixer, MixerState};
pub use config::{ModelConfig, SsmMixer};
pub(crate) use forward::{BlockStage, Mixed, ModelHooks, Part, Rows};
pub use forward::{Model, ModelStages, ModelState};
pub use initial::{ModelPreset, initial_values};
pub use initialization::initial_parameters;
pub use layer_norm::LayerNorm;
pub(crate) use mlp::{GELU_CUBE, SQRT_2_OVER_PI};
pub use mlp::{Mlp, exact_gelu, gelu};
pub use names::{BlockName, ModelName, StoredNames};
pub(crate) use names::{HEAD, block_has_s4d, block_of};
pub use operations::{Operations, operations_per_token};
pub use parameters::ModelParameters;
pub use perplexity::{Perplexity, perplexity};
pub use s4d::S4d;
pub use sampling::Sampling;
pub use streaming::ModelStream;
pub use text::Text;

internals!(backward::exact_gelu_slope);
internals!(named::Named);
