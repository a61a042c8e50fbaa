//! The pieces in which sequences are processed.
//!
//! A sequence is cut at multiples of a number of steps from its own beginning, and nowhere else: where
//! it lies in a batch, and what lies next to it, changes none of its bits. Pieces of several sequences
//! make a set, which the projections see as one matrix: so short documents are worked on together, and
//! the packed rows and gated signals of a set stay in the last-level cache.

use crate::error::{Error, check_len};
use crate::ssm::Documents;
use core::ops::Range;

/// The most rows of a set, and of a piece of a layer's sequence.
pub(super) const ROWS_AT_ONCE: usize = 1024;

/// A sequence in an array of rows (one step of one sequence each).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) sequence: usize,
    pub(super) rows: Range<usize>,
}

/// The sequences of `batch` whole rows of `len` steps.
pub(super) fn whole(batch: usize, len: usize) -> impl Iterator<Item = Span> + Clone {
    (0..batch).map(move |b| Span {
        sequence: b,
        rows: b * len..(b + 1) * len,
    })
}

/// The documents of a batch, a sequence each.
pub(super) fn spans(documents: &Documents) -> impl Iterator<Item = Span> + Clone {
    let rows = (0..documents.batch()).flat_map(|b| {
        let first = b * documents.seq_len();
        let documents = documents.row(b).iter();
        documents.map(move |steps| first + steps.start..first + steps.end)
    });
    let sequences = rows.enumerate();
    sequences.map(|(sequence, rows)| Span { sequence, rows })
}

/// Refuses an array that does not have `each` numbers for every step of the rows of documents, and a state
/// of `batch` sequences that are not theirs.
pub(super) fn check_documents(
    documents: &Documents,
    (what, len, each): (&str, usize, usize),
    batch: usize,
) -> Result<(), Error> {
    let steps = documents.batch().saturating_mul(documents.seq_len());
    check_len(what, len, steps.saturating_mul(each))?;
    check_len("sequences of the state", batch, documents.count())
}

/// Some steps of one sequence, worked on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) sequence: usize,
    /// Its first row in the array.
    pub(super) first: usize,
    pub(super) len: usize,
    /// Its first row in its set.
    pub(super) at: usize,
    /// True if the sequence ends with it.
    pub(super) last: bool,
    /// True for a sequence left whole.
    pub(super) uncut: bool,
}

impl Piece {
    /// Its rows in the array.
    pub(super) fn rows(&self) -> Range<usize> {
        self.first..self.first + self.len
    }

    /// Its rows in the set.
    pub(super) fn in_set(&self) -> Range<usize> {
        self.at..self.at + self.len
    }
}

/// The number of rows of a set.
pub(super) fn rows_of(set: &[Piece]) -> usize {
    set.last().map_or(0, |piece| piece.in_set().end)
}

/// The row of the array that row `r` of a set is.
pub(super) fn row_of(set: &[Piece], r: usize) -> usize {
    // The first piece begins at 0.
    let piece = set[set.partition_point(|piece| piece.at <= r) - 1];
    piece.first + r - piece.at
}

/// The runs of rows of a set that follow one another in the array too: the first row in the set, and the
/// rows in the array.
pub(super) fn runs(set: &[Piece]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let runs = set.chunk_by(|a, b| a.rows().end == b.first);
    runs.filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        Some((first.at, first.first..last.rows().end))
    })
}

/// All pieces of a batch in sets. Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pieces: Vec<Piece>,
    sets: Vec<Range<usize>>,
}

impl Plan {
    /// Cuts sequences, given in the order of their rows, into pieces of `steps`, those that `uncut` names
    /// left whole. A set has at most [`ROWS_AT_ONCE`] rows, unless a piece alone has more, and of a
    /// sequence no more than one piece.
    pub(super) fn lay_out(
        &mut self,
        spans: impl Iterator<Item = Span>,
        steps: usize,
        uncut: impl Fn(&Span) -> bool,
    ) {
        self.pieces.clear();
        self.sets.clear();
        let mut set = 0..0;
        let mut rows = 0;
        for span in spans {
            let Range { start, end } = span.rows;
            let uncut = uncut(&span);
            let steps = if uncut { end - start } else { steps };
            for first in (start..end).step_by(steps.max(1)) {
                let len = steps.min(end - first);
                if !set.is_empty() && (first > start || rows + len > ROWS_AT_ONCE) {
                    self.sets.push(set.clone());
                    set.start = set.end;
                    rows = 0;
                }
                self.pieces.push(Piece {
                    sequence: span.sequence,
                    first,
                    len,
                    at: rows,
                    last: first + len == end,
                    uncut,
                });
                rows += len;
                set.end += 1;
            }
        }
        if !set.is_empty() {
            self.sets.push(set);
        }
    }

    /// The sets, in order.
    pub(super) fn sets(&self) -> impl DoubleEndedIterator<Item = &[Piece]> + ExactSizeIterator {
        self.sets.iter().map(|set| &self.pieces[set.clone()])
    }

    /// The rows of an array of `rows` that no piece covers.
    pub(super) fn padding(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let starts = self.pieces.iter().map(|piece| piece.first);
        let ends = self.pieces.iter().map(|piece| piece.rows().end);
        let gaps = core::iter::once(0).chain(ends).zip(starts.chain([rows]));
        gaps.map(|(from, to)| from..to)
            .filter(|gap| !gap.is_empty())
    }
}
