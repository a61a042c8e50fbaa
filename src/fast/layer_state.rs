//! The state of a layer between calls, and the states a backward run needs.

use super::lanes::{Element, Vector};

/// The state of a [`FastLayer`](super::FastLayer): all it remembers of a batch of sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct FastState<T: Element> {
    pub(super) batch: usize,
    pub(super) position: usize,
    /// [group of heads][sequence][d1][n]
    pub(super) shift: Vec<T::Lanes>,
    /// [group of heads][sequence][d1][d2][n][re, im]
    pub(super) diagonal: Vec<[T::Lanes; 2]>,
}

impl<T: Element> FastState<T> {
    /// The number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of inputs that came before.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// True for the state before any input.
    pub(super) fn is_zero(&self) -> bool {
        let zero = |x: &T::Lanes| x.lanes().iter().all(|&x| x == T::ZERO);
        self.position == 0
            && self.shift.iter().all(zero)
            && self.diagonal.iter().flatten().all(zero)
    }
}

/// The states a forward run saves for the backward run, one before every part of the sequence.
///
/// Its buffers are reused.
#[derive(Clone, Debug, Default)]
pub struct SavedStates<T: Element> {
    pub(super) states: Vec<FastState<T>>,
    pub(super) used: usize,
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
        self.used
    }

    pub(super) fn push(&mut self, state: &FastState<T>) {
        match self.states.get_mut(self.used) {
            Some(place) => {
                place.batch = state.batch;
                place.position = state.position;
                place.shift.clone_from(&state.shift);
                place.diagonal.clone_from(&state.diagonal);
            }
            None => self.states.push(state.clone()),
        }
        self.used += 1;
    }
}
