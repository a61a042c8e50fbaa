//! The result of a check: stage by stage, and what is wrong.

use super::super::format::Format;
use super::super::mistake::Mistake;

/// The comparison of one stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// True if every element is within the worst-case tolerance, which is what decides.
    pub pass: bool,
    /// The largest error as a fraction of the worst-case tolerance; infinite where the tolerance
    /// is zero and the error is not.
    pub worst: f64,
    /// The largest error as a fraction of the probabilistic tolerance, where there is one: an
    /// honest port is expected to stay below 1.
    pub probable: Option<f64>,
    /// True if the tolerance is so wide that zeros would pass too: then passing says nothing.
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
    /// True if every stage is within tolerance.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.stages.iter().all(|stage| stage.pass)
    }

    /// True if no stage's tolerance is narrow enough to tell a port from zeros.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.stages.iter().all(|stage| stage.says_nothing)
    }
}

/// Why a candidate failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The first stage, in the order of computation, that is outside its tolerance.
    pub first_stage: String,
    /// The error of that stage in words.
    pub pattern: String,
    /// Mistakes that reproduce every stage of the candidate within tolerance, the closest first.
    pub suspects: Vec<Suspect>,
    /// True if all pairs of mistakes were tried, or none was needed; on a large layer some would
    /// take too long.
    pub pairs_tried: bool,
}

/// Known mistakes that together reproduce a candidate: one, or two.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Suspect {
    /// In the order of the catalogue.
    pub mistakes: Vec<&'static Mistake>,
    /// The largest distance of the candidate from the reference with these mistakes, as a fraction
    /// of the tolerance.
    pub worst: f64,
}
