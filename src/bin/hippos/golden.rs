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

Writes golden files: case files whose stages (and gradients, if the case has a cotangent g or targets) are
correctly rounded to f64, with scale.STAGE (worst case) and probable.STAGE next to every stage. A port
of unit roundoff u is within tolerance where |port - golden| <= u * scale. Elements whose rounding cannot
be decided are counted (also in metadata undecided), and their scales cover what is not known of them.

  --out DIR      the golden suite, one file a case, into a folder
  --seed S       the suite of another seed (default: that of the kept suite)
  --from CASE    a golden file for your own layer and input, or language model and input_ids, instead;
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
