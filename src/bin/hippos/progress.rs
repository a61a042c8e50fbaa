//! A progress line on stderr, if it is a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{Builder, scope};
use std::time::{Duration, Instant};

/// The result of long work whose steps cannot be counted, with the seconds that it has taken so far;
/// silent unless stderr is a terminal.
pub(crate) fn timed<R>(what: &str, work: impl FnOnce() -> R) -> R {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let began = Instant::now();
    let (done, is_done) = channel::<()>();
    let tick = move || {
        while is_done.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
            let seconds = began.elapsed().as_secs();
            let _ = write!(std::io::stderr(), "\r{what} {seconds} s");
        }
        let _ = write!(std::io::stderr(), "\r{:40}\r", "");
    };
    scope(|scope| {
        // Without the thread there is no progress to be seen, and no harm.
        let _ = Builder::new().spawn_scoped(scope, tick);
        let result = work();
        drop(done);
        result
    })
}

/// Counts steps of long work; silent unless stderr is a terminal.
pub(crate) struct Progress {
    what: &'static str,
    of: usize,
    done: usize,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, of: usize) -> Self {
        Self {
            what,
            of,
            done: 0,
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// One more step is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        if self.shown {
            // A progress line that cannot be written is no reason to stop.
            let _ = write!(
                std::io::stderr(),
                "\r{} {}/{}",
                self.what,
                self.done,
                self.of
            );
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r{:40}\r", "");
        }
    }
}
