//! `hippos figures`: the figures of the documentation.

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
mod recall;
mod roofline;
mod roots;
mod roundoff;
mod spectra;
mod stages;
mod svg;
mod toeplitz;
mod token_cost;
mod window;
mod wrapping;

use crate::args::{self, Failure, Spec};
use hungry_hippos::Error;
use hungry_hippos::safetensors::replace_file;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos figures --out DIR

Draws the figures of docs/ as SVG, one file each, into a folder, and beside them rustdoc.md, which
holds them once more as link definitions: that is how the chapters' figures come into rustdoc,
which copies no files. The same program draws the same bytes on every machine.

  --out DIR      the folder; made if it is not there
",
    positional: &[],
    values: &["--out"],
    switches: &[],
};

/// The figures by name, in the order of the chapters they belong to.
type Draw = fn() -> Result<String, Error>;
const FIGURES: [(&str, Draw); 22] = [
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
    ("roundoff", roundoff::draw),
    ("history", history::draw),
    ("spectra", spectra::draw),
    ("hyena", hyena::draw),
    ("cost", cost::draw),
    ("token-cost", token_cost::draw),
    ("memory", memory::draw),
];

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    std::fs::create_dir_all(out).map_err(|e| Failure(format!("{}: {e}", out.display())))?;
    let mut definitions = String::new();
    for (name, draw) in FIGURES {
        let figure = draw().map_err(|e| Failure(format!("figure {name}: {e}")))?;
        replace_file(&out.join(format!("{name}.svg")), figure.as_bytes())?;
        definitions += &format!("[fig-{name}]: <data:image/svg+xml,{}>\n", encoded(&figure));
    }
    replace_file(&out.join("rustdoc.md"), definitions.as_bytes())?;
    args::print(&format!(
        "{} figures into {}\n",
        FIGURES.len(),
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What a data URL and a link definition cannot hold as it is, in hexadecimal.
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
