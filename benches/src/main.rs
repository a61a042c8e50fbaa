//! The fast path and its peers, in turn within one run.
//!
//! cargo run --release [-- [--python PYTHON] [--official CHECKOUT] [--vortex CHECKOUT] [--mamba CHECKOUT]
//! [--processor] [SECTION...]]

mod contest;
mod operators;
mod packed;
mod peak;
mod peers;
mod sections;

use contest::Python;
use std::sync::atomic::Ordering;

fn main() {
    let mut python = "python3".to_string();
    let (mut checkouts, mut wanted) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--python" => python = arguments.next().unwrap_or(python),
            "--official" | "--vortex" | "--mamba" => {
                let name = match &argument[..] {
                    "--official" => "h3",
                    name => &name[2..],
                };
                checkouts.extend(arguments.next().map(|path| format!("{name}={path}")));
            }
            "--processor" => contest::PROCESSOR_TIME.store(true, Ordering::Relaxed),
            _ => wanted.push(argument),
        }
    }
    let mut python = Python::start(&python, &checkouts);
    if python.is_none() {
        println!("no Python with torch: pass --python; the Python peers are left out");
    }
    for (name, section) in sections::ALL {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            section(&mut python);
        }
    }
}
