//! Sharing independent items out among threads.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

/// Works on every item, each thread with a scratch of its own.
///
/// An item is computed by one thread from its own data alone, so which thread takes it changes
/// nothing: the results are the same bits for any number of threads. Items are taken one at a
/// time, so a thread that is held up takes fewer, and one that the system does not start none.
pub(super) fn share<I, S>(items: I, scratch: &mut [S], work: impl Fn(&mut S, I::Item) + Sync)
where
    I: Iterator + Send,
    S: Send,
{
    if let [own] = scratch {
        items.for_each(|item| work(own, item));
        return;
    }
    if scratch.is_empty() {
        return;
    }
    let items = Mutex::new(items);
    let scratch: Vec<Mutex<&mut S>> = scratch.iter_mut().map(Mutex::new).collect();
    run_on_threads(scratch.len(), &|thread| {
        // Each thread has a scratch to itself, so that no lock is ever waited for.
        let mut own = scratch[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            // The lock is held for taking an item, not for working on it. Taking cannot leave
            // the iterator half way, so a poisoned lock is as good as any.
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some(item) => work(&mut own, item),
                None => return,
            }
        }
    });
}

/// Runs a worker on as many threads as the system gives, the calling one first among them. Not
/// generic, so that starting threads is compiled once.
fn run_on_threads(threads: usize, worker: &(dyn Fn(usize) + Sync)) {
    scope(|scope| {
        for thread in 1..threads {
            // Without a thread its share is left to the others.
            let started = Builder::new().spawn_scoped(scope, move || worker(thread));
            if started.is_err() {
                break;
            }
        }
        worker(0);
    });
}
