//! Threads for independent work that is shared out, in one place. Which core does a part changes nothing in its
//! result; nor does a core that the system gives no thread for.
//!
//! Work that borrows is given to threads that are started for it and end with it; for calls that are short and
//! many there are threads that stay [`parked`].

mod parked;

use crate::internals::internals;
use crate::into_vec::IntoVec as _;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

internals!(parked::{Parked, Task});

/// The most threads of one call of [`map`]: each may hold the stages of a layer, or a run of a whole case. Calls may be
/// within others.
const MOST_THREADS: usize = 8;

/// Calls `work` on this thread and at once on up to `others` more; returns when every call has.
///
/// The system may start fewer threads, and none is needed: `work` takes what is left to do until nothing
/// is. A panic of any thread is passed on.
pub(crate) fn on_threads(others: usize, work: &(dyn Fn() + Sync)) {
    scope(|scope| {
        let start = |_| Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (0..others).map_while(start).into_vec();
        work();
        for other in others {
            if let Err(panic) = other.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// Buffers that are passed on, and still to be filled: while one is worked on the next one can be filled.
const PASSED_ON: usize = 3;

/// Fills buffers with `fill` on this thread until it returns false, and hands each to `drain`, in order, on another; on this
/// one too if the system starts no other. A panic of either is passed on.
pub fn in_two<B: Default + Send>(
    mut fill: impl FnMut(&mut B) -> bool,
    drain: &(dyn Fn(&mut B) + Sync),
) {
    scope(|scope| {
        let (pass_on, passed) = channel::<B>();
        let (give_back, given_back) = channel();
        for _ in 0..PASSED_ON {
            // This end holds the other.
            let _ = give_back.send(B::default());
        }
        let other = Builder::new().spawn_scoped(scope, move || {
            for mut buffer in passed {
                drain(&mut buffer);
                // After the last one nobody waits for buffers, and there may be some to be drained still.
                let _ = give_back.send(buffer);
            }
        });
        if other.is_err() {
            let mut buffer = B::default();
            while fill(&mut buffer) {
                drain(&mut buffer);
            }
            return;
        }
        // None comes back if the other thread panics, which the scope passes on.
        while let Ok(mut buffer) = given_back.recv() {
            if !fill(&mut buffer) || pass_on.send(buffer).is_err() {
                return;
            }
        }
    });
}

/// The results of two functions that run at once.
pub(crate) fn both<A: Send, B: Send>(a: impl Fn() -> A + Sync, b: impl Fn() -> B + Sync) -> (A, B) {
    let (first, second) = (Mutex::new(None), Mutex::new(None));
    let jobs: [&(dyn Fn() + Sync); 2] = [&|| *lock(&first) = Some(a()), &|| {
        *lock(&second) = Some(b())
    }];
    map(&jobs, |job| job());
    (taken(first), taken(second))
}

/// Number of threads that run at once on this machine, asked once: the system reads several files to say it, which
/// takes longer than a small product of matrices.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(1, NonZero::get))
}

/// The result of a function for every item, in the order of the items.
pub(crate) fn map<I: Sync, R: Send>(items: &[I], f: impl Fn(&I) -> R + Sync) -> Vec<R> {
    if let [] | [_] = items {
        return items.iter().map(f).into_vec();
    }
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).into_vec();
    // An item taken late is one less for a thread that was held up.
    let next = AtomicUsize::new(0);
    let others = cores().min(MOST_THREADS).min(items.len()).saturating_sub(1);
    on_threads(others, &|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(result)) = (items.get(at), results.get(at)) else {
                return;
            };
            *lock(result) = Some(f(item));
        }
    });
    results.into_iter().map(taken).into_vec()
}

/// The lock, poisoned or not: nothing that is behind one here can be left half way by a panic, which is passed on.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken<R>(slot: Mutex<Option<R>>) -> R {
    let result = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    // `on_threads` returns when every item has been worked on, or else passes a panic on.
    result.expect("every item was worked on")
}
