//! Golden files: what a layer's stages are, and what a port may be off by.

use super::case::Case;
use super::certified::certified;
use super::format::Format;
use super::parallel;
use super::tolerance::{error_scales, gradient_scales};
use crate::algebra::ErrorBound;
use crate::error::Error;
use crate::h3::{Form, Name};
use crate::safetensors::{Dtype, SafeTensors, Writer};
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::path::Path;

/// The `golden` metadata of the golden files this crate writes.
pub const GOLDEN: &str = "hippos-golden/1";

/// What the name of an error scale begins with.
pub(super) const SCALE: &str = "scale.";

/// The stages in the order in which they are computed; others follow by name.
const ORDER: [&str; 14] = [
    "q",
    "k",
    "v",
    "shift_kernel",
    "shift_k",
    "kv",
    "ssm_kernel",
    "ssm_out",
    "gated",
    "output",
    "final_state_k",
    "final_state",
    "chunk_states_k",
    "chunk_states",
];

/// One stage of a golden file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GoldenStage {
    /// The name in files.
    pub name: String,
    /// The correctly rounded values.
    pub values: Tensor<f64>,
    /// The error scale of every element: a port of unit roundoff `u` is within tolerance where
    /// `|port - golden| <= u * scale`.
    pub scale: Tensor<f64>,
}

/// A golden file: certified stages with their error scales, and the case they belong to.
#[derive(Debug)]
pub struct Golden {
    case: Case,
    stages: Vec<GoldenStage>,
    /// The error scales of one format throughout, where they were derived to certify the case.
    uniform: Option<Scales>,
}

/// Error scales, worst case and probable, of the stages of the forward pass.
pub(super) type Scales = Vec<(String, Tensor<ErrorBound>)>;

impl Golden {
    /// Reads a golden file; a plain case file is certified first.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file), naming the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = SafeTensors::open(path)?;
        Self::from_file(file).map_err(|e| e.in_file(path.display().to_string()))
    }

    /// The golden file in an already parsed file; a plain case is certified first.
    ///
    /// # Errors
    ///
    /// As [`Case::from_file`], [`certified`] and [`error_scales`].
    pub fn from_file(file: SafeTensors) -> Result<Self, Error> {
        let is_golden = file.metadata().contains_key("golden");
        let case = Case::from_file(file)?;
        if is_golden {
            Self::read(case)
        } else {
            Self::certify(case)
        }
    }

    /// Certifies every stage of a case, with its gradients if it has a cotangent `g`, and derives
    /// their error scales.
    ///
    /// # Errors
    ///
    /// As [`certified`] and [`error_scales`].
    pub fn certify(case: Case) -> Result<Self, Error> {
        let gradients = case.file().get("g").is_some();
        let scales = || {
            let uniform = error_scales(&case, Format::F64)?;
            let mut scales = uniform.clone();
            if gradients {
                scales.extend(gradient_scales(&case)?);
            }
            Ok::<_, Error>((uniform, scales))
        };
        let (certified, scales) =
            parallel::both(|| certified(&case, &default_form(&case), gradients), scales);
        let (uniform, scales) = scales?;
        let stages = certified?.stages.into_iter().zip(scales);
        let stages = stages
            .map(|(stage, (name, scale))| {
                if stage.name != name {
                    let why = format!("certified where the error scale of {name} stands");
                    return Err(Error::value(format!("stage {}", stage.name), why));
                }
                Ok(GoldenStage {
                    name,
                    values: stage.values,
                    scale: scale.map(|scale| up_to_f32(scale.worst)),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            case,
            stages,
            uniform: Some(uniform),
        })
    }

    /// The error scales of the forward stages in a format, in units of its unit roundoff.
    pub(super) fn scales(&self, format: Format) -> Result<Cow<'_, Scales>, Error> {
        match &self.uniform {
            Some(scales) if format.is_uniform() => Ok(Cow::Borrowed(scales)),
            _ => error_scales(&self.case, format).map(Cow::Owned),
        }
    }

    /// The stages of a golden file: every tensor that has an error scale.
    fn read(case: Case) -> Result<Self, Error> {
        let version = case.file().metadata().get("golden");
        if version.map(String::as_str) != Some(GOLDEN) {
            return Err(Error::value(
                "metadata golden",
                format!("{version:?} is not a version this program reads; expected {GOLDEN:?}"),
            ));
        }
        let mut stages = Vec::new();
        for scale in case.file().tensors() {
            let Some(name) = scale.name.strip_prefix(SCALE) else {
                continue;
            };
            let shape = stage_shape(&case, name).ok_or_else(|| {
                Error::value(
                    format!("tensor {:?}", scale.name),
                    "is of no stage known here",
                )
            })?;
            let stage = GoldenStage {
                name: name.to_string(),
                values: case.tensor(name, &shape)?,
                scale: case.tensor(scale.name, &shape)?,
            };
            if let Some(at) = stage.scale.data().iter().position(|scale| *scale < 0.0) {
                return Err(Error::value(
                    format!("tensor {:?}", scale.name),
                    format!("element {at} is negative; expected an error scale, from 0"),
                ));
            }
            stages.push(stage);
        }
        let place = |stage: &GoldenStage| {
            let place = ORDER.iter().position(|name| *name == stage.name);
            place.unwrap_or(ORDER.len())
        };
        stages.sort_by_key(place);
        if stages.is_empty() {
            return Err(Error::missing(
                "every scale.STAGE tensor of the golden file",
            ));
        }
        Ok(Self {
            case,
            stages,
            uniform: None,
        })
    }

    /// The layer and input the stages belong to.
    #[must_use]
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// The stages, in the order in which they are computed.
    #[must_use]
    pub fn stages(&self) -> &[GoldenStage] {
        &self.stages
    }

    /// The golden file: the case, its stages as F64, their error scales as F32 (rounded up).
    ///
    /// # Errors
    ///
    /// Never for a case that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        let mut writer = self.case.writer()?;
        writer.metadata("golden", GOLDEN)?;
        if self.case.file().get("g").is_some() {
            let g = self.case.cotangent()?;
            writer.add("g", Dtype::F64, g.shape(), g.data())?;
        }
        add_stages(&mut writer, &self.stages)?;
        Ok(writer)
    }
}

