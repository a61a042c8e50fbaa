//! `hippos golden`: certified stages with their error scales.

use crate::args::{self, Failure, Spec};
use crate::progress::{Progress, timed};
use crate::run::undecided;
use hungry_hippos::oracle::{Case, SUITE_SEED, suite};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos golden --out DIR [--seed S]
       hippos golden --from CASE --out FILE

Writes golden files. A golden file is a case file whose stages (and gradients, if the case has a cotangent g or
targets) are correctly rounded to f64, with scale.STAGE (worst case) and probable.STAGE for every stage. A port
of unit roundoff u is within tolerance if |port - golden| <= u * scale. Elements whose rounding cannot be
decided are counted (also in the metadata key undecided), and their scales include the uncertainty.

A layer of d_model 768, d_state 64 and 2048 tokens takes 110 s of processor time, shared between two threads,
and 1.7 GB of memory. On a terminal, stderr shows the seconds so far.

CASE holds the parameters of a layer under their official names, an input (batch x seq_len x d_model), and four
metadata strings: head_dim; disc (bilinear or zoh); real_type (exp, relu, sigmoid, softplus or none); l_max (a
number or none). Keys that are missing are all reported at once. Other kinds of cases have other keys; `init` and
`import` write case files.

  --out DIR      write the golden suite into a folder, one file per case
  --seed S       the suite of another seed (default: the seed of the suite in tests/golden)
  --from CASE    write a golden file for your own layer and input, or language model and input_ids, instead;
                 --out is then the file
",
    positional: &[],
    values: &["--out", "--from", "--seed"],
    switches: &[],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let seed: Option<u64> = args.parsed("--seed", "a whole number from 0")?;
    if let Some(from) = args.value("--from") {
        if seed.is_some() {
            return Err(Failure(
                "--seed goes with the suite, not with --from".into(),
            ));
        }
        let from = Path::new(from);
        args::not_the_same_file("--out", from, out)?;
        let case = Case::open(from)?;
        let golden = timed("certifying:", || case.certify());
        let golden = golden.map_err(|e| e.in_file(from))?;
        golden.writer()?.write(out)?;
        let open = golden.undecided();
        args::print_of_written(
            out,
            &format!(
                "{} stages certified into {}\n{}",
                golden.stages().len(),
                out.display(),
                open.map_or(String::new(), |counts| undecided(
                    &counts,
                    "scale.STAGE covers"
                ))
            ),
        );
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(out).map_err(|e| Failure(format!("{}: {e}", out.display())))?;
    let cases = suite();
    let mut progress = Progress::new("cases", cases.len());
    let mut bytes = 0;
    for case in &cases {
        let golden = case
            .build(seed.unwrap_or(SUITE_SEED))
            .and_then(Case::certify);
        let writer = golden.and_then(|golden| golden.writer());
        let writer = writer.map_err(|e| Failure(format!("case {}: {e}", case.name)))?;
        let file = writer.to_bytes()?;
        bytes += file.len();
        writer.write(&out.join(format!("{}.safetensors", case.name)))?;
        progress.step();
    }
    drop(progress);
    args::print_of_written(
        out,
        &format!(
            "{} cases, {:.2} MB, into {}\n",
            cases.len(),
            bytes as f64 / 1e6,
            out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}
