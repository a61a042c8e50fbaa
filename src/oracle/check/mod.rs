//! The check of a port against golden outputs (chapter 13, [`book::golden`](crate::book::golden)).

mod candidate;
mod diagnosis;
mod pattern;
mod search;

pub use candidate::{Candidate, CandidateStage};
pub(super) use candidate::{another_case, same_values};
pub use diagnosis::{Diagnosis, KnownMistake, Suspect};
pub(super) use pattern::describe;

use super::format::Format;
use super::golden::{Golden, GoldenStage, Scales};
use crate::algebra::ErrorBound;
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
pub(super) struct Compared<'a> {
    pub(super) name: &'a str,
    golden: &'a Tensor<f64>,
    candidate: &'a Tensor<f64>,
    /// The worst-case tolerance of every element.
    bounds: Vec<f64>,
}

impl Compared<'_> {
    /// Where the last two of three axes are of one length, the shape cannot tell (b, l, d) from
    /// (b, d, l): what to say if it is the other that is within tolerance.
    fn layout_note(&self) -> Option<String> {
        let &[_, rows, cols] = self.golden.shape() else {
            return None;
        };
        if rows != cols {
            return None;
        }
        let other = candidate::exchanged(self.candidate.data(), rows, cols);
        let other = Compared {
            candidate: &Tensor::new(self.golden.shape(), other).ok()?,
            bounds: self.bounds.clone(),
            ..*self
        };
        let (worst, _) = other.worst_against(self.golden.data(), false);
        (worst <= 1.0).then(|| {
            format!("within tolerance with its last two axes, both {rows} long, exchanged")
        })
    }

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
    pub(super) fn worst_against(&self, truth: &[f64], mutated: bool) -> (f64, usize) {
        let leeway = match mutated {
            true => self.leeway(largest(truth)),
            false => Leeway::NONE,
        };
        let errors = truth.iter().zip(self.candidate.data()).zip(&self.bounds);
        let mut worst = (0.0, 0);
        for (at, ((&truth, &candidate), &bound)) in errors.enumerate() {
            let fraction = leeway.fraction(truth, candidate, bound);
            if fraction > worst.0 {
                worst = (fraction, at);
            }
        }
        worst
    }

    /// Whether values are outside the tolerance of the golden ones.
    pub(super) fn differs(&self, values: &[f64]) -> bool {
        let pairs = values.iter().zip(self.golden.data()).zip(&self.bounds);
        let mut pairs = pairs.map(|((x, golden), bound)| (x - golden).abs() > *bound);
        pairs.any(|differs| differs)
    }

    /// The tolerance of mutated values, of this largest one.
    fn leeway(&self, own_size: f64) -> Leeway {
        let size = largest(self.golden.data());
        if size <= 0.0 {
            return Leeway::NONE;
        }
        Leeway {
            grown: (own_size / size).max(1.0),
            relative: largest(&self.bounds) / size,
        }
    }

    /// This stage among those of a run.
    fn of<'s>(&self, stages: &'s [(&str, Tensor<f64>)]) -> Option<&'s Tensor<f64>> {
        let stage = stages.iter().find(|(name, _)| *name == self.name);
        stage.map(|(_, values)| values)
    }

    /// How far the candidate is from mutated values of its first time steps alone, as
    /// [`worst_against`](Self::worst_against); `None` for what has no time steps. What the mutant
    /// makes of the rest is not known: as the candidate's, if it is the right one.
    fn worst_beginning(&self, mutated: &Tensor<f64>) -> Option<f64> {
        let leeway = self.leeway(largest(self.candidate.data()));
        self.beginning(mutated, self.candidate, leeway, usize::MAX)
    }

    /// How far the golden values are from mutated ones of at most `steps` first time steps.
    fn golden_beginning(&self, mutated: &Tensor<f64>, steps: usize) -> Option<f64> {
        self.beginning(mutated, self.golden, Leeway::NONE, steps)
    }

    fn beginning(
        &self,
        mutated: &Tensor<f64>,
        whole: &Tensor<f64>,
        leeway: Leeway,
        steps: usize,
    ) -> Option<f64> {
        let short = pattern::Series::over_time(self.name, mutated.shape())?;
        let long = pattern::Series::over_time(self.name, whole.shape())?;
        if short.count != long.count {
            return Some(f64::INFINITY);
        }
        let mut worst = 0.0;
        for s in 0..short.count {
            for t in 0..short.len.min(long.len).min(steps) {
                let at = long.place(s, t);
                let truth = mutated.data()[short.place(s, t)];
                let fraction = leeway.fraction(truth, whole.data()[at], self.bounds[at]);
                worst = f64::max(worst, fraction);
            }
        }
        Some(worst)
    }
}

/// By how much the tolerance of a mutated stage is wider than the golden one's.
#[derive(Clone, Copy)]
struct Leeway {
    grown: f64,
    relative: f64,
}

impl Leeway {
    const NONE: Self = Self {
        grown: 1.0,
        relative: 0.0,
    };

    /// The distance as a fraction of the tolerance; infinite for what is no number.
    fn fraction(self, truth: f64, candidate: f64, bound: f64) -> f64 {
        let error = (truth - candidate).abs();
        if error <= 0.0 {
            return 0.0;
        }
        let fraction = error / (bound * self.grown + self.relative * truth.abs());
        match fraction.is_nan() {
            true => f64::INFINITY,
            false => fraction,
        }
    }
}

/// The largest magnitude.
fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
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
    let scales = golden.scales(format)?;
    let underflow = underflow(golden, format);
    let (compared, stages) = compare(golden.stages(), candidate, format, &scales, underflow);
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

