//! The result of a check: stage by stage, and what is wrong.

use super::super::candidate::Holdings;
use super::super::format::Format;
use super::super::mistake::Mistake;
use super::super::stage::StageSpec;

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every stage is within its tolerances, there is no evidence against it, and none is
    /// undecided.
    Pass,
    /// A stage is refused.
    Refused,
    /// Nothing was refused, but something could not be judged.
    Undecided,
}

/// The judgement of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageVerdict {
    /// Within tolerance, on the whole and computed from the port's own upstream stages.
    Pass,
    /// Refused, and wrong in this step.
    Fail,
    /// Outside the tolerance on the whole, but right as computed from the port's own upstream stages.
    Follows,
    /// Within a tolerance so wide that zeros would pass too.
    Undecided,
}

impl StageVerdict {
    /// The verdict in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Follows => "follows",
            Self::Undecided => "undecided",
        }
    }
}

/// The comparison of one stage.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StageReport {
    /// The stage.
    pub name: String,
    /// The judgement.
    pub verdict: StageVerdict,
    /// False if the stage is refused, or only follows from one that is.
    pub pass: bool,
    /// The largest error as a fraction of the worst-case tolerance; infinite where the tolerance
    /// is zero and the error is not.
    pub worst: f64,
    /// The same for the one step that computes the stage from the port's own upstream stages.
    pub local: f64,
    /// The error's root mean square in that step, in units of the probable error.
    pub probable: f64,
    /// The known mistake or generic hypothesis that explains most of that step's error, relative to
    /// its limit; `None` if none is large enough to be distinguished from rounding.
    pub explained: Option<Explained>,
    /// In a 16-bit format, the whole error as a multiple of the error that storing every stage in
    /// that format causes (root mean squares).
    pub of_typical: Option<f64>,
    /// The index of the element of the largest fraction, axis by axis.
    pub at: Vec<usize>,
    /// The golden value there.
    pub golden: f64,
    /// The candidate's value there.
    pub candidate: f64,
    /// Correct bits of the stage as a whole: minus the logarithm (base 2) of its largest error
    /// relative to its largest magnitude.
    pub bits: f64,
    /// The change of shape made for the comparison, if any.
    pub note: Option<String>,
    /// The error of every element on the whole as a fraction of its tolerance, row-major.
    pub fractions: Vec<f64>,
    /// The same for the one step.
    pub local_fractions: Vec<f64>,
}

/// The share of a step's error that a hypothesis explains.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explained {
    /// The share of the error: 1 if the hypothesis equals the error, 0 or less if it is unrelated.
    pub share: f64,
    /// The share that no right port reaches.
    pub limit: f64,
    /// The number of elements over which the error is spread.
    pub elements: f64,
    /// The distance from the right stage, in units of the probable error.
    pub length: f64,
}

/// A finding: the error in one step of a port.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The stage at which it shows first.
    pub stage: String,
    /// The error of that stage in words.
    pub pattern: String,
    /// The known mistakes that explain it and cannot be told apart here, the closest first.
    pub suspects: Vec<Suspect>,
    /// True if the closest explains nearly all of the error, and more than any generic hypothesis.
    pub reproduced: bool,
    /// Other stages at which the same shows.
    pub also_at: Vec<String>,
}

impl Finding {
    /// A finding at a stage, of no other.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn of(stage: &str, pattern: &str, suspects: Vec<Suspect>, reproduced: bool) -> Self {
        Self {
            stage: stage.into(),
            pattern: pattern.into(),
            suspects,
            reproduced,
            also_at: Vec::new(),
        }
    }

    /// What the closest suspect leaves of the error, as a multiple of the tolerance, if that is more than a right
    /// port's rounding: then it is near, but not what was made.
    pub(super) fn leaves(&self) -> Option<f64> {
        let closest = self.suspects.first()?;
        (!self.reproduced && closest.worst > 1.0).then_some(closest.worst)
    }

    /// What is said before a suspect: how it relates to the error.
    pub(super) fn introduction(&self, place: usize) -> &'static str {
        match (place, self.reproduced, self.leaves().is_some()) {
            (0, true, _) => "reproduced by",
            (0, false, false) => "cannot be told apart from",
            (0, false, true) => "the nearest is",
            (_, _, true) => "then",
            (_, _, false) => "or from",
        }
    }
}

/// Known mistakes that explain a stage: one, two made in the same step, or one together with those that other steps
/// showed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Suspect {
    /// Those that other steps showed first.
    pub mistakes: Vec<&'static Mistake>,
    /// The share of the error that they explain.
    pub share: f64,
    /// The largest distance of the candidate from the reference with these mistakes, as a fraction
    /// of the tolerance.
    pub worst: f64,
}

#[cfg(feature = "internals")]
impl Suspect {
    /// Mistakes that explain a share of the error, and what they leave as a fraction of the tolerance.
    #[must_use]
    pub fn of(mistakes: Vec<&'static Mistake>, share: f64, worst: f64) -> Self {
        Self {
            mistakes,
            share,
            worst,
        }
    }
}

/// Stages in which nothing rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Equal {
    /// Number of the candidate's stages that are exact in the format.
    pub exact: usize,
    /// Number of those that equal the golden values in every element.
    pub equal: usize,
}

/// The known mistakes that a check would have detected.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Power {
    /// Number of known mistakes that change a number of this case.
    pub known: usize,
    /// Those that the port is shown not to make.
    pub excluded: Vec<&'static Mistake>,
    /// Those that the port cannot be shown not to make.
    pub not_excluded: Vec<&'static Mistake>,
}

/// The heads on which known mistakes of the forward pass were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampledHeads {
    /// Number of these heads.
    pub heads: usize,
    /// Number of the layer's heads.
    pub all: usize,
}

/// The result of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The format the tolerance is for.
    pub format: Format,
    /// The stages of the golden file, in the order of computation.
    pub specs: Vec<StageSpec>,
    /// Those found in the candidate.
    pub stages: Vec<StageReport>,
    /// One finding for each step that is wrong.
    pub findings: Vec<Finding>,
    /// The power of the verdict, if nothing is wrong.
    pub power: Option<Power>,
    /// If the case is so large that known mistakes were tried on some of its heads: how many. Bounds, own steps and generic
    /// hypotheses are those of every element in any case; evidence for and against known mistakes, and `power`, rest on
    /// the sample.
    pub sampled: Option<SampledHeads>,
    /// If stages are exact in the format: their number, and the number of those equal in every
    /// element.
    pub equal: Option<Equal>,
    /// Remarks on the precision in which the port works.
    pub precision: Vec<String>,
    /// The other contents of the candidate.
    pub holdings: Holdings,
}

impl Report {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.stages.iter().any(|stage| stage.verdict == verdict);
        if any(StageVerdict::Fail) || any(StageVerdict::Follows) {
            Verdict::Refused
        } else if any(StageVerdict::Undecided) || !self.holdings.close.is_empty() {
            Verdict::Undecided
        } else {
            Verdict::Pass
        }
    }

    /// True if every stage was judged and none refused.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.verdict() == Verdict::Pass
    }
}
