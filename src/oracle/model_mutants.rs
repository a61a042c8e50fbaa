//! Known mistakes in what stands around the H3 layers of a language model, each a small change to
//! the reference.

use crate::algebra::{Matrix, dot};
use crate::attention::{softmax, softmax_attention};
use crate::error::Error;
use crate::h3::{Form, HeadOrder, Layer};
use crate::model::{
    BlockName, LayerNorm, Mixed, ModelConfig, ModelHooks, ModelName, ModelParameters, gelu,
};
use crate::ssm::Discretization;
use crate::tensor::Tensor;
use std::collections::BTreeMap;

/// Stages under their names in files.
pub(super) type NamedStages = Vec<(String, Tensor<f64>)>;

/// A known mistake in a language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelMutant {
    /// What a block hands on as residual is the sum after its MLP.
    ResidualSummed,
    /// What a block hands on as hidden is the sum too.
    HiddenSummed,
    /// The last block's MLP is not added before the last LayerNorm.
    LastAddForgotten,
    /// Every LayerNorm divides by the unbiased deviation.
    UnbiasedVariance,
    /// Every LayerNorm adds 1e-5.
    Epsilon5,
    /// Every LayerNorm adds 1e-6.
    Epsilon6,
    /// Every LayerNorm adds 1e-12.
    Epsilon12,
    /// Every LayerNorm adds epsilon to the deviation.
    EpsilonOutside,
    /// No LayerNorm before the head.
    NoFinalNorm,
    /// The LayerNorms of the older order, not renamed.
    OlderNorms,
    /// GELU itself.
    ErfGelu,
    /// The sigmoid approximation of GELU.
    SigmoidGelu,
    /// Wqkv read head by head.
    QkvByHead,
    /// Scores not scaled.
    NoScale,
    /// Scores scaled by all channels.
    ScaleByModel,
    /// Attention to later tokens too.
    NoMask,
    /// Attention one block early.
    AttentionEarly,
    /// Attention one block late.
    AttentionLate,
    /// No learned positions.
    NoPositions,
    /// The H3 layers' gated channels in the other order.
    HeadOrder,
    /// The H3 layers discretized in the other way.
    Discretization,
}

use ModelMutant as M;

