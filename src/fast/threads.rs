//! Sharing independent items out among threads.

use super::blocks::BlockScratch;
use super::heads_adjoint::AdjointScratch;
use super::lanes::Element;
use super::layer_adjoint::AdjointBuffers;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

/// The buffers of a number of threads, kept between calls.
///
/// A call takes as many threads as the workspace was made for. After the first call of a kind
/// there is nothing left to allocate, beside what the system does to start a thread.
#[derive(Clone, Debug)]
pub struct Workspace<T: Element> {
    pub(crate) threads: Vec<Scratch<T>>,
    /// Packed rows all threads read.
    pub(crate) shared: Vec<T>,
    /// A few packed rows, likewise.
    pub(crate) few: Vec<T>,
    /// Panels written by all threads, each its own.
    pub(crate) panels: Vec<T::Lanes>,
    /// Gated signals, likewise.
    pub(crate) gated: Vec<T::Lanes>,
    /// The most rows that are left to one thread.
    few_rows: usize,
    pub(crate) adjoint: AdjointBuffers<T>,
}

/// The buffers of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Scratch<T: Element> {
    pub(crate) diagonal: BlockScratch<T>,
    /// Packed rows of this thread.
    pub(crate) packed: Vec<T>,
    /// The beginning of a filter's input, with zeros before it.
    pub(crate) window: Vec<T::Lanes>,
    /// A filter's state that nobody asks for.
    pub(crate) state: Vec<T::Lanes>,
    /// Queries, keys and values of a group of heads.
    pub(crate) heads: Vec<T::Lanes>,
    /// Points of a transform.
    pub(crate) points: Vec<[T::Lanes; 2]>,
    /// Two signals: what enters a diagonal model and what leaves it.
    pub(crate) signals: Vec<T::Lanes>,
    pub(crate) adjoint: AdjointScratch<T>,
}

impl<T: Element> Workspace<T> {
    /// Buffers for a number of threads; 0 is taken as 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let scratch = || Scratch {
            diagonal: BlockScratch::new(),
            packed: Vec::new(),
            window: Vec::new(),
            state: Vec::new(),
            heads: Vec::new(),
            points: Vec::new(),
            signals: Vec::new(),
            adjoint: AdjointScratch::new(),
        };
        Self {
            threads: (0..threads.max(1)).map(|_| scratch()).collect(),
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

    /// How many threads it is for.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

/// Works on every item, each thread with a scratch of its own.
///
/// An item is computed by one thread from its own data alone, so which thread takes it changes
/// nothing: the results are the same bits for any number of threads. Items are taken one at a
/// time, so a thread that is held up takes fewer, and one that the system does not start none.
pub(crate) fn share<I, S>(items: I, scratch: &mut [S], work: impl Fn(&mut S, I::Item) + Sync)
where
    I: Iterator + Send,
    S: Send,
{
    let Some((own, others)) = scratch.split_first_mut() else {
        return;
    };
    if others.is_empty() {
        items.for_each(|item| work(own, item));
        return;
    }
    let items = Mutex::new(items);
    let worker = |own: &mut S| {
        loop {
            // The lock is held for taking an item, not for working on it. Taking cannot leave
            // the iterator half way, so a poisoned lock is as good as any.
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some(item) => work(own, item),
                None => return,
            }
        }
    };
    scope(|scope| {
        for other in others {
            // Without a thread its share is left to the others.
            if Builder::new()
                .spawn_scoped(scope, || worker(other))
                .is_err()
            {
                break;
            }
        }
        worker(own);
    });
}
