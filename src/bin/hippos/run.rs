//! `hippos run`: the layer of a case file, every stage of it.

use crate::args::{self, Args, Failure, Spec};
use crate::fast_options::FastOptions;
use crate::table::aligned;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{FloatFormat, Real, RootsOfUnity, Scalar};
use hungry_hippos::fast::{Element, FastAdjoint, FastLayer, Workspace};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, LayerState, Name};
use hungry_hippos::oracle::{Case, certified};
use hungry_hippos::safetensors::Dtype;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos run CASE --out FILE [--form F] [--precision P] [--chunk T] [--grad]
       hippos run CASE --out FILE --form fast [--precision P] [--threads K] [--level L]

Runs the H3 layer of a case file and writes every stage: q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, beside the parameters and the
input, so that FILE is a case file itself. Where CASE already holds a stage, the deviation from it
is printed, relative to the stage's largest magnitude.

  --out FILE       where to write; written whole or not at all
  --form F         recurrence, scan, toeplitz, convolution, fft, real-fft, block-fft, flashconv,
                   attention or fast
                   (default: recurrence; convolution where l_max cuts the kernels)
  --precision P    f64 (default), f32, or certified: ball arithmetic, every element correctly rounded
                   to f64, with radius.STAGE beside every stage
  --chunk T        flashconv's chunk length (default 64)
  --form fast      the fast path (f64 or f32): writes output, final_state_k, final_state
                   and what --grad gives; no --grad where l_max cuts the kernels
  --threads K      threads of the fast path (default 1); they do not change a bit of the result
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best there is)
  --grad           also run the form backwards: takes the cotangent of the output from tensor g
                   (as input: batch x seq_len x d_model) and writes g, grad.input and grad.PARAMETER
                   for every parameter, and grad.initial_state_k and grad.initial_state if CASE has
                   an initial state
",
    positional: &["CASE"],
    values: &[
        "--out",
        "--form",
        "--precision",
        "--chunk",
        "--threads",
        "--level",
    ],
    switches: &["--grad"],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let path = Path::new(args.positional(0));
    args::not_the_same_file(path, out)?;
    let precision = Arithmetic::asked(&args)?;
    let fast = Fast::asked(&args)?;
    let asked = match fast {
        Some(_) => None,
        None => form(&args)?,
    };
    let case = Case::open(path)?;
    let config = case.parameters().config();
    let form = asked.unwrap_or_else(|| config.default_form(case.input().shape()[1]));
    let in_case =
        |e: hungry_hippos::Error| Failure(e.in_file(path.display().to_string()).to_string());
    let grad = args.has("--grad");
    let mut writer = case.writer()?;
    let form_name = match fast {
        Some(_) => "fast".to_string(),
        None => form.to_string(),
    };
    writer.metadata("form", &form_name)?;
    writer.metadata("precision", precision.name())?;
    if grad {
        let g = case.cotangent().map_err(in_case)?;
        writer.add("g", Dtype::F64, g.shape(), g.data())?;
    }
    let mut rows = vec![header(precision)];
    let dtype = precision.dtype();
    match precision {
        Arithmetic::Certified => {
            for stage in certified(&case, &form, grad).map_err(in_case)?.stages {
                let (name, values, radii) = (&stage.name, &stage.values, &stage.radii);
                writer.add(name, dtype, values.shape(), values.data())?;
                let radius = format!("radius.{name}");
                writer.add(&radius, dtype, radii.shape(), radii.data())?;
                let mut row = describe(&case, name, values);
                row.extend(units_in_the_last_place(&case, name, values));
                row.push(format!("{:.1e}", largest(radii.data().iter().copied())));
                row.push(positions(&stage.retried));
                rows.push(row);
            }
        }
        Arithmetic::Float(format) => {
            let stages = match (format, fast) {
                (FloatFormat::F32, Some(fast)) => fast.stages::<f32>(&case, grad),
                (_, Some(fast)) => fast.stages::<f64>(&case, grad),
                (FloatFormat::F32, None) => stages::<f32>(&case, &form, grad),
                (_, None) => stages::<f64>(&case, &form, grad),
            };
            for (name, values) in stages.map_err(in_case)? {
                writer.add(&name, dtype, values.shape(), values.data())?;
                rows.push(describe(&case, &name, &values));
            }
        }
    }
    writer.write(out)?;
    let mut text = format!(
        "d_model {}, head_dim {}, {} heads, d_state {}, n_ssm {}, {}, {} real part, input {:?}; \
         form {form_name}, precision {}\n",
        config.d_model,
        config.head_dim,
        config.n_heads(),
        config.d_state,
        config.n_ssm,
        config.disc,
        config.real_type,
        case.input().shape(),
        precision.name(),
    );
    text.push_str(&aligned(&rows, true));
    args::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What the fast path was asked for.
#[derive(Clone, Copy)]
struct Fast(FastOptions);

impl Fast {
    /// The fast path with its flags, if `--form` names it.
    fn asked(args: &Args) -> Result<Option<Self>, Failure> {
        if args.value("--form") != Some("fast".as_ref()) {
            for flag in ["--threads", "--level"] {
                if args.value(flag).is_some() {
                    return Err(Failure(format!("{flag} goes with --form fast")));
                }
            }
            return Ok(None);
        }
        if args.value("--chunk").is_some() {
            return Err(Failure("--chunk goes with --form flashconv".into()));
        }
        if args.value("--precision") == Some("certified".as_ref()) {
            return Err(Failure(
                "--form fast runs in f64 or f32; --precision certified goes with the other forms"
                    .into(),
            ));
        }
        FastOptions::asked(args, 1).map(|options| Some(Self(options)))
    }

