//! A language model in a file: its sizes and choices, the names its parameters have there, and the
//! reading of them.

use super::super::layer::{config_metadata, read_choices};
use crate::error::Error;
use crate::h3::{self, Name, RealType};
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockName, HEAD, ModelConfig, ModelName, ModelParameters, SsmMixer, StoredNames, Text,
    block_has_s4d, block_of,
};
use crate::oracle::read::{
    check_finite, check_shape, check_size, demand, none_lacks, optional, required, shape_of,
};
use crate::oracle::sequence::Sequence;
use crate::safetensors::{Dtype, Tensors};
use crate::ssm::{Discretization, Documents};
use crate::tensor::Tensor;
use core::str::FromStr;
use std::collections::BTreeMap;

/// The `kind` of a language model's files.
pub(super) const KIND: &str = "model";

/// The layout of a language model in a file: read from the header and checked. Tensors are read
/// only when requested.
#[derive(Debug)]
pub(crate) struct ModelLayout {
    pub(super) names: StoredNames,
    pub(crate) config: ModelConfig,
    /// True if the queries, keys and values have biases.
    qkv_bias: bool,
}

impl ModelLayout {
    /// The layout of a file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key that is missing, of the wrong shape or type, or in
    /// contradiction with another.
    pub(crate) fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let names = StoredNames::new(file.names().into_iter())?;
        refuse_variants(file, &names)?;
        let config = read_config(file, &names)?;
        config.check()?;
        let stated = file.metadata().get("qkv_bias");
        let layout = Self {
            qkv_bias: !stated.is_some_and(|value| NONE.contains(&value.as_str())),
            names,
            config,
        };
        layout.check_tensors(file)?;
        Ok(layout)
    }

    /// One parameter, row-major; zeros for the biases of queries, keys and values where metadata
    /// `qkv_bias` is `false`: the official `attn_cfg = {"bias": False}`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or holds a number that is not finite.
    pub(super) fn parameter(&self, file: &dyn Tensors, name: ModelName) -> Result<Vec<f64>, Error> {
        if self.is_left_out(name) {
            return Ok(vec![0.0; 3 * self.config.d_model()]);
        }
        let stored = self.names.stored(&name.official())?;
        let values = file.values(stored)?;
        check_finite(stored, &values)?;
        Ok(values)
    }

    /// All parameters, in memory.
    ///
    /// # Errors
    ///
    /// As [`parameter`](Self::parameter).
    pub(crate) fn parameters(&self, file: &dyn Tensors) -> Result<ModelParameters<f64>, Error> {
        ModelParameters::new(self.config.clone(), |name| self.parameter(file, name))
    }

    /// The text, `input_ids` (batch, seq_len), a single axis being one sequence; and how its rows are made
    /// of sequences.
    ///
    /// # Errors
    ///
    /// If there is none, or a token is outside the vocabulary, except at padding; or naming
    /// what the file says of sequences that a model's case does not take.
    pub(super) fn text(&self, file: &dyn Tensors) -> Result<(Text, Sequence), Error> {
        let [batch, len] = ids_shape(file, "input_ids")?;
        check_size(file.metadata(), "B", batch, false)?;
        check_size(file.metadata(), "L", len, false)?;
        refuse_states(file)?;
        let sequence = Sequence::read(file, "input_ids", [batch, len])?;
        let documents = sequence.documents(batch, len)?;
        let ids = self.ids_of(file, "input_ids", &documents)?;
        let text = Text::of_documents(ids, documents)?;
        let text = match sequence.schedule() {
            Some(schedule) => text.in_parts(schedule.lengths())?,
            None => text,
        };
        Ok((text, sequence))
    }

    /// Any tensor of tokens (batch, tokens) of the file.
    ///
    /// # Errors
    ///
    /// If it is missing, holds nothing, or holds a token outside the vocabulary.
    pub(crate) fn saved_ids(&self, file: &dyn Tensors, name: &str) -> Result<Tensor<usize>, Error> {
        let [batch, len] = ids_shape(file, name)?;
        self.ids_of(file, name, &Documents::whole(batch, len))
    }

    /// The tensor of tokens of this name, of documents in its rows.
    fn ids_of(
        &self,
        file: &dyn Tensors,
        name: &str,
        documents: &Documents,
    ) -> Result<Tensor<usize>, Error> {
        let shape = [documents.batch(), documents.seq_len()];
        let ids = file.integers(name)?;
        let vocab = self.config.vocab_size;
        for (b, tokens) in documents.iter() {
            for at in tokens.map(|i| b * shape[1] + i) {
                let id = ids[at];
                if !usize::try_from(id).is_ok_and(|id| id < vocab) {
                    return Err(Error::value(
                        format!("tensor {name:?}"),
                        format!("element {at} is {id}, outside the vocabulary of {vocab}"),
                    ));
                }
            }
        }
        // What stands at padding may be negative; it is not read, and written back as it was.
        Tensor::new(shape, ids.into_iter().map(|id| id as usize).into_vec())
    }

    fn is_left_out(&self, name: ModelName) -> bool {
        !self.qkv_bias && matches!(name, ModelName::Block(_, BlockName::QkvBias))
    }

    /// Every parameter is there with its shape, as floats; there are no others; the head is tied.
    fn check_tensors(&self, file: &dyn Tensors) -> Result<(), Error> {
        let mut expected = Vec::new();
        let mut lacking = Vec::new();
        for name in self.config.names() {
            let official = name.official();
            if self.is_left_out(name) {
                if let Some(stored) = self.names.get(&official) {
                    return Err(Error::value(
                        format!("tensor {stored:?}"),
                        "is present, but metadata qkv_bias says that there is none",
                    ));
                }
                continue;
            }
            let Some(stored) = self.names.get(&official) else {
                lacking.push(match name {
                    ModelName::Block(_, BlockName::QkvBias) => {
                        format!("{official:?} (unless metadata qkv_bias is \"false\")")
                    }
                    _ => format!("{official:?}"),
                });
                continue;
            };
            let (dtype, shape) = file.find(stored).ok_or_else(|| Error::missing(stored))?;
            check_shape(stored, shape, &name.shape(&self.config))?;
            if !matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(Error::value(
                    format!("tensor {stored:?}"),
                    format!("holds {dtype}; expected F64, F32, F16 or BF16"),
                ));
            }
            expected.push(official);
        }
        none_lacks(["tensor", "tensors"], lacking)?;
        let unknown = |name: &&str| *name != HEAD && !expected.iter().any(|known| known == name);
        if let Some(name) = self.names.official().find(unknown) {
            return Err(Error::value(
                format!("tensor {:?}", self.names.stored(name)?),
                "is no parameter of this model; leaving it out might change what is computed",
            ));
        }
        let embeddings = self.names.stored(&ModelName::Embeddings.official())?;
        match self.names.get(HEAD) {
            Some(head) if !file.same(head, embeddings)? => Err(Error::value(
                format!("tensor {head:?}"),
                format!("is not {embeddings:?}: the head of this model is tied to the embedding"),
            )),
            _ => Ok(()),
        }
    }
}

