//! Independent work shared out among the machine's cores. Which core does a part changes nothing in
//! its result; nor does a core that the system gives no thread for.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, ScopedJoinHandle, available_parallelism, scope};

/// No more threads than this: each holds the stages of a layer.
const MOST_THREADS: usize = 8;

/// What two functions return, run beside each other.
pub(super) fn both<A, B: Send>(a: impl FnOnce() -> A, b: impl Fn() -> B + Sync) -> (A, B) {
    scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, &b);
        let a = a();
        (a, thread.map_or_else(|_| b(), finished))
    })
}

/// What a function returns for every item, in the order of the items.
pub(super) fn map<I: Sync, R: Send>(items: &[I], f: impl Fn(&I) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        // An item taken late is one less for a thread that was held up.
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            done.push((at, f(item)));
        }
        done
    };
    let mut done = scope(|scope| {
        let others = threads.min(MOST_THREADS).min(items.len()).saturating_sub(1);
        let start = |_| Builder::new().spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (0..others).map_while(start).collect();
        let mut done = worker();
        for other in others {
            done.extend(finished(other));
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn finished<R>(thread: ScopedJoinHandle<'_, R>) -> R {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}
