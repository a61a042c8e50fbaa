//! `hippos run`: the layer of a case file, every stage of it.

use crate::args::{self, Args, Failure, Spec};
use crate::table::aligned;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Real, RootsOfUnity, Scalar};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, named_stages};
use hungry_hippos::safetensors::Dtype;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos run CASE --out FILE [--form F] [--precision P] [--chunk T] [--grad]

Runs the H3 layer of a case file and writes every stage: q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, beside the parameters and the
input, so that FILE is a case file itself. Where CASE already holds a stage, the deviation from it
is printed, relative to the stage's largest magnitude.

  --out FILE       where to write; written whole or not at all
  --form F         recurrence, toeplitz, convolution, fft, real-fft, block-fft, scan, attention or flashconv
                   (default: recurrence; convolution where l_max cuts the kernels)
  --precision P    f64 (default) or f32
  --chunk T        flashconv's chunk length (default 64)
  --grad           also run the form backwards: takes the cotangent of the output from tensor g
                   (as input: batch x seq_len x d_model) and writes g, grad.input and grad.PARAMETER
                   for every parameter, and grad.initial_state_k and grad.initial_state if CASE has
                   an initial state
",
    positional: &["CASE"],
    values: &["--out", "--form", "--precision", "--chunk"],
    switches: &["--grad"],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let path = Path::new(args.positional(0));
    if same_file(path, out) {
        return Err(Failure(format!(
            "--out {out:?} is the case file itself; expected another name"
        )));
    }
    let precision = args.value("--precision").unwrap_or("f64".as_ref());
    let dtype = match precision.to_str() {
        Some("f64") => Dtype::F64,
        Some("f32") => Dtype::F32,
        _ => {
            return Err(Failure(format!(
                "--precision {precision:?}: expected f64 or f32"
            )));
        }
    };
    let asked = form(&args)?;
    let case = Case::open(path)?;
    let config = case.parameters().config();
    let cut = config
        .l_max
        .is_some_and(|l_max| l_max < case.input().shape()[1]);
    let form = asked.unwrap_or(if cut {
        Form::Convolution
    } else {
        Form::Recurrence
    });
    let in_case =
        |e: hungry_hippos::Error| Failure(e.in_file(path.display().to_string()).to_string());
    let grad = args.has("--grad");
    let stages = match dtype {
        Dtype::F32 => stages::<f32>(&case, &form, grad).map_err(in_case)?,
        _ => stages::<f64>(&case, &form, grad).map_err(in_case)?,
    };

    let mut writer = case.writer()?;
    writer.metadata("form", &form.to_string())?;
    writer.metadata("precision", &dtype.to_string())?;
    if grad {
        let g = case.cotangent()?;
        writer.add("g", Dtype::F64, g.shape(), g.data())?;
    }
    let mut rows = vec![
        ["stage", "shape", "largest", "from CASE"]
            .map(String::from)
            .to_vec(),
    ];
    for (name, tensor) in &stages {
        writer.add(name, dtype, tensor.shape(), tensor.data())?;
        rows.push(describe(&case, name, tensor));
    }
    writer.write(out)?;
    let mut text = format!(
        "d_model {}, head_dim {}, {} heads, d_state {}, n_ssm {}, {}, {} real part, input {:?}; \
         form {form}, precision {dtype}\n",
        config.d_model,
        config.head_dim,
        config.n_heads(),
        config.d_state,
        config.n_ssm,
        config.disc,
        config.real_type,
        case.input().shape(),
    );
    text.push_str(&aligned(&rows, true));
    args::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn form(args: &Args) -> Result<Option<Form>, Failure> {
    let chunk: Option<usize> = args
        .parsed("--chunk", "a whole number from 1")?
        .map(|chunk| match chunk {
            0 => Err(Failure("--chunk 0: expected a whole number from 1".into())),
            _ => Ok(chunk),
        })
        .transpose()?;
    let Some(name) = args.value("--form") else {
        return match chunk {
            None => Ok(None),
            Some(_) => Err(Failure("--chunk goes with --form flashconv".into())),
        };
    };
    let form = match name.to_str() {
        Some("recurrence") => Form::Recurrence,
        Some("toeplitz") => Form::Toeplitz,
        Some("convolution") => Form::Convolution,
        Some("fft") => Form::Fft,
        Some("real-fft") => Form::RealFft,
        Some("block-fft") => Form::BlockFft,
        Some("scan") => Form::Scan,
        Some("attention") => Form::Attention,
        Some("flashconv") => Form::FlashConv(Chunking::Uniform(chunk.unwrap_or(64))),
        _ => {
            return Err(Failure(format!(
                "--form {name:?}: expected recurrence, toeplitz, convolution, fft, real-fft, \
                 block-fft, scan, attention or flashconv"
            )));
        }
    };
    if chunk.is_some() && !matches!(form, Form::FlashConv(_)) {
        return Err(Failure("--chunk goes with --form flashconv".into()));
    }
    Ok(Some(form))
}

/// Every stage, and every gradient if asked for, in the precision of `T`, widened to f64.
fn stages<T>(
    case: &Case,
    form: &Form,
    grad: bool,
) -> Result<Vec<(String, Tensor<f64>)>, hungry_hippos::Error>
where
    T: Real,
    <T as Scalar>::Complex: RootsOfUnity,
{
    let (layer, input, state) = case.in_precision::<T>()?;
    let stages = layer.forward(form, &input, state.as_ref())?;
    let mut named: Vec<_> = named_stages(&layer, &stages)
        .into_iter()
        .map(|(name, tensor)| (name.to_string(), tensor))
        .collect();
    if grad {
        named.extend(case.gradients(form)?);
    }
    Ok(named
        .into_iter()
        .map(|(name, tensor)| (name, tensor.map(Real::to_f64)))
        .collect())
}

/// A row of the table: shape, largest magnitude, deviation from the case's own stage.
fn describe(case: &Case, name: &str, tensor: &Tensor<f64>) -> Vec<String> {
    let shape: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let deviation = match case.file().get(name) {
        None => String::new(),
        Some(_) => match case.tensor(name, tensor.shape()) {
            Err(e) => e.to_string(),
            Ok(saved) => {
                let scale = largest(saved.data().iter().copied());
                let worst = largest(
                    saved
                        .data()
                        .iter()
                        .zip(tensor.data())
                        .map(|(saved, ours)| ours - saved),
                );
                format!("{:.1e}", if worst > 0.0 { worst / scale } else { worst })
            }
        },
    };
    vec![
        name.to_string(),
        shape.join(" x "),
        format!("{:.3e}", largest(tensor.data().iter().copied())),
        deviation,
    ]
}

/// The largest magnitude; NaN if there is one.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(
        0.0,
        |largest, x| {
            if x.abs() <= largest { largest } else { x.abs() }
        },
    )
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
