//! Threads that stay parked from one call to the next.
//!
//! Work that owns what it needs, or shares it by `Arc`, is given to them: safe Rust lends nothing else to a thread that
//! outlives the call.

use super::lock;
use crate::into_vec::IntoVec as _;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Work that threads do together: each call of `work` takes what is left to do until nothing is.
pub trait Task: Send + Sync {
    /// Takes what is left to do until nothing is.
    fn work(&self);
}

/// Looks for the next task, and for the end of one, before a thread is put to sleep: some 20 microseconds, after
/// which waking it costs less than it would by looking on.
const LOOKS: usize = 1000;

/// Threads that wait for the next task. They start with the first one, and end with this.
#[derive(Debug)]
pub struct Parked {
    others: usize,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

/// Where tasks are put up, and taken down.
#[derive(Default)]
struct Board {
    /// The number of tasks put up so far, to be looked at without the lock.
    number: AtomicUsize,
    /// The number of threads at the task, likewise.
    running: AtomicUsize,
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    task: Option<Arc<dyn Task>>,
    asleep: usize,
    closed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl Parked {
    /// `others` threads beside the caller's.
    pub fn new(others: usize) -> Self {
        Self {
            others,
            started: None,
        }
    }

    /// The number of threads beside the caller's.
    pub(crate) fn others(&self) -> usize {
        self.others
    }

    /// Does a task on this thread and on those that are awake in time; returns when it is done and no other
    /// thread is at it. One that has not begun when the caller finds nothing left to do is not waited for, so that
    /// a busy machine delays the caller by no more than what another thread holds. A panic of any thread is passed on.
    pub fn run(&mut self, task: &Arc<impl Task + 'static>) {
        if self.others == 0 {
            return task.work();
        }
        let started = self
            .started
            .get_or_insert_with(|| Started::new(self.others));
        let board = &*started.board;
        let mut state = board.lock();
        state.task = Some(Arc::clone(task) as Arc<dyn Task>);
        let asleep = state.asleep > 0;
        board.number.fetch_add(1, Ordering::Release);
        drop(state);
        if asleep {
            board.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| task.work()));
        let mut state = board.lock();
        state.task = None;
        drop(state);
        board.look(|| board.running.load(Ordering::Acquire) == 0);
        let mut state = board.lock();
        while board.running.load(Ordering::Acquire) > 0 {
            state = wait(&board.done, state);
        }
        let panic = state.panic.take();
        drop(state);
        if let Some(panic) = own.err().or(panic) {
            resume_unwind(panic);
        }
    }
}

impl Clone for Parked {
    /// As many threads of its own, not yet started.
    fn clone(&self) -> Self {
        Self::new(self.others)
    }
}

impl Started {
    fn new(others: usize) -> Self {
        let board = Arc::new(Board::default());
        let start = |_| {
            let board = Arc::clone(&board);
            Builder::new().spawn(move || board.serve()).ok()
        };
        let threads = (0..others).map_while(start).into_vec();
        Self { board, threads }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.board.lock().closed = true;
        self.board.number.fetch_add(1, Ordering::Release);
        self.board.wake.notify_all();
        for thread in self.threads.drain(..) {
            // Panics of tasks are passed on where the task was put up.
            let _ = thread.join();
        }
    }
}

impl Board {
    /// Takes part in one task after another.
    fn serve(&self) {
        let mut seen = 0;
        loop {
            self.look(|| self.number.load(Ordering::Acquire) != seen);
            let mut state = self.lock();
            while self.number.load(Ordering::Acquire) == seen && !state.closed {
                state.asleep += 1;
                state = wait(&self.wake, state);
                state.asleep -= 1;
            }
            if state.closed {
                return;
            }
            seen = self.number.load(Ordering::Acquire);
            let Some(task) = state.task.clone() else {
                continue;
            };
            self.running.fetch_add(1, Ordering::AcqRel);
            drop(state);
            let done = catch_unwind(AssertUnwindSafe(|| task.work()));
            // What the task owns is the caller's again.
            drop(task);
            let mut state = self.lock();
            if let Err(panic) = done {
                state.panic.get_or_insert(panic);
            }
            self.running.fetch_sub(1, Ordering::AcqRel);
            drop(state);
            self.done.notify_one();
        }
    }

    /// Looks for a while whether it is so.
    fn look(&self, so: impl Fn() -> bool) {
        for _ in 0..LOOKS {
            if so() {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Board")
    }
}

/// Tasks run outside the lock, so a poisoned one is as good as any.
fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    on.wait(state).unwrap_or_else(PoisonError::into_inner)
}
