//! The check of a port against golden outputs (chapter 13, [`book::golden`](crate::book::golden)).

mod candidate;
mod diagnosis;
mod pattern;

pub use candidate::{Candidate, CandidateStage};
pub use diagnosis::{Diagnosis, Suspect};

use super::golden::Golden;
use super::tolerance::{Format, error_scales};
use crate::algebra::{Probable, Worst};
use crate::error::Error;
use crate::h3::Name;
use crate::tensor::Tensor;

/// How one stage of a candidate compares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// Whether every element is within the worst-case tolerance, which is what decides.
    pub pass: bool,
    /// The largest error as a fraction of the worst-case tolerance; infinite where the tolerance
    /// is zero and the error is not.
    pub worst: f64,
    /// The largest error as a fraction of the probabilistic tolerance, where there is one: an
    /// honest port is expected to stay below 1.
    pub probable: Option<f64>,
    /// Whether the tolerance is so wide that zeros would pass too: then passing says nothing.
    pub says_nothing: bool,
    /// The index of the element of the largest fraction, axis by axis.
    pub at: Vec<usize>,
    /// The golden value there.
    pub golden: f64,
    /// The candidate's value there.
    pub candidate: f64,
    /// Correct bits of the stage as a whole: minus the logarithm (base 2) of its largest error
    /// relative to its largest magnitude.
    pub bits: f64,
    /// What had to be done to compare the shapes, if anything.
    pub note: Option<String>,
}

/// The result of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The format the tolerance is for.
    pub format: Format,
    /// The stages found in the candidate, in the order of computation.
    pub stages: Vec<StageReport>,
    /// What is wrong, if something is.
    pub diagnosis: Option<Diagnosis>,
}

impl Report {
    /// Whether every stage is within tolerance.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.stages.iter().all(|stage| stage.pass)
    }

    /// Whether no stage's tolerance is narrow enough to tell a port from zeros.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.stages.iter().all(|stage| stage.says_nothing)
    }
}

/// A stage of golden file and candidate, with everything a comparison needs.
struct Compared<'a> {
    name: &'a str,
    golden: &'a Tensor<f64>,
    candidate: &'a Tensor<f64>,
    /// The worst-case tolerance of every element.
    bounds: Vec<f64>,
}

impl Compared<'_> {
    /// Whether a stage of zeros would be within tolerance, and the golden one is not zeros.
    fn zeros_pass(&self) -> bool {
        let golden = self.golden.data();
        golden.iter().any(|g| g.abs() > 0.0)
            && golden
                .iter()
                .zip(&self.bounds)
                .all(|(g, bound)| g.abs() <= *bound)
    }

    /// The largest error against other values than the golden ones, as a fraction of the
    /// tolerance, and where.
    ///
    /// `mutated` values have no tolerance of their own: theirs is the golden one, grown with the
    /// stage where the mistake makes it larger, and relative to their own size no less than the
    /// stage's tolerance is to its largest value.
    fn worst_against(&self, truth: &[f64], mutated: bool) -> (f64, usize) {
        let largest = |x: &[f64]| x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let (size, own_size) = (largest(self.golden.data()), largest(truth));
        let (grown, relative) = match mutated && size > 0.0 {
            true => ((own_size / size).max(1.0), largest(&self.bounds) / size),
            false => (1.0, 0.0),
        };
        let errors = truth.iter().zip(self.candidate.data()).zip(&self.bounds);
        let mut worst = (0.0, 0);
        for (at, ((truth, candidate), bound)) in errors.enumerate() {
            let error = (truth - candidate).abs();
            let allowed = bound * grown + relative * truth.abs();
            let fraction = if error > 0.0 && allowed > 0.0 {
                error / allowed
            } else if error > 0.0 {
                f64::INFINITY
            } else {
                0.0
            };
            // No number is the worst there is.
            let fraction = if fraction.is_nan() || error.is_nan() {
                f64::INFINITY
            } else {
                fraction
            };
            if fraction > worst.0 {
                worst = (fraction, at);
            }
        }
        worst
    }
}

