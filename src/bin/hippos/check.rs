//! `hippos check`: a port's stages against golden ones.

use crate::args::{self, Failure, Spec};
use hungry_hippos::oracle::{Format, check_files};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos check GOLDEN CANDIDATE [--dtype F] [--json]

Compares the stages that CANDIDATE (a safetensors file with any of q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, grad.*; of a language model block{i}.residual,
block{i}.hidden, logits) holds with golden ones. GOLDEN is a golden file, or a plain case file, which
is certified first.

  --dtype F    what the port works in: f64, f32, tf32, f16, bf16, or mixed-f16 and mixed-bf16
               (projections in 16 bits, the rest in f32). Default: the type the stages are stored in
  --json       the report for programs

What decides is the worst-case tolerance: a stage passes if no element is further from the golden
one than rounding at that precision can take any right way to compute it, to first order. 'probable' is the same
with roundings taken as independent; a right port is expected to stay below 100 % of it too.

Exit status: 0 pass, 1 fail (with a diagnosis), 2 could not be judged.
",
    positional: &["GOLDEN", "CANDIDATE"],
    values: &["--dtype"],
    switches: &["--json"],
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
    let (golden, candidate) = (Path::new(args.positional(0)), Path::new(args.positional(1)));
    let report = check_files(golden, candidate, format)?;
    args::print(&match args.has("--json") {
        true => report.to_json(),
        false => report.to_string(),
    })?;
    // An error beyond even an uninformative tolerance is still a failure.
    Ok(if !report.pass() {
        ExitCode::from(1)
    } else if report.says_nothing() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}
