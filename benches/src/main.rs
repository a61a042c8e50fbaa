//! The fast path and its peers, in turn within one run.

mod contest;
mod operators;
mod packed;
mod peak;
mod peers;
mod results;
mod sections;
mod steps;
mod training;

use contest::Python;
use hungry_hippos::fast::Level;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

const HELP: &str = "\
usage: cargo run --release -- [OPTION...] [SECTION...]
       cargo run --release -- compare FIRST.json SECOND.json

Runs the fast path and its peers in turn and prints medians, least and most; without a section, all of them.

  --quick              a third of the rounds, and the table of chapter 10 in two minutes
  --json FILE          also write what was measured, for compare
  --python PYTHON      a Python with torch, and scipy (default python3)
  --official CHECKOUT  of HazyResearch/H3, which needs einops and opt_einsum
  --vortex CHECKOUT    of Zymrael/vortex
  --mamba CHECKOUT     of state-spaces/mamba
  --processor          time what one thread has of the processor, which others do not add to

compare prints the rows that two files share, and says slower or faster where no time of one is among those of
the other.
";

/// The sections of the table, the others being about one kernel or one length.
const TABLE: [&str; 8] = [
    "product",
    "diagonal",
    "convolution",
    "layer",
    "backward",
    "step",
    "weights",
    "threads",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(said) => {
            eprintln!("{said}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let (mut python, mut json) = ("python3".to_string(), None);
    let (mut checkouts, mut wanted) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} needs a value; --help says which"))
        };
        match argument.as_str() {
            "--help" => {
                print!("{HELP}");
                return Ok(());
            }
            "compare" => {
                print!("{}", results::compare(&value()?, &value()?)?);
                return Ok(());
            }
            "--python" => python = value()?,
            "--json" => json = Some(value()?),
            "--official" => checkouts.push(format!("h3={}", value()?)),
            "--vortex" | "--mamba" => checkouts.push(format!("{}={}", &argument[2..], value()?)),
            "--processor" => contest::PROCESSOR_TIME.store(true, Ordering::Relaxed),
            "--quick" => contest::QUICK.store(true, Ordering::Relaxed),
            name if sections::ALL.iter().any(|(section, _)| *section == name) => {
                wanted.push(argument);
            }
            other => return Err(format!("{other:?} is no option and no section; see --help")),
        }
    }
    if wanted.is_empty() && contest::QUICK.load(Ordering::Relaxed) {
        wanted.extend(TABLE.map(String::from));
    }
    let before = results::load();
    println!("load {before}");
    let mut python = Python::start(&python, &checkouts).or_else(|| {
        println!(
            "{python} has no torch: the Python peers are left out; install torch and scipy, or pass --python PYTHON"
        );
        None
    });
    for (name, section) in sections::ALL {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            section(&mut python);
        }
    }
    println!("load {}", results::load());
    match json {
        None => Ok(()),
        Some(path) => {
            let text = results::json(Level::detect().name(), &before);
            std::fs::write(&path, text).map_err(|e| format!("{path}: {e}"))
        }
    }
}
