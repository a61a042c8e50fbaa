//! The buffers a caller keeps between calls.

use super::lanes::Element;
use super::pieces::Plan;
use super::scratch::{AdjointBuffers, Scratch};

/// Reusable buffers for a fixed number of threads.
///
/// A call takes as many threads as the workspace was made for. After the first call of a kind
/// nothing is left to allocate, except what the system allocates to start a thread.
#[derive(Clone, Debug)]
pub struct Workspace<T: Element> {
    pub(super) threads: Vec<Scratch<T>>,
    /// The pieces of a layer's run.
    pub(super) plan: Plan,
    /// Packed rows all threads read.
    pub(super) shared: Vec<T>,
    /// A few packed rows, likewise.
    pub(super) few: Vec<T>,
    /// Panels written by all threads, each its own.
    pub(super) panels: Vec<T::Lanes>,
    /// Gated signals, likewise.
    pub(super) gated: Vec<T::Lanes>,
    /// The most rows that are left to one thread.
    few_rows: usize,
    pub(super) adjoint: AdjointBuffers<T>,
}

impl<T: Element> Workspace<T> {
    /// Buffers for a number of threads; 0 is taken as 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            threads: vec![Scratch::default(); threads.max(1)],
            plan: Plan::default(),
            shared: Vec::new(),
            few: Vec::new(),
            panels: Vec::new(),
            gated: Vec::new(),
            few_rows: 8,
            adjoint: AdjointBuffers::default(),
        }
    }

    /// Wakes all threads for a single row too: for a model, whose weights come from memory, not
    /// from a cache.
    pub(crate) fn sharing_single_rows(mut self) -> Self {
        self.few_rows = 0;
        self
    }

    /// The threads worth waking for so many rows of a layer or projection: for a few, a call takes some
    /// times as long as starting a thread, and sharing it out was measured to gain nothing for one or
    /// two rows and to lose a fifth for eight.
    pub(crate) fn threads_for(&mut self, rows: usize) -> &mut [Scratch<T>] {
        let count = if rows <= self.few_rows {
            1
        } else {
            self.threads.len()
        };
        &mut self.threads[..count]
    }

    /// The number of threads it is for.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}