/// Writes golden stages as F64 and their error scales as F32.
pub(super) fn add_stages(writer: &mut Writer, stages: &[GoldenStage]) -> Result<(), Error> {
    for stage in stages {
        let (values, scale) = (&stage.values, &stage.scale);
        writer.add(&stage.name, Dtype::F64, values.shape(), values.data())?;
        let name = format!("{SCALE}{}", stage.name);
        writer.add(&name, Dtype::F32, scale.shape(), scale.data())?;
    }
    Ok(())
}

/// The recurrence, which keeps exact zeros exact; convolution where `l_max` cuts the kernels.
pub(crate) fn default_form(case: &Case) -> Form {
    case.parameters()
        .config()
        .default_form(case.input().shape()[1])
}

/// The smallest f32 not below `x`, as f64.
pub(super) fn up_to_f32(x: f64) -> f64 {
    let nearest = x as f32;
    let up = if f64::from(nearest) < x {
        nearest.next_up()
    } else {
        nearest
    };
    f64::from(up)
}

/// The shape of a stage of this case, by name; `None` for what is no stage.
fn stage_shape(case: &Case, name: &str) -> Option<Vec<usize>> {
    let config = case.parameters().config();
    let (batch, len) = (case.input().shape()[0], case.input().shape()[1]);
    let (d, d_h, m) = (config.d_model, config.head_dim, config.d_state);
    let (heads, modes) = (config.n_heads(), config.n_modes());
    let window = config.l_max.map_or(len, |l_max| l_max.min(len));
    let (shift_state, state) = (vec![batch, d, m], vec![batch * d_h * d_h, heads, modes, 2]);
    let chunks = || case.chunk_len().map(|chunk_len| len.div_ceil(chunk_len));
    let between = |state: Vec<usize>| chunks().map(|chunks| [vec![chunks], state].concat());
    Some(match name {
        "q" | "k" | "v" | "shift_k" => vec![batch, d, len],
        "shift_kernel" => vec![d, window],
        "ssm_kernel" => vec![heads, window],
        "kv" | "ssm_out" => vec![batch, d_h, d_h, heads, len],
        "gated" | "output" | "grad.input" => vec![batch, len, d],
        "final_state_k" | "grad.initial_state_k" => shift_state,
        "final_state" | "grad.initial_state" => state,
        "chunk_states_k" => between(shift_state)?,
        "chunk_states" => between(state)?,
        _ => {
            let official = name.strip_prefix("grad.")?;
            let mut names = Name::ALL.into_iter();
            names
                .find(|name| name.official() == official)?
                .shape(config)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::suite::{SUITE_SEED, suite};
    use super::*;

    /// What was derived to certify a case is not derived again for a format with one roundoff.
    #[test]
    fn scales_are_derived_once() {
        let case = suite().swap_remove(0).build(SUITE_SEED).expect("built");
        let golden = Golden::certify(case).expect("certified");
        for (format, once) in [
            (Format::F64, true),
            (Format::BF16, true),
            (Format::TF32, false),
        ] {
            let scales = golden.scales(format).expect("derived");
            assert_eq!(matches!(scales, Cow::Borrowed(_)), once, "{format:?}");
        }
    }
}
