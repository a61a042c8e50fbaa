//! The layout of the fast path: signals in panels of lanes.

use super::lanes::{Element, Vector};
use crate::error::{Error, check_len};

/// The number of groups of lanes that hold so many channels.
pub(crate) fn lane_groups<T: Element>(channels: usize) -> usize {
    channels.div_ceil(T::Lanes::WIDTH)
}

/// Signals (batch, seq_len, channels) in panels: a group of neighbouring channels, one per lane,
/// runs contiguously in time, and the groups follow one another.
///
/// Every thread can so be given a part of its own, and every step of a group is one vector. The
/// lanes beyond the last channel are zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels<T: Element> {
    batch: usize,
    channels: usize,
    seq_len: usize,
    lanes: Vec<T::Lanes>,
}

impl<T: Element> Panels<T> {
    /// Zero signals.
    #[must_use]
    pub fn zeros(batch: usize, seq_len: usize, channels: usize) -> Self {
        let size = batch * lane_groups::<T>(channels) * seq_len;
        Self {
            batch,
            channels,
            seq_len,
            lanes: vec![T::Lanes::ZERO; size],
        }
    }

    /// The signals of a row-major array (batch, seq_len, channels).
    ///
    /// # Errors
    ///
    /// If the array has another number of elements.
    pub fn from_rows(
        batch: usize,
        seq_len: usize,
        channels: usize,
        rows: &[T],
    ) -> Result<Self, Error> {
        let mut panels = Self::zeros(batch, seq_len, channels);
        panels.read_rows(rows)?;
        Ok(panels)
    }

    /// Takes over the signals of a row-major array (batch, seq_len, channels).
    ///
    /// # Errors
    ///
    /// If the array has another number of elements.
    pub fn read_rows(&mut self, rows: &[T]) -> Result<(), Error> {
        let Self {
            batch,
            channels,
            seq_len,
            ..
        } = *self;
        check_len("rows", rows.len(), batch * seq_len * channels)?;
        let (width, groups) = (T::Lanes::WIDTH, lane_groups::<T>(channels));
        for (i, stream) in self.streams_mut().enumerate() {
            let (b, g) = (i / groups, i % groups);
            for (t, lanes) in stream.iter_mut().enumerate() {
                let row = &rows[(b * seq_len + t) * channels..][..channels];
                *lanes = T::Lanes::load(&row[g * width..]);
            }
        }
        Ok(())
    }

    /// Writes the signals to a row-major array (batch, seq_len, channels).
    ///
    /// # Errors
    ///
    /// If the array has another number of elements.
    pub fn write_rows(&self, rows: &mut [T]) -> Result<(), Error> {
        let Self {
            batch,
            channels,
            seq_len,
            ..
        } = *self;
        check_len("rows", rows.len(), batch * seq_len * channels)?;
        let (width, groups) = (T::Lanes::WIDTH, lane_groups::<T>(channels));
        for (i, stream) in self.streams().enumerate() {
            let (b, g) = (i / groups, i % groups);
            for (t, lanes) in stream.iter().enumerate() {
                let row = &mut rows[(b * seq_len + t) * channels..][..channels];
                lanes.store(&mut row[g * width..]);
            }
        }
        Ok(())
    }

    /// The signals as a row-major array (batch, seq_len, channels).
    #[must_use]
    pub fn to_rows(&self) -> Vec<T> {
        let mut rows = vec![T::ZERO; self.batch * self.seq_len * self.channels];
        // The length fits by construction.
        let _ = self.write_rows(&mut rows);
        rows
    }

    /// The number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The number of steps.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    pub(crate) fn check(
        &self,
        what: &str,
        batch: usize,
        channels: usize,
        seq_len: usize,
    ) -> Result<(), Error> {
        let expected = (batch, seq_len, channels);
        let got = (self.batch, self.seq_len, self.channels);
        if got == expected {
            return Ok(());
        }
        Err(Error::shape(
            what,
            format_args!("(batch, seq_len, channels) = {expected:?}"),
            format_args!("{got:?}"),
        ))
    }

    /// Every group of every sequence, one contiguous run of vectors each; none if `seq_len` is 0.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &[T::Lanes]> {
        self.lanes.chunks_exact(self.seq_len.max(1))
    }

    /// As [`streams`](Self::streams), to be written.
    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut [T::Lanes]> {
        self.lanes.chunks_exact_mut(self.seq_len.max(1))
    }
}

/// `count` consecutive parts of `each`, empty ones where `each` is zero.
pub(super) fn split_parts<L>(
    mut rest: &mut [L],
    each: usize,
    count: usize,
) -> impl Iterator<Item = &mut [L]> {
    (0..count).map(move |_| {
        let whole = core::mem::take(&mut rest);
        let (part, others) = whole.split_at_mut(each.min(whole.len()));
        rest = others;
        part
    })
}