/// The candidate's largest distance from these stages as a fraction of the tolerance, if it is within
/// it, and they are not the golden ones.
pub(super) fn reproduces(
    compared: &[Compared<'_>],
    stages: &[(String, Tensor<f64>)],
) -> Option<f64> {
    let (mut worst, mut differs) = (0.0, false);
    for compared in compared {
        let Some((_, found)) = stages.iter().find(|(name, _)| name == compared.name) else {
            continue;
        };
        worst = f64::max(worst, compared.worst_against(found.data(), true).0);
        differs |= compared.differs(found.data());
    }
    (differs && worst <= 1.0).then_some(worst)
}

/// Every stage of the candidate against the golden one.
pub(super) fn compare<'a>(
    golden: &'a [GoldenStage],
    candidate: &'a Candidate,
    format: Format,
    scales: &Scales,
    underflow: f64,
) -> (Vec<Compared<'a>>, Vec<StageReport>) {
    let uniform = format.is_uniform();
    let mut compared = Vec::new();
    let mut stages = Vec::new();
    for stage in golden {
        let Some(found) = candidate.stage(&stage.name) else {
            continue;
        };
        let scales = scales.iter().find(|(name, _)| *name == stage.name);
        let scale_of = |part: fn(&ErrorBound) -> f64| -> Option<Vec<f64>> {
            scales.map(|(_, scales)| scales.data().iter().map(part).collect())
        };
        // In one format the golden file's own scale decides. Gradients have no analysis in two; the
        // coarser one throughout bounds it.
        let ratio = format.projection_unit_roundoff() / format.unit_roundoff();
        let coarser = || {
            stage
                .scale
                .data()
                .iter()
                .map(|scale| scale * ratio)
                .collect()
        };
        let scale = match uniform {
            true => stage.scale.data().to_vec(),
            false => scale_of(|scale| scale.worst).unwrap_or_else(coarser),
        };
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
        let probable = scale_of(|scale| scale.probable)
            .map(|scale| with(&scale).worst_against(stage.values.data(), false).0);
        let this = with(&scale);
        let (worst, at) = this.worst_against(stage.values.data(), false);
        let note = found.note.clone().or_else(|| match worst <= 1.0 {
            true => None,
            false => this.layout_note(),
        });
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
            note,
        });
        compared.push(this);
    }
    (compared, stages)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no number, and what is infinitely large in a mistake, is infinitely far off; what is equal
    /// is not, even without a tolerance.
    #[test]
    fn fractions_at_the_ends_of_the_numbers() {
        let leeway = Leeway {
            grown: 2.0,
            relative: 0.5,
        };
        for leeway in [Leeway::NONE, leeway] {
            for truth in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(leeway.fraction(truth, 1.0, 0.25), f64::INFINITY);
            }
            assert_eq!(leeway.fraction(0.0, 1.0, 0.0), f64::INFINITY);
            assert_eq!(leeway.fraction(3.0, 3.0, 0.0), 0.0);
            assert_eq!(leeway.fraction(0.0, 0.0, 0.0), 0.0);
        }
        assert_eq!(Leeway::NONE.fraction(4.0, 1.0, 2.0), 1.5);
        // 2 * 2 and half of 4 are allowed.
        assert_eq!(leeway.fraction(4.0, 1.0, 2.0), 0.5);
    }

    /// A mistake's tolerance: the golden one, five times as wide where the stage is five times as large, and of
    /// the element's own size what the widest is of the largest golden value.
    #[test]
    fn mistakes_have_tolerances_of_their_size() {
        let tensor = |x: [f64; 2]| Tensor::new([2], x.to_vec()).expect("fits");
        let (golden, candidate) = (tensor([1.0, -2.0]), tensor([10.02, 5.0]));
        let compared = |golden, bounds: [f64; 2]| Compared {
            name: "D",
            golden,
            candidate: &candidate,
            bounds: bounds.to_vec(),
        };
        let this = compared(&golden, [1e-3, 4e-3]);
        let close = |(found, at): (f64, usize), (expected, place): (f64, usize)| {
            assert!(
                (found - expected).abs() <= 1e-9 * expected,
                "{found} but {expected}"
            );
            assert_eq!(at, place);
        };
        // 1e-3 * 5 + 2e-3 * 10 of an error of 0.02; and as much as golden.
        close(this.worst_against(&[10.0, 5.0], true), (0.8, 0));
        close(this.worst_against(&[10.0, 5.0], false), (20.0, 0));
        // No narrower where the stage is smaller.
        close(
            this.worst_against(&[10.02, 0.5], true),
            (4.5 / (4e-3 * 5.01 + 2e-3 * 0.5), 1),
        );
        close(
            this.worst_against(&[1.0, 0.5], true),
            (9.02 / (1e-3 + 2e-3), 0),
        );
        // Of a golden stage of zeros nothing can be relative.
        let zeros = tensor([0.0, 0.0]);
        close(
            compared(&zeros, [1e-3, 4e-3]).worst_against(&[10.0, 5.0], true),
            (20.0, 0),
        );

        // At its tolerance a value does not differ.
        let this = compared(&golden, [0.5, 0.25]);
        assert!(!this.differs(&[1.5, -2.25]) && !this.differs(&[0.5, -1.75]));
        assert!(this.differs(&[1.5f64.next_up(), -2.0]));
        assert!(this.differs(&[1.0, -2.25f64.next_up()]) && this.differs(&[1.0, 2.0]));
    }
}
