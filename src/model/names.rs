//! The official names of the parameters, and their names in older checkpoints.

use super::config::SsmMixer;
use crate::error::Error;
use crate::h3::Name;
use std::collections::BTreeMap;

/// A parameter of one block, under its name within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BlockName {
    /// `norm1.weight` (d): of the LayerNorm before the mixer.
    Norm1Weight,
    /// `norm1.bias` (d)
    Norm1Bias,
    /// `mixer.*`: of the H3 layer.
    H3(Name),
    /// `mixer.*`: of an S4D layer, by the name of what corresponds to it in an H3 layer, one of
    /// [`S4D_NAMES`](Self::S4D_NAMES).
    S4d(Name),
    /// `mixer.Wqkv.weight` (3 d, d): of the attention; queries, keys and values one after another,
    /// each head by head.
    QkvWeight,
    /// `mixer.Wqkv.bias` (3 d)
    QkvBias,
    /// `mixer.out_proj.weight` (d, d)
    OutWeight,
    /// `mixer.out_proj.bias` (d)
    OutBias,
    /// `norm2.weight` (d): of the LayerNorm before the MLP.
    Norm2Weight,
    /// `norm2.bias` (d)
    Norm2Bias,
    /// `mlp.fc1.weight` (`d_inner`, d)
    Fc1Weight,
    /// `mlp.fc1.bias` (`d_inner`)
    Fc1Bias,
    /// `mlp.fc2.weight` (d, `d_inner`)
    Fc2Weight,
    /// `mlp.fc2.bias` (d)
    Fc2Bias,
}

impl BlockName {
    /// The parameters that an S4D layer has in common with an H3 layer, in the official order: `D`
    /// (1, d), `kernel.kernel.C` (1, d, m/2, 2), `log_dt` (d), `log_w_real` (n_ssm, m/2), `w_imag`
    /// (n_ssm, m/2), `output_linear`. `B` is 1.
    pub const S4D_NAMES: [Name; 7] = [
        Name::D,
        Name::C,
        Name::LogDt,
        Name::InvAReal,
        Name::AImag,
        Name::OutputWeight,
        Name::OutputBias,
    ];

    /// The parameter of a mixer of this kind that is what an H3 layer calls so. An S4D layer has no
    /// counterpart of most.
    pub(crate) fn of_mixer(ssm: SsmMixer, name: Name) -> Self {
        match ssm {
            SsmMixer::H3 => Self::H3(name),
            SsmMixer::S4d => Self::S4d(name),
        }
    }

    /// The parameters of a block whose mixer is attention (`None`), or of this kind.
    pub(crate) fn all(ssm: Option<SsmMixer>) -> impl Iterator<Item = Self> {
        let mixer = match ssm {
            None => vec![
                Self::QkvWeight,
                Self::QkvBias,
                Self::OutWeight,
                Self::OutBias,
            ],
            Some(SsmMixer::H3) => Name::ALL.map(Self::H3).to_vec(),
            Some(SsmMixer::S4d) => Self::S4D_NAMES.map(Self::S4d).to_vec(),
        };
        [Self::Norm1Weight, Self::Norm1Bias]
            .into_iter()
            .chain(mixer)
            .chain([
                Self::Norm2Weight,
                Self::Norm2Bias,
                Self::Fc1Weight,
                Self::Fc1Bias,
                Self::Fc2Weight,
                Self::Fc2Bias,
            ])
    }

    /// True for a parameter of the block's mixer.
    pub(crate) fn is_mixer(self) -> bool {
        self.within().starts_with("mixer.")
    }

    /// True for a parameter of the block's second LayerNorm or its MLP, which come after the mixer.
    pub(crate) fn is_after_mixer(self) -> bool {
        !self.is_mixer() && !matches!(self, Self::Norm1Weight | Self::Norm1Bias)
    }

    fn within(self) -> String {
        match self {
            Self::Norm1Weight => "norm1.weight".into(),
            Self::Norm1Bias => "norm1.bias".into(),
            Self::H3(name) => format!("mixer.{}", name.official()),
            Self::S4d(Name::InvAReal) => "mixer.kernel.kernel.log_w_real".into(),
            Self::S4d(Name::AImag) => "mixer.kernel.kernel.w_imag".into(),
            Self::S4d(name) => format!("mixer.{}", name.official()),
            Self::QkvWeight => "mixer.Wqkv.weight".into(),
            Self::QkvBias => "mixer.Wqkv.bias".into(),
            Self::OutWeight => "mixer.out_proj.weight".into(),
            Self::OutBias => "mixer.out_proj.bias".into(),
            Self::Norm2Weight => "norm2.weight".into(),
            Self::Norm2Bias => "norm2.bias".into(),
            Self::Fc1Weight => "mlp.fc1.weight".into(),
            Self::Fc1Bias => "mlp.fc1.bias".into(),
            Self::Fc2Weight => "mlp.fc2.weight".into(),
            Self::Fc2Bias => "mlp.fc2.bias".into(),
        }
    }
}

/// True if a block has an S4D layer: a tensor with one of the names that no H3 layer has. `stored` tells
/// whether there is a tensor of an official name.
pub(crate) fn block_has_s4d(block: usize, stored: impl Fn(&str) -> bool) -> bool {
    [Name::InvAReal, Name::AImag]
        .into_iter()
        .any(|name| stored(&ModelName::Block(block, BlockName::S4d(name)).official()))
}

