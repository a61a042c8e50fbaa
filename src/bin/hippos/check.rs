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

Judges the stages of a port. CANDIDATE is a safetensors file with any of q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, grad.*; for a language model block{i}.residual,
block{i}.hidden, logits; for operators, SSD and Mamba-2 layers the stages that `run --help` lists. GOLDEN is a
golden file, or a plain case file, which is certified first. If its rows hold documents, there is one final
state per document, and values at padding are not compared. The states after parts of a schedule are
state.T.NAME.

  --dtype F          the format the port computes in: f64, f32, tf32, f16, bf16, or mixed-tf32, mixed-f16 and
                     mixed-bf16 (projections in that format, the rest in f32; kinds without projections are
                     judged in that format throughout). Default: the type in which the stages are stored
  --transform 16     transforms (FFTs) also run in the 16-bit format of --dtype, as products with rounded
                     DFT matrices do; otherwise they are assumed to run in f32
  --json             print the report for programs
  --report FILE.html also write the report as a page for a browser: the graph of stages, errors in units of
                     the tolerance as histograms and over time and channels, and the mistakes that the
                     verdict excludes; one file, without scripts or network access
  --ignore NAMES     tensors that are not stages although their names resemble one: a,b,...
  --allow-undecided  exit status 0 if nothing is refused but something is undecided

A stage is refused for one of three reasons: an element lies outside the worst-case rounding bound of that
format, whichever correct algorithm was used (of tolerance); an element differs from what the reference
computes from the port's own upstream stages by more than that one step can (own step); or a known mistake
explains more of the step's error than it does in any right port (explained: the share, and its limit).
'follows' marks a stage that is wrong only because an earlier one is.

Exit status: 0 pass; 1 refused (the report says what is wrong, step by step); 2 not judged, or undecided.
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
