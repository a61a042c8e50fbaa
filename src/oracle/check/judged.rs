//! A stage of a port next to the golden one, with everything a judgement needs.

use super::super::mistake::Mistake;
use super::super::stage::StageSpec;
use super::evidence::{self, Evidence, Scales, Weights};
use crate::algebra::FloatFormat;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;
use std::borrow::Cow;

/// A stage of golden file and candidate.
pub(super) struct Judged<'a> {
    pub(super) spec: &'a StageSpec,
    pub(super) golden: Cow<'a, Tensor<f64>>,
    pub(super) candidate: Cow<'a, Tensor<f64>>,
    /// The unit roundoff of the type that the candidate is stored in.
    pub(super) stored: f64,
    /// Half the smallest positive number of that type.
    pub(super) smallest: f64,
    /// The worst-case tolerance of every element.
    pub(super) bounds: Vec<f64>,
    /// The same of the one step that computes the stage.
    pub(super) local: Local,
    pub(super) scales: Scales,
    /// True if nothing rounds in it in the port's format, and it is judged so.
    pub(super) is_exact: bool,
    /// The unit roundoff that the stage is judged by: of two formats the coarser, where there is no analysis
    /// of both.
    pub(super) unit: f64,
    /// Elements at padding: nothing is said of them.
    pub(super) padding: Vec<usize>,
    /// The size of what the step makes, in units of the probable error (root mean square): of the stage, or of
    /// its change where it is one.
    pub(super) size: f64,
    /// In a format of 16 bits, the error that storing every stage in it makes of this one on the
    /// whole (root mean square).
    pub(super) typical: Option<f64>,
}

/// A stage computed by the reference from the port's own upstream stages (the golden stage where the
/// port has none), and the largest error of a right port in that step.
pub(super) struct Local {
    pub(super) reference: Vec<f64>,
    /// The same by the f64 run from which runs with mistakes depart.
    pub(super) base: Vec<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) weights: Weights,
    /// The run it stems from.
    pub(super) source: Source,
}

/// A run of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Forwards, from the port's own stages.
    Own,
    /// The same without the port's kernels.
    WithoutKernels,
    /// Backwards.
    Backward,
}

/// The fit of a hypothesis to a stage's error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub(super) evidence: Evidence,
    /// The same on those elements alone from which the hypothesis departs, where these are few.
    pub(super) focused: Option<Evidence>,
    /// The largest departure as a fraction of the tolerance.
    pub(super) departs: f64,
    /// The largest distance of the candidate from the hypothesis, as a fraction of its tolerance.
    pub(super) left: f64,
    /// In a format of 16 bits, the distance from the hypothesis as a multiple of one rounding of the stage.
    pub(super) roundings_left: Option<f64>,
    /// What a mistake that rounds the stage itself says of its numbers.
    pub(super) grid: Grid,
}

/// The numbers of a stage next to those of a coarser format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Grid {
    /// The mistake leaves others, or a right port has too few others to tell.
    #[default]
    Unknown,
    /// The mistake leaves none but those of the coarser format, and the candidate has others.
    Off,
    /// The candidate too has none but those.
    On,
}

/// Elements from which a hypothesis departs by less than this part of its largest departure are none
/// that it departs from.
const FOCUS: f64 = 0.02;

/// A departure of at most this share of a stage's largest number is due to the order of summation
/// in f64.
const SAME: f64 = 1e-14;

/// In formats of 16 bits, an error so many times that of storing every stage in the format leaves a
/// stage undecided. (Right ports of the suite: 1.0 times where only projections are in 16 bits; chapter
/// 13 has what they reach with everything in 16 bits.)
const FAR: f64 = 16.0;

/// A departure of up to so many halves of the smallest number that the candidate's type stores is none
/// that is evidence: right ports leave as much where the golden value is 0.
pub(super) const AT_THE_END: f64 = 16.0;

impl Fit {
    /// True if no right port shows as much; `fitted` numbers of the hypothesis were fitted to the
    /// error.
    pub(super) fn convicts(&self, fitted: usize) -> bool {
        let focused = self.focused.as_ref();
        self.grid == Grid::On
            || self.evidence.convicts(fitted)
            || focused.is_some_and(|found| found.convicts(fitted))
    }

    /// True if what the hypothesis leaves of the error is what rounding leaves. Within the wide tolerances of 16 bits much
    /// more would be.
    pub(super) fn leaves_rounding(&self) -> bool {
        let times = self.roundings_left.filter(|times| times.is_finite());
        times.is_none_or(|times| times <= evidence::SEVERAL)
    }

