//! Generic hypotheses: errors that can occur in any port, whatever it computes.

use super::super::stage::{Axis, StageSpec};
use crate::into_vec::IntoVec as _;
use core::fmt;

/// Shifts in time are tried up to so many steps.
const LONGEST_SHIFT: usize = 8;

/// A constant is fitted to series of so many steps and more.
const LEAST_SERIES: usize = 8;

/// Pairs of heads or sequences are tried where there are no more of them than this.
const MOST_EXCHANGED: usize = 8;

/// A generic hypothesis about the values of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Probe {
    /// Zeros.
    Zero,
    /// Zeros at one place of an axis.
    ZeroAt(Axis, usize),
    /// The stage times a number, the one that fits best.
    Factor(f64),
    /// The same at one place of an axis.
    FactorAt(Axis, usize, f64),
    /// A constant added to every series along time.
    Offset,
    /// Moved along an axis; what comes in is zero.
    Shifted(Axis, isize),
    /// Back to front along an axis.
    Reversed(Axis),
    /// Two places of an axis exchanged.
    Exchanged(Axis, usize, usize),
    /// Two axes of one length exchanged.
    Transposed(Axis, Axis),
    /// The imaginary parts with the other sign.
    Conjugated,
    /// All real parts, then all imaginary parts.
    PartsApart,
    /// Channels in the other order of heads and channels within them.
    HeadOrder(usize),
}

impl fmt::Display for Probe {
    /// The description of the stage.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Zero => f.write_str("all zero"),
            Self::ZeroAt(axis, at) => write!(f, "zero in {axis} {at}"),
            Self::Factor(alpha) => write!(f, "the right stage times {}", Times(alpha)),
            Self::FactorAt(axis, at, alpha) => {
                write!(f, "in {axis} {at} the right stage times {}", Times(alpha))
            }
            Self::Offset => f.write_str("the right stage with a constant added along time"),
            Self::Shifted(axis, by) => {
                let way = if by > 0 { "late" } else { "early" };
                let (by, s) = (by.unsigned_abs(), if by.abs() == 1 { "" } else { "s" });
                write!(f, "the right stage {by} {axis}{s} {way}")
            }
            Self::Reversed(Axis::Time) => f.write_str("the right stage reversed in time"),
            Self::Reversed(axis) => write!(f, "the right stage with its {axis}s in reverse"),
            Self::Exchanged(axis, a, b) => write!(f, "{axis}s {a} and {b} exchanged"),
            Self::Transposed(a, b) => write!(f, "its axes of {a}s and {b}s exchanged"),
            Self::Conjugated => f.write_str("conjugated: the imaginary parts have the other sign"),
            Self::PartsApart => f.write_str(
                "all real parts, then all imaginary parts, where they should be in pairs",
            ),
            Self::HeadOrder(heads) => write!(
                f,
                "its channels in the other head order (channel j {heads} + h for h d_h + j, or back)"
            ),
        }
    }
}

/// A factor, told from one.
struct Times(f64);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off = self.0 - 1.0;
        match off.abs() < 1e-4 {
            // Six digits would show 1.
            true => {
                let sign = if off < 0.0 { "-" } else { "+" };
                write!(f, "(1 {sign} {:.1e})", off.abs())
            }
            false if (1e-4..1e6).contains(&self.0.abs()) => write!(f, "{:.6}", self.0),
            false => write!(f, "{:.3e}", self.0),
        }
    }
}

/// The axes of a stage, slowest first.
struct Axes<'a>(&'a [(Axis, usize)]);

impl Axes<'_> {
    fn position(&self, axis: Axis) -> Option<usize> {
        self.0.iter().position(|&(a, _)| a == axis)
    }

    fn len(&self, axis: Axis) -> usize {
        self.position(axis).map_or(0, |at| self.0[at].1)
    }

    /// The number of elements from one place of an axis to the next.
    fn stride(&self, position: usize) -> usize {
        self.0[position + 1..].iter().map(|(_, len)| len).product()
    }

    /// The place of an element on an axis.
    fn place(&self, at: usize, position: usize) -> usize {
        at / self.stride(position) % self.0[position].1
    }

    /// The element at another place of the same axis.
    fn moved(&self, at: usize, position: usize, to: usize) -> usize {
        let stride = self.stride(position);
        let from = self.place(at, position);
        at - from * stride + to * stride
    }
}

