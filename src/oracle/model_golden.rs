//! Golden files of language models: what their stages are, and what a port may be off by.

use super::golden::{GOLDEN, GoldenStage, SCALE, Scales, add_stages, up_to_f32};
use super::model_case::{ModelCase, model_metadata};
use super::model_run::ModelRun;
use super::model_tolerance::model_error_scales;
use super::parallel;
use crate::error::Error;
use crate::model::ModelParameters;
use crate::safetensors::{Dtype, Writer};
use crate::tensor::Tensor;
use std::path::Path;

/// A golden file of a language model: certified stages with their error scales, and the model and
/// the tokens they belong to.
#[derive(Debug)]
pub struct ModelGolden {
    parameters: ModelParameters<f64>,
    ids: Tensor<usize>,
    /// The vocabulary without its padding, where that is known.
    unpadded: Option<usize>,
    stages: Vec<GoldenStage>,
    scales: Scales,
}

impl ModelGolden {
    /// Reads a golden file; a plain model case is certified first.
    ///
    /// # Errors
    ///
    /// As [`from_case`](Self::from_case), naming the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let case = ModelCase::open(path)?;
        Self::from_case(&case).map_err(|e| e.in_file(path.display().to_string()))
    }

    /// The golden file of an opened case: its own stages if it is one, else certified ones.
    ///
    /// # Errors
    ///
    /// As [`ModelCase::parameters`], [`ModelCase::ids`] and [`certify`](Self::certify); or if the file is
    /// golden, of another version, and a stage or scale of it is not as it should be.
    pub fn from_case(case: &ModelCase) -> Result<Self, Error> {
        match case.file().metadata().get("golden") {
            None => Self::certify_case(case),
            Some(version) if version == GOLDEN => Self::read(case),
            Some(version) => Err(Error::value(
                "metadata golden",
                format!("{version:?} is not a version this program reads; expected {GOLDEN:?}"),
            )),
        }
    }

    /// The model and the tokens of a case, [certified](Self::certify) whatever else it holds.
    ///
    /// # Errors
    ///
    /// As [`ModelCase::parameters`], [`ModelCase::ids`] and [`certify`](Self::certify).
    pub fn certify_case(case: &ModelCase) -> Result<Self, Error> {
        let golden = Self::certify(case.parameters()?, case.ids()?)?;
        Ok(Self {
            unpadded: case.unpadded_vocabulary()?,
            ..golden
        })
    }

    /// Certifies every stage of a model run over tokens (batch, seq_len), and derives their error
    /// scales.
    ///
    /// # Errors
    ///
    /// As [`ModelRun::certified`].
    pub fn certify(parameters: ModelParameters<f64>, ids: Tensor<usize>) -> Result<Self, Error> {
        let (certified, scales) = parallel::both(
            || ModelRun::whole(&parameters, &ids).certified(),
            || model_error_scales(&parameters, &ids),
        );
        let scales = scales?;
        let stages = certified?.stages.into_iter().zip(&scales);
        let mut stages: Vec<GoldenStage> = stages
            .map(|(stage, (_, scale))| GoldenStage {
                name: stage.name,
                values: stage.values,
                scale: scale.map(|scale| up_to_eight_bits(scale.worst)),
            })
            .collect();
        stages.sort_by_key(|stage| place(&stage.name));
        Ok(Self {
            parameters,
            ids,
            unpadded: None,
            stages,
            scales,
        })
    }

    fn read(case: &ModelCase) -> Result<Self, Error> {
        let (parameters, ids) = (case.parameters()?, case.ids()?);
        let scales = model_error_scales(&parameters, &ids)?;
        let mut stages = Vec::new();
        for (name, scale) in &scales {
            let stored = format!("{SCALE}{name}");
            let Some(scale) = case.saved(&stored, scale.shape())? else {
                continue;
            };
            if let Some(at) = scale.data().iter().position(|scale| *scale < 0.0) {
                return Err(Error::value(
                    format!("tensor {stored:?}"),
                    format!("element {at} is negative; expected an error scale, from 0"),
                ));
            }
            let values = case.saved(name, scale.shape())?;
            stages.push(GoldenStage {
                name: name.clone(),
                values: values.ok_or_else(|| Error::missing(format!("tensor {name:?}")))?,
                scale,
            });
        }
        let known = |name: &str| {
            let stage = name.strip_prefix(SCALE);
            stage.is_none_or(|stage| scales.iter().any(|(name, _)| name == stage))
        };
        if let Some(name) = case.file().names().find(|name| !known(name)) {
            return Err(Error::value(
                format!("tensor {name:?}"),
                "is of no stage known here",
            ));
        }
        if stages.is_empty() {
            return Err(Error::missing(
                "every scale.STAGE tensor of the golden file",
            ));
        }
        stages.sort_by_key(|stage| place(&stage.name));
        Ok(Self {
            parameters,
            ids,
            unpadded: case.unpadded_vocabulary()?,
            stages,
            scales,
        })
    }

    /// The model the stages belong to.
    #[must_use]
    pub fn parameters(&self) -> &ModelParameters<f64> {
        &self.parameters
    }

    /// The tokens (batch, seq_len) it was run on.
    #[must_use]
    pub fn ids(&self) -> &Tensor<usize> {
        &self.ids
    }

    /// The stages, in the order in which they are computed: `block{i}.residual`, `block{i}.hidden`,
    /// and the next block; `logits` last.
    #[must_use]
    pub fn stages(&self) -> &[GoldenStage] {
        &self.stages
    }

    /// The error scales of every stage, worst case and probable.
    pub(super) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// The golden file with a vocabulary that is padded from `vocab_size` tokens.
    #[must_use]
    pub fn with_unpadded(mut self, vocab_size: usize) -> Self {
        self.unpadded = Some(vocab_size);
        self
    }

    /// The golden file: metadata, parameters under their official names, `input_ids`, the stages as
    /// F64, their error scales as F32 (rounded up).
    ///
    /// # Errors
    ///
    /// Never for a model that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        let config = self.parameters.config();
        let mut writer = Writer::new();
        for (key, value) in model_metadata(config) {
            writer.metadata(&key, &value)?;
        }
        if let Some(vocab_size) = self.unpadded {
            writer.metadata("vocab_size", &vocab_size.to_string())?;
        }
        writer.metadata("golden", GOLDEN)?;
        for name in config.names() {
            let value = self.parameters.get(name);
            writer.add(&name.official(), Dtype::F64, &name.shape(config), value)?;
        }
        let ids: Vec<i64> = self.ids.data().iter().map(|&id| id as i64).collect();
        writer.add_i64("input_ids", self.ids.shape(), &ids)?;
        add_stages(&mut writer, &self.stages)?;
        Ok(writer)
    }
}

