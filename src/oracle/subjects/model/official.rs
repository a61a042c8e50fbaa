//! A language model in checkpoints.

use super::super::layer;
use crate::h3::Name;
use crate::model::{BlockName, HEAD, ModelName, SsmMixer, StoredNames, block_has_s4d, block_of};
use crate::oracle::official::{Choices, Official, Parameter, StoredAs};
use std::collections::BTreeSet;

/// The shape of a block's parameter: d channels, Q of queries, keys and values, I of the MLP; of an H3
/// or S4D layer as there.
fn shape(name: BlockName) -> &'static str {
    match name {
        BlockName::S4d(Name::D) => "1d",
        BlockName::H3(name) | BlockName::S4d(name) => {
            let rows = layer::SHAPES.iter();
            let mut shapes = rows.filter(|(known, _)| *known == name);
            shapes.next().map_or("", |(_, shape)| shape)
        }
        BlockName::Norm1Weight
        | BlockName::Norm1Bias
        | BlockName::Norm2Weight
        | BlockName::Norm2Bias
        | BlockName::OutBias
        | BlockName::Fc2Bias => "d",
        BlockName::OutWeight => "dd",
        BlockName::QkvWeight => "Qd",
        BlockName::QkvBias => "Q",
        BlockName::Fc1Weight => "Id",
        BlockName::Fc1Bias => "I",
        BlockName::Fc2Weight => "dI",
    }
}

/// The name of the projection that blocks with attention have.
fn attention(block: usize) -> String {
    ModelName::Block(block, BlockName::QkvWeight).official()
}

fn parameters(names: &BTreeSet<&str>) -> Vec<Parameter> {
    let mut rows = vec![
        Parameter::needed(ModelName::Embeddings.official(), "Vd"),
        Parameter::optional(ModelName::Positions.official(), "Pd"),
    ];
    let last = names.iter().filter_map(|name| block_of(name)).max();
    for block in 0..last.map_or(1, |last| last + 1) {
        let is_attention = names.contains(&attention(block)[..]);
        let ssm = match block_has_s4d(block, |name| names.contains(name)) {
            _ if is_attention => None,
            true => Some(SsmMixer::S4d),
            false => Some(SsmMixer::H3),
        };
        for name in BlockName::all(ssm) {
            let official = ModelName::Block(block, name).official();
            rows.push(Parameter {
                // Whether it is there is a choice, `qkv_bias`.
                needed: name != BlockName::QkvBias,
                ..Parameter::needed(official, shape(name))
            });
        }
    }
    rows.push(Parameter::needed(ModelName::NormWeight.official(), "d"));
    rows.push(Parameter::needed(ModelName::NormBias.official(), "d"));
    rows.push(Parameter::optional(HEAD, "Vd"));
    rows
}

/// HazyResearch/H3 `src/models/ssm_seq.py`, `SSMLMHeadModel`.
pub(crate) const OFFICIAL: Official = Official {
    stored: |names| {
        let found = StoredNames::new(names.iter().copied())?;
        let of = |name: &str| Some((name.to_string(), found.get(name)?.to_string()));
        let mut stored: StoredAs = found.official().filter_map(of).collect();
        // The others are no parameters; their names say so.
        for name in names {
            if !stored.values().any(|known| known == name) {
                stored.insert(name.to_string(), name.to_string());
            }
        }
        Ok(stored)
    },
    parameters,
    beside: &[],
    choices: |sizes| {
        let mut asked = vec!["layer_norm_epsilon"];
        if sizes.of('Q') > 0 {
            asked.push("num_heads");
        }
        if sizes.of('H') > 0 {
            asked.extend(layer::choices(sizes).asked);
        }
        Choices {
            told: Vec::new(),
            asked,
            possible: &["qkv_bias", "vocab_size", "head_order"],
        }
    },
};
