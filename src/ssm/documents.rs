//! The places of documents in the rows of a batch.

use crate::algebra::Ring;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;
use core::ops::Range;

/// The side of a row on which its padding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// After the document.
    Right,
    /// Before it.
    Left,
}

/// The ranges of documents in the rows of a batch. Documents are independent token sequences.
/// Tokens that belong to no document are padding.
///
/// Documents are numbered row by row, in order; states have one entry for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    len: usize,
    rows: Vec<Vec<Range<usize>>>,
}

impl Documents {
    /// Every row one document.
    #[must_use]
    pub fn whole(batch: usize, len: usize) -> Self {
        Self {
            len,
            rows: (0..batch).map(|_| vec![0..len; 1]).into_vec(),
        }
    }

    /// Documents packed into one row of `len` tokens, from `cu_seqlens`: 0, and the number of
    /// tokens up to the end of each document.
    ///
    /// # Errors
    ///
    /// If the numbers do not begin with 0, increase, and end with `len`.
    pub fn packed(len: usize, cu_seqlens: &[usize]) -> Result<Self, Error> {
        let row: Vec<_> = cu_seqlens.windows(2).map(|w| w[0]..w[1]).into_vec();
        let ends = (cu_seqlens.first(), cu_seqlens.last());
        if ends != (Some(&0), Some(&len)) || row.iter().any(Range::is_empty) {
            return Err(Error::value(
                "cu_seqlens",
                format!(
                    "{cu_seqlens:?}; expected numbers that increase from 0 to the {len} tokens of the row"
                ),
            ));
        }
        Ok(Self {
            len,
            rows: vec![row],
        })
    }

    /// One document in each row of `len` tokens, and padding.
    ///
    /// # Errors
    ///
    /// If a length is 0 or above `len`.
    pub fn padded(len: usize, lengths: &[usize], padding: Padding) -> Result<Self, Error> {
        if lengths.iter().any(|of| !(1..=len).contains(of)) {
            return Err(Error::value(
                "lengths",
                format!("{lengths:?}; expected at least 1 and at most the {len} tokens of a row"),
            ));
        }
        let row = |&of: &usize| match padding {
            Padding::Right => 0..of,
            Padding::Left => len - of..len,
        };
        Ok(Self {
            len,
            rows: lengths.iter().map(|of| vec![row(of); 1]).into_vec(),
        })
    }

    /// The number of rows.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// The tokens of a row, padding included.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.len
    }

    /// The number of documents.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }

    /// The length of the longest document.
    #[must_use]
    pub fn longest(&self) -> usize {
        let lengths = self.rows.iter().flatten().map(Range::len);
        lengths.max().unwrap_or(0)
    }

    /// The documents of a row, as ranges of tokens.
    #[must_use]
    pub fn row(&self, b: usize) -> &[Range<usize>] {
        &self.rows[b]
    }

    /// The numbers of a row's documents among all.
    #[must_use]
    pub fn numbers(&self, b: usize) -> Range<usize> {
        let first = self.rows[..b].iter().map(Vec::len).sum();
        first..first + self.rows[b].len()
    }

    /// The row and the tokens of every document.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(b, row)| row.iter().map(move |tokens| (b, tokens.clone())))
    }

    /// The places of the documents' tokens among those of all rows.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = usize> {
        let len = self.len;
        self.iter()
            .flat_map(move |(b, tokens)| b * len + tokens.start..b * len + tokens.end)
    }

    /// The documents with every boundary within a row moved to later tokens, or to earlier ones; none
    /// that would leave a document without tokens.
    pub(crate) fn moved(&self, by: isize) -> Self {
        let rows = self.rows.iter().map(|row| moved(row, self.len, by));
        Self {
            len: self.len,
            rows: rows.into_vec(),
        }
    }

    /// True if every row is one document, without padding.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rows
            .iter()
            .all(|row| matches!(&row[..], [all] if *all == (0..self.len)))
    }

    /// The row and the position of every token of padding.
    pub fn padding(&self) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(b, row)| {
            let is_padding = |i: &usize| !row.iter().any(|tokens| tokens.contains(i));
            (0..self.len).filter(is_padding).map(move |i| (b, i))
        })
    }

    /// Sets values at padding to zero in an array (batch, seq_len, ...).
    pub(crate) fn clear_padding<T: Ring>(&self, x: &mut Tensor<T>) {
        let each = x.data().len() / (self.batch() * self.len).max(1);
        for (row, token) in self.padding() {
            let at = (row * self.len + token) * each;
            x.data_mut()[at..at + each].fill(T::ZERO);
        }
    }
}

/// The documents of a row of `len` tokens with every boundary within it moved; none that would leave a
/// document without tokens.
pub(crate) fn moved(row: &[Range<usize>], len: usize, by: isize) -> Vec<Range<usize>> {
    // The ends of the row itself stay where they are.
    let move_to = |at: usize| match at == 0 || at == len {
        true => at,
        false => at.saturating_add_signed(by).min(len),
    };
    let mut moved = row.to_vec();
    for (n, tokens) in moved.iter_mut().enumerate() {
        let to = move_to(row[n].start)..move_to(row[n].end);
        let before = n
            .checked_sub(1)
            .is_some_and(|before| move_to(row[before].start) >= to.start);
        if !to.is_empty() && !before {
            *tokens = to;
        }
    }
    // Where one could not move, those beside it meet it as before.
    for n in 1..moved.len() {
        moved[n].start = moved[n].start.max(moved[n - 1].end);
    }
    moved
}