/// A number of 8 significant bits not below `x`, at most one of their last units above. The derivatives in a
/// scale are differences of f64 runs, whose last bits are the platform's library's: so few bits of a scale
/// are the same everywhere.
fn up_to_eight_bits(x: f64) -> f64 {
    let bits = (up_to_f32(x) as f32).to_bits();
    f64::from(f32::from_bits(bits.saturating_add(0xFFFF) & !0xFFFF))
}

/// Where a stage stands in the order of computation.
fn place(name: &str) -> usize {
    let block = name.strip_prefix("block").and_then(|rest| {
        let (block, part) = rest.split_once('.')?;
        Some(2 * block.parse::<usize>().ok()? + usize::from(part == "hidden"))
    });
    block.unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{place, up_to_eight_bits};

    #[test]
    fn scales_are_rounded_up_to_eight_bits() {
        let unit = 2f64.powi(-7);
        for (x, expected) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (1.0 + unit, 1.0 + unit),
            (1.0 + 0.5 * unit, 1.0 + unit),
            (1.0 + 2f64.powi(-50), 1.0 + unit),
            (1.0 + 1.25 * unit, 1.0 + 2.0 * unit),
            (2.0 - 2f64.powi(-20), 2.0),
            (1e300, f64::INFINITY),
        ] {
            assert_eq!(up_to_eight_bits(x), expected, "{x}");
        }
    }

    #[test]
    fn stages_stand_in_the_order_of_computation() {
        let names = [
            "block0.residual",
            "block0.hidden",
            "block1.residual",
            "block1.hidden",
            "block2.residual",
            "block10.residual",
            "block10.hidden",
            "logits",
        ];
        assert!(names.map(place).is_sorted_by(|a, b| a < b));
    }
}
