//! How a sequence is cut into chunks.

use crate::error::Error;

/// How a sequence is cut into consecutive chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// Chunks of one length; the last one is shorter where the length does not divide.
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
            .collect())
    }
}
