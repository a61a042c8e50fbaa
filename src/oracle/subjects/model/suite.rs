//! The language models of the golden suite, made from a seed.

use super::super::layer::random_parameter;
use super::super::round_to_16_bits::round_to_16_bits;
use super::case::ModelCase;
use super::layout::h3_of_nothing;
use crate::algebra::Rng;
use crate::error::Error;
use crate::h3::{self, HeadOrder, RealType};
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName, ModelParameters, SsmMixer, Targets, Text};
use crate::oracle::sequence::Sequence;
use crate::oracle::subject::{Subject as _, SuiteRow};
use crate::safetensors::SafeTensors;
use crate::ssm::{Discretization, Padding};
use crate::tensor::Tensor;

/// One language model of the suite.
struct ModelRow {
    name: &'static str,
    stresses: &'static str,
    config: ModelConfig,
    /// The words that are tokens; the rest of the vocabulary is padding.
    unpadded: usize,
    batch: usize,
    seq_len: usize,
    sequence: Sequence,
    /// Every so many positions one that is not counted, where a loss is taken.
    ignored: Option<usize>,
}

/// The language models of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<ModelCase>> {
    let h3 = |d_model, head_dim, disc| h3::Config {
        d_model,
        head_dim,
        d_state: 6,
        n_ssm: d_model / head_dim,
        disc,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    [
        ModelRow {
            name: "39-model-hybrid",
            stresses: "a language model: attention of 2 heads in the middle of 3 blocks, 21 tokens padded to 24",
            config: ModelConfig {
                n_layer: 3,
                d_inner: 24,
                vocab_size: 24,
                max_position_embeddings: 0,
                attn_layer_idx: vec![1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3(8, 1, Discretization::Bilinear),
            },
            unpadded: 21,
            batch: 2,
            seq_len: 11,
            sequence: Sequence::Whole,
            ignored: None,
        },
        ModelRow {
            name: "40-model-h3",
            stresses: "a language model without attention: head_dim 2, zero-order hold, learned positions, a large epsilon",
            config: ModelConfig {
                n_layer: 2,
                d_inner: 20,
                vocab_size: 17,
                max_position_embeddings: 16,
                attn_layer_idx: Vec::new(),
                num_heads: 0,
                layer_norm_epsilon: 0.001,
                ssm: SsmMixer::H3,
                h3: h3(6, 2, Discretization::ZeroOrderHold),
            },
            unpadded: 17,
            batch: 1,
            seq_len: 14,
            sequence: Sequence::Whole,
            ignored: None,
        },
        ModelRow {
            name: "41-model-attention",
            stresses: "a language model of attention alone: the narrowest tolerance, for what stands around the layers",
            config: ModelConfig {
                n_layer: 2,
                d_inner: 12,
                vocab_size: 13,
                max_position_embeddings: 0,
                attn_layer_idx: vec![0, 1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3_of_nothing(4),
            },
            unpadded: 13,
            batch: 1,
            seq_len: 9,
            sequence: Sequence::Whole,
            ignored: None,
        },
        ModelRow {
            name: "41b-model-s4d",
            stresses: "a language model of S4D blocks, with attention between them: one model's poles for all channels, \
                       zero-order hold",
            config: ModelConfig {
                n_layer: 3,
                d_inner: 12,
                vocab_size: 14,
                max_position_embeddings: 0,
                attn_layer_idx: vec![1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::S4d,
                h3: h3::Config {
                    n_ssm: 1,
                    ..h3(6, 1, Discretization::ZeroOrderHold)
                },
            },
            unpadded: 14,
            batch: 2,
            seq_len: 9,
            sequence: Sequence::Whole,
            ignored: None,
        },
        ModelRow {
            name: "70-model-packed",
            stresses: "a language model over 4 documents packed in a row: of one token, shorter than the window, and \
                       longer; attention between two H3 blocks, learned positions enough for the row",
            config: ModelConfig {
                n_layer: 3,
                d_inner: 16,
                vocab_size: 19,
                max_position_embeddings: 14,
                attn_layer_idx: vec![1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3(4, 1, Discretization::Bilinear),
            },
            unpadded: 19,
            batch: 1,
            seq_len: 14,
            sequence: Sequence::Packed(vec![0, 3, 4, 10, 14]),
            ignored: None,
        },
        ModelRow {
            name: "71-model-padded",
            stresses: "a language model over rows with padding on the left, of one token, of some, and without padding: \
                       head_dim 2, attention first, learned positions",
            config: ModelConfig {
                n_layer: 2,
                d_inner: 12,
                vocab_size: 16,
                max_position_embeddings: 8,
                attn_layer_idx: vec![0],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3(4, 2, Discretization::ZeroOrderHold),
            },
            unpadded: 16,
            batch: 3,
            seq_len: 8,
            sequence: Sequence::Padded(vec![1, 5, 8], Padding::Left),
            ignored: None,
        },
        ModelRow {
            name: "86-model-loss",
            stresses: "the loss of a language model and all its gradients: attention of 2 heads after an H3 block, learned \
                       positions more than tokens, 2 rows of the vocabulary its padding, every third position not counted",
            config: ModelConfig {
                n_layer: 2,
                d_inner: 12,
                vocab_size: 12,
                max_position_embeddings: 9,
                attn_layer_idx: vec![1],
                num_heads: 2,
                layer_norm_epsilon: 1e-5,
                ssm: SsmMixer::H3,
                h3: h3::Config {
                    d_state: 4,
                    ..h3(4, 1, Discretization::Bilinear)
                },
            },
            unpadded: 10,
            batch: 2,
            seq_len: 8,
            sequence: Sequence::Whole,
            ignored: Some(3),
        },
    ]
    .map(|row| SuiteRow::new(row.name, row.stresses, move |seed| row.build(seed)))
    .into_iter()
    .chain([SuiteRow::new(
        "89-model-recall",
        "a trained language model, whose weights mean something: two H3 blocks that recall; the loss, without gradients",
        |_| trained(),
    )])
    .into_vec()
}

/// What `hippos train recall --d-model 16 --d-state 16 --rate 1e-3 --until 99.8 --out FILE` wrote (AVX-512; seed 0,
/// every held-out sequence right after 141 epochs).
const TRAINED: &[u8] = include_bytes!("recall.safetensors");

/// The trained model on one sequence that was held out.
fn trained() -> Result<ModelCase, Error> {
    let file = SafeTensors::from_bytes(TRAINED.to_vec())?;
    let case = ModelCase::read(&file)?;
    let targets = case.targets.as_ref();
    let targets = targets.ok_or_else(|| Error::missing("the trained model's targets"))?;
    let first = [1, case.ids().shape()[1]];
    let ids = Tensor::new(first, case.ids().row(0).to_vec())?;
    let targets = Tensor::new(first, targets.row(0).to_vec())?;
    let case = ModelCase::new(case.parameters, ids)?.with_targets(targets);
    Ok(case.without_gradients())
}

impl ModelRow {
    /// The case made from a seed: the same on every machine.
    ///
    /// Every parameter is a number that F16 and BF16 hold exactly, so that no port begins with a
    /// rounding.
    fn build(&self, seed: u64) -> Result<ModelCase, Error> {
        let rng = &mut Rng::named(seed, self.name);
        let parameters = random_model(&self.config, rng)?;
        let shape = [self.batch, self.seq_len];
        let ids = random_ids(shape, self.unpadded, rng)?;
        let documents = self.sequence.documents(self.batch, self.seq_len)?;
        let text = Text::of_documents(ids, documents)?;
        let case = ModelCase::of(parameters, text, self.sequence.clone())?;
        let case = case.with_unpadded(self.unpadded);
        match self.ignored {
            None => Ok(case),
            Some(every) => Ok(case.with_targets(random_targets(shape, self.unpadded, every, rng)?)),
        }
    }
}

/// Random tokens of a vocabulary.
pub(crate) fn random_ids(
    shape: [usize; 2],
    vocab_size: usize,
    rng: &mut Rng,
) -> Result<Tensor<usize>, Error> {
    let tokens = shape[0] * shape[1];
    let ids = (0..tokens).map(|_| (rng.next_u64() % vocab_size as u64) as usize);
    Tensor::new(shape, ids.into_vec())
}

/// Random targets, one of so many positions not counted.
pub(crate) fn random_targets(
    shape: [usize; 2],
    vocab_size: usize,
    ignored: usize,
    rng: &mut Rng,
) -> Result<Targets, Error> {
    let ids = random_ids(shape, vocab_size, rng)?;
    let places = ids.data().iter().enumerate();
    let targets = places.map(|(at, &id)| ((at + 1) % ignored != 0).then_some(id));
    Tensor::new(shape, targets.into_vec())
}

/// The parameters of a random model, each a number that F16 and BF16 hold exactly, in a range where every
/// part of the model matters.
pub(crate) fn random_model(
    config: &ModelConfig,
    rng: &mut Rng,
) -> Result<ModelParameters<f64>, Error> {
    let parameter = |name: ModelName, rng: &mut Rng| {
        let (d, inner) = (config.d_model() as f64, config.d_inner as f64);
        if let ModelName::Block(_, BlockName::H3(name) | BlockName::S4d(name)) = name {
            let drawn = random_parameter(&config.h3, (0.05, 0.5), name, rng);
            return round_to_16_bits(drawn);
        }
        let unit = rng.unit();
        // A weight that keeps a projection's output as large as its input.
        let weight = |inputs: f64| unit * (3.0 / inputs).sqrt();
        round_to_16_bits(match name {
            // Small, as published ones are, so that epsilon counts in the first LayerNorm.
            ModelName::Embeddings | ModelName::Positions => 0.125 * unit,
            ModelName::NormWeight
            | ModelName::Block(_, BlockName::Norm1Weight | BlockName::Norm2Weight) => {
                1.0 + 0.5 * unit
            }
            // Queries and keys long enough for attention to choose.
            ModelName::Block(_, BlockName::QkvWeight) => 1.5 * weight(d),
            ModelName::Block(_, BlockName::OutWeight) => weight(d),
            // Into where the approximations of GELU are furthest apart.
            ModelName::Block(_, BlockName::Fc1Weight) => 1.5 * weight(d),
            ModelName::Block(_, BlockName::Fc2Weight) => weight(inner),
            _ => 0.5 * unit,
        })
    };
    ModelParameters::new(config.clone(), |name| {
        let size = name.shape(config).iter().product();
        Ok((0..size).map(|_| parameter(name, rng)).into_vec())
    })
}
