//! Exact stages: those in which nothing rounds in a format, in any order of summation.

use super::any::AnyCase;
use super::certified::CertifiedStage;
use super::read::Strings;
use super::stage::StageSpec;
use crate::algebra::{Demand, FloatFormat};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The metadata key that says which stages are exact in which formats.
pub const EXACT: &str = "exact";

/// The stages of a case by name, each with the formats it is exact in, from the finest.
type Exact = Vec<(String, Vec<FloatFormat>)>;

/// The formats in which the stages of a case are exact: everything each of them is computed from
/// included, parameters and inputs as well. Nothing unless the whole forward pass is exact in f32:
/// that a sum of short numbers is one too is true of the first stages of many cases, and makes no
/// exact case of them. So a value of it that is no f32, as `certified`, settles it without a run.
///
/// # Errors
///
/// As [`Subject::run`](super::subject::Subject::run).
pub(super) fn exact_formats(
    case: &dyn AnyCase,
    certified: &[CertifiedStage],
) -> Result<Exact, Error> {
    let specs = case.stages();
    let forward = specs.iter().filter(|spec| !spec.is_gradient());
    for spec in forward {
        let stage = certified.iter().find(|stage| stage.name == spec.name);
        if stage.is_some_and(|stage| !stage.is_held_by(FloatFormat::F32)) {
            return Ok(Vec::new());
        }
    }
    let gradients = specs.iter().any(StageSpec::is_gradient);
    let Some(run) = case.run_in_grids(gradients)? else {
        return Ok(Vec::new());
    };
    let mut exact = Vec::new();
    for spec in specs {
        let numbers = run.iter().find(|(name, _)| *name == spec.name);
        let demand = numbers.map_or(Demand::UNMET, |(_, numbers)| Demand::of(numbers.data()));
        if !spec.is_gradient() && !demand.is_met_by(FloatFormat::F32) {
            return Ok(Vec::new());
        }
        exact.push((spec.name, demand.formats()));
    }
    Ok(exact)
}

/// `STAGE=FORMAT,FORMAT;STAGE=...`: formats from the finest; no entry for a stage exact in none, and
/// nothing at all where no stage is.
pub fn spell<'a>(stages: impl Iterator<Item = (&'a str, &'a [FloatFormat])>) -> Option<String> {
    let entries = stages.filter(|(_, formats)| !formats.is_empty());
    let entry = |(stage, formats): (&str, &[FloatFormat])| {
        let names: Vec<&str> = formats.iter().map(|format| format.name()).into_vec();
        format!("{stage}={}", names.join(","))
    };
    let entries: Vec<String> = entries.map(entry).into_vec();
    (!entries.is_empty()).then(|| entries.join(";"))
}

/// The formats in which the known stages are exact, by a file's metadata; none if absent.
///
/// # Errors
///
/// Naming the key, if an entry is not `STAGE=FORMAT,...`, its stage or a format is not known, or a
/// stage or format stands there twice.
pub fn read_exact(strings: &Strings, specs: &[StageSpec]) -> Result<Exact, Error> {
    let Some(text) = strings.get(EXACT) else {
        return Ok(Vec::new());
    };
    let wrong = |what: String| Error::value(format!("metadata {EXACT}"), what);
    let mut exact: Exact = Vec::new();
    for entry in text.split(';') {
        let (stage, names) = entry.split_once('=').ok_or_else(|| {
            wrong(format!(
                "{entry:?} is no entry; expected STAGE=FORMAT,FORMAT"
            ))
        })?;
        if specs.iter().all(|spec| spec.name != stage) {
            return Err(wrong(format!("{stage:?} is no stage known here")));
        }
        let mut formats: Vec<FloatFormat> = Vec::new();
        for name in names.split(',') {
            let format = name.parse().map_err(|e: Error| wrong(e.to_string()))?;
            if formats.contains(&format) {
                return Err(wrong(format!("{stage}: {name} twice")));
            }
            formats.push(format);
        }
        if exact.iter().any(|(known, _)| known == stage) {
            return Err(wrong(format!("{stage} twice")));
        }
        exact.push((stage.to_string(), formats));
    }
    Ok(exact)
}
