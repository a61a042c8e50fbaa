//! `hippos golden`: certified stages with their error scales.

use crate::args::{self, Failure, Spec};
use crate::progress::Progress;
use hungry_hippos::oracle::{
    Case, DenseGolden, Golden, ModelCase, ModelGolden, SUITE_SEED, dense_suite, model_suite, suite,
};
use hungry_hippos::safetensors::{TensorFile, Writer};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos golden --out DIR [--seed S]
       hippos golden --from CASE --out FILE

Writes golden files: case files whose stages (and gradients, if the case has a cotangent g) are
correctly rounded to f64, with scale.STAGE beside every stage. A port of unit roundoff u is within
tolerance where |port - golden| <= u * scale.

  --out DIR      the golden suite, one file a case, into a folder
  --seed S       the suite of another seed (default: that of version 1)
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
        args::not_the_same_file(Path::new(from), out)?;
        let from = Path::new(from);
        let in_case =
            |e: hungry_hippos::Error| Failure(e.in_file(from.display().to_string()).to_string());
        let header = TensorFile::open(from)?;
        let (writer, stages) = if DenseGolden::is_in(&header) {
            let golden = DenseGolden::open(from)?.certified_anew().map_err(in_case)?;
            (golden.writer()?, golden.stages().len())
        } else if ModelCase::is_in(&header) {
            let case = ModelCase::open(from)?;
            let golden = ModelGolden::certify_case(&case).map_err(in_case)?;
            (golden.writer()?, golden.stages().len())
        } else {
            let golden = Golden::certify(Case::open(from)?).map_err(in_case)?;
            (golden.writer()?, golden.stages().len())
        };
        writer.write(out)?;
        args::print(&format!(
            "{stages} stages certified into {}\n",
            out.display()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::create_dir_all(out).map_err(|e| Failure(format!("{}: {e}", out.display())))?;
    let seed = seed.unwrap_or(SUITE_SEED);
    let (layers, models, dense) = (suite(), model_suite(), dense_suite());
    let cases = layers.len() + models.len() + dense.len();
    let mut progress = Progress::new("cases", cases);
    let mut bytes = 0;
    let mut write = |name: &str, writer: Result<Writer, hungry_hippos::Error>| {
        let writer = writer.map_err(|e| Failure(format!("case {name}: {e}")))?;
        writer.write(&out.join(format!("{name}.safetensors")))?;
        bytes += writer.to_bytes()?.len();
        progress.step();
        Ok::<(), Failure>(())
    };
    for case in &layers {
        let golden = case.build(seed).and_then(Golden::certify);
        write(case.name, golden.and_then(|golden| golden.writer()))?;
    }
    for case in &models {
        let golden = case.certify(seed);
        write(case.name, golden.and_then(|golden| golden.writer()))?;
    }
    for case in &dense {
        let golden = case.certify(seed);
        write(case.name, golden.and_then(|golden| golden.writer()))?;
    }
    drop(progress);
    args::print(&format!(
        "{} cases, {:.2} MB, into {}\n",
        cases,
        bytes as f64 / 1e6,
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