    /// True if a port that makes the mistake would not pass.
    pub(super) fn would_show(&self) -> bool {
        let focused = self.focused.as_ref();
        self.departs > 2.0
            || self.grid != Grid::Unknown
            || self.evidence.would_show()
            || focused.is_some_and(Evidence::would_convict)
    }
}

impl<'a> Judged<'a> {
    /// These elements of the stage, as they are judged among all.
    pub(super) fn of_elements(&self, elements: &[usize]) -> Self {
        let pick = |x: &[f64]| elements.iter().map(|&at| x[at]).into_vec();
        let picked = |x: &Tensor<f64>| Cow::Owned(Tensor::known([elements.len()], pick(x.data())));
        let local = &self.local;
        let places = 0..elements.len();
        Self {
            golden: picked(&self.golden),
            candidate: picked(&self.candidate),
            bounds: pick(&self.bounds),
            local: Local {
                reference: pick(&local.reference),
                base: pick(&local.base),
                bounds: pick(&local.bounds),
                weights: local.weights.of_elements(elements),
                source: local.source,
            },
            padding: places
                .filter(|&at| self.padding.contains(&elements[at]))
                .into_vec(),
            ..*self
        }
    }
}

impl Judged<'_> {
    /// Judges the step from another reference, if the candidate is closer to that; or only if it is
    /// outside the tolerance of the one it has.
    pub(super) fn take_if_closer(&mut self, other: Local, only_if_outside: bool) {
        let before = (self.worst_local().0 > 1.0, self.rms());
        if only_if_outside && !before.0 {
            return;
        }
        let first = core::mem::replace(&mut self.local, other);
        if (self.worst_local().0 > 1.0, self.rms()) >= before {
            self.local = first;
        }
    }

    /// The root mean square of the step's error, in units of the probable one.
    pub(super) fn rms(&self) -> f64 {
        self.local.weights.rms(self.errors())
    }

    /// True if a mistake that only rounds does nothing here that the port's format, or the type in which it
    /// stores what the mistake rounds, would not do anyway.
    pub(super) fn hides(&self, mistake: &Mistake) -> bool {
        let as_coarse = |coarse: FloatFormat| coarse.unit_roundoff() <= 2.0 * self.unit;
        mistake.rounding.is_some_and(as_coarse) || self.stores_as_coarsely(mistake)
    }

    /// True if what a mistake rounds that does nothing else is stored as coarsely.
    pub(super) fn stores_as_coarsely(&self, mistake: &Mistake) -> bool {
        let is_made_here = self.spec.name == mistake.first_stage || self.spec.is_state();
        mistake
            .rounding
            .is_some_and(|coarse| is_made_here && coarse.unit_roundoff() <= 2.0 * self.stored)
    }

    /// True if the candidate is far closer to another reference than to the one it has.
    pub(super) fn is_apart(&self, other: &Local) -> bool {
        let weights = &self.local.weights;
        let from_other = self.candidate.data().iter().zip(&other.reference);
        weights.rms(from_other.map(|(c, r)| c - r)) < weights.rms(self.errors()) / 8.0
    }

    pub(super) fn is_finite(&self) -> bool {
        self.candidate.data().iter().all(|x| x.is_finite())
    }

    /// The largest error as a fraction of the tolerance, and where.
    pub(super) fn worst(&self) -> (f64, usize) {
        worst(self.candidate.data(), self.golden.data(), &self.bounds)
    }

    /// The same of the one step.
    pub(super) fn worst_local(&self) -> (f64, usize) {
        let local = &self.local;
        worst(self.candidate.data(), &local.reference, &local.bounds)
    }

    /// The error of every element as a fraction of its tolerance.
    pub(super) fn fractions(&self) -> Vec<f64> {
        fractions(self.candidate.data(), self.golden.data(), &self.bounds)
    }

    /// The same of the one step.
    pub(super) fn local_fractions(&self) -> Vec<f64> {
        let local = &self.local;
        fractions(self.candidate.data(), &local.reference, &local.bounds)
    }

    /// The error of the one step at every element.
    pub(super) fn errors(&self) -> impl Iterator<Item = f64> {
        let pairs = self.candidate.data().iter().zip(&self.local.reference);
        pairs.map(|(c, r)| c - r)
    }

    /// True if the error at an element is outside the tolerance of the one step.
    pub(super) fn is_wrong(&self, at: usize) -> bool {
        let error = self.candidate.data()[at] - self.local.reference[at];
        // A number that is none is wrong too.
        error.is_nan() || error.abs() > self.local.bounds[at]
    }

    /// The elements outside the tolerance of the one step.
    pub(super) fn wrong(&self) -> impl Iterator<Item = usize> {
        (0..self.candidate.data().len()).filter(|&at| self.is_wrong(at))
    }

    /// The error on the whole as a multiple of the typical one.
    pub(super) fn of_typical(&self) -> Option<f64> {
        let typical = self.typical.filter(|&typical| typical > 0.0)?;
        Some(distance(self.candidate.data(), self.golden.data()) / typical)
    }

    /// The error of the step as a multiple of one rounding of the stage.
    pub(super) fn roundings(&self) -> f64 {
        self.roundings_from(&self.local.reference)
    }

    /// The distance of the candidate from these values as a multiple of one rounding of them.
    pub(super) fn roundings_from(&self, values: &[f64]) -> f64 {
        distance(self.candidate.data(), values) / (self.unit * rms(values))
    }

    /// Measures what the step makes, given the numbers that it changes.
    pub(super) fn measure(&mut self, changed: Option<&[f64]>) {
        let reference = self.local.reference.iter();
        let weights = &self.local.weights;
        self.size = match changed {
            Some(changed) => weights.rms(reference.zip(changed).map(|(r, before)| r - before)),
            None => weights.rms(reference.copied()),
        };
    }

    /// True if the error of the step is a large part of what it makes, or many times what storing
    /// the stages in the format makes. Within a wide tolerance that may be rounding; so may zeros. A stage
    /// that is nothing but zeros is decided by its bound: what is computed for it of a port's own stages
    /// before it is their rounding, and nothing is small compared with that.
    pub(super) fn is_undecided(&self) -> bool {
        if self.golden.data().iter().all(|&x| x == 0.0) {
            return false;
        }
        self.size > 0.0 && self.rms() >= evidence::LARGE * self.size
            || self.is_far_on_the_whole()
            || self.of_typical().is_some_and(|times| times > FAR)
    }

    /// True if the error of the step is no large part of the stage.
    pub(super) fn is_near(&self) -> bool {
        let reference = &self.local.reference;
        distance(self.candidate.data(), reference) < evidence::LARGE * rms(reference)
    }

    /// True if, in a format of 16 bits, the stage is off by a large part of itself, however right each step may be.
    fn is_far_on_the_whole(&self) -> bool {
        let golden = self.golden.data();
        let far = evidence::LARGE * rms(golden);
        self.scales.coarse.is_some() && distance(self.candidate.data(), golden) >= far
    }

    /// The fit of these values, in place of the reference's, to the candidate; `None` if they are
    /// the reference's or the golden ones, since computing those is no mistake, however a port
    /// rounds before it.
    pub(super) fn fit(&self, predicted: &[f64]) -> Option<Fit> {
        let is_same = |known: &[f64]| {
            let least = SAME * largest(known);
            let mut pairs = predicted.iter().zip(known);
            least > 0.0 && pairs.all(|(p, known)| (p - known).abs() <= least)
        };
        let base = &self.local.base;
        match is_same(base) || is_same(self.golden.data()) {
            true => None,
            false => self.fit_from(base, predicted),
        }
    }

    /// The same for values made of the reference's own.
    pub(super) fn fit_to_reference(&self, predicted: &[f64]) -> Option<Fit> {
        self.fit_from(&self.local.reference, predicted)
    }

    fn fit_from(&self, base: &[f64], predicted: &[f64]) -> Option<Fit> {
        let local = &self.local;
        if predicted.len() != base.len() || predicted == base {
            return None;
        }
        let mut departure: Vec<f64> = predicted.iter().zip(base).map(|(p, b)| p - b).into_vec();
        for &at in &self.padding {
            departure[at] = 0.0;
        }
        let departures = || departure.iter().copied();
        if departures().any(|m| !m.is_finite()) {
            return None;
        }
        // What is near the end of the stored type's numbers is told from nothing.
        let told = |m: f64| match m.abs() <= AT_THE_END * self.smallest {
            true => 0.0,
            false => m,
        };
        let departs = departures().zip(&local.bounds);
        let departs = departs.map(|(m, bound)| fraction(m, *bound));
        let elements = || {
            let elements = self.errors().zip(departures()).zip(&local.reference);
            elements.map(|((e, m), &r)| (e, told(m), r))
        };
        let weights = self.weights_for(&departure);
        let all = weights.evidence(self.scales, elements());
        let weighted = weights.apply(departures().map(told));
        let least = FOCUS * largest(&weighted);
        let departing = weighted.iter().filter(|m| m.abs() > least).count();
        let focused = (2 * departing < weighted.len()).then(|| {
            let there = elements().zip(&weighted).map(|((e, m, r), weighted)| {
                match weighted.abs() > least {
                    true => (e, m, r),
                    false => (0.0, 0.0, 0.0),
                }
            });
            weights.evidence(self.scales, there)
        });
        Some(Fit {
            focused,
            evidence: all,
            departs: departs.fold(0.0, f64::max),
            left: self.left(predicted),
            roundings_left: self.scales.coarse.map(|_| self.roundings_from(predicted)),
            grid: Grid::Unknown,
        })
    }

    /// What the stage's numbers say of a mistake that rounds to a coarser format, given its own.
    pub(super) fn grid(&self, coarse: FloatFormat, predicted: &[f64]) -> Grid {
        match predicted.iter().all(|&x| coarse.holds(x)) {
            true => self.numbers_of(coarse),
            false => Grid::Unknown,
        }
    }

    /// Whether the stage has none but numbers of a coarser format. A right number that is off those by more than two
    /// roundings of the stored type, and by more than what errors before it make of one that is exact, is stored as one of
    /// them by chance alone, of so many to one as the type has numbers between two of them.
    pub(super) fn numbers_of(&self, coarse: FloatFormat) -> Grid {
        let least = (2.0 * self.stored).max(coarse.unit_roundoff() / 8.0);
        let is_off = |x: f64| (coarse.round(x) - x).abs() > least * x.abs();
        let right = self.local.base.iter().zip(self.golden.data());
        let off = right.filter(|&(&base, &golden)| is_off(base) && is_off(golden));
        let off = off.count();
        let by_chance = (self.stored / coarse.unit_roundoff()).powf(off as f64);
        match self.candidate.data().iter().all(|&x| coarse.holds(x)) {
            _ if by_chance > evidence::CHANCE => Grid::Unknown,
            true => Grid::On,
            false => Grid::Off,
        }
    }

    /// The weights for a departure. One that is nothing but where right ports have no error at all, and where the
    /// candidate is outside its tolerance, is weighed by that.
    fn weights_for(&self, departure: &[f64]) -> Cow<'_, Weights> {
        let weights = &self.local.weights;
        let departing = || (0..departure.len()).filter(|&at| departure[at] != 0.0);
        let is_weighed = |at| weights.at(at) > 0.0;
        if departing().any(is_weighed) || !departing().any(|at| self.is_wrong(at)) {
            return Cow::Borrowed(weights);
        }
        let mut bounds = vec![0.0; departure.len()];
        for at in departing() {
            bounds[at] = self.local.bounds[at];
        }
        Cow::Owned(Weights::of(&bounds))
    }

    /// The largest distance of the candidate from values of a mistake. They have no tolerance of their
    /// own: theirs is the reference's, grown with the stage where the mistake makes it larger, and
    /// relative to their own size no less than the stage's tolerance is to its largest value.
    fn left(&self, predicted: &[f64]) -> f64 {
        let local = &self.local;
        let size = largest(&local.reference);
        let (grown, relative) = match size > 0.0 {
            true => (
                (largest(predicted) / size).max(1.0),
                largest(&local.bounds) / size,
            ),
            false => (1.0, 0.0),
        };
        let pairs = predicted.iter().zip(self.candidate.data());
        let fractions = pairs
            .zip(&local.bounds)
            .map(|((p, c), bound)| fraction(p - c, bound * grown + relative * p.abs()));
        fractions.fold(0.0, f64::max)
    }
}

