//! Case files of a language model: its weights, tokens, and whatever was saved beside them.

use super::case::{check_finite, check_size, metadata, required};
use crate::error::Error;
use crate::h3::{self, Name, RealType};
use crate::model::{
    BlockName, HEAD, ModelConfig, ModelName, ModelParameters, StoredNames, block_of,
};
use crate::safetensors::{Dtype, TensorFile};
use crate::ssm::Discretization;
use crate::tensor::Tensor;
use core::str::FromStr;
use std::collections::BTreeMap;
use std::path::Path;

/// A language model's case file. Its header is read and checked at once, its tensors when they are
/// asked for.
#[derive(Debug)]
pub struct ModelCase {
    file: TensorFile,
    names: StoredNames,
    config: ModelConfig,
    /// Whether the queries, keys and values have biases.
    qkv_bias: bool,
}

impl ModelCase {
    /// Opens a case file.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        Self::from_file(file).map_err(|e| e.in_file(path.display().to_string()))
    }

    /// The case in an open file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key that is missing, of the wrong shape or type, or in
    /// contradiction with another.
    pub fn from_file(file: TensorFile) -> Result<Self, Error> {
        let names = StoredNames::new(file.names())?;
        refuse_variants(&file, &names)?;
        let config = read_config(&file, &names)?;
        config.check()?;
        let stated = file.metadata().get("qkv_bias");
        let case = Self {
            qkv_bias: !stated.is_some_and(|value| NONE.contains(&value.as_str())),
            file,
            names,
            config,
        };
        case.check_tensors()?;
        Ok(case)
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &TensorFile {
        &self.file
    }

    /// Whether a file holds a language model: whether some tensor has the name of a model's parameter.
    #[must_use]
    pub fn is_in(file: &TensorFile) -> bool {
        StoredNames::new(file.names()).map_or(true, |names| names.official().next().is_some())
    }

    /// The vocabulary without the rows that pad it (metadata `vocab_size`), where the file says.
    ///
    /// # Errors
    ///
    /// If it is no number.
    pub fn unpadded_vocabulary(&self) -> Result<Option<usize>, Error> {
        let strings = self.file.metadata();
        let stated = strings.contains_key("vocab_size");
        stated.then(|| required(strings, "vocab_size")).transpose()
    }

    /// Under which names the file holds the parameters.
    #[must_use]
    pub fn names(&self) -> &StoredNames {
        &self.names
    }

    /// One parameter, row-major; zeros for the biases of queries, keys and values where metadata
    /// `qkv_bias` is `false`: the official `attn_cfg = {"bias": False}`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or holds a number that is not finite.
    pub fn parameter(&self, name: ModelName) -> Result<Vec<f64>, Error> {
        if self.is_left_out(name) {
            return Ok(vec![0.0; 3 * self.config.d_model()]);
        }
        let stored = self.names.stored(&name.official())?;
        let values = self.file.to_f64(stored)?;
        check_finite(stored, &values)?;
        Ok(values)
    }

    /// All parameters, in memory.
    ///
    /// # Errors
    ///
    /// As [`parameter`](Self::parameter).
    pub fn parameters(&self) -> Result<ModelParameters<f64>, Error> {
        ModelParameters::new(self.config.clone(), |name| self.parameter(name))
    }

    /// The tokens, `input_ids` (batch, seq_len); a single axis is one sequence.
    ///
    /// # Errors
    ///
    /// If they are missing, there is none, or one is outside the vocabulary.
    pub fn ids(&self) -> Result<Tensor<usize>, Error> {
        let shape = self.ids_shape("input_ids")?;
        check_size(self.file.metadata(), "B", shape[0], false)?;
        check_size(self.file.metadata(), "L", shape[1], false)?;
        self.saved_ids("input_ids")
    }

    /// Any tensor of tokens (batch, tokens) of the file.
    ///
    /// # Errors
    ///
    /// As [`ids`](Self::ids).
    pub fn saved_ids(&self, name: &str) -> Result<Tensor<usize>, Error> {
        let shape = self.ids_shape(name)?;
        let ids = self.file.to_integers(name)?;
        let vocab = self.config.vocab_size;
        let ids = ids.iter().enumerate().map(|(at, &id)| {
            let inside = usize::try_from(id).ok().filter(|&id| id < vocab);
            inside.ok_or_else(|| {
                Error::value(
                    format!("tensor {name:?}"),
                    format!("element {at} is {id}, outside the vocabulary of {vocab}"),
                )
            })
        });
        Tensor::new(shape, ids.collect::<Result<Vec<_>, Error>>()?)
    }

    fn ids_shape(&self, name: &str) -> Result<[usize; 2], Error> {
        let shape = match *self.file.shape(name)? {
            [len] => [1, len],
            [batch, len] => [batch, len],
            ref other => {
                return Err(Error::shape(
                    format!("tensor {name:?}"),
                    "shape (batch, seq_len)",
                    format_args!("{other:?}"),
                ));
            }
        };
        if shape.contains(&0) {
            return Err(Error::value(
                format!("tensor {name:?}"),
                format!("shape {shape:?} holds nothing; expected at least one token"),
            ));
        }
        Ok(shape)
    }

    /// The length of the prompt in `input_ids` (metadata `prompt_len`); all of it if the file does
    /// not say.
    ///
    /// # Errors
    ///
    /// If it is not a number from 1 to `seq_len`.
    pub fn prompt_len(&self, seq_len: usize) -> Result<usize, Error> {
        let strings = self.file.metadata();
        if !strings.contains_key("prompt_len") {
            return Ok(seq_len);
        }
        let len = required(strings, "prompt_len")?;
        if (1..=seq_len).contains(&len) {
            return Ok(len);
        }
        Err(Error::value(
            "metadata prompt_len",
            format!("{len}; input_ids has {seq_len} tokens a sequence"),
        ))
    }

    /// A float tensor that was saved beside the model, of a known shape; `None` if it was not.
    ///
    /// # Errors
    ///
    /// If it has another shape, is not a float type, or holds a number that is not finite.
    pub fn saved(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor<f64>>, Error> {
        let Some((_, stored)) = self.file.get(name) else {
            return Ok(None);
        };
        check_shape(name, stored, shape)?;
        let values = self.file.to_f64(name)?;
        check_finite(name, &values)?;
        Tensor::new(shape, values).map(Some)
    }

    fn is_left_out(&self, name: ModelName) -> bool {
        !self.qkv_bias && matches!(name, ModelName::Block(_, BlockName::QkvBias))
    }

    /// Every parameter is there with its shape, as floats; there are no others; the head is tied.
    fn check_tensors(&self) -> Result<(), Error> {
        let mut expected = Vec::new();
        for name in self.config.names() {
            let official = name.official();
            if self.is_left_out(name) {
                if let Some(stored) = self.names.get(&official) {
                    return Err(Error::value(
                        format!("tensor {stored:?}"),
                        "is there, but metadata qkv_bias says that there is none",
                    ));
                }
                continue;
            }
            let stored = self.names.stored(&official).map_err(|e| match name {
                ModelName::Block(_, BlockName::QkvBias) => Error::missing(format!(
                    "tensor {official:?} (unless metadata qkv_bias is \"false\")"
                )),
                _ => e,
            })?;
            check_shape(stored, self.file.shape(stored)?, &name.shape(&self.config))?;
            if let Some((dtype, _)) = self.file.get(stored)
                && !matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
            {
                return Err(Error::value(
                    format!("tensor {stored:?}"),
                    format!("holds {dtype}; expected F64, F32, F16 or BF16"),
                ));
            }
            expected.push(official);
        }
        let unknown = |name: &&str| *name != HEAD && !expected.iter().any(|known| known == name);
        if let Some(name) = self.names.official().find(unknown) {
            return Err(Error::value(
                format!("tensor {:?}", self.names.stored(name)?),
                "is no parameter of this model; leaving it out might change what is computed",
            ));
        }
        let embeddings = self.names.stored(&ModelName::Embeddings.official())?;
        match self.names.get(HEAD) {
            Some(head) if !self.file.same(head, embeddings)? => Err(Error::value(
                format!("tensor {head:?}"),
                format!("is not {embeddings:?}: the head of this model is tied to the embedding"),
            )),
            _ => Ok(()),
        }
    }
}

/// The metadata a case of this model needs: what its tensors do not tell, and their sizes.
#[must_use]
pub fn model_metadata(config: &ModelConfig) -> BTreeMap<String, String> {
    let h3 = &config.h3;
    let l_max = h3.l_max.map_or("none".into(), |l_max| l_max.to_string());
    [
        ("format", "hippos-lm-case/1".to_string()),
        ("n_layer", config.n_layer.to_string()),
        ("d_model", config.d_model().to_string()),
        ("d_inner", config.d_inner.to_string()),
        ("padded_vocab", config.vocab_size.to_string()),
        ("attn_layer_idx", format!("{:?}", config.attn_layer_idx)),
        ("num_heads", config.num_heads.to_string()),
        ("layer_norm_epsilon", config.layer_norm_epsilon.to_string()),
        ("head_dim", h3.head_dim.to_string()),
        ("d_state", h3.d_state.to_string()),
        ("n_ssm", h3.n_ssm.to_string()),
        ("disc", h3.disc.to_string()),
        ("real_type", h3.real_type.to_string()),
        ("l_max", l_max),
        ("head_order", h3.head_order.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

fn check_shape(name: &str, got: &[usize], expected: &[usize]) -> Result<(), Error> {
    if got == expected {
        return Ok(());
    }
    Err(Error::shape(
        format!("tensor {name:?}"),
        format_args!("shape {expected:?}"),
        format_args!("{got:?}"),
    ))
}

/// How metadata says that there is none of something.
const NONE: [&str; 6] = ["0", "none", "None", "false", "False", ""];

/// Refuses variants of the official model that are not computed here.
fn refuse_variants(file: &TensorFile, names: &StoredNames) -> Result<(), Error> {
    let strings = file.metadata();
    for (key, what) in [
        ("rotary_emb_dim", "rotary positions in attention"),
        ("dwconv", "a convolution in attention"),
        ("softmax_scale", "another scale of attention"),
        ("word_embed_proj_dim", "a projected embedding"),
    ] {
        if let Some(value) = strings
            .get(key)
            .filter(|value| !NONE.contains(&value.as_str()))
        {
            return Err(Error::unsupported(format!(
                "metadata {key} = {value:?}: the model has {what}, which is not supported"
            )));
        }
    }
    for (part, what) in [
        (".rotary_emb.", "rotary positions in attention"),
        (".dwconv", "a convolution in attention"),
        (".project_in.", "a projected embedding"),
    ] {
        if let Some(name) = names.official().find(|name| name.contains(part)) {
            return Err(Error::unsupported(format!(
                "tensor {:?}: the model has {what}, which is not supported",
                names.stored(name)?
            )));
        }
    }
    for (key, known) in [("mode", "diag"), ("mlp_activation", "tanh")] {
        if let Some(value) = strings.get(key).filter(|value| !value.contains(known)) {
            return Err(Error::unsupported(format!(
                "metadata {key} = {value:?} is not supported; expected {known:?}"
            )));
        }
    }
    Ok(())
}

fn read_config(file: &TensorFile, names: &StoredNames) -> Result<ModelConfig, Error> {
    let strings = file.metadata();
    let axis = |name: ModelName, rank: usize, axis: usize| {
        let stored = names.stored(&name.official())?;
        let shape = file.shape(stored)?;
        if shape.len() != rank {
            return Err(Error::shape(
                format!("tensor {stored:?}"),
                format_args!("{rank} axes"),
                format_args!("shape {shape:?}"),
            ));
        }
        Ok(shape[axis])
    };
    let d = axis(ModelName::Embeddings, 2, 1)?;
    let blocks = names.official().filter_map(block_of).max();
    let n_layer = blocks.map_or(0, |last| last + 1);
    if n_layer == 0 {
        return Err(Error::missing("tensor \"backbone.layers.0.*\""));
    }
    let is_attention = |block: &usize| {
        let name = ModelName::Block(*block, BlockName::QkvWeight);
        names.get(&name.official()).is_some()
    };
    let attn_layer_idx: Vec<usize> = (0..n_layer).filter(is_attention).collect();
    if let Some(stated) = strings.get("attn_layer_idx")
        && integers(stated).as_ref() != Some(&attn_layer_idx)
    {
        return Err(Error::value(
            "metadata attn_layer_idx",
            format!("says {stated:?}, but the blocks with a mixer.Wqkv are {attn_layer_idx:?}"),
        ));
    }
    let num_heads = match (attn_layer_idx.is_empty(), strings.contains_key("num_heads")) {
        (true, _) => 0,
        // The official scripts call it nheads.
        (false, false) if strings.contains_key("nheads") => required(strings, "nheads")?,
        (false, _) => required(strings, "num_heads")?,
    };
    let h3_block = (0..n_layer).find(|block| !is_attention(block));
    let h3 = match h3_block {
        Some(block) => read_h3(file, d, |name, rank, at| {
            axis(ModelName::Block(block, BlockName::H3(name)), rank, at)
        })?,
        None => h3_of_nothing(d),
    };
    let config = ModelConfig {
        n_layer,
        d_inner: axis(ModelName::Block(0, BlockName::Fc1Weight), 2, 0)?,
        vocab_size: axis(ModelName::Embeddings, 2, 0)?,
        max_position_embeddings: match names.get(&ModelName::Positions.official()) {
            Some(_) => axis(ModelName::Positions, 2, 0)?,
            None => 0,
        },
        attn_layer_idx,
        num_heads,
        layer_norm_epsilon: required(strings, "layer_norm_epsilon")?,
        h3,
    };
    for (key, size) in [
        ("d_model", d),
        ("n_layer", n_layer),
        ("d_inner", config.d_inner),
        ("padded_vocab", config.vocab_size),
    ] {
        check_size(strings, key, size, false)?;
    }
    if strings.contains_key("vocab_size") {
        let stated: usize = required(strings, "vocab_size")?;
        if stated > config.vocab_size {
            return Err(Error::value(
                "metadata vocab_size",
                format!(
                    "says {stated}, but the embedding has {} rows",
                    config.vocab_size
                ),
            ));
        }
    }
    Ok(config)
}

/// The H3 layers' configuration, from the tensors of one of them and the metadata.
fn read_h3(
    file: &TensorFile,
    d_model: usize,
    axis: impl Fn(Name, usize, usize) -> Result<usize, Error>,
) -> Result<h3::Config, Error> {
    let strings = file.metadata();
    let heads = axis(Name::LogDt, 1, 0)?;
    let head_dim = d_model.checked_div(heads).unwrap_or(0);
    let config = h3::Config {
        d_model,
        d_state: axis(Name::ShiftB, 2, 1)?,
        n_ssm: axis(Name::B, 3, 0)?,
        head_dim,
        disc: required(strings, "disc")?,
        real_type: required(strings, "real_type")?,
        l_max: match metadata(strings, "l_max")? {
            "none" | "None" => None,
            _ => Some(required(strings, "l_max")?),
        },
        head_order: match strings.get("head_order") {
            Some(_) => required(strings, "head_order")?,
            None => h3::HeadOrder::default(),
        },
    };
    check_size(strings, "head_dim", head_dim, false)?;
    check_size(strings, "d_state", config.d_state, false)?;
    // The official code writes n_ssm = none for one model a head.
    check_size(strings, "n_ssm", config.n_ssm, config.n_ssm == heads)?;
    Ok(config)
}

/// What stands for the H3 layers' configuration in a model of attention alone.
pub(super) fn h3_of_nothing(d_model: usize) -> h3::Config {
    h3::Config {
        d_model,
        head_dim: 1,
        d_state: 2,
        n_ssm: d_model,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: h3::HeadOrder::default(),
    }
}

/// A list of whole numbers as Python writes it, `none` being an empty one.
fn integers(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().trim_matches(['[', ']', '(', ')', '{', '}']);
    if inner.eq_ignore_ascii_case("none") {
        return Some(Vec::new());
    }
    inner
        .split([',', ' '])
        .filter(|part| !part.is_empty())
        .map(|part| usize::from_str(part).ok())
        .collect()
}