/// Checks a candidate's stages against a golden file at a format.
///
/// The tolerance of an element is `u scale`, plus the rounding of the candidate's own storage type
/// and of the golden value to f64.
///
/// # Errors
///
/// If the candidate cannot be judged: see [`Candidate::read`].
pub fn check(golden: &Golden, candidate: &Candidate, format: Format) -> Result<Report, Error> {
    let uniform = format.projection_unit_roundoff() <= format.unit_roundoff();
    let own_scales = match uniform {
        true => None,
        false => Some(error_scales::<Worst>(golden.case(), format)?),
    };
    let probable_scales = error_scales::<Probable>(golden.case(), format)?;
    let underflow = underflow(golden, format);
    let mut compared = Vec::new();
    let mut stages = Vec::new();
    for stage in golden.stages() {
        let Some(found) = candidate.stage(&stage.name) else {
            continue;
        };
        let scale_of = |scales: &[(String, Tensor<f64>)]| {
            let own = scales.iter().find(|(name, _)| *name == stage.name);
            own.map(|(_, scale)| scale.data().to_vec())
        };
        // Gradients have no analysis in two formats; the coarser one throughout bounds it.
        let ratio = format.projection_unit_roundoff() / format.unit_roundoff();
        let coarser = || {
            stage
                .scale
                .data()
                .iter()
                .map(|scale| scale * ratio)
                .collect()
        };
        let scale = own_scales
            .as_deref()
            .and_then(scale_of)
            .unwrap_or_else(coarser);
        let bounds = |scale: &[f64]| -> Vec<f64> {
            let pairs = scale.iter().zip(stage.values.data());
            pairs
                .map(|(scale, golden)| {
                    let stored = found.unit_roundoff * golden.abs() + found.smallest + underflow;
                    scale * format.unit_roundoff() + stored + golden.abs() * f64::EPSILON / 2.0
                })
                .collect()
        };
        let with = |scale: &[f64]| Compared {
            name: &stage.name,
            golden: &stage.values,
            candidate: &found.values,
            bounds: bounds(scale),
        };
        let probable = scale_of(&probable_scales)
            .map(|scale| with(&scale).worst_against(stage.values.data(), false).0);
        let this = with(&scale);
        let (worst, at) = this.worst_against(stage.values.data(), false);
        stages.push(StageReport {
            name: stage.name.clone(),
            pass: worst <= 1.0,
            says_nothing: this.zeros_pass(),
            worst,
            probable,
            at: index_of(at, stage.values.shape()),
            golden: stage.values.data().get(at).copied().unwrap_or(0.0),
            candidate: found.values.data().get(at).copied().unwrap_or(0.0),
            bits: correct_bits(stage.values.data(), found.values.data()),
            note: found.note.clone(),
        });
        compared.push(this);
    }
    let diagnosis = match stages.iter().position(|stage| !stage.pass) {
        Some(first) => Some(diagnosis::diagnose(golden, &compared, first)?),
        None => None,
    };
    Ok(Report {
        format,
        stages,
        diagnosis,
    })
}

/// What underflow may add to an element: each of the operations behind it may lose a number as
/// large as the smallest normal one (ports flush to zero), or in F16, where that would be coarse,
/// as the smallest there is; magnified by what it is multiplied with on its way.
fn underflow(golden: &Golden, format: Format) -> f64 {
    let case = golden.case();
    let config = case.parameters().config();
    let operations = case.input().shape()[1] * (config.d_state + config.d_model);
    let parameters = Name::ALL
        .into_iter()
        .flat_map(|name| case.parameters().get(name));
    let largest = parameters.fold(1.0, |largest: f64, x| largest.max(x.abs()));
    format.underflow() * operations as f64 * largest * largest
}

/// The place in a row-major array, axis by axis.
fn index_of(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&axis| {
            let place = rest % axis.max(1);
            rest /= axis.max(1);
            place
        })
        .collect();
    index.reverse();
    index
}

fn correct_bits(golden: &[f64], candidate: &[f64]) -> f64 {
    let largest = |x: &mut dyn Iterator<Item = f64>| x.fold(0.0, |m: f64, x| m.max(x.abs()));
    let scale = largest(&mut golden.iter().copied());
    let error = largest(&mut golden.iter().zip(candidate).map(|(a, b)| a - b));
    if error <= 0.0 {
        return 53.0;
    }
    (-(error / scale).log2()).clamp(0.0, 53.0)
}