/// The shape of a tensor of tokens: a single axis is one sequence.
fn ids_shape(file: &dyn Tensors, name: &str) -> Result<[usize; 2], Error> {
    let (_, shape) = file
        .find(name)
        .ok_or_else(|| Error::missing(format!("tensor {name:?}")))?;
    let shape = match *shape {
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

/// The metadata a case of this model needs: what its tensors do not tell, and their sizes.
#[must_use]
pub fn model_metadata(config: &ModelConfig) -> BTreeMap<String, String> {
    let own = [
        ("format", "hippos-lm-case/1".to_string()),
        ("n_layer", config.n_layer.to_string()),
        ("d_model", config.d_model().to_string()),
        ("d_inner", config.d_inner.to_string()),
        ("padded_vocab", config.vocab_size.to_string()),
        ("attn_layer_idx", format!("{:?}", config.attn_layer_idx)),
        ("num_heads", config.num_heads.to_string()),
        ("layer_norm_epsilon", config.layer_norm_epsilon.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value));
    own.into_iter().chain(config_metadata(&config.h3)).collect()
}

/// The metadata key of token counts after which states are stages, of which a model has none.
pub(super) const MARKS: &str = "marks";

/// Refuses states and cotangents, which a model's case does not take.
fn refuse_states(file: &dyn Tensors) -> Result<(), Error> {
    let refused = |what: String| {
        Err(Error::unsupported(format!(
            "{what}: a language model's case has no states and no cotangents"
        )))
    };
    let strings = file.metadata();
    for (key, refused_value) in [("sequence", "cotangent"), ("initial_state", "given")] {
        if strings.get(key).is_some_and(|value| value == refused_value) {
            return refused(format!("metadata {key} = {refused_value:?}"));
        }
    }
    if let Some(marks) = strings.get(MARKS) {
        return refused(format!("metadata {MARKS} = {marks:?}"));
    }
    let is_state =
        |name: &&str| *name == "g" || ["g.", "initial_state"].iter().any(|p| name.starts_with(p));
    match file.names().into_iter().find(is_state) {
        Some(name) => refused(format!("tensor {name:?}")),
        None => Ok(()),
    }
}

/// The metadata values that mean none.
const NONE: [&str; 6] = ["0", "none", "None", "false", "False", ""];

/// Refuses variants of the official model that are not computed here.
fn refuse_variants(file: &dyn Tensors, names: &StoredNames) -> Result<(), Error> {
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

fn read_config(file: &dyn Tensors, names: &StoredNames) -> Result<ModelConfig, Error> {
    let strings = file.metadata();
    let axis = |name: ModelName, rank: usize, axis: usize| {
        let stored = names.stored(&name.official())?;
        Ok::<_, Error>(shape_of(file, stored, rank)?[axis])
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
    let attn_layer_idx: Vec<usize> = (0..n_layer).filter(is_attention).into_vec();
    if let Some(stated) = strings.get("attn_layer_idx")
        && integers(stated).as_ref() != Some(&attn_layer_idx)
    {
        return Err(Error::value(
            "metadata attn_layer_idx",
            format!("says {stated:?}, but the blocks with a mixer.Wqkv are {attn_layer_idx:?}"),
        ));
    }
    let mut needed = vec!["layer_norm_epsilon"];
    // The official scripts call it nheads.
    if !attn_layer_idx.is_empty() && !strings.contains_key("nheads") {
        needed.push("num_heads");
    }
    if attn_layer_idx.len() < n_layer {
        needed.extend(["disc", "real_type", "l_max"]);
    }
    demand(strings, &needed)?;
    let num_heads = match (attn_layer_idx.is_empty(), strings.contains_key("num_heads")) {
        (true, _) => 0,
        (false, false) if strings.contains_key("nheads") => required(strings, "nheads")?,
        (false, _) => required(strings, "num_heads")?,
    };
    let of_s4d = |block: &usize| block_has_s4d(*block, |name| names.get(name).is_some());
    let ssm_block = (0..n_layer).find(|block| !is_attention(block));
    let ssm = match ssm_block.filter(of_s4d) {
        Some(_) => SsmMixer::S4d,
        None => SsmMixer::H3,
    };
    let h3 = match ssm_block {
        Some(block) => {
            let of_mixer = |name: Name, rank, at| {
                let name = BlockName::of_mixer(ssm, name);
                axis(ModelName::Block(block, name), rank, at)
            };
            let axis = |name: Name, rank, at| match (ssm, name) {
                // An S4D layer has no shift models and no `B`: the modes are those of `C`.
                (SsmMixer::S4d, Name::ShiftB) => Ok(2 * of_mixer(Name::C, 4, 2)?),
                (SsmMixer::S4d, Name::B) => of_mixer(Name::InvAReal, 2, 0),
                _ => of_mixer(name, rank, at),
            };
            let heads = axis(Name::LogDt, 1, 0)?;
            if heads == 0 || !d.is_multiple_of(heads) {
                let why =
                    format!("{d} channels, which are no multiple of the {heads} heads of log_dt");
                return Err(Error::value("the embedding", why));
            }
            let head_dim = d / heads;
            check_size(strings, "head_dim", head_dim, false)?;
            read_choices(strings, d, head_dim, axis)?
        }
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
        ssm,
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
    if let Some(stated) = optional::<usize>(strings, "vocab_size")?
        && stated > config.vocab_size
    {
        let why = format!(
            "says {stated}, but the embedding has {} rows",
            config.vocab_size
        );
        return Err(Error::value("metadata vocab_size", why));
    }
    Ok(config)
}

/// The placeholder for the H3 configuration in a model with attention only.
pub(crate) fn h3_of_nothing(d_model: usize) -> h3::Config {
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