/// A parameter of the model. The head has no parameter of its own: its weight is that of the
/// embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ModelName {
    /// `backbone.embeddings.word_embeddings.weight` (`vocab_size`, d)
    Embeddings,
    /// `backbone.embeddings.position_embeddings.weight` (`max_position_embeddings`, d)
    Positions,
    /// `backbone.layers.I.*`
    Block(usize, BlockName),
    /// `backbone.ln_f.weight` (d): of the last LayerNorm.
    NormWeight,
    /// `backbone.ln_f.bias` (d)
    NormBias,
}

/// The head's weight, where a file holds it: the embedding once more.
pub(crate) const HEAD: &str = "lm_head.weight";

impl ModelName {
    /// The name in the official state dict.
    #[must_use]
    pub fn official(self) -> String {
        match self {
            Self::Embeddings => "backbone.embeddings.word_embeddings.weight".into(),
            Self::Positions => "backbone.embeddings.position_embeddings.weight".into(),
            Self::Block(i, name) => format!("backbone.layers.{i}.{}", name.within()),
            Self::NormWeight => "backbone.ln_f.weight".into(),
            Self::NormBias => "backbone.ln_f.bias".into(),
        }
    }
}

/// The name under which a file holds each official parameter.
///
/// Older checkpoints are read as the official `load_state_dict` does: `s4seq.encoder.*` is
/// `backbone.*`, `embedding.*` is `backbone.embeddings.word_embeddings.*`; and where there is a
/// `backbone.norm`, the model was trained with the order mixer or MLP, add, LayerNorm, so that what
/// stood *after* a part is now *before* the next one: `backbone.norm` is the first `norm1`, `norm1` of
/// a block its `norm2`, `norm2` the `norm1` of the block after it, and the last of them `ln_f`. A
/// leading `model.`, as training frameworks write it, is dropped first.
#[derive(Clone, Debug)]
pub struct StoredNames {
    stored: BTreeMap<String, String>,
    older: bool,
}

impl StoredNames {
    /// The parameters among the names of a file.
    ///
    /// # Errors
    ///
    /// If two of them are one official parameter, or a LayerNorm the older order needs is missing.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let mut stored = BTreeMap::new();
        for name in names {
            let Some(official) = renamed(name) else {
                continue;
            };
            if let Some(other) = stored.insert(official.clone(), name.to_string()) {
                return Err(Error::value(
                    format!("tensor {name:?}"),
                    format!("is {official}, and so is {other:?}"),
                ));
            }
        }
        let older = stored.contains_key("backbone.ln_0.weight");
        if older {
            let blocks = stored.keys().filter_map(|name| block_of(name));
            let n_layer = blocks.max().map_or(0, |last| last + 1);
            for part in ["weight", "bias"] {
                reorder(&mut stored, n_layer, part)?;
            }
        }
        Ok(Self { stored, older })
    }

    /// True if the file has the older order of LayerNorms.
    #[must_use]
    pub fn is_older(&self) -> bool {
        self.older
    }

    /// The file's name of an official one.
    #[must_use]
    pub fn get(&self, official: &str) -> Option<&str> {
        self.stored.get(official).map(String::as_str)
    }

    /// The file's name of an official parameter.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] naming it.
    pub fn stored(&self, official: &str) -> Result<&str, Error> {
        self.get(official)
            .ok_or_else(|| Error::missing(format!("tensor {official:?}")))
    }

    /// The official names there are.
    pub fn official(&self) -> impl Iterator<Item = &str> {
        self.stored.keys().map(String::as_str)
    }
}

/// The official name of a parameter; `None` for what is none.
fn renamed(name: &str) -> Option<String> {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let mut official = match name.strip_prefix("s4seq.encoder.") {
        Some(rest) => format!("backbone.{rest}"),
        None => name.to_string(),
    };
    if let Some(rest) = official.strip_prefix("embedding.") {
        official = format!("backbone.embeddings.word_embeddings.{rest}");
    }
    if let Some(rest) = official.strip_prefix("backbone.norm.") {
        official = format!("backbone.ln_0.{rest}");
    }
    (official.starts_with("backbone.") || official == HEAD).then_some(official)
}

/// The block an official name is in.
pub(crate) fn block_of(official: &str) -> Option<usize> {
    let rest = official.strip_prefix("backbone.layers.")?;
    // A number so large stands for no block, and would only be counted up to.
    let block = rest.split('.').next()?.parse().ok()?;
    (block < 1 << 16).then_some(block)
}

/// The LayerNorms' weights or biases from the older order to the official one.
fn reorder(stored: &mut BTreeMap<String, String>, n_layer: usize, part: &str) -> Result<(), Error> {
    let norm = |block: usize, which: u8| format!("backbone.layers.{block}.norm{which}.{part}");
    let mut before = vec!["backbone.ln_0.".to_string() + part];
    let mut after = Vec::new();
    for block in 0..n_layer {
        before.extend([norm(block, 1), norm(block, 2)]);
        after.extend([norm(block, 1), norm(block, 2)]);
    }
    after.push("backbone.ln_f.".to_string() + part);
    let taken: Vec<String> = before
        .iter()
        .map(|name| {
            let before = stored.remove(name);
            before.ok_or_else(|| Error::missing(format!("tensor {name:?} (of the older order)")))
        })
        .collect::<Result<_, Error>>()?;
    stored.extend(after.into_iter().zip(taken));
    Ok(())
}
