//! A subject in ball arithmetic: every stage correctly rounded.

use super::any::{AnyCase, Balls, LongerBalls};
use super::subject::Named;
use crate::algebra::ball::BallN;
use crate::algebra::{FloatFormat, Real};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;

/// The largest radius of a written number, relative to the largest magnitude of all stages: a unit in
/// the last place of an `f64`. A tie is known to half of that.
const WIDEST: f64 = f64::EPSILON;

/// One stage. Every element is the `f64` nearest to the exact value, except those counted as
/// undecided.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CertifiedStage {
    /// The stage's name in files.
    pub name: String,
    /// The correctly rounded values. An undecided one is 0 if that is possible, or else the `f64`
    /// nearest to the middle of the enclosure.
    pub values: Tensor<f64>,
    /// The radius of each element's enclosure when its rounding was decided. For an undecided
    /// element, a bound on the distance of the exact number from the value.
    pub radii: Tensor<f64>,
    /// The positions (row-major) that double-double balls did not decide, and for which longer
    /// expansions were used.
    pub retried: Vec<usize>,
    /// Those of them that the longer expansions did not decide either.
    pub undecided: Vec<usize>,
}

/// All stages of a subject, certified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Certified {
    /// In the order of computation.
    pub stages: Vec<CertifiedStage>,
    /// The longest expansion used, in words of 53 bits: 2 unless something was retried.
    pub words: usize,
}

/// Something whose stages can be computed in ball arithmetic.
pub trait Computation {
    /// Every stage under its name in files.
    fn stages(&self) -> Result<Named<Balls>, Error>;

    /// The same stages in longer expansions, perhaps computed another way, which decides as many
    /// roundings.
    fn stages_again(&self) -> Result<Named<LongerBalls>, Error>;
}

/// A case in one form; backwards too, with `gradients`.
pub(super) struct CaseRun<'a> {
    pub(super) case: &'a dyn AnyCase,
    pub(super) form: &'a Form,
    pub(super) gradients: bool,
}

impl Computation for CaseRun<'_> {
    fn stages(&self) -> Result<Named<Balls>, Error> {
        self.case.run_in_balls(self.form, self.gradients)
    }

    fn stages_again(&self) -> Result<Named<LongerBalls>, Error> {
        self.case.run_in_longer_balls(self.gradients)
    }
}

/// Runs a computation in ball arithmetic, with midpoints of two words; if an enclosure does not
/// decide the rounding of some element, again with four, in the subject's default form; and so if it is so
/// wide that two words cannot be computed with to the end.
///
/// The numbers it is given are taken as exact real numbers, and the stages as real-number functions
/// of them. So the result does not depend on the form, the machine, or the order of summation.
///
/// An element that four words do not decide either is written as what is known of it, with its radius.
/// Such are exact zeros and ties between inexact numbers, which no number of words decides, and what
/// comes near the smallest `f64`, of which no word and no radius is a fraction.
///
/// # Errors
///
/// As the computation itself; and if the radius of an element is above 2^-52 of the largest magnitude
/// of all stages.
pub fn certify(run: &dyn Computation) -> Result<Certified, Error> {
    let mut certified = match run.stages() {
        Ok(stages) => Certified::of(stages),
        // Radii grow with every layer and step: a divisor may be told from zero by four words alone.
        Err(_) => Certified::of(run.stages_again()?).all_retried(),
    };
    certified.retry(run)?;
    certified.check_radii()?;
    Ok(certified)
}

impl Certified {
    fn of<const W: usize>(stages: Named<BallN<W>>) -> Self {
        let stages = stages.into_iter();
        Self {
            stages: stages
                .map(|(name, balls)| CertifiedStage::of(name, &balls))
                .into_vec(),
            words: W,
        }
    }

    /// Of longer expansions that were the first: every element is one that two words did not decide.
    fn all_retried(mut self) -> Self {
        for stage in &mut self.stages {
            stage.retried = (0..stage.values.data().len()).into_vec();
        }
        self
    }

    /// The stages that hold undecided elements, as `STAGE:COUNT,...`: metadata `undecided`. `None` if
    /// every rounding is decided.
    #[must_use]
    pub fn undecided(&self) -> Option<String> {
        let stages = self.stages.iter();
        counted(stages.map(|stage| (&stage.name[..], stage.undecided.len())))
    }

