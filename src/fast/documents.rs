//! Where documents lie in the rows of a batch.

use crate::error::{Error, check_len};
use core::ops::Range;

/// The side of a row on which its padding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// After the document.
    Right,
    /// Before it.
    Left,
}

/// The documents of a batch of rows (rows, seq_len): several in one row (packed), or one in each row
/// that is shorter than the row (padded). A step that no document covers is padding.
///
/// Documents are numbered row by row from the left; a document of no step has its number too, and a
/// state that nothing changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    rows: usize,
    seq_len: usize,
    /// In order and without overlap, steps counted through all rows: `row seq_len + step`.
    ranges: Vec<Range<usize>>,
}

impl Documents {
    /// The documents of every row, as ranges of its `seq_len` steps.
    ///
    /// # Errors
    ///
    /// If a range ends before it begins or beyond its row, or begins before the end of the one before.
    pub fn new<R: AsRef<[Range<usize>]>>(seq_len: usize, rows: &[R]) -> Result<Self, Error> {
        if rows.len().checked_mul(seq_len).is_none() {
            return Err(Error::value("rows of documents", "too many steps"));
        }
        let mut ranges = Vec::new();
        for (row, documents) in rows.iter().enumerate() {
            let mut free = 0;
            for range in documents.as_ref() {
                if range.start < free || range.end < range.start || range.end > seq_len {
                    return Err(Error::value(
                        format!("document {} (row {row})", ranges.len()),
                        format!("steps {range:?}; expected a range within {free}..{seq_len}"),
                    ));
                }
                free = range.end;
                let first = row * seq_len;
                ranges.push(first + range.start..first + range.end);
            }
        }
        Ok(Self {
            rows: rows.len(),
            seq_len,
            ranges,
        })
    }

    /// One row of documents end to end: document `i` takes the steps
    /// `cu_seqlens[i]..cu_seqlens[i + 1]`, and the last number is the length of the row.
    ///
    /// # Errors
    ///
    /// If the numbers do not begin with 0, or one is less than the one before.
    pub fn packed(cu_seqlens: &[usize]) -> Result<Self, Error> {
        let (Some(0), Some(&seq_len)) = (cu_seqlens.first(), cu_seqlens.last()) else {
            return Err(Error::value(
                "cu_seqlens",
                "expected 0, then the end of every document",
            ));
        };
        let row: Vec<_> = cu_seqlens.windows(2).map(|w| w[0]..w[1]).collect();
        Self::new(seq_len, &[row])
    }

    /// One document a row of `seq_len` steps, as long as `lengths` says; the rest is padding.
    ///
    /// # Errors
    ///
    /// If a length is more than `seq_len`.
    pub fn padded(seq_len: usize, lengths: &[usize], padding: Padding) -> Result<Self, Error> {
        let rows = lengths.iter().enumerate().map(|(row, &len)| {
            let free = seq_len.checked_sub(len).ok_or_else(|| {
                Error::value(
                    format!("length of row {row}"),
                    format!("{len}; a row has {seq_len} steps"),
                )
            })?;
            Ok([match padding {
                Padding::Right => 0..len,
                Padding::Left => free..seq_len,
            }])
        });
        Self::new(seq_len, &rows.collect::<Result<Vec<_>, Error>>()?)
    }

    /// The number of documents.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The steps of a row, padding included.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Every document's steps, counted through all rows: `row seq_len + step`.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Refuses an array that does not have `each` numbers for every step of every row.
    pub(super) fn check(&self, what: &str, len: usize, each: usize) -> Result<(), Error> {
        let steps = self.rows * self.seq_len;
        check_len(what, len, steps.saturating_mul(each))
    }
}
