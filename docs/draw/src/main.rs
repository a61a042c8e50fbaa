//! The figures of the documentation, drawn from what the crate computes.

mod axes;
mod backwards;
mod block_fft;
mod chunks;
mod cost;
mod early_rows;
mod file;
mod history;
mod hyena;
mod layer;
mod margins;
mod memory;
mod mistakes;
mod oracle;
mod recall;
mod roofline;
mod roots;
mod roundoff;
mod shares;
mod spectra;
mod stages;
mod svg;
mod toeplitz;
mod token_cost;
mod window;
mod wrapping;

use hungry_hippos::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo run --release --manifest-path docs/draw/Cargo.toml -- --out DIR

Draws the figures of docs/ as SVG, one file per figure, into a folder, and next to them rustdoc.md, which
holds them once more as link definitions: that is how the chapters' figures come into rustdoc,
which copies no files. The same program draws the same bytes on every machine.

  --out DIR      the folder, usually docs/figures; made if it is not there
";

/// The figures by name, in the order of the chapters they belong to.
type Draw = fn() -> Result<String, Error>;
const FIGURES: [(&str, Draw); 23] = [
    ("roots", roots::draw),
    ("wrapping", wrapping::draw),
    ("shift-window", window::draw),
    ("toeplitz", toeplitz::draw),
    ("block-fft", block_fft::draw),
    ("recall", recall::draw),
    ("flashconv", || Ok(chunks::draw())),
    ("early-rows", early_rows::draw),
    ("layer", || Ok(layer::draw())),
    ("file", file::draw),
    ("stages", stages::draw),
    ("roofline", || Ok(roofline::draw())),
    ("backwards", || Ok(backwards::draw())),
    ("mistakes", mistakes::draw),
    ("margins", margins::draw),
    ("shares", || Ok(shares::draw())),
    ("roundoff", roundoff::draw),
    ("history", history::draw),
    ("spectra", spectra::draw),
    ("hyena", hyena::draw),
    ("cost", cost::draw),
    ("token-cost", token_cost::draw),
    ("memory", memory::draw),
];

fn main() -> ExitCode {
    let done = match out_folder(std::env::args_os().skip(1)) {
        Ok(Some(out)) => draw_all(Path::new(&out)),
        Ok(None) => Ok(HELP.to_string()),
        Err(wrong) => Err(wrong),
    };
    // Where nothing can be written, the exit status still says how it went.
    match done {
        Ok(said) => {
            let _ = write!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            let _ = writeln!(std::io::stderr(), "figures: {wrong}");
            ExitCode::from(2)
        }
    }
}

/// The folder of `--out`; `None` if help was asked for.
fn out_folder(arguments: impl Iterator<Item = OsString>) -> Result<Option<OsString>, String> {
    let mut out = None;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--out") if out.is_some() => return Err("--out is given twice".into()),
            Some("--out") => {
                let folder = arguments.next().filter(|folder| !folder.is_empty());
                out = Some(folder.ok_or("--out needs a value, the folder to draw into")?);
            }
            _ => {
                return Err(format!(
                    "unexpected argument {argument:?}; expected --out DIR"
                ));
            }
        }
    }
    out.map(Some)
        .ok_or("--out is missing; expected --out DIR".into())
}

/// Draws every figure into a folder. Returns the line to print.
fn draw_all(out: &Path) -> Result<String, String> {
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    let mut definitions = String::new();
    for (name, draw) in FIGURES {
        let figure = draw().map_err(|e| format!("figure {name}: {e}"))?;
        write(&format!("{name}.svg"), &figure)?;
        definitions += &format!("[fig-{name}]: <data:image/svg+xml,{}>\n", encoded(&figure));
    }
    write("rustdoc.md", &definitions)?;
    Ok(format!(
        "{} figures into {}\n",
        FIGURES.len(),
        out.display()
    ))
}

/// A figure as part of a data URL in a link definition: what neither can hold stands in hexadecimal.
fn encoded(figure: &str) -> String {
    let mut url = String::new();
    for c in figure.chars() {
        match c {
            '%' | '#' | '<' | '>' | '"' | '\\' | '\n' => url += &format!("%{:02X}", c as u32),
            _ => url.push(c),
        }
    }
    url
}
