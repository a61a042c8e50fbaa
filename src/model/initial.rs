//! Random weights of a model's shape.

use super::config::{ModelConfig, SsmMixer};
use super::names::{BlockName, ModelName};
use crate::algebra::Rng;
use crate::h3::{self, HeadOrder, Name, RealType};
use crate::spelled::spelled;
use crate::ssm::Discretization;

/// Models of a known shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelPreset {
    /// 2 blocks of 32 channels, attention in the second: to try things out.
    Tiny,
    /// The published 125M model: 12 blocks of 768 channels, attention of 12 heads in block 6, the
    /// vocabulary of GPT-2 (50257) padded to a multiple of 8.
    M125,
    /// The published 355M model: 24 blocks of 1024 channels, attention of 16 heads in blocks 8 and 16.
    M355,
}

spelled!(ModelPreset, "preset",
    Tiny => "tiny",
    M125 => "125m",
    M355 => "355m",
);

impl ModelPreset {
    /// The sizes (README and `examples/README.md` of the official repository).
    #[must_use]
    pub fn config(self) -> ModelConfig {
        let (n_layer, d, heads, vocab_size, m, attention) = match self {
            Self::Tiny => (2, 32, 4, 64, 8, vec![1]),
            Self::M125 => (12, 768, 12, 50264, 64, vec![6]),
            Self::M355 => (24, 1024, 16, 50264, 64, vec![8, 16]),
        };
        ModelConfig {
            n_layer,
            d_inner: 4 * d,
            vocab_size,
            max_position_embeddings: 0,
            attn_layer_idx: attention,
            num_heads: heads,
            layer_norm_epsilon: 1e-5,
            ssm: SsmMixer::H3,
            h3: h3::Config {
                d_model: d,
                head_dim: 1,
                d_state: m,
                n_ssm: d,
                disc: Discretization::Bilinear,
                real_type: RealType::Exp,
                l_max: None,
                head_order: HeadOrder::D2H,
            },
        }
    }
}

/// Random values of one parameter, one after another, spread as the official initialization spreads
/// them (`ssm_seq.py`, `_init_weights`; `ss_kernel.py`): weights of deviation 0.02, less on the residual
/// path; `lambda` as in S4D-Lin; steps from 0.001 to 0.1. Biases and LayerNorms, officially zeros and
/// ones, are random too, so that none can be forgotten.
pub fn initial_values(
    config: &ModelConfig,
    name: ModelName,
    mut rng: Rng,
) -> impl Iterator<Item = f64> {
    let size = name.shape(config).iter().product();
    let (modes, taps) = (config.h3.n_modes().max(1), config.h3.d_state);
    let residual = 0.02 / (2.0 * config.n_layer as f64).sqrt();
    (0..size).map(move |at: usize| {
        // Four uniform numbers, of deviation 1: as good as normal here, and the same everywhere.
        let mut normal = |deviation: f64| {
            let sum: f64 = (0..4).map(|_| rng.unit()).sum();
            deviation * sum * 0.866
        };
        match name {
            ModelName::NormWeight
            | ModelName::Block(_, BlockName::Norm1Weight | BlockName::Norm2Weight) => {
                1.0 + normal(0.02)
            }
            ModelName::Block(_, BlockName::OutWeight | BlockName::Fc2Weight) => normal(residual),
            ModelName::Block(_, BlockName::H3(name) | BlockName::S4d(name)) => match name {
                Name::InvAReal => -core::f64::consts::LN_2 + normal(0.02),
                Name::AImag => core::f64::consts::PI * (at % modes) as f64 + normal(0.02),
                // Uniform between the logarithms of 0.001 and 0.1.
                Name::LogDt => core::f64::consts::LN_10 * (rng.unit() - 2.0),
                Name::B if at.is_multiple_of(2) => 1.0 + normal(0.02),
                Name::C => normal(core::f64::consts::FRAC_1_SQRT_2),
                Name::ShiftB if at.is_multiple_of(taps) => 1.0,
                Name::ShiftC => normal(1.0 / (3.0 * taps as f64).sqrt()),
                Name::ShiftD | Name::D => normal(1.0),
                Name::OutputWeight => normal(residual),
                _ => normal(0.02),
            },
            _ => normal(0.02),
        }
    })
}
