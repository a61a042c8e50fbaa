//! `hippos check`: a port's stages against golden ones.

use crate::args::{self, Failure, Spec};
use hungry_hippos::oracle::{Format, Verdict, check_files};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos check GOLDEN CANDIDATE [--dtype F] [--transform 16] [--json] [--report FILE.html]
                    [--ignore NAMES] [--allow-undecided]

Compares the stages that CANDIDATE (a safetensors file with any of q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, grad.*; of a language model block{i}.residual,
block{i}.hidden, logits; of operators, SSD and Mamba-2 layers those that `run --help` lists) holds with golden
ones. GOLDEN is a golden file, or a plain case file, which is certified first. Where its rows hold documents
there is one final state per document, and what stands at padding is not compared; after a schedule's parts
the states are state.T.NAME.

  --dtype F          what the port works in: f64, f32, tf32, f16, bf16, or mixed-tf32, mixed-f16 and mixed-bf16
                     (projections in that format, the rest in f32; kinds without projections are judged
                     in that format throughout). Default: the type the stages are stored in
  --transform 16     the transforms (FFTs) run in the 16-bit format of --dtype too, as products with
                     rounded DFT matrices do; without it they are taken to run in f32
  --json             the report for programs
  --report FILE.html write the report as a page too, for a browser: the graph of stages, errors in units of
                     the tolerance as histograms and over time and channels, what the verdict excludes;
                     one file, no script, nothing from a network
  --ignore NAMES     tensors that are no stages although their names are close to one: a,b,...
  --allow-undecided  exit status 0 where nothing is refused and something is undecided

A stage is refused if an element is further from the golden one than any right way to compute the stage
can get in that format (of tolerance), or further from what the reference computes from the port's own
upstream stages than that one step can get (own step), or if a known mistake explains more of the step's
error than rounding does in any right port (explained: the share, and the share that is too much).
'follows' is a stage that is wrong only because one before it is.

Exit status: 0 pass; 1 refused, with what is wrong step by step; 2 not judged, or undecided.
",
    positional: &["GOLDEN", "CANDIDATE"],
    values: &["--dtype", "--transform", "--report", "--ignore"],
    switches: &["--json", "--allow-undecided"],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let format = match args.value("--dtype") {
        None => None,
        Some(name) => {
            let known = name.to_str().and_then(Format::from_name);
            Some(known.ok_or_else(|| {
                let names = Format::ALL.map(|format| format.name()).join(", ");
                Failure(format!("--dtype {name:?}: expected one of {names}"))
            })?)
        }
    };
    let format = match (args.value("--transform"), format) {
        (None, format) => format,
        (Some(bits), _) if bits != "16" => {
            return Err(Failure(format!("--transform {bits:?}: expected 16")));
        }
        (Some(_), format) => {
            let narrow = format.and_then(Format::with_transforms_in_16_bits);
            Some(narrow.ok_or_else(|| {
                let names = Format::ALL.into_iter();
                let names = names.filter(|format| format.with_transforms_in_16_bits().is_some());
                let names: Vec<&str> = names.map(|format| format.name()).collect();
                let names = names.join(", ");
                Failure(format!(
                    "--transform 16: expected one of {names} as --dtype"
                ))
            })?)
        }
    };
    let (golden, candidate) = (Path::new(args.positional(0)), Path::new(args.positional(1)));
    let ignored = args.parsed::<String>("--ignore", "names of tensors")?;
    let ignored: Vec<&str> = ignored.iter().flat_map(|names| names.split(',')).collect();
    let page = args.value("--report").map(Path::new);
    if let Some(page) = page {
        for read in [golden, candidate] {
            args::not_the_same_file("--report", read, page)?;
        }
        // Before the check, which may take a while.
        args::can_be_written("--report", page)?;
    }
    let report = check_files(golden, candidate, format, &ignored)?;
    if let Some(page) = page {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let title = format!("{} against {}", name(candidate), name(golden));
        report.write_html(page, &title)?;
    }
    args::print(&match args.has("--json") {
        true => report.to_json(),
        false => report.to_string(),
    })?;
    Ok(match report.verdict() {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Undecided if args.has("--allow-undecided") => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}