impl ModelMutant {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Self; 21] = [
        M::ResidualSummed,
        M::HiddenSummed,
        M::LastAddForgotten,
        M::UnbiasedVariance,
        M::Epsilon5,
        M::Epsilon6,
        M::Epsilon12,
        M::EpsilonOutside,
        M::NoFinalNorm,
        M::OlderNorms,
        M::ErfGelu,
        M::SigmoidGelu,
        M::QkvByHead,
        M::NoScale,
        M::ScaleByModel,
        M::NoMask,
        M::AttentionEarly,
        M::AttentionLate,
        M::NoPositions,
        M::HeadOrder,
        M::Discretization,
    ];

    /// Id, name, what is computed and what should be, and the fix.
    fn words(self) -> [&'static str; 4] {
        let eps = "set layer_norm_epsilon from the checkpoint's configuration";
        match self {
            M::ResidualSummed => [
                "L01",
                "residual_summed",
                "block{i}.residual the sum with the MLP's output instead of without it, the next block adding first",
                "hand on hidden and residual unsummed: r <- r + h stands at the beginning of a block",
            ],
            M::HiddenSummed => [
                "L02",
                "hidden_summed",
                "block{i}.hidden the sum r + h instead of the MLP's output alone",
                "hand on hidden and residual unsummed: r <- r + h stands at the beginning of a block",
            ],
            M::LastAddForgotten => [
                "L03",
                "last_add_forgotten",
                "logits = E LN(h) instead of E LN(r + h)",
                "add hidden to residual once more before the last LayerNorm",
            ],
            M::UnbiasedVariance => [
                "L04",
                "unbiased_variance",
                "the variance over d - 1 instead of d channels in every LayerNorm",
                "divide by d (torch.var needs unbiased=False)",
            ],
            M::Epsilon5 => [
                "L05a",
                "epsilon_1e5",
                "epsilon 1e-5 instead of the file's",
                eps,
            ],
            M::Epsilon6 => [
                "L05b",
                "epsilon_1e6",
                "epsilon 1e-6 instead of the file's",
                eps,
            ],
            M::Epsilon12 => [
                "L05c",
                "epsilon_1e12",
                "epsilon 1e-12 instead of the file's",
                eps,
            ],
            M::EpsilonOutside => [
                "L05d",
                "epsilon_outside",
                "sqrt(var) + epsilon instead of sqrt(var + epsilon)",
                "add epsilon to the variance",
            ],
            M::NoFinalNorm => [
                "L06",
                "no_final_norm",
                "logits = E (r + h) instead of E LN(r + h)",
                "apply backbone.ln_f before the head",
            ],
            M::OlderNorms => [
                "L07",
                "older_norms",
                "norm1, norm2 of a block after its mixer and MLP instead of before them",
                "rename the LayerNorms of older checkpoints as the official load_state_dict does",
            ],
            M::ErfGelu => [
                "L08a",
                "erf_gelu",
                "x/2 (1 + erf(x / sqrt(2))) instead of its tanh approximation",
                "F.gelu(x, approximate='tanh')",
            ],
            M::SigmoidGelu => [
                "L08b",
                "sigmoid_gelu",
                "x sigmoid(1.702 x) instead of the tanh approximation",
                "F.gelu(x, approximate='tanh')",
            ],
            M::QkvByHead => [
                "L09",
                "qkv_by_head",
                "rows of Wqkv as (h three d) instead of (three h d)",
                "all queries come first, then all keys, then all values",
            ],
            M::NoScale => [
                "L10a",
                "no_scale",
                "softmax(q k^T) instead of softmax(q k^T / sqrt(d_h))",
                "divide the scores by sqrt(head channels)",
            ],
            M::ScaleByModel => [
                "L10b",
                "scale_by_model",
                "softmax(q k^T / sqrt(d)) instead of softmax(q k^T / sqrt(d_h))",
                "divide by the root of a head's channels, not of the model's",
            ],
            M::NoMask => [
                "L11",
                "no_mask",
                "attention to all tokens instead of to none later",
                "mask the scores above the diagonal before the softmax",
            ],
            M::AttentionEarly => [
                "L12a",
                "attention_early",
                "attention one block before attn_layer_idx instead of at it",
                "blocks are counted from 0",
            ],
            M::AttentionLate => [
                "L12b",
                "attention_late",
                "attention one block after attn_layer_idx instead of at it",
                "blocks are counted from 0",
            ],
            M::NoPositions => [
                "L13",
                "no_positions",
                "the embedding alone instead of the embedding plus the position's",
                "add backbone.embeddings.position_embeddings",
            ],
            M::HeadOrder => [
                "L14",
                "head_order",
                "gated channels of every H3 layer in the other of (d2 h) and (h d2) instead of the file's",
                "see head_order: the official forward pass lays out (d2 h)",
            ],
            M::Discretization => [
                "L15",
                "discretization",
                "the other of bilinear and zero-order hold instead of the file's in every H3 layer",
                "see disc",
            ],
        }
    }

    /// The entry of the catalogue, `"L01"`; a letter tells the variants of one entry apart.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.words()[0]
    }

    /// A short name in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.words()[1]
    }

    /// What is computed, and what should be, in one line.
    #[must_use]
    pub fn formula(self) -> &'static str {
        self.words()[2]
    }

    /// The fix, for the author of a port.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.words()[3]
    }

    /// Whether there is anything in a model that the mistake could be made in.
    fn applies(self, config: &ModelConfig) -> bool {
        let attention = !config.attn_layer_idx.is_empty();
        let h3 = config.attn_layer_idx.len() < config.n_layer;
        let eps = config.layer_norm_epsilon;
        let other_than = |value: f64| (eps - value).abs() > 1e-3 * value;
        match self {
            M::UnbiasedVariance => config.d_model() > 1,
            M::Epsilon5 => other_than(1e-5),
            M::Epsilon6 => other_than(1e-6),
            M::Epsilon12 => other_than(1e-12),
            M::EpsilonOutside => eps > 0.0,
            M::QkvByHead | M::ScaleByModel => attention && config.num_heads > 1,
            M::NoScale => attention && config.attention_head_dim() > 1,
            M::NoMask => attention,
            M::AttentionEarly | M::AttentionLate => {
                attention && self.moved_attention(config).is_some()
            }
            M::NoPositions => config.max_position_embeddings > 0,
            M::HeadOrder => h3 && config.h3.head_dim > 1 && config.h3.n_heads() > 1,
            M::Discretization => h3,
            _ => true,
        }
    }

    /// The blocks whose attention changes places, each with the block beside it; `None` if there is no such
    /// block, or its mixer is attention too.
    fn moved_attention(self, config: &ModelConfig) -> Option<Vec<(usize, usize)>> {
        let moves = config.attn_layer_idx.iter().map(|&from| {
            let to = match self {
                M::AttentionEarly => from.checked_sub(1),
                _ => Some(from + 1).filter(|&to| to < config.n_layer),
            }?;
            (!config.is_attention(to)).then_some((from, to))
        });
        moves.collect()
    }

    /// Every stage of the model with this mistake, under its name in files; `None` where it does not
    /// apply.
    ///
    /// # Errors
    ///
    /// As [`Model::forward`](crate::model::Model::forward).
    pub fn stages(
        self,
        parameters: &ModelParameters<f64>,
        ids: &Tensor<usize>,
    ) -> Result<Option<NamedStages>, Error> {
        let config = parameters.config();
        if !self.applies(config) {
            return Ok(None);
        }
        let model = self.edited(parameters)?.build::<f64>()?;
        let len = ids.shape().last().copied().unwrap_or(0);
        let wrong = Wrong {
            mutant: self,
            form: config.h3.default_form(len),
            epsilon: config.layer_norm_epsilon,
        };
        let mut stages = model.forward_by(&wrong, ids)?;
        let summed = |[hidden, residual]: &[Tensor<f64>; 2]| {
            let pairs = hidden.data().iter().zip(residual.data());
            Tensor::new(hidden.shape(), pairs.map(|(h, r)| h + r).collect())
        };
        match self {
            M::ResidualSummed | M::HiddenSummed => {
                let which = usize::from(self == M::ResidualSummed);
                for block in &mut stages.blocks {
                    block[which] = summed(block)?;
                }
            }
            M::LastAddForgotten => {
                if let Some([hidden, _]) = stages.blocks.last() {
                    let d = config.d_model();
                    let rows = hidden.data().chunks_exact(d).map(|x| model.head(x));
                    let logits: Vec<Vec<f64>> = rows.collect::<Result<_, Error>>()?;
                    stages.logits = Tensor::new(stages.logits.shape(), logits.concat())?;
                }
            }
            _ => {}
        }
        Ok(Some(stages.named()))
    }

    /// The parameters of a port with this mistake, where that is all there is to it.
    fn edited(self, parameters: &ModelParameters<f64>) -> Result<ModelParameters<f64>, Error> {
        let mut config = parameters.config().clone();
        let (d, d_h) = (config.d_model(), config.attention_head_dim());
        let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
        let same = |name: ModelName| parameters.get(name).to_vec();
        match self {
            M::Epsilon5 => config.layer_norm_epsilon = 1e-5,
            M::Epsilon6 => config.layer_norm_epsilon = 1e-6,
            M::Epsilon12 => config.layer_norm_epsilon = 1e-12,
            M::HeadOrder => {
                config.h3.head_order = match config.h3.head_order {
                    HeadOrder::D2H => HeadOrder::HD2,
                    HeadOrder::HD2 => HeadOrder::D2H,
                }
            }
            M::Discretization => {
                config.h3.disc = match config.h3.disc {
                    Discretization::Bilinear => Discretization::ZeroOrderHold,
                    Discretization::ZeroOrderHold => Discretization::Bilinear,
                }
            }
            M::AttentionEarly | M::AttentionLate => {
                for (from, to) in self.moved_attention(&config).unwrap_or_default() {
                    moved.extend([(from, to), (to, from)]);
                }
                let blocks = (0..config.n_layer).map(|i| moved.get(&i).copied().unwrap_or(i));
                let sources: Vec<usize> = blocks.collect();
                let attention = |i: &usize| config.is_attention(sources[*i]);
                config.attn_layer_idx = (0..config.n_layer).filter(attention).collect();
            }
            _ => {}
        }
        let last = config.n_layer.saturating_sub(1);
        let scaled = |name: ModelName, rows: usize, factor: f64| {
            let mut values = same(name);
            let width = values.len() / (3 * d);
            values
                .iter_mut()
                .take(rows * width)
                .for_each(|x| *x *= factor);
            values
        };
        ModelParameters::new(config, |name| {
            let ModelName::Block(i, within) = name else {
                return Ok(match (self, name) {
                    (M::NoPositions, ModelName::Positions) => vec![0.0; same(name).len()],
                    (M::OlderNorms, ModelName::NormWeight) => {
                        same(ModelName::Block(0, BlockName::Norm1Weight))
                    }
                    (M::OlderNorms, ModelName::NormBias) => {
                        same(ModelName::Block(0, BlockName::Norm1Bias))
                    }
                    _ => same(name),
                });
            };
            let of = |i, within| same(ModelName::Block(i, within));
            Ok(match (self, within) {
                (M::AttentionEarly | M::AttentionLate, within) if within.is_mixer() => {
                    of(moved.get(&i).copied().unwrap_or(i), within)
                }
                // What is named norm2 stood before the next block's mixer, norm1 before the MLP.
                (M::OlderNorms, BlockName::Norm1Weight) => of(i, BlockName::Norm2Weight),
                (M::OlderNorms, BlockName::Norm1Bias) => of(i, BlockName::Norm2Bias),
                (M::OlderNorms, BlockName::Norm2Weight) if i == last => same(ModelName::NormWeight),
                (M::OlderNorms, BlockName::Norm2Bias) if i == last => same(ModelName::NormBias),
                (M::OlderNorms, BlockName::Norm2Weight) => of(i + 1, BlockName::Norm1Weight),
                (M::OlderNorms, BlockName::Norm2Bias) => of(i + 1, BlockName::Norm1Bias),
                (M::QkvByHead, BlockName::QkvWeight | BlockName::QkvBias) => {
                    let values = same(name);
                    let width = values.len() / (3 * d);
                    let rows = (0..3 * d).map(|row| {
                        let (which, h, c) = (row / d, row % d / d_h, row % d_h);
                        let read = h * 3 * d_h + which * d_h + c;
                        &values[read * width..(read + 1) * width]
                    });
                    rows.collect::<Vec<_>>().concat()
                }
                (M::NoScale, BlockName::QkvWeight | BlockName::QkvBias) => {
                    scaled(name, d, (d_h as f64).sqrt())
                }
                (M::ScaleByModel, BlockName::QkvWeight | BlockName::QkvBias) => {
                    scaled(name, d, (d_h as f64 / d as f64).sqrt())
                }
                _ => same(name),
            })
        })
    }
}

