//! Stages as series along one axis.

use super::super::stage::{Axis, StageSpec};

/// A stage as series along one of its axes: how many, how long, and how to read them.
#[derive(Clone, Copy)]
pub(super) struct Series {
    pub(super) count: usize,
    pub(super) len: usize,
    /// The number of series that lie side by side at each step, when the axis is not the last one.
    inner: usize,
    /// The axis they run along.
    pub(super) along: Axis,
}

/// The axes a stage is read along, the first it has.
const READ_ALONG: [Axis; 7] = [
    Axis::Time,
    Axis::Chunk,
    Axis::Tap,
    Axis::Mode,
    Axis::Column,
    Axis::Head,
    Axis::Channel,
];

impl Series {
    /// The stage along the first axis it is read along.
    pub(super) fn of(spec: &StageSpec) -> Self {
        let found = READ_ALONG.iter().find_map(|&axis| spec.position(axis));
        let at = found.unwrap_or(spec.axes.len().saturating_sub(1));
        let product = |axes: &[(Axis, usize)]| axes.iter().map(|(_, len)| len).product::<usize>();
        let (along, len) = spec.axes.get(at).copied().unwrap_or((Axis::Channel, 1));
        let inner = product(spec.axes.get(at + 1..).unwrap_or_default());
        Self {
            count: product(&spec.axes[..at]) * inner,
            len,
            inner,
            along,
        }
    }

    /// Only if the axis is time and what it holds at a time depends on the past alone.
    pub(super) fn over_time(spec: &StageSpec) -> Option<Self> {
        let series = Self::of(spec);
        (!spec.is_gradient() && series.along == Axis::Time).then_some(series)
    }

    /// As many series of another length.
    pub(super) fn of_length(self, len: usize) -> Self {
        Self { len, ..self }
    }

    /// The place of step `t` in series `s`.
    pub(super) fn place(&self, s: usize, t: usize) -> usize {
        let (outer, inner) = (s / self.inner, s % self.inner);
        (outer * self.len + t) * self.inner + inner
    }
}
