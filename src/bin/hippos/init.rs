//! `hippos init`: a layer as training begins with it, and an input, as a case file.

use crate::args::{self, Args, Failure, Spec};
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Config, HeadOrder, Initialization, RealType};
use hungry_hippos::oracle::{Case, LayerCase};
use hungry_hippos::ssm::Discretization;
use hungry_hippos::ssm::hippo::Diagonalized;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos init --d-model D --out FILE [--d-state M] [--head-dim K] [--n-ssm S] [--l-max L]
                   [--disc R] [--real-type T] [--measure I] [--dt-min X] [--dt-max Y]
                   [--batch B] [--seq-len N] [--seed S]

Writes a case file: a layer with the official initialization, its parameters under their official
names in f64, and a normal input. `run` runs it, `golden --from` certifies it, a port loads it. The
same flags and seed give the same bytes on every machine.

  --d-model D      channels
  --out FILE       where to write; written whole or not at all
  --d-state M      shift taps a channel; the diagonal models have M/2 poles (default 64)
  --head-dim K     channels a head; divides D (default 1)
  --n-ssm S        diagonal models; divides the number of heads (default: one a head)
  --l-max L        length to which kernels are cut, or none (default none)
  --disc R         bilinear (default) or zoh
  --real-type T    none, exp (default), relu, sigmoid or softplus
  --measure I      diag-lin (default), diag-inv, diag-legs, diag-inv2, diag-quad, diag-real, or diag:
                   diag-inv for the first half of the models and diag-lin for the second
  --dt-min X       the steps are log-uniform from here (default 0.001)
  --dt-max Y       to here (default 0.1)
  --batch B        sequences of the input (default 1)
  --seq-len N      their length (default 64)
  --seed S         whole number from 0 (default 0)
",
    positional: &[],
    values: &[
        "--d-model",
        "--out",
        "--d-state",
        "--head-dim",
        "--n-ssm",
        "--l-max",
        "--disc",
        "--real-type",
        "--measure",
        "--dt-min",
        "--dt-max",
        "--batch",
        "--seq-len",
        "--seed",
    ],
    switches: &[],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    args.required("--d-model")?;
    let (measure, initialization) = read(&args)?;
    let batch = size(&args, "--batch", 1)?;
    let seq_len = size(&args, "--seq-len", 64)?;
    let seed: u64 = args.parsed("--seed", "a whole number from 0")?.unwrap_or(0);
    // Two streams, so that the layer does not depend on the size of its input.
    let parameters = initialization.parameters(&mut Rng::new(seed))?;
    let input = initialization.input(batch, seq_len, &mut Rng::new(!seed))?;
    let mut writer = Case::from(LayerCase::new(parameters, input.clone())?).writer()?;
    for (key, value) in [
        ("measure", measure),
        ("dt_min", initialization.dt_min.to_string()),
        ("dt_max", initialization.dt_max.to_string()),
        ("seed", seed.to_string()),
    ] {
        writer.metadata(key, &value)?;
    }
    writer.write(out)?;
    args::print_of_written(
        out,
        &format!(
            "a layer of seed {seed} and an input {:?} into {}\n",
            input.shape(),
            out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// The initialization asked for, and the name of its measure.
fn read(args: &Args) -> Result<(String, Initialization), Failure> {
    let d_model = size(args, "--d-model", 0)?;
    let head_dim = size(args, "--head-dim", 1)?;
    let l_max = match args.value("--l-max") {
        None => None,
        Some(value) if value == "none" => None,
        Some(_) => Some(size(args, "--l-max", 0)?),
    };
    let named = |flag: &str, default: &str| -> String {
        let value = args.value(flag).map(|value| value.to_string_lossy());
        value.map_or_else(|| default.to_string(), |value| value.into_owned())
    };
    let at = |flag: &str| {
        let flag = flag.to_string();
        move |e: hungry_hippos::Error| Failure(format!("{flag}: {e}"))
    };
    let measure = named("--measure", "diag-lin");
    let disc: Discretization = named("--disc", "bilinear").parse().map_err(at("--disc"))?;
    let real_type: RealType = named("--real-type", "exp")
        .parse()
        .map_err(at("--real-type"))?;
    let expected = "a number above 0";
    let config = Config {
        d_model,
        head_dim,
        d_state: size(args, "--d-state", 64)?,
        n_ssm: size(args, "--n-ssm", (d_model / head_dim).max(1))?,
        disc,
        real_type,
        l_max,
        head_order: HeadOrder::default(),
    };
    let initialization = Initialization {
        config,
        measure: Diagonalized::of_measure(&measure).map_err(at("--measure"))?,
        dt_min: args.parsed("--dt-min", expected)?.unwrap_or(0.001),
        dt_max: args.parsed("--dt-max", expected)?.unwrap_or(0.1),
    };
    Ok((measure, initialization))
}

/// A size from 1 on.
fn size(args: &Args, flag: &str, default: usize) -> Result<usize, Failure> {
    match args.parsed(flag, "a whole number from 1")? {
        None => Ok(default),
        Some(0) => Err(Failure(format!("{flag} 0: expected a whole number from 1"))),
        Some(size) => Ok(size),
    }
}
