//! `--threads` and `--level`: the options of the fast path.

use crate::args::{Args, Failure};
use hungry_hippos::fast::Level;

/// The instruction set and the number of threads of the fast path.
#[derive(Clone, Copy)]
pub(crate) struct FastOptions {
    pub(crate) level: Level,
    pub(crate) threads: usize,
}

impl FastOptions {
    /// As given; otherwise the best available level, and `threads` of them.
    pub(crate) fn asked(args: &Args, threads: usize) -> Result<Self, Failure> {
        let asked = args.parsed("--threads", "a whole number from 1 to 1024")?;
        let threads = asked.unwrap_or(threads);
        if !(1..=1024).contains(&threads) {
            return Err(Failure(format!(
                "--threads {threads}: expected a whole number from 1 to 1024"
            )));
        }
        let level = match args.value("--level") {
            None => Level::detect(),
            Some(name) => {
                let level = name.to_string_lossy().parse();
                level.map_err(|e: hungry_hippos::Error| Failure(format!("--{e}")))?
            }
        };
        Ok(Self { level, threads })
    }

    /// As many threads as the machine has cores.
    pub(crate) fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
