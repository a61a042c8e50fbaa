//! Threads for work that is shared out, in one place that is compiled once.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Calls `work` on this thread and at once on up to `others` more; returns when every call has.
///
/// The system may start fewer threads, and none is needed: `work` takes what is left to do until nothing
/// is. A panic of any thread is passed on.
pub(crate) fn on_threads(others: usize, work: &(dyn Fn() + Sync)) {
    scope(|scope| {
        let start = |_| Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (0..others).map_while(start).collect();
        work();
        for other in others {
            if let Err(panic) = other.join() {
                resume_unwind(panic);
            }
        }
    });
}
