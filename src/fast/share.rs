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
