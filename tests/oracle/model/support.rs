//! What the tests of the model share.

use crate::common::data;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{self, HeadOrder, Name, RealType};
use hungry_hippos::model::{BlockName, ModelConfig, ModelName, ModelParameters, SsmMixer};
use hungry_hippos::oracle::{Format, Golden, ModelCase, ModelFile, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::Discretization;

/// One of the official language models' cases.
pub(crate) fn case(name: &str) -> ModelFile {
    ModelFile::open(&data(name)).expect("a well-formed case")
}

/// The one that holds everything there is to compare.
pub(crate) fn official() -> ModelFile {
    case("lm-tiny")
}

/// Stages under their names.
pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// A file of stages.
pub(crate) fn file(stages: &Stages, dtype: Dtype) -> SafeTensors {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        let added = writer.add(name, dtype, stage.shape(), stage.data());
        added.expect("shapes fit");
    }
    SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid")
}

/// What the check of such a file says.
pub(crate) fn judge(golden: &Golden, stages: &Stages, dtype: Dtype, format: Format) -> Report {
    let candidate = golden.candidate(&file(stages, dtype));
    golden.check(&candidate.expect("can be judged"), format)
}

/// The verdicts of that check, without the search for mistakes that explain them.
pub(crate) fn verdicts(golden: &Golden, stages: &Stages, dtype: Dtype, format: Format) -> Report {
    let candidate = golden.candidate(&file(stages, dtype));
    golden.verdicts(&candidate.expect("can be judged"), format)
}

/// The case of a model's golden file.
pub(crate) fn model_of(golden: &Golden) -> &ModelCase {
    golden.model().expect("a model's golden file")
}

/// The golden file of a model on some tokens.
pub(crate) fn certified(parameters: ModelParameters<f64>, ids: Tensor<usize>) -> Golden {
    let case = ModelCase::new(parameters, ids).expect("tokens of the vocabulary");
    Golden::certify(case).expect("certified")
}

/// A model of small sizes, odd ones where they may be, so that no axis can stand for another.
pub(crate) fn config(
    n_layer: usize,
    attention: &[usize],
    num_heads: usize,
    d: usize,
) -> ModelConfig {
    ModelConfig {
        n_layer,
        d_inner: 7,
        vocab_size: 9,
        max_position_embeddings: 0,
        attn_layer_idx: attention.to_vec(),
        num_heads,
        layer_norm_epsilon: 1e-3,
        ssm: SsmMixer::H3,
        h3: h3::Config {
            d_model: d,
            head_dim: 1,
            d_state: 4,
            n_ssm: d,
            disc: Discretization::Bilinear,
            real_type: RealType::Exp,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
    }
}

/// With H3 layers of heads of `head_dim` channels.
pub(crate) fn with_heads_of(head_dim: usize, mut config: ModelConfig) -> ModelConfig {
    config.h3.head_dim = head_dim;
    config.h3.n_ssm = config.h3.n_heads();
    config
}

/// Parameters of a size at which every part matters.
pub(crate) fn parameters(config: &ModelConfig) -> ModelParameters<f64> {
    let mut rng = Rng::new(29);
    ModelParameters::new(config.clone(), |name| {
        let size: usize = name.shape(config).iter().product();
        let value = |_| {
            let unit = rng.unit();
            match name {
                ModelName::NormWeight
                | ModelName::Block(_, BlockName::Norm1Weight | BlockName::Norm2Weight) => {
                    1.0 + 0.5 * unit
                }
                // Steps from e^-2 to 1, long enough to tell the discretizations apart.
                ModelName::Block(_, BlockName::H3(Name::LogDt)) => unit - 1.0,
                _ => 0.8 * unit,
            }
        };
        Ok((0..size).map(value).collect())
    })
    .expect("a model")
}
