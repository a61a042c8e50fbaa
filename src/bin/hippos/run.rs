//! `hippos run`: the subject of a case file, every stage of it.

use crate::args::{self, Args, Failure, Spec};
use crate::fast_options::FastOptions;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Certified, Precision};
use hungry_hippos::safetensors::{SafeTensors, Writer};
use hungry_hippos::table::aligned;
use hungry_hippos::verify::fast_stages;
use hungry_hippos::{Error, Tensor};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos run CASE --out FILE [--form F] [--precision P] [--chunk T] [--grad]
       hippos run CASE --out FILE --form fast [--precision P] [--threads K] [--level L]

Runs a case file and writes every stage: of an H3 layer q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state (and chunk_states_k, chunk_states); of a
language model block{i}.residual, block{i}.hidden, logits; of a dense model kernel, output, final_x;
of a convolution y; of the H3 operator shift_k, kv, ssm_out, gated; of Hyena projected, short, filter, v.n,
product.n, mixed, output; of StripedHyena's operators projected, short, x2, x1, v, filter, filtered, gated,
output, states; of SSD y, final_state; of a Mamba-2 layer zxbcdt, xBC_conv, dt, a, y, y_d, gated, normed,
output, states; of training steps (a language model with batch{k}.input_ids and batch{k}.targets, k = 1, 2,
..., and an optimizer in its metadata) step{k}.loss, .grad_norm, .lr, and .grad.PARAMETER,
.exp_avg.PARAMETER, .exp_avg_sq.PARAMETER, .param.PARAMETER;
FILE also holds everything given in CASE, so it is a case file itself. Rows may hold packed or padded documents,
and layers and models may run by a schedule (metadata sequence) and from initial states. If CASE already holds a
stage, the deviation from it is printed, relative to the stage's largest magnitude.

  --out FILE       the file to write; written completely or not at all
  --form F         recurrence, scan, toeplitz, convolution, fft, real-fft, block-fft, flashconv,
                   attention or fast
                   (default: recurrence; convolution if l_max truncates the kernels)
  --precision P    f64 (default), f32, or certified: ball arithmetic, every element correctly rounded
                   to f64, with radius.STAGE for every stage; an element whose rounding no ball decides
                   is written with its radius, and counted (also in the metadata key undecided)
  --chunk T        flashconv's chunk length (default 64)
  --form fast      the fast path of a layer (f64 or f32): writes output, final_state_k, final_state
                   and the results of --grad; no --grad if l_max truncates the kernels
  --threads K      threads of the fast path (default 1); they do not change a bit of the result
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best available)
  --grad           also compute gradients. A layer: reads the cotangent of the output from tensor g
                   (batch x seq_len x d_model, as input) and writes grad.input and grad.PARAMETER
                   for every parameter, and grad.initial_state_k and grad.initial_state if CASE has
                   an initial state. A language model: reads targets (batch x seq_len, as input_ids;
                   -100 is not counted) and writes loss, the mean cross-entropy, grad.logits,
                   grad.block{i}.hidden, grad.block{i}.residual, grad.PARAMETER, and tied.grad.head and
                   tied.grad.lookup, the two parts of the embedding's gradient. Training steps need no --grad

Exit status: 0 done; 1 written, but a stage holds NaN or an infinity; 2 not run.
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
    args::not_the_same_file("--out", path, out)?;
    let precision = precision(&args)?;
    let fast = fast(&args)?;
    let asked = match fast {
        Some(_) => None,
        None => form(&args)?,
    };
    let in_case = |e: Error| Failure(e.in_file(path).to_string());
    let file = SafeTensors::open(path)?;
    let case = Case::read(&file).map_err(in_case)?;
    let form = asked.unwrap_or_else(|| case.default_form());
    let grad = args.has("--grad");
    let form_name = fast.map_or(form.to_string(), |_| "fast".into());
    let mut writer = case.writer()?;
    writer.metadata("form", &form_name)?;
    writer.metadata("precision", precision.name())?;
    let mut said = format!(
        "{}; form {form_name}, precision {}\n",
        case.describe(),
        precision.name()
    );
    let mut not_finite = Vec::new();
    if precision == Precision::Certified {
        let certified = case.certified(&form, grad).map_err(in_case)?;
        said += &add_certified(&mut writer, &file, &certified)?;
    } else {
        let stages = match fast {
            Some(options) => by_fast_path(&case, options, precision, grad),
            None => case.run(&form, precision, grad),
        };
        let mut rows = vec![HEADER.map(String::from).to_vec()];
        for (name, values) in stages.map_err(in_case)? {
            writer.add(&name, precision.dtype(), values.shape(), values.data())?;
            rows.push(describe(&file, &name, &values));
            not_finite.extend(first_not_finite(&name, &values));
        }
        said += &aligned(&rows, true);
    }
    writer.write(out)?;
    args::print_of_written(out, &said);
    if not_finite.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(
        std::io::stderr(),
        "hippos: {} is written, but not finite: {}",
        out.display(),
        not_finite.join(", ")
    );
    Ok(ExitCode::from(1))
}