/// Calls `on` with the probes that make sense of a stage, one after another: with the values that each predicts in
/// place of the reference's, and how many numbers of it were fitted to the candidate. A factor is told from one
/// if it is off by the first of `least_factors` and more, at one place of an axis by the second.
pub(super) fn each_probe(
    spec: &StageSpec,
    heads: Option<usize>,
    least_factors: [f64; 2],
    [reference, candidate]: [&[f64]; 2],
    on: &mut dyn FnMut(Probe, &[f64], usize),
) {
    let axes = Axes(&spec.axes);
    let each = |probe, f: &dyn Fn(usize) -> f64, fitted| {
        let values: Vec<f64> = (0..reference.len()).map(f).into_vec();
        (probe, values, fitted)
    };
    let pick = |probe, from: &dyn Fn(usize) -> usize| each(probe, &|at| reference[from(at)], 0);
    let mut found = |(probe, values, fitted): (Probe, Vec<f64>, usize)| {
        let is_another = match probe {
            // A factor of a few roundings is one.
            Probe::Factor(alpha) => (alpha - 1.0).abs() > least_factors[0],
            Probe::FactorAt(.., alpha) => (alpha - 1.0).abs() > least_factors[1],
            _ => values != reference,
        };
        if is_another {
            on(probe, &values, fitted);
        }
    };
    found(each(Probe::Zero, &|_| 0.0, 0));
    let best = |part: &dyn Fn(usize) -> bool| {
        let (mut cr, mut rr) = (0.0, 0.0);
        for at in (0..reference.len()).filter(|&at| part(at)) {
            cr += candidate[at] * reference[at];
            rr += reference[at] * reference[at];
        }
        let alpha: f64 = cr / rr;
        alpha.is_finite().then_some(alpha)
    };
    if let Some(alpha) = best(&|_| true) {
        found(each(Probe::Factor(alpha), &|at| alpha * reference[at], 1));
    }
    for axis in [
        Axis::Sequence,
        Axis::Document,
        Axis::Head,
        Axis::Chunk,
        Axis::RealImaginary,
    ] {
        let Some(position) = axes.position(axis) else {
            continue;
        };
        let len = axes.0[position].1;
        if !(2..=MOST_EXCHANGED).contains(&len) {
            continue;
        }
        for place in 0..len {
            let there = |at: usize| axes.place(at, position) == place;
            let zero = |at: usize| if there(at) { 0.0 } else { reference[at] };
            found(each(Probe::ZeroAt(axis, place), &zero, 0));
            if let Some(alpha) = best(&there) {
                let part = |at: usize| if there(at) { alpha } else { 1.0 } * reference[at];
                found(each(Probe::FactorAt(axis, place, alpha), &part, 1));
            }
        }
    }
    for axis in [Axis::Time, Axis::Tap, Axis::Chunk] {
        let Some(position) = axes.position(axis) else {
            continue;
        };
        let len = axes.0[position].1;
        for by in 1..=LONGEST_SHIFT.min(len.saturating_sub(1)) {
            for by in [by as isize, -(by as isize)] {
                let shifted = |at: usize| {
                    let from = axes.place(at, position).checked_add_signed(-by);
                    match from.filter(|from| *from < len) {
                        Some(from) => reference[axes.moved(at, position, from)],
                        None => 0.0,
                    }
                };
                found(each(Probe::Shifted(axis, by), &shifted, 0));
            }
        }
    }
    if let Some(position) = axes.position(Axis::Time)
        && axes.0[position].1 >= LEAST_SERIES
    {
        let (stride, len) = (axes.stride(position), axes.0[position].1);
        let mut mean = vec![0.0; reference.len() / len.max(1)];
        let series = |at: usize| at / (stride * len) * stride + at % stride;
        for at in 0..reference.len() {
            mean[series(at)] += (candidate[at] - reference[at]) / len as f64;
        }
        let offset = |at: usize| reference[at] + mean[series(at)];
        found(each(Probe::Offset, &offset, mean.len()));
    }
    for axis in [
        Axis::Time,
        Axis::Tap,
        Axis::Mode,
        Axis::Channel,
        Axis::Head,
        Axis::Chunk,
        Axis::Row,
        Axis::Column,
    ] {
        if let Some(position) = axes.position(axis) {
            let len = axes.0[position].1;
            let back = |at: usize| axes.moved(at, position, len - 1 - axes.place(at, position));
            found(pick(Probe::Reversed(axis), &back));
        }
    }
    for axis in [
        Axis::Sequence,
        Axis::Document,
        Axis::Head,
        Axis::Channel,
        Axis::Chunk,
    ] {
        let Some(position) = axes.position(axis) else {
            continue;
        };
        let len = axes.0[position].1;
        if len > MOST_EXCHANGED {
            continue;
        }
        for a in 0..len {
            for b in a + 1..len {
                let exchanged = |at: usize| match axes.place(at, position) {
                    here if here == a => axes.moved(at, position, b),
                    here if here == b => axes.moved(at, position, a),
                    _ => at,
                };
                found(pick(Probe::Exchanged(axis, a, b), &exchanged));
            }
        }
    }
    for (a, b) in [
        (Axis::KeyChannel, Axis::ValueChannel),
        (Axis::Row, Axis::Column),
        (Axis::Channel, Axis::Time),
    ] {
        if let (Some(pa), Some(pb)) = (axes.position(a), axes.position(b))
            && axes.len(a) == axes.len(b)
            && axes.len(a) > 1
        {
            let transposed = |at: usize| {
                let (ia, ib) = (axes.place(at, pa), axes.place(at, pb));
                axes.moved(axes.moved(at, pa, ib), pb, ia)
            };
            found(pick(Probe::Transposed(a, b), &transposed));
        }
    }
    if let Some(position) = axes.position(Axis::RealImaginary) {
        let conjugated = |at: usize| match axes.place(at, position) {
            0 => reference[at],
            _ => -reference[at],
        };
        found(each(Probe::Conjugated, &conjugated, 0));
        if let Some(modes) = axes.position(Axis::Mode)
            && modes + 1 == position
        {
            let n = axes.0[modes].1;
            let apart = |at: usize| {
                let (block, within) = (at / (2 * n), at % (2 * n));
                block * 2 * n + 2 * (within % n) + within / n
            };
            found(pick(Probe::PartsApart, &apart));
        }
    }
    if let (Some(heads), Some(position)) = (heads, axes.position(Axis::Channel)) {
        let len = axes.0[position].1;
        if heads > 1 && heads < len && len.is_multiple_of(heads) {
            for heads in [heads, len / heads] {
                let other = |at: usize| {
                    let c = axes.place(at, position);
                    axes.moved(at, position, c % heads * (len / heads) + c / heads)
                };
                found(pick(Probe::HeadOrder(heads), &other));
            }
        }
    }
}
