//! The fast path and its peers, in turn within one run.
//!
//! cargo run --release [-- [--python PYTHON] [--official CHECKOUT] [SECTION...]]

mod contest;
mod packed;
mod peak;
mod peers;
mod sections;

use contest::Python;

fn main() {
    let mut python = "python3".to_string();
    let (mut official, mut wanted) = (None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--python" => python = arguments.next().unwrap_or(python),
            "--official" => official = arguments.next(),
            _ => wanted.push(argument),
        }
    }
    let mut python = Python::start(&python, official.as_deref());
    if python.is_none() {
        println!("no Python with torch: pass --python; the Python peers are left out");
    }
    for (name, section) in sections::ALL {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            section(&mut python);
        }
    }
}
