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

/// The states a forward run saves for the backward run, one before every piece that it works on.
///
/// Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub struct SavedStates<T: Element> {
    pub(super) plan: Plan,
    /// For every set of pieces, the states before them.
    states: Vec<FastState<T>>,
    used: usize,
    pub(super) sequences: usize,
    /// The length of the input.
    pub(super) len: usize,
}

impl<T: Element> SavedStates<T> {
    /// Nothing saved yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of states saved.
    #[must_use]
    pub fn count(&self) -> usize {
        self.states().iter().map(FastState::batch).sum()
    }

    /// The states before every set.
    pub(super) fn states(&self) -> &[FastState<T>] {
        &self.states[..self.used]
    }

    /// Forgets every state.
    pub(super) fn clear(&mut self) {
        (self.used, self.sequences, self.len) = (0, 0, 0);
    }

    /// Saves the states before a set of pieces, in a layer of `groups` groups of heads.
    pub(super) fn push(&mut self, state: &FastState<T>, set: &[Piece], groups: usize) {
        if self.used == self.states.len() {
            self.states.push(FastState::default());
        }
        self.states[self.used].take_over(state, set, groups);
        self.used += 1;
    }
}
