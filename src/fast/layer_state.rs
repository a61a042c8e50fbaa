//! The state of a layer between calls, and the states a backward run needs.

use super::lanes::{Element, Vector};
use super::pieces::{Piece, Plan};

/// The state of a [`FastLayer`](super::FastLayer) for a batch of sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FastState<T: Element> {
    /// The number of inputs that came before, for every sequence.
    pub(super) positions: Vec<usize>,
    /// [group of heads][sequence][d1][n]
    pub(super) shift: Vec<T::Lanes>,
    /// [group of heads][sequence][d1][d2][n][re, im]
    pub(super) diagonal: Vec<[T::Lanes; 2]>,
}

impl<T: Element> FastState<T> {
    /// The number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.positions.len()
    }

    /// The number of inputs that came before, in the longest of the sequences.
    #[must_use]
    pub fn position(&self) -> usize {
        self.positions.iter().copied().max().unwrap_or(0)
    }

    /// The number of inputs that came before in each sequence.
    #[must_use]
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// The shift and diagonal state of a sequence in one of `groups` groups of heads.
    fn part(
        &self,
        sequence: usize,
        group: usize,
        groups: usize,
    ) -> (&[T::Lanes], &[[T::Lanes; 2]]) {
        let (at, parts) = (group * self.batch() + sequence, groups * self.batch());
        let (shift, diagonal) = (self.shift.len() / parts, self.diagonal.len() / parts);
        (
            &self.shift[at * shift..][..shift],
            &self.diagonal[at * diagonal..][..diagonal],
        )
    }

    /// True for the state of a sequence before any input.
    pub(super) fn is_zero(&self, sequence: usize, groups: usize) -> bool {
        let zero = |x: &T::Lanes| x.lanes().iter().all(|&x| x == T::ZERO);
        let mut states = (0..groups).map(|group| self.part(sequence, group, groups));
        self.positions[sequence] == 0
            && states.all(|(shift, diagonal)| {
                shift.iter().all(zero) && diagonal.iter().flatten().all(zero)
            })
    }

    /// Takes over the states of the sequences that pieces belong to, in the order of the pieces.
    fn take_over(&mut self, from: &Self, set: &[Piece], groups: usize) {
        self.positions.clear();
        self.shift.clear();
        self.diagonal.clear();
        let positions = set.iter().map(|piece| from.positions[piece.sequence]);
        self.positions.extend(positions);
        for group in 0..groups {
            for piece in set {
                let (shift, diagonal) = from.part(piece.sequence, group, groups);
                self.shift.extend_from_slice(shift);
                self.diagonal.extend_from_slice(diagonal);
            }
        }
    }
}

/// What a forward run saves for the backward run: the state before every piece that it works on and, if asked to, the
/// queries, keys and values.
///
/// Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub struct SavedStates<T: Element> {
    pub(super) plan: Plan,
    sets: Vec<SavedSet<T>>,
    used: usize,
    keeps_projections: bool,
    pub(super) sequences: usize,
    /// The length of the input.
    pub(super) len: usize,
}

/// What is saved of a set of pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct SavedSet<T: Element> {
    /// The states before the pieces.
    pub(super) before: FastState<T>,
    /// [group of heads][d1][q, k, v][row of the set]; empty if they are not kept.
    pub(super) projections: Vec<T::Lanes>,
}

impl<T: Element> SavedStates<T> {
    /// Nothing saved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing saved yet. Queries, keys and values will be: three numbers a token and channel, for a backward run that need not
    /// project again, which saves it 3 of 11 products with a weight. It yields the same bits.
    #[must_use]
    pub fn with_projections() -> Self {
        Self {
            keeps_projections: true,
            ..Self::default()
        }
    }

    /// The number of states saved.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sets().iter().map(|set| set.before.batch()).sum()
    }

    /// What is saved of every set.
    pub(super) fn sets(&self) -> &[SavedSet<T>] {
        &self.sets[..self.used]
    }

    /// Forgets every state.
    pub(super) fn clear(&mut self) {
        (self.used, self.sequences, self.len) = (0, 0, 0);
    }

    /// Saves the states before a set of pieces, in a layer of `groups` groups of heads, and returns the room for
    /// `projections` lanes of queries, keys and values, if they are kept.
    pub(super) fn push(
        &mut self,
        state: &FastState<T>,
        set: &[Piece],
        groups: usize,
        projections: usize,
    ) -> Option<&mut [T::Lanes]> {
        if self.used == self.sets.len() {
            self.sets.push(SavedSet::default());
        }
        let saved = &mut self.sets[self.used];
        self.used += 1;
        saved.before.take_over(state, set, groups);
        let size = if self.keeps_projections {
            projections
        } else {
            0
        };
        saved.projections.resize(size, T::Lanes::ZERO);
        (size > 0).then_some(&mut saved.projections)
    }
}
