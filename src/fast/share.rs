//! Sharing independent items out among threads.

use crate::threads::{lock, on_threads};
use std::sync::Mutex;

/// Works on every item, each thread with its own scratch buffers.
///
/// An item is computed by one thread from its own data alone, so which thread takes it changes
/// nothing: the results are the same bits for any number of threads. Items are taken one at a
/// time, so a thread that is held up takes fewer, and one that the system does not start none. No more threads start
/// than there are items.
pub(super) fn share<I, S>(items: I, scratch: &mut [S], work: impl Fn(&mut S, I::Item) + Sync)
where
    I: Iterator + Send,
    S: Send,
{
    let most = items.size_hint().1.unwrap_or(usize::MAX);
    let count = scratch.len().min(most.max(1));
    if let [alone] = &mut scratch[..count] {
        items.for_each(|item| work(alone, item));
        return;
    }
    let others = count.saturating_sub(1);
    let (items, scratch) = (Mutex::new(items), Mutex::new(scratch.iter_mut()));
    on_threads(others, &|| {
        let Some(own) = lock(&scratch).next() else {
            return;
        };
        // The lock is held for taking an item, not for working on it.
        while let Some(item) = next(&items) {
            work(own, item);
        }
    });
}

fn next<I: Iterator>(items: &Mutex<I>) -> Option<I::Item> {
    lock(items).next()
}