/// The number of elements of a stage that are not finite, and the first of them.
fn first_not_finite(name: &str, stage: &Tensor<f64>) -> Option<String> {
    let mut places = (0..stage.data().len()).filter(|&at| !stage.data()[at].is_finite());
    let first = places.next()?;
    Some(format!(
        "{name} ({} of {}, first element {first}, {})",
        1 + places.count(),
        stage.data().len(),
        stage.data()[first]
    ))
}

/// Adds the certified stages and their radii to a file; returns what is said of them.
fn add_certified(
    writer: &mut Writer,
    case: &SafeTensors,
    certified: &Certified,
) -> Result<String, Error> {
    let header = [&HEADER[..], &["ulp max", "ulp median", "radius", "retried"]];
    let mut rows = vec![header.concat().into_iter().map(String::from).collect()];
    let dtype = Precision::Certified.dtype();
    for stage in &certified.stages {
        let (name, values, radii) = (&stage.name, &stage.values, &stage.radii);
        writer.add(name, dtype, values.shape(), values.data())?;
        writer.add(
            &format!("radius.{name}"),
            dtype,
            radii.shape(),
            radii.data(),
        )?;
        let mut row = describe(case, name, values);
        row.extend(units_in_the_last_place(case, name, values));
        row.push(format!("{:.1e}", largest(radii.data().iter().copied())));
        row.push(positions(&stage.retried));
        rows.push(row);
    }
    let mut said = aligned(&rows, true);
    if let Some(counts) = certified.undecided() {
        writer.metadata("undecided", &counts)?;
        said += &undecided(&counts, "radius.STAGE bounds");
    }
    Ok(said)
}

/// A line on undecided elements; `bound` is the subject that says how far the written ones are off.
pub(crate) fn undecided(counts: &str, bound: &str) -> String {
    format!(
        "rounding undecided: {counts} (an exact zero or tie that no ball proves, or near underflow; \
         {bound} the error)\n"
    )
}

/// The value of `--precision`.
fn precision(args: &Args) -> Result<Precision, Failure> {
    let Some(name) = args.value("--precision") else {
        return Ok(Precision::F64);
    };
    let known = name.to_str().and_then(Precision::from_name);
    known.ok_or_else(|| {
        let names = Precision::ALL.map(Precision::name).join(", ");
        Failure(format!("--precision {name:?}: expected one of {names}"))
    })
}

/// The fast path with its flags, if `--form` names it.
fn fast(args: &Args) -> Result<Option<FastOptions>, Failure> {
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
    FastOptions::asked(args, 1).map(Some)
}

/// The stages that the fast path keeps of a layer.
fn by_fast_path(
    case: &Case,
    options: FastOptions,
    precision: Precision,
    grad: bool,
) -> Result<Vec<(String, Tensor<f64>)>, Error> {
    let layer = case.layer().ok_or_else(|| Error::Unsupported {
        why: format!(
            "--form fast runs layers; this is a case of kind {:?}",
            case.kind()
        ),
    })?;
    fast_stages(layer, options.level, options.threads, precision, grad)
}

/// The head of the table of stages.
const HEADER: [&str; 4] = ["stage", "shape", "largest", "from CASE"];

/// The number of positions, and the first few of them.
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

/// A row of the table: shape, largest magnitude, deviation from the case's own stage.
fn describe(case: &SafeTensors, name: &str, tensor: &Tensor<f64>) -> Vec<String> {
    let shape: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let deviation = match case.get(name) {
        None => String::new(),
        Some(view) if view.shape != tensor.shape() => {
            format!("of shape {:?} there", view.shape)
        }
        Some(view) => match view.to_f64() {
            Err(e) => e.to_string(),
            Ok(saved) => {
                let scale = largest(saved.iter().copied());
                let pairs = saved.iter().zip(tensor.data());
                let worst = largest(pairs.map(|(saved, ours)| ours - saved));
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
fn units_in_the_last_place(case: &SafeTensors, name: &str, certified: &Tensor<f64>) -> [String; 2] {
    let none = || [String::new(), String::new()];
    let stored = case
        .get(name)
        .filter(|view| view.shape == certified.shape());
    let Some((view, format)) = stored.and_then(|view| Some((view, view.dtype.float_format()?)))
    else {
        return none();
    };
    let Ok(saved) = view.to_f64() else {
        return none();
    };
    let pairs = saved.iter().zip(certified.data());
    let mut errors: Vec<f64> = pairs
        .filter(|(_, certified)| **certified != 0.0)
        .map(|(saved, certified)| {
            ((saved - certified) / format.unit_in_the_last_place(*certified)).abs()
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    match errors[..] {
        [] => none(),
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
