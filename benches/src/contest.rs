//! Peers in turn, and what is said of them.

use crate::results::{self, Row};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rounds of a contest; every contestant runs once per round.
const ROUNDS: usize = 9;

/// True if a third of the rounds, and the first of several sizes, are enough.
pub static QUICK: AtomicBool = AtomicBool::new(false);

/// The sizes to be measured: all, or the first `few` of them if it is to be quick.
pub fn sizes<S>(all: &[S], few: usize) -> &[S] {
    match QUICK.load(Ordering::Relaxed) {
        true => &all[..few.min(all.len())],
        false => all,
    }
}

/// True if contests are timed by what this thread had of the processor, which others that use the machine do
/// not add to. It says nothing of several threads.
pub static PROCESSOR_TIME: AtomicBool = AtomicBool::new(false);

/// The seconds one call takes.
pub fn seconds(mut f: impl FnMut()) -> f64 {
    if PROCESSOR_TIME.load(Ordering::Relaxed) {
        let start = processor_time();
        f();
        return processor_time() - start;
    }
    let start = Instant::now();
    f();
    start.elapsed().as_secs_f64()
}

/// The seconds this thread has run (Linux).
fn processor_time() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|time| time.parse().ok());
    nanoseconds.map_or(f64::NAN, |time: f64| 1e-9 * time)
}

/// A named way to do the same thing, returning the seconds it took.
pub struct Contestant<'a> {
    pub name: String,
    pub run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// Smallest, median and largest.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    (first, sorted[sorted.len() / 2], last)
}

/// Runs the contestants in turn and prints a line for each: time in `unit`s of `scale` seconds,
/// and how many times as long as the first (the crate) it took, round by round: median, smallest
/// and largest ratio. One that has no time for the round before the first, which only warms up, is left out: it has
/// said why. The medians.
pub fn contest(title: &str, unit: &str, scale: f64, mut all: Vec<Contestant<'_>>) -> Vec<f64> {
    all.retain_mut(|one| !(one.run)().is_nan());
    let mut times = vec![Vec::new(); all.len()];
    let rounds = match QUICK.load(Ordering::Relaxed) {
        true => ROUNDS / 3,
        false => ROUNDS,
    };
    for _ in 0..rounds {
        for (one, times) in all.iter_mut().zip(&mut times) {
            // Threads of the one before may still be spinning in wait for more.
            std::thread::sleep(std::time::Duration::from_millis(20));
            times.push((one.run)() / scale);
        }
    }
    let mut text = format!("{title}\n");
    for (one, own) in all.iter().zip(&times) {
        let (low, median, high) = spread(own);
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(a, b)| a / b).collect();
        let (least, middle, most) = spread(&ratios);
        let _ = writeln!(
            text,
            "  {:<28} {median:>9.3} {unit} [{low:.3}, {high:.3}]   x {middle:.2} [{least:.2}, {most:.2}]",
            one.name
        );
        results::keep(Row {
            contest: title.to_string(),
            name: one.name.clone(),
            unit: unit.to_string(),
            times: own.clone(),
        });
    }
    print!("{text}");
    times.iter().map(|own| spread(own).1).collect()
}

/// The Python peers, if there is a Python.
pub struct Python {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    have: Vec<String>,
}

impl Python {
    pub fn start(python: &str, checkouts: &[String]) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/peers.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(checkouts)
            .args(
                PROCESSOR_TIME
                    .load(Ordering::Relaxed)
                    .then_some("clock=processor"),
            )
            // Threads that wait by spinning would take the cores of whoever comes next.
            .envs([
                ("OMP_WAIT_POLICY", "PASSIVE"),
                ("KMP_BLOCKTIME", "0"),
                ("GOMP_SPINCOUNT", "0"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a peer lacks, it says there.
            .stderr(Stdio::inherit())
            .spawn()
            .ok()?;
        let to = child.stdin.take()?;
        let mut from = BufReader::new(child.stdout.take()?);
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace().map(String::from);
        (words.next()? == "ready").then_some(())?;
        println!("Python peers: torch {}", words.next()?);
        Some(Self {
            child,
            to,
            from,
            have: words.collect(),
        })
    }

    /// The bytes a request took besides what was there before it.
    pub fn memory(&mut self, request: &str) -> f64 {
        self.ask(&format!("memory {request}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.have.iter().any(|have| have == name)
    }

    /// The seconds a request took; not a number if Python failed.
    pub fn ask(&mut self, request: &str) -> f64 {
        let mut line = String::new();
        let asked = writeln!(self.to, "{request}").and_then(|()| self.to.flush());
        match asked.and_then(|()| self.from.read_line(&mut line)) {
            Ok(_) => line.trim().parse().unwrap_or(f64::NAN),
            Err(_) => f64::NAN,
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
