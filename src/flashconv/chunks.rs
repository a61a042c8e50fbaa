//! The division of a sequence into chunks.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// The division of a sequence into consecutive chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Chunks of one length; the last one may be shorter.
    Uniform(usize),
    /// Chunks of these lengths, which must add up to the sequence.
    Ragged(Vec<usize>),
}

impl Chunking {
    /// The chunk lengths for a sequence of `seq_len`.
    ///
    /// # Errors
    ///
    /// If a chunk is empty, or ragged chunks do not add up to `seq_len`.
    pub fn lengths(&self, seq_len: usize) -> Result<Vec<usize>, Error> {
        match self {
            Self::Uniform(0) => Err(Error::value("chunk_len", "0; expected at least 1")),
            Self::Uniform(len) => {
                let mut lengths = vec![*len; seq_len / len];
                if !seq_len.is_multiple_of(*len) {
                    lengths.push(seq_len % len);
                }
                Ok(lengths)
            }
            Self::Ragged(lengths) => {
                if lengths.contains(&0) {
                    return Err(Error::value(
                        "chunk lengths",
                        "contain 0; expected at least 1 each",
                    ));
                }
                let sum = lengths
                    .iter()
                    .try_fold(0usize, |sum, &len| sum.checked_add(len));
                if sum != Some(seq_len) {
                    return Err(Error::shape(
                        "chunk lengths",
                        format_args!("lengths adding up to seq_len {seq_len}"),
                        format_args!("{lengths:?}"),
                    ));
                }
                Ok(lengths.clone())
            }
        }
    }

    /// The signal cut into its chunks.
    ///
    /// # Errors
    ///
    /// As [`lengths`](Self::lengths).
    pub fn split<'a, T>(&self, u: &'a [T]) -> Result<Vec<&'a [T]>, Error> {
        let mut rest = u;
        Ok(self
            .lengths(u.len())?
            .into_iter()
            .map(|len| {
                let (chunk, after) = rest.split_at(len);
                rest = after;
                chunk
            })
            .into_vec())
    }
}

/// A part of a chunk that belongs to one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) tokens: Range<usize>,
    /// The number of its chunk.
    pub(super) chunk: usize,
    /// The number of its document.
    pub(super) document: usize,
    /// True if the document begins with this chunk, and if it ends with it.
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

/// The parts into which documents divide the chunks of a row, in order.
///
/// # Errors
///
/// If the chunking does not fit the row.
pub(super) fn pieces(
    chunking: &Chunking,
    seq_len: usize,
    documents: &[Range<usize>],
) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut end = 0;
    for (chunk, len) in chunking.lengths(seq_len)?.into_iter().enumerate() {
        let of_chunk = end..end + len;
        end = of_chunk.end;
        for (document, of_document) in documents.iter().enumerate() {
            let tokens = of_chunk.start.max(of_document.start)..of_chunk.end.min(of_document.end);
            if !tokens.is_empty() {
                pieces.push(Piece {
                    is_first: tokens.start == of_document.start,
                    is_last: tokens.end == of_document.end,
                    tokens,
                    chunk,
                    document,
                });
            }
        }
    }
    Ok(pieces)
}