    /// Decides what is still open with expansions of four words.
    fn retry(&mut self, run: &dyn Computation) -> Result<(), Error> {
        let is_decided = self.stages.iter().all(|stage| stage.undecided.is_empty());
        if is_decided || self.words == 4 {
            return Ok(());
        }
        self.words = 4;
        let longer = run.stages_again()?;
        for stage in &mut self.stages {
            if let Some((_, balls)) = longer.iter().find(|(name, _)| *name == stage.name) {
                stage.decide(balls.data());
            }
        }
        Ok(())
    }

    /// Refuses an element of which too little is known to be written.
    fn check_radii(&self) -> Result<(), Error> {
        let values = self.stages.iter().flat_map(|stage| stage.values.data());
        let largest = values.fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let beyond = |limit: f64| {
            self.stages.iter().find_map(|stage| {
                let wide = |at: &&usize| stage.radii.data()[**at] > limit;
                let at = *stage.undecided.iter().find(wide)?;
                Some((stage, at, stage.radii.data()[at]))
            })
        };
        let refused = |stage: &CertifiedStage, why: String| {
            Err(Error::value(format!("stage {}", stage.name), why))
        };
        // An overflow first: what it leaves unknown is not among the magnitudes.
        if let Some((stage, at, _)) = beyond(f64::MAX) {
            let why = "it, or a number on the way to it, is beyond the range of f64";
            return refused(stage, format!("element {at} is not known: {why}"));
        }
        if let Some((stage, at, radius)) = beyond(WIDEST * largest) {
            let why = format!(
                "element {at} is known to within {radius:.1e} only, above 2^-52 of the largest \
                 magnitude of all stages, {largest:.1e}"
            );
            return refused(stage, why);
        }
        Ok(())
    }
}

impl CertifiedStage {
    fn of<const W: usize>(name: String, balls: &Tensor<BallN<W>>) -> Self {
        let known = balls.map(known);
        let open = known.data().iter().enumerate();
        let open: Vec<usize> = open
            .filter(|(_, known)| !known.is_rounded)
            .map(|(at, _)| at)
            .into_vec();
        Self {
            name,
            values: known.map(|known| known.value),
            radii: known.map(|known| known.radius),
            retried: open.clone(),
            undecided: open,
        }
    }

    /// True if a format holds every value that is decided.
    pub(super) fn is_held_by(&self, format: FloatFormat) -> bool {
        let mut values = self.values.data().iter().enumerate();
        values.all(|(at, &x)| format.holds(x) || self.undecided.binary_search(&at).is_ok())
    }

    /// Takes from longer expansions what is undecided.
    fn decide<const W: usize>(&mut self, balls: &[BallN<W>]) {
        let (values, radii) = (self.values.data_mut(), self.radii.data_mut());
        self.undecided.retain(|&at| {
            let known = known(balls[at]);
            if known.is_rounded || known.radius < radii[at] {
                (values[at], radii[at]) = (known.value, known.radius);
            }
            !known.is_rounded
        });
    }
}

/// The stages of which a count is not zero, as `STAGE:COUNT,...`.
pub(super) fn counted<'a>(counts: impl Iterator<Item = (&'a str, usize)>) -> Option<String> {
    let some = counts.filter(|(_, count)| *count > 0);
    let text: Vec<String> = some
        .map(|(name, count)| format!("{name}:{count}"))
        .into_vec();
    (!text.is_empty()).then(|| text.join(","))
}

/// The number written for an enclosure.
#[derive(Clone, Copy)]
struct Known {
    /// The correctly rounded number; or, if that is not decided, zero where the enclosure holds it and the
    /// nearest `f64` elsewhere.
    value: f64,
    /// The enclosure's radius; of an undecided number, a bound of its distance from the value.
    radius: f64,
    is_rounded: bool,
}

fn known<const W: usize>(ball: BallN<W>) -> Known {
    if let Some(value) = ball.rounded() {
        return Known {
            value,
            radius: ball.radius(),
            is_rounded: true,
        };
    }
    let value = if ball.contains_zero() {
        0.0
    } else {
        ball.to_f64()
    };
    let distance = ball - BallN::from_f64(value);
    Known {
        value,
        radius: distance.upper_magnitude(),
        is_rounded: false,
    }
}
