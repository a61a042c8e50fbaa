//! The layout of the fast path: signals in panels of lanes.

use super::lanes::{Element, Vector};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The number of groups of lanes that hold so many channels.
pub(crate) fn lane_groups<T: Element>(channels: usize) -> usize {
    channels.div_ceil(T::Lanes::WIDTH)
}

/// Signals (batch, seq_len, channels) in panels: a group of neighbouring channels, one per lane,
/// runs contiguously in time, and the groups follow one another.
///
/// So every thread can be given its own part, and every step of a group is one vector. The lanes
/// beyond the last channel are zero.
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

    /// Takes over the signals of a row-major array (sequences, seq_len, `parts` times channels), such as
    /// heads, or the thirds of a projection: sequence `s parts + p` of the panels is part `p` of sequence
    /// `s`, whose channel `c` the array has at `place(p, c)`.
    ///
    /// # Errors
    ///
    /// If the array has another number of elements, or `parts` does not divide the batch.
    pub fn read_parts(
        &mut self,
        parts: usize,
        place: impl Fn(usize, usize) -> usize,
        rows: &[T],
    ) -> Result<(), Error> {
        self.check_parts(parts, rows.len())?;
        let places = Places::new(self, parts, place);
        places.for_each(self.seq_len, |at, row, places| {
            let (row, lanes) = (&rows[row..][..places.width], &mut self.lanes[at]);
            match places.run {
                Some(first) => *lanes = T::Lanes::load(&row[first..][..places.lanes.len()]),
                None => {
                    for (lane, &at) in lanes.lanes_mut().iter_mut().zip(places.lanes) {
                        *lane = row[at];
                    }
                }
            }
        });
        Ok(())
    }

    /// Writes the signals to such an array.
    ///
    /// # Errors
    ///
    /// As [`read_parts`](Self::read_parts).
    pub fn write_parts(
        &self,
        parts: usize,
        place: impl Fn(usize, usize) -> usize,
        rows: &mut [T],
    ) -> Result<(), Error> {
        self.check_parts(parts, rows.len())?;
        let places = Places::new(self, parts, place);
        places.for_each(self.seq_len, |at, row, places| {
            let (row, lanes) = (&mut rows[row..][..places.width], &self.lanes[at]);
            match places.run {
                Some(first) => lanes.store(&mut row[first..][..places.lanes.len()]),
                None => {
                    for (&lane, &at) in lanes.lanes().iter().zip(places.lanes) {
                        row[at] = lane;
                    }
                }
            }
        });
        Ok(())
    }

    fn check_parts(&self, parts: usize, rows: usize) -> Result<(), Error> {
        if parts == 0 || !self.batch.is_multiple_of(parts) {
            return Err(Error::shape(
                "panels",
                format_args!("a batch of whole sequences of {parts} parts"),
                format_args!("a batch of {}", self.batch),
            ));
        }
        check_len("rows", rows, self.batch * self.seq_len * self.channels)
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

    /// One of the [`streams`](Self::streams).
    pub(super) fn stream(&self, i: usize) -> &[T::Lanes] {
        &self.lanes[i * self.seq_len..][..self.seq_len]
    }

    /// The groups of one sequence, one after another.
    pub(super) fn sequence(&self, i: usize) -> &[T::Lanes] {
        let each = self.seq_len * lane_groups::<T>(self.channels);
        &self.lanes[i * each..][..each]
    }

    /// Every [`sequence`](Self::sequence), to be written; none if it is empty.
    pub(super) fn sequences_mut(&mut self) -> impl Iterator<Item = &mut [T::Lanes]> {
        let each = self.seq_len * lane_groups::<T>(self.channels);
        self.lanes.chunks_exact_mut(each.max(1))
    }

    /// As [`streams`](Self::streams), to be written.
    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut [T::Lanes]> {
        self.lanes.chunks_exact_mut(self.seq_len.max(1))
    }
}

/// Rows whose parts are moved before the next are: they stay in the second-level cache meanwhile.
const ROWS_AT_ONCE: usize = 32;

/// The places of the parts' channels in a row.
struct Places {
    sequences: usize,
    /// Numbers per row: all parts' channels.
    width: usize,
    /// [part][group][lane]
    of_lanes: Vec<Vec<usize>>,
}

/// The places of one group's lanes in a row of `width` numbers, and the first if they follow one another.
struct GroupPlaces<'a> {
    width: usize,
    lanes: &'a [usize],
    run: Option<usize>,
}

impl Places {
    fn new<T: Element>(
        panels: &Panels<T>,
        parts: usize,
        place: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let (channels, lanes) = (panels.channels, T::Lanes::WIDTH);
        let groups = lane_groups::<T>(channels);
        let of_group = |i: usize| {
            let (part, first) = (i / groups, i % groups * lanes);
            let group = first..channels.min(first + lanes);
            let places: Vec<usize> = group.map(|c| place(part, c)).into_vec();
            places
        };
        Self {
            sequences: panels.batch / parts,
            width: parts * channels,
            of_lanes: (0..parts * groups).map(of_group).into_vec(),
        }
    }

    /// Goes over all vectors of panels: the vector, where its row begins, and its places there.
    fn for_each(&self, seq_len: usize, mut each: impl FnMut(usize, usize, &GroupPlaces<'_>)) {
        for sequence in 0..self.sequences {
            for first in (0..seq_len).step_by(ROWS_AT_ONCE) {
                for (i, lanes) in self.of_lanes.iter().enumerate() {
                    let follow =
                        |&first: &usize| lanes.iter().copied().eq(first..first + lanes.len());
                    let places = GroupPlaces {
                        width: self.width,
                        lanes,
                        run: lanes.first().filter(|first| follow(first)).copied(),
                    };
                    let stream = (sequence * self.of_lanes.len() + i) * seq_len;
                    for t in first..seq_len.min(first + ROWS_AT_ONCE) {
                        let row = (sequence * seq_len + t) * self.width;
                        each(stream + t, row, &places);
                    }
                }
            }
        }
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
