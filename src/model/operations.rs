//! Operations per token, by formula.

use super::config::{ModelConfig, SsmMixer};

/// Real multiplications that generating one token takes, by the sizes they depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operations {
    /// Matrix times vector: projections, MLPs and head, one for every element of their weights.
    pub weights: usize,
    /// The H3 and S4D layers' own: models, outer products and gates.
    pub models: usize,
    /// Scores and weighted sums of attention, which grow with the number of previous tokens.
    pub context: usize,
}

impl Operations {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.weights + self.models + self.context
    }
}

/// The multiplications that one step with `position` previous tokens needs (without LayerNorms,
/// activations and softmax, some ten per channel).
///
/// - H3: `4 d^2` for the projections. A shift model takes m for `B u`, m for `C x` and 1 for `D`, for each
///   of d channels. Each of `d d_h` products of key and value takes 1, its diagonal model `8 m/2 + 1` (a
///   complex times a complex, a complex times a real and the real part of a product per mode; `D`), its
///   gate 1.
/// - S4D: `d^2` for the projection, and a diagonal model for each channel.
/// - Attention: `4 d^2`, and `2 d` for each token there is, the new one included.
/// - MLP: `2 d d_inner`. Head: `d vocab_size`.
#[must_use]
pub fn operations_per_token(config: &ModelConfig, position: usize) -> Operations {
    let (d, m) = (config.d_model(), config.h3.d_state);
    let attention = config.attn_layer_idx.len();
    let others = config.n_layer.saturating_sub(attention);
    let diagonal = 8 * config.h3.n_modes() + 1;
    let (projections, models) = match config.ssm {
        SsmMixer::H3 => (4, 2 * m + 1 + config.h3.head_dim * (diagonal + 2)),
        SsmMixer::S4d => (1, diagonal),
    };
    let mixers = (4 * attention + projections * others) * d * d;
    Operations {
        weights: mixers + config.n_layer * 2 * d * config.d_inner + d * config.vocab_size,
        models: others * d * models,
        context: attention * 2 * d * (position + 1),
    }
}
