//! An error in words, for what the catalogue does not hold.

use super::super::stage::Axis;
use super::evidence::{ALL, NEARLY_ALL};
use super::judged::Judged;
use super::probe::Probe;
use super::trials::ProbeTrial;
use crate::algebra::FloatFormat;
use crate::into_vec::IntoVec as _;

/// Places of an axis are named one by one up to so many.
const NAMED: usize = 6;

/// The places of one axis of a stage, and at which of them something is wrong.
struct Along {
    axis: Axis,
    wrong: Vec<bool>,
}

impl Along {
    fn all(stage: &Judged<'_>) -> Vec<Self> {
        let axes = &stage.spec.axes;
        let mut along: Vec<Self> = axes
            .iter()
            .map(|&(axis, len)| Self {
                axis,
                wrong: vec![false; len],
            })
            .into_vec();
        for at in stage.wrong() {
            let mut rest = at;
            for axis in along.iter_mut().rev() {
                let len = axis.wrong.len();
                axis.wrong[rest % len] = true;
                rest /= len;
            }
        }
        along
    }

    /// The place of the error, if it is not everywhere.
    fn describe(&self) -> Option<String> {
        let (axis, len) = (self.axis, self.wrong.len());
        let places: Vec<usize> = (0..len).filter(|&at| self.wrong[at]).into_vec();
        let (&first, &last) = (places.first()?, places.last()?);
        if places.len() == len {
            return None;
        }
        if let (Axis::Time, Some(length)) = (axis, self.chunk_length()) {
            return Some(format!(
                "wrong only in stretches that begin at multiples of {length} {axis}s, as where \
                 something is carried between chunks"
            ));
        }
        if places.len() == 1 {
            return Some(format!(
                "wrong in {axis} {first} alone (of 0 to {})",
                len - 1
            ));
        }
        if places.len() == last - first + 1 {
            return Some(match (first, last + 1 == len) {
                (0, _) => format!(
                    "wrong up to {axis} {last}, right from {axis} {} on",
                    last + 1
                ),
                (_, true) => format!(
                    "right up to {axis} {}, wrong from {axis} {first} on",
                    first - 1
                ),
                _ => format!("wrong in {axis}s {first} to {last} (of 0 to {})", len - 1),
            });
        }
        let named: Vec<String> = places
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .into_vec();
        let more = if places.len() > NAMED { ", ..." } else { "" };
        Some(format!(
            "wrong in {} of {len} {axis}s ({}{more}), right in the others",
            places.len(),
            named.join(", ")
        ))
    }

    /// The length at whose multiples, and nowhere else, runs of wrong places begin.
    fn chunk_length(&self) -> Option<usize> {
        let begins = |&t: &usize| self.wrong[t] && (t == 0 || !self.wrong[t - 1]);
        let starts: Vec<usize> = (0..self.wrong.len()).filter(begins).into_vec();
        let &length = starts.first()?;
        let multiples = starts
            .iter()
            .all(|t| length > 1 && t.is_multiple_of(length));
        (starts.len() > 1 && multiples).then_some(length)
    }
}

/// The first time step at which anything of a stage is wrong, if time is an axis of it and what it
/// holds at a time depends on the past alone.
pub(super) fn first_wrong_token(stage: &Judged<'_>) -> Option<usize> {
    if stage.spec.is_gradient() {
        return None;
    }
    let along = Along::all(stage);
    let time = along.iter().find(|along| along.axis == Axis::Time)?;
    time.wrong.iter().position(|&wrong| wrong)
}

/// The share of an error from which on a probe describes it. A tenth of the error that is left of zeros is a stage of a
/// third of its size: that is no zero.
fn least_share(probe: Probe) -> f64 {
    match probe {
        Probe::Zero | Probe::ZeroAt(..) => ALL,
        _ => NEARLY_ALL,
    }
}

/// What is said of a stage that has none but the numbers of a coarser format.
pub(super) fn on_grid(coarse: FloatFormat) -> String {
    format!(
        "within the worst case of rounding, but every number is one of {}, which has fewer bits",
        coarse.name()
    )
}

/// One sentence about the error of a stage, given the generic hypothesis that explains most of it.
pub(super) fn describe(stage: &Judged<'_>, probe: Option<&ProbeTrial>) -> String {
    if !stage.is_finite() {
        let numbers = stage.candidate.data();
        let none = numbers.iter().filter(|x| !x.is_finite()).count();
        let is = if none == 1 { "is" } else { "are" };
        return format!("{none} of {} elements {is} not finite", numbers.len());
    }
    if let Some(trial) = probe
        && trial.fit.evidence.share >= least_share(trial.probe)
    {
        // In 16 bits what is within the tolerance of zeros need be none.
        let is_it = trial.probe != Probe::Zero || stage.candidate.data().iter().all(|&x| x == 0.0);
        let exactly = match trial.fit.left <= 1.0 && is_it {
            true => "",
            false => ", nearly",
        };
        let mut said = vec![format!("{}{exactly}", trial.probe)];
        // A constant is fitted to every series and need not stand in all of them; and what is left of
        // the error may stand elsewhere.
        if trial.probe == Probe::Offset || trial.fit.left > 1.0 {
            said.extend(Along::all(stage).iter().filter_map(Along::describe));
        }
        return said.join("; ");
    }
    let elements = stage.candidate.data().len();
    let wrong = stage.wrong().count();
    if wrong == 0 {
        return "within the worst case of rounding, but not of a form that rounding takes".into();
    }
    let mut said: Vec<String> = Along::all(stage)
        .iter()
        .filter_map(Along::describe)
        .into_vec();
    if said.is_empty() {
        said.push(format!(
            "{wrong} of {elements} elements outside their tolerance"
        ));
    }
    said.join("; ")
}