    /// Output, final states and, if asked for, gradients, widened to f64.
    fn stages<T: Element>(
        self,
        case: &Case,
        grad: bool,
    ) -> Result<Vec<(String, Tensor<f64>)>, hungry_hippos::Error> {
        let (_, input, state) = case.in_precision::<T>()?;
        let mut workspace = Workspace::new(self.0.threads);
        if !grad {
            let layer = FastLayer::<T>::new(self.0.level, case.parameters())?;
            let (output, last) = layer.forward(&input, state.as_ref(), &mut workspace)?;
            return outputs(&output, &last);
        }
        let adjoint = FastAdjoint::<T>::new(self.0.level, case.parameters())?;
        let g = case.cotangent()?.map(T::from_f64);
        let found = adjoint.gradients(&input, state.as_ref(), &g, None, &mut workspace)?;
        let mut stages = outputs(&found.output, &found.final_state)?;
        stages.push(("grad.input".into(), found.input.map(Real::to_f64)));
        for name in Name::ALL {
            let shape = name.shape(case.parameters().config());
            let values = Tensor::new(shape, found.parameters.get(name).to_vec())?;
            stages.push((format!("grad.{}", name.official()), values));
        }
        if state.is_some() {
            let [k, diagonal] = states(&found.state)?;
            stages.push(("grad.initial_state_k".into(), k));
            stages.push(("grad.initial_state".into(), diagonal));
        }
        Ok(stages)
    }
}

/// The stages that the fast path keeps.
pub(crate) fn outputs<T: Element>(
    output: &Tensor<T>,
    last: &LayerState<T>,
) -> Result<Vec<(String, Tensor<f64>)>, hungry_hippos::Error> {
    let [k, diagonal] = states(last)?;
    Ok(vec![
        ("output".into(), output.map(Real::to_f64)),
        ("final_state_k".into(), k),
        ("final_state".into(), diagonal),
    ])
}

/// The two states in the shapes of the files.
fn states<T: Element>(state: &LayerState<T>) -> Result<[Tensor<f64>; 2], hungry_hippos::Error> {
    let &[batch, d1, d2, heads, modes] = state.diagonal.shape() else {
        return Err(hungry_hippos::Error::Unsupported {
            why: "a state of the diagonal models has five axes".into(),
        });
    };
    let parts = state.diagonal.data().iter();
    let parts = parts.flat_map(|z| [z.re.to_f64(), z.im.to_f64()]).collect();
    let diagonal = Tensor::new([batch * d1 * d2, heads, modes, 2], parts)?;
    Ok([state.shift.map(Real::to_f64), diagonal])
}

/// The numbers the layer is run in.
#[derive(Clone, Copy, PartialEq)]
enum Arithmetic {
    Float(FloatFormat),
    Certified,
}

impl Arithmetic {
    const ALL: [Self; 3] = [
        Self::Float(FloatFormat::F64),
        Self::Float(FloatFormat::F32),
        Self::Certified,
    ];

    /// What `--precision` asks for.
    fn asked(args: &Args) -> Result<Self, Failure> {
        let Some(name) = args.value("--precision") else {
            return Ok(Self::ALL[0]);
        };
        let found = Self::ALL.into_iter().find(|choice| name == choice.name());
        found.ok_or_else(|| {
            Failure(format!(
                "--precision {name:?}: expected f64, f32 or certified"
            ))
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Float(format) => format.name(),
            Self::Certified => "certified",
        }
    }

    /// The type the stages are written in.
    fn dtype(self) -> Dtype {
        match self {
            Self::Float(FloatFormat::F32) => Dtype::F32,
            _ => Dtype::F64,
        }
    }
}

/// The head of the table of stages.
fn header(precision: Arithmetic) -> Vec<String> {
    let mut header = vec!["stage", "shape", "largest", "from CASE"];
    if precision == Arithmetic::Certified {
        header.extend(["ulp max", "ulp median", "radius", "retried"]);
    }
    header.into_iter().map(String::from).collect()
}

/// How many positions, and the first few of them.
fn positions(positions: &[usize]) -> String {
    let first: Vec<String> = positions.iter().take(3).map(ToString::to_string).collect();
    match positions.len() {
        0 => "0".into(),
        n if n > 3 => format!("{n} at {}, ...", first.join(", ")),
        n => format!("{n} at {}", first.join(", ")),
    }
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
    let chunking = Chunking::Uniform(chunk.unwrap_or(64));
    let form = Form::from_name(&name.to_string_lossy(), chunking)
        .map_err(|e| Failure(format!("--{e}, or fast")))?;
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
    let stages = case.stages::<T>(form, grad)?.into_iter();
    Ok(stages
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

/// The largest and the median error of the case's own stage, in units of the last place of the
/// type it is stored in.
fn units_in_the_last_place(case: &Case, name: &str, certified: &Tensor<f64>) -> [String; 2] {
    let stored = case.file().get(name);
    let Some(format) = stored.and_then(|view| view.dtype.float_format()) else {
        return [String::new(), String::new()];
    };
    let Ok(saved) = case.tensor(name, certified.shape()) else {
        return [String::new(), String::new()];
    };
    let pairs = saved.data().iter().zip(certified.data());
    let mut errors: Vec<f64> = pairs
        .filter(|(_, certified)| **certified != 0.0)
        .map(|(saved, certified)| {
            ((saved - certified) / format.unit_in_the_last_place(*certified)).abs()
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    match errors[..] {
        [] => [String::new(), String::new()],
        [.., max] => [
            format!("{max:.1}"),
            format!("{:.1}", errors[errors.len() / 2]),
        ],
    }
}

/// The largest magnitude; NaN if there is one.
pub(crate) fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(
        0.0,
        |largest, x| {
            if x.abs() <= largest { largest } else { x.abs() }
        },
    )
}
