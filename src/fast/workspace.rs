//! The buffers and threads a caller keeps between calls.

use super::experience::Experience;
use super::few_rows::FewRowsThreads;
use super::lanes::Element;
use super::pieces::Plan;
use super::scratch::{AdjointBuffers, Scratch};
use std::time::Instant;

/// Vector operations that take some times as long as starting a thread and waiting for its end, which was measured at
/// 40 to 50 microseconds.
const WORTH_STARTING: usize = 1 << 19;

/// Reusable buffers for a fixed number of threads, and threads that wait between calls.
///
/// A call takes no more threads than the workspace was made for, and one where its work is too little to be shared out.
/// What takes little time alone, a step or the product of a few rows, is shared with threads that start once and are
/// parked between calls; for all that takes longer, threads start with the call, if that was quicker of late. After the
/// first call of a kind nothing is left to allocate, except what the system allocates to start a thread, and what two
/// threads pass each other of a single group of channels over one long sequence.
#[derive(Clone, Debug)]
pub struct Workspace<T: Element> {
    threads: Vec<Scratch<T>>,
    pub(super) few: FewRowsThreads<T>,
    /// The pieces of a layer's run.
    pub(super) plan: Plan,
    /// Packed rows all threads read.
    pub(super) shared: Vec<T>,
    /// Panels written by all threads, each its own.
    pub(super) panels: Vec<T::Lanes>,
    /// Gated signals, likewise.
    pub(super) gated: Vec<T::Lanes>,
    pub(super) adjoint: AdjointBuffers<T>,
    /// The fewest vector operations that threads start for.
    worth_starting: usize,
    /// The time that sets of pieces took.
    experience: Experience,
    /// True while threads do not start, since that took longer of late.
    alone: bool,
}

impl<T: Element> Workspace<T> {
    /// Buffers for a number of threads; 0 is taken as 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            threads: vec![Scratch::default(); threads],
            few: FewRowsThreads::new(threads - 1),
            plan: Plan::default(),
            shared: Vec::new(),
            panels: Vec::new(),
            gated: Vec::new(),
            adjoint: AdjointBuffers::default(),
            worth_starting: WORTH_STARTING,
            experience: Experience::default(),
            alone: false,
        }
    }

    /// Shares all work out, however little it is and however much longer it then takes: for tests of what threads change,
    /// which is nothing.
    #[must_use]
    pub fn sharing_all(mut self) -> Self {
        self.worth_starting = 0;
        self.few.share_all();
        self
    }

    /// Does what takes so many vector operations, with threads or alone, whichever was quicker of late. Starting one was
    /// measured at 40 to 150 microseconds, depending on the machine.
    pub(super) fn with_experience(&mut self, operations: usize, work: impl FnOnce(&mut Self)) {
        let is_open = self.threads.len() > 1 && self.worth_starting > 0 && !self.alone;
        if !is_open || operations < self.worth_starting {
            return work(self);
        }
        let shared = self.experience.share(operations);
        let begun = Instant::now();
        self.alone = !shared;
        work(self);
        self.alone = false;
        let seconds = begun.elapsed().as_secs_f64();
        self.experience.note(operations, shared, seconds);
    }

    /// The threads worth starting for so many vector operations.
    pub(super) fn threads_for(&mut self, operations: usize) -> &mut [Scratch<T>] {
        let count = match self.alone || operations < self.worth_starting {
            true => 1,
            false => self.threads.len(),
        };
        &mut self.threads[..count]
    }

    /// The number of threads it is for.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}