/// The largest distance as a fraction of the tolerance, and where.
fn worst(x: &[f64], truth: &[f64], bounds: &[f64]) -> (f64, usize) {
    let mut worst = (0.0, 0);
    for (at, fraction) in fractions(x, truth, bounds).into_iter().enumerate() {
        if fraction > worst.0 {
            worst = (fraction, at);
        }
    }
    worst
}

/// Every distance as a fraction of its tolerance.
fn fractions(x: &[f64], truth: &[f64], bounds: &[f64]) -> Vec<f64> {
    let pairs = x.iter().zip(truth).zip(bounds);
    pairs
        .map(|((x, truth), bound)| fraction(x - truth, *bound))
        .into_vec()
}

/// An error as a fraction of the tolerance; infinite for what is no number.
fn fraction(error: f64, bound: f64) -> f64 {
    if error == 0.0 {
        return 0.0;
    }
    let fraction = error.abs() / bound;
    match fraction.is_nan() {
        true => f64::INFINITY,
        false => fraction,
    }
}

/// The root mean square.
pub(super) fn rms(x: &[f64]) -> f64 {
    (x.iter().map(|x| x * x).sum::<f64>() / x.len().max(1) as f64).sqrt()
}

/// The root mean square of a difference.
pub(super) fn distance(one: &[f64], other: &[f64]) -> f64 {
    let differences: Vec<f64> = one.iter().zip(other).map(|(a, b)| a - b).into_vec();
    rms(&differences)
}

/// The largest magnitude.
pub(super) fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}
