//! The check of a port of a language model against golden outputs.

use super::check::{
    Candidate, Compared, Diagnosis, Report, Suspect, another_case, compare, describe, reproduces,
    same_values,
};
use super::format::Format;
use super::model_golden::ModelGolden;
use super::model_layers::WrongLayers;
use super::model_mutants::ModelMutant;
use super::mutants::Mutant;
use super::parallel;
use crate::error::Error;
use crate::safetensors::SafeTensors;
use std::borrow::Cow;

impl Candidate {
    /// Reads a candidate's stages of a language model, as [`read`](Self::read) does a layer's.
    /// Parameters and `input_ids`, where the candidate holds them, must be the golden file's.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_model(file: &SafeTensors, golden: &ModelGolden) -> Result<Self, Error> {
        let parameters = golden.parameters();
        for name in parameters.config().names() {
            if let Some(theirs) = file.get(&name.official()) {
                let shape = name.shape(parameters.config());
                same_values(&theirs, &shape, parameters.get(name))?;
            }
        }
        if let Some(theirs) = file.get("input_ids") {
            let ours = golden.ids().data().iter().map(|&id| i64::try_from(id).ok());
            if !theirs.to_integers()?.into_iter().map(Some).eq(ours) {
                return Err(another_case("input_ids"));
            }
        }
        Self::of_stages(file, golden.stages())
    }
}

/// Checks a candidate's stages of a language model against a golden file at a format, as
/// [`check`](super::check()) does a layer's; in two formats by the coarser one throughout.
///
/// # Errors
///
/// If a known mistake cannot be computed for comparison.
pub fn check_model(
    golden: &ModelGolden,
    candidate: &Candidate,
    format: Format,
) -> Result<Report, Error> {
    let scales = match format.is_uniform() {
        true => Cow::Borrowed(golden.scales()),
        false => {
            let ratio = format.projection_unit_roundoff() / format.unit_roundoff();
            let scales = golden.scales().iter();
            let coarser = scales.map(|(name, scale)| (name.clone(), scale.map(|x| x * ratio)));
            Cow::Owned(coarser.collect())
        }
    };
    let underflow = underflow(golden, format);
    let (compared, stages) = compare(golden.stages(), candidate, format, &scales, underflow);
    let diagnosis = match stages.iter().position(|stage| !stage.pass) {
        Some(first) => Some(Diagnosis {
            first_stage: compared[first].name.to_string(),
            pattern: describe(&compared[first]),
            suspects: suspects(golden, &compared)?,
            pairs_tried: false,
        }),
        None => None,
    };
    Ok(Report {
        format,
        stages,
        diagnosis,
    })
}

/// The mistakes that reproduce every stage of the candidate, the closest first: of the model, or if none
/// does of all its H3 layers.
fn suspects(golden: &ModelGolden, compared: &[Compared<'_>]) -> Result<Vec<Suspect>, Error> {
    let (parameters, ids) = (golden.parameters(), golden.ids());
    let judged = parallel::map(&ModelMutant::ALL, |mutant| {
        let stages = mutant.stages(parameters, ids)?;
        let worst = stages.and_then(|stages| reproduces(compared, &stages));
        Ok(worst.map(|worst| Suspect {
            mutants: Vec::new(),
            gradient: None,
            model: Some(*mutant),
            worst,
        }))
    });
    let judged: Vec<Option<Suspect>> = judged.into_iter().collect::<Result<_, Error>>()?;
    let mut suspects: Vec<Suspect> = judged.into_iter().flatten().collect();
    if suspects.is_empty()
        && let Some(layers) = WrongLayers::of(parameters, ids)?
    {
        let judged = parallel::map(&Mutant::ALL, |mutant| {
            // One whose discretization has no value here is no suspect.
            let stages = layers.stages(*mutant, ids).ok()?;
            Some(Suspect {
                mutants: vec![*mutant],
                gradient: None,
                model: None,
                worst: reproduces(compared, &stages)?,
            })
        });
        suspects = judged.into_iter().flatten().collect();
    }
    suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
    Ok(suspects)
}

/// What underflow may add to an element: each operation behind it may lose what
/// [`Format::underflow`] says, magnified by what it is multiplied with on its way, a LayerNorm's
/// inverse deviation included.
fn underflow(golden: &ModelGolden, format: Format) -> f64 {
    let parameters = golden.parameters();
    let config = parameters.config();
    let len = golden.ids().shape().last().copied().unwrap_or(0);
    let of_block = len * (config.h3.d_state + config.d_model()) + config.d_inner;
    let names = config.names();
    let values = names.iter().flat_map(|&name| parameters.get(name));
    let largest = values.fold(1.0, |largest: f64, x| largest.max(x.abs()));
    let deviation = config.layer_norm_epsilon.sqrt().max(1e-6);
    format.underflow() * (config.n_layer * of_block) as f64 * largest * largest / deviation
}
