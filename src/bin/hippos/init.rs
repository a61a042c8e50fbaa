//! `hippos init`: an initialized layer, or one in which nothing rounds, and an input, as
//! a case file.

use crate::args::{self, Args, Failure, Spec};
use hungry_hippos::algebra::{FloatFormat, Rng};
use hungry_hippos::h3::{Config, HeadOrder, Initialization, RealType};
use hungry_hippos::oracle::{Case, ExactLayer, LayerCase};
use hungry_hippos::safetensors::Writer;
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
       hippos init --exact FORMAT --d-model D --out FILE [--d-state M] [--head-dim K] [--n-ssm S]
                   [--l-max L] [--batch B] [--seq-len N] [--seed S]

Writes a case file: a layer with the official initialization, its parameters under their official
names in f64, and a normally distributed input. `run` runs it, `golden --from` certifies it, and a port
can load it. The same flags and seed give the same bytes on every machine.

With --exact, writes a layer and an input on which no operation rounds in FORMAT, whatever the order of
summation. A right port in that format that only adds and multiplies gets every stage exactly; transforms and
exponentials still round. Weights are signed permutations, other parameters small integers, steps 1, bilinear,
real_type none, discrete poles i, -i, 1, -1/2 and (-1 + i)/2. The case is found by a search, which takes
minutes near the largest size.

  --d-model D      channels
  --out FILE       the case file; written completely or not at all
  --d-state M      shift taps per channel; the diagonal models have M/2 poles (default 64)
  --head-dim K     channels per head; divides D (default 1)
  --n-ssm S        diagonal models; divides the number of heads (default: one per head)
  --l-max L        length to which kernels are truncated, or none (default none)
  --disc R         bilinear (default) or zoh
  --real-type T    none, exp (default), relu, sigmoid or softplus
  --measure I      diag-lin (default), diag-inv, diag-legs, diag-inv2, diag-quad, diag-real, or diag:
                   diag-inv for the first half of the models and diag-lin for the second
  --dt-min X       the steps are log-uniform from here (default 0.001)
  --dt-max Y       to here (default 0.1)
  --batch B        sequences of the input (default 1)
  --seq-len N      their length (default 64)
  --seed S         whole number from 0 (default 0)
  --exact FORMAT   f64, f32, tf32, f16 or bf16
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
        "--exact",
    ],
    switches: &[],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    args.required("--d-model")?;
    let batch = size(&args, "--batch", 1)?;
    let seq_len = size(&args, "--seq-len", 64)?;
    let seed: u64 = args.parsed("--seed", "a whole number from 0")?.unwrap_or(0);
    let (what, writer) = match args.value("--exact") {
        Some(_) => (
            "an exact layer",
            exact(&args, batch, seq_len, seed)?.writer()?,
        ),
        None => ("a layer", official(&args, batch, seq_len, seed)?),
    };
    writer.write(out)?;
    let d_model = size(&args, "--d-model", 0)?;
    args::print_of_written(
        out,
        &format!(
            "{what} of seed {seed} and an input {:?} into {}\n",
            [batch, seq_len, d_model],
            out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// A layer as training begins with it.
fn official(args: &Args, batch: usize, seq_len: usize, seed: u64) -> Result<Writer, Failure> {
    let (measure, initialization) = read(args)?;
    // Two streams, so that the layer does not depend on the size of its input.
    let parameters = initialization.parameters(&mut Rng::new(seed))?;
    let input = initialization.input(batch, seq_len, &mut Rng::new(!seed))?;
    let mut writer = Case::from(LayerCase::new(parameters, input)?).writer()?;
    for (key, value) in [
        ("measure", measure),
        ("dt_min", initialization.dt_min.to_string()),
        ("dt_max", initialization.dt_max.to_string()),
        ("seed", seed.to_string()),
    ] {
        writer.metadata(key, &value)?;
    }
    Ok(writer)
}

/// A layer on which nothing rounds in the format of `--exact`.
fn exact(args: &Args, batch: usize, seq_len: usize, seed: u64) -> Result<Case, Failure> {
    for flag in ["--disc", "--real-type", "--measure", "--dt-min", "--dt-max"] {
        if args.value(flag).is_some() {
            return Err(Failure(format!(
                "{flag} does not go with --exact, which makes it bilinear, of real_type none, with steps and poles of its own"
            )));
        }
    }
    let names = FloatFormat::ALL.map(FloatFormat::name).join(", ");
    let format: Option<FloatFormat> = args.parsed("--exact", &format!("one of {names}"))?;
    let format = format.unwrap_or(FloatFormat::F32);
    let layer = ExactLayer::new(config(args)?, batch, seq_len, format);
    Ok(layer.find(&mut Rng::new(seed))?.into())
}

/// The initialization asked for, and the name of its measure.
fn read(args: &Args) -> Result<(String, Initialization), Failure> {
    let measure = named(args, "--measure", "diag-lin");
    let expected = "a number above 0";
    let initialization = Initialization {
        config: config(args)?,
        measure: Diagonalized::of_measure(&measure).map_err(at("--measure"))?,
        dt_min: args.parsed("--dt-min", expected)?.unwrap_or(0.001),
        dt_max: args.parsed("--dt-max", expected)?.unwrap_or(0.1),
    };
    Ok((measure, initialization))
}

/// The sizes and choices of the layer.
fn config(args: &Args) -> Result<Config, Failure> {
    let d_model = size(args, "--d-model", 0)?;
    let head_dim = size(args, "--head-dim", 1)?;
    let l_max = match args.value("--l-max") {
        None => None,
        Some(value) if value == "none" => None,
        Some(_) => Some(size(args, "--l-max", 0)?),
    };
    let disc = named(args, "--disc", "bilinear");
    let disc: Discretization = disc.parse().map_err(at("--disc"))?;
    let real_type = named(args, "--real-type", "exp");
    let real_type: RealType = real_type.parse().map_err(at("--real-type"))?;
    Ok(Config {
        d_model,
        head_dim,
        d_state: size(args, "--d-state", 64)?,
        n_ssm: size(args, "--n-ssm", (d_model / head_dim).max(1))?,
        disc,
        real_type,
        l_max,
        head_order: HeadOrder::default(),
    })
}

/// The value of a flag, or the default.
fn named(args: &Args, flag: &str, default: &str) -> String {
    let value = args.value(flag).map(|value| value.to_string_lossy());
    value.map_or_else(|| default.to_string(), |value| value.into_owned())
}

/// An error as one of a flag.
fn at(flag: &str) -> impl Fn(hungry_hippos::Error) -> Failure {
    move |e| Failure(format!("{flag}: {e}"))
}

/// A size from 1 on.
fn size(args: &Args, flag: &str, default: usize) -> Result<usize, Failure> {
    match args.parsed(flag, "a whole number from 1")? {
        None => Ok(default),
        Some(0) => Err(Failure(format!("{flag} 0: expected a whole number from 1"))),
        Some(size) => Ok(size),
    }
}