/// The parts of a model with a mistake.
struct Wrong {
    mutant: ModelMutant,
    form: Form,
    epsilon: f64,
}

impl ModelHooks<f64> for Wrong {
    fn h3(&self, block: usize, layer: &Layer<f64>, u: &Tensor<f64>) -> Result<Mixed<f64>, Error> {
        self.form.h3(block, layer, u)
    }

    fn attend(
        &self,
        q: &Matrix<f64>,
        k: &Matrix<f64>,
        v: &Matrix<f64>,
        scale: f64,
    ) -> Result<Matrix<f64>, Error> {
        if self.mutant != M::NoMask {
            return softmax_attention(q, k, v, scale);
        }
        let mut weights = Vec::new();
        for i in 0..q.rows() {
            let scores = (0..k.rows()).map(|j| scale * dot(q.row(i), k.row(j)));
            weights.extend(softmax(&scores.collect::<Vec<_>>())?);
        }
        Matrix::new(q.rows(), k.rows(), weights)?.times(v)
    }

    fn norm(&self, norm: &LayerNorm<f64>, last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
        let (center, variance) = norm.moments(x)?;
        let d = x.len() as f64;
        let variance = match self.mutant {
            M::NoFinalNorm if last => return Ok(x.to_vec()),
            M::UnbiasedVariance => variance * d / (d - 1.0),
            // So that the root of what is made of it with epsilon is the deviation plus epsilon.
            M::EpsilonOutside => (variance.sqrt() + self.epsilon).powi(2) - self.epsilon,
            _ => variance,
        };
        norm.scaled(x, center, variance)
    }

    fn activation(&self, x: f64) -> f64 {
        match self.mutant {
            M::ErfGelu => 0.5 * x * (1.0 + error_function(x / core::f64::consts::SQRT_2)),
            M::SigmoidGelu => x / (1.0 + (-1.702 * x).exp()),
            _ => gelu(x),
        }
    }
}

/// `erf x = 2 / sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (1 3 ... (2n+1))`: terms of one sign (Abramowitz
/// and Stegun 7.1.6).
fn error_function(x: f64) -> f64 {
    // 1 - erf 6 is 2e-17.
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, 0.0, 0.0);
    while term.abs() > 1e-18 * f64::abs(sum) {
        sum += term;
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
    }
    core::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::error_function;

    /// Values of Abramowitz and Stegun, table 7.1, and the limits.
    #[test]
    fn the_error_function() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (6.0, 1.0),
            // Where the terms overflow and their factor underflows.
            (40.0, 1.0),
        ] {
            for (x, expected) in [(x, expected), (-x, -expected)] {
                let error: f64 = error_function(x) - expected;
                assert!(error.abs() < 1e-15, "erf {x}: off by {error:e}");
            }
        }
        assert_eq!(error_function(6.0), 1.0, "less than half a unit below 1");
    }
}
