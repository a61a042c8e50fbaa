//! A progress line on stderr, where somebody sees it.

use std::io::{IsTerminal as _, Write as _};

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
