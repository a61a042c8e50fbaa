//! The training steps of the golden suite, made from a seed.

use super::super::model::{random_ids, random_model, random_targets};
use super::case::{Batch, TrainingCase};
use crate::algebra::Rng;
use crate::error::Error;
use crate::h3::{self, HeadOrder, RealType};
use crate::model::{ModelConfig, SsmMixer};
use crate::oracle::subject::SuiteRow;
use crate::ssm::Discretization;
use crate::training::{AdamW, OptimizerOptions, Schedule, official_groups};

/// One case of training steps.
struct TrainingRow {
    name: &'static str,
    stresses: &'static str,
    config: ModelConfig,
    batches: usize,
    shape: [usize; 2],
    rate: f64,
    schedule: Schedule,
    clip: Option<f64>,
    /// Every so many positions one that is not counted.
    ignored: usize,
}

/// The training steps of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<TrainingCase>> {
    let h3 = |d_model, head_dim, disc| h3::Config {
        d_model,
        head_dim,
        d_state: 4,
        n_ssm: d_model / head_dim,
        disc,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    [
        TrainingRow {
            name: "87-training-warmup",
            stresses: "2 steps of AdamW in a warmup of one step, in which weights stay and moments move: attention of 2 heads, \
                       learned positions, a limit of the norm that is not reached, every fourth position not counted",
            config: ModelConfig {
                n_layer: 1,
                d_inner: 8,
                vocab_size: 7,
                max_position_embeddings: 7,
                attn_layer_idx: vec![0],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3(4, 1, Discretization::Bilinear),
            },
            batches: 2,
            shape: [2, 6],
            rate: 0.00390625,
            schedule: Schedule::Linear {
                warmup: 1,
                total: 4,
            },
            clip: Some(64.0),
            ignored: 4,
        },
        TrainingRow {
            name: "88-training",
            stresses: "a step of AdamW whose norm is clipped: attention of 2 heads after an H3 block of head_dim 2, zero-order \
                       hold, the SSM's parameters in a group of their own",
            config: ModelConfig {
                n_layer: 2,
                d_inner: 8,
                vocab_size: 8,
                max_position_embeddings: 0,
                attn_layer_idx: vec![1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3(4, 2, Discretization::ZeroOrderHold),
            },
            batches: 1,
            shape: [2, 7],
            rate: 0.0078125,
            schedule: Schedule::Constant,
            clip: Some(0.25),
            ignored: 4,
        },
    ]
    .map(|row| SuiteRow::new(row.name, row.stresses, move |seed| row.build(seed)))
    .into()
}

impl TrainingRow {
    /// The case made from a seed: the same on every machine.
    fn build(&self, seed: u64) -> Result<TrainingCase, Error> {
        let rng = &mut Rng::named(seed, self.name);
        let config = &self.config;
        let parameters = random_model(config, rng)?;
        let mut batches = Vec::with_capacity(self.batches);
        for _ in 0..self.batches {
            batches.push(Batch {
                ids: random_ids(self.shape, config.vocab_size, rng)?,
                targets: random_targets(self.shape, config.vocab_size, self.ignored, rng)?,
            });
        }
        let groups = official_groups(config, &OptimizerOptions::official(self.rate));
        Ok(TrainingCase {
            optimizer: AdamW::new(config, groups, self.schedule.clone(), self.clip)?,
            parameters,
            batches,
            unpadded: None,
        })
    }
}
