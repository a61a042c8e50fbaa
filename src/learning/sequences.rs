//! Sequences of tokens to learn from, all of one length.

use crate::algebra::Rng;
use crate::into_vec::IntoVec as _;

/// Sequences of tokens, each with the token that follows every one of its places.
///
/// Sequence `i` is a window of `tokens`; windows may share their ends, as those of a text do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    tokens: Vec<usize>,
    seq_len: usize,
    stride: usize,
}

impl Sequences {
    /// Separate sequences of `seq_len + 1` tokens, one after another.
    pub(super) fn separate(tokens: Vec<usize>, seq_len: usize) -> Self {
        let stride = seq_len + 1;
        Self {
            tokens,
            seq_len,
            stride,
        }
    }

    /// The windows of `seq_len` tokens of a text, each beginning where the one before ends; a rest that
    /// fills none is left out.
    pub(super) fn windows(text: &[u8], seq_len: usize) -> Self {
        let tokens = text.iter().map(|&byte| usize::from(byte)).into_vec();
        Self {
            tokens,
            seq_len,
            stride: seq_len.max(1),
        }
    }

    /// The number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.tokens.len().checked_sub(self.seq_len + 1) {
            None => 0,
            Some(rest) => rest / self.stride + 1,
        }
    }

    /// True if there is no sequence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a sequence that a model reads.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// All tokens.
    pub(super) fn tokens(&self) -> &[usize] {
        &self.tokens
    }

    /// The tokens that a model reads of sequence `i`.
    #[must_use]
    pub fn inputs(&self, i: usize) -> &[usize] {
        &self.tokens[i * self.stride..][..self.seq_len]
    }

    /// The tokens that follow each of [`inputs`](Self::inputs).
    #[must_use]
    pub fn targets(&self, i: usize) -> &[usize] {
        &self.tokens[i * self.stride + 1..][..self.seq_len]
    }

    /// Every index once, in the order of an epoch.
    #[cfg(feature = "internals")]
    pub fn in_random_order(&self, rng: &mut Rng) -> Vec<usize> {
        self.shuffled(rng)
    }

    /// Every index once, in a random order (Fisher and Yates).
    pub(super) fn shuffled(&self, rng: &mut Rng) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).into_vec();
        for last in (1..order.len()).rev() {
            order.swap(last, rng.below(last + 1));
        }
        order
    }
}
