//! The synthetic tasks of the H3 paper (section 3.1), as safari 02220c6 draws them
//! (`src/dataloaders/synthetics.py`).
//!
//! A vocabulary of V tokens has V - 2 words "0", "1", ..., the prefix "=>" and the noop ".", which no task
//! here uses. Ids are the places in the order of strings, so that "." is 0, the words are 1 to V - 2 ("0",
//! "1", "10", "11", ..., "2", ...) and "=>" is V - 1.

use super::sequences::Sequences;
use crate::algebra::Rng;
use crate::into_vec::IntoVec as _;
use std::collections::BTreeSet;

/// The prefix after which the answer is asked for.
fn prefix(vocabulary: usize) -> usize {
    vocabulary - 1
}

/// Associative recall: pairs of key and value, then the prefix, a key among them and its value.
///
/// Keys are the first half of the words, values the second; every sequence has its own map from keys
/// to values, which need not differ. `seq_len - 2` tokens are pairs.
pub(super) fn recall(vocabulary: usize, seq_len: usize, count: usize, rng: &mut Rng) -> Sequences {
    let half = (vocabulary - 2) / 2;
    let (key, value) = (1, 1 + half);
    distinct(seq_len, count, || {
        let map: Vec<usize> = (0..half).map(|_| value + rng.below(half)).into_vec();
        let mut tokens = Vec::with_capacity(seq_len + 1);
        let mut present = BTreeSet::new();
        for _ in 0..(seq_len - 2) / 2 {
            let drawn = rng.below(half);
            present.insert(drawn);
            tokens.extend([key + drawn, map[drawn]]);
        }
        // As the official loop ends: a key of all, and if it is absent one of those present.
        let mut asked = rng.below(half);
        if !present.contains(&asked) {
            let drawn = rng.below(present.len());
            asked = present.iter().nth(drawn).copied().unwrap_or(asked);
        }
        tokens.extend([prefix(vocabulary), key + asked, map[asked]]);
        tokens
    })
}

/// Induction heads: words of which one is replaced by the prefix, then the prefix once more, and the word
/// that followed it.
pub(super) fn induction(
    vocabulary: usize,
    seq_len: usize,
    count: usize,
    rng: &mut Rng,
) -> Sequences {
    let words = seq_len - 1;
    distinct(seq_len, count, || {
        let mut tokens: Vec<usize> = (0..words).map(|_| 1 + rng.below(vocabulary - 2)).into_vec();
        // The word that follows is never the last.
        let place = rng.below(words - 2);
        tokens[place] = prefix(vocabulary);
        tokens.extend([prefix(vocabulary), tokens[place + 1]]);
        tokens
    })
}

/// So many sequences, no two of them the same.
fn distinct(seq_len: usize, count: usize, mut draw: impl FnMut() -> Vec<usize>) -> Sequences {
    let mut seen = BTreeSet::new();
    let mut tokens = Vec::with_capacity(count * (seq_len + 1));
    while seen.len() < count {
        let drawn = draw();
        if !seen.contains(&drawn) {
            tokens.extend_from_slice(&drawn);
            seen.insert(drawn);
        }
    }
    Sequences::separate(tokens, seq_len)
}
