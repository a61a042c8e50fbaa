//! `hippos lm logits`: every block, and the scores of every next token.

use super::shared::{fast_model, ids_of, machine, within_window};
use crate::args::{self, Args, Failure, Spec};
use crate::fast_options::FastOptions;
use crate::run::largest;
use crate::table::aligned;
use hungry_hippos::algebra::Real;
use hungry_hippos::fast::{FastModel, ModelElement, ModelWorkspace};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{ModelCase, ModelRun};
use hungry_hippos::safetensors::{Dtype, Writer};
use hungry_hippos::{Error, Tensor};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm logits CASE --out FILE [--form sequence|step|prompt|fast] [--precision f64|f32|certified]

Runs the model of a case file over its input_ids (batch x seq_len) and writes logits
(batch x seq_len x vocabulary), and block{i}.hidden and block{i}.residual, what every block returns, with
input_ids beside them. Where CASE holds them already (step_logits and prompt_logits for those forms),
the deviation is printed, relative to the largest magnitude.

  --out FILE       where to write; written whole or not at all
  --form F         sequence: whole sequences at once (default); step: one token at a time; prompt: the first
                   prompt_len tokens (metadata, or --prompt-len) at once, then one at a time;
                   fast: the fast path, logits alone
  --prompt-len N   the prompt of form prompt
  --precision P    f64 (default), f32, or certified: ball arithmetic, every element correctly rounded
                   to f64, with radius.STAGE beside every stage
  --threads K      threads of the fast path (default: all cores); they do not change a bit of the result
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best there is)
",
    positional: &["CASE"],
    values: &[
        "--out",
        "--form",
        "--prompt-len",
        "--precision",
        "--threads",
        "--level",
    ],
    switches: &[],
};

/// Which way to run the model.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Sequence,
    Step,
    Prompt,
    Fast,
}

pub(super) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let path = Path::new(args.positional(0));
    args::not_the_same_file(path, out)?;
    let way = match args.value("--form").map(|form| (form, form.to_str())) {
        None | Some((_, Some("sequence"))) => Way::Sequence,
        Some((_, Some("step"))) => Way::Step,
        Some((_, Some("prompt"))) => Way::Prompt,
        Some((_, Some("fast"))) => Way::Fast,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--form {other:?}: expected sequence, step, prompt or fast"
            )));
        }
    };
    let precision = match args.value("--precision").map(|p| (p, p.to_str())) {
        None | Some((_, Some("f64"))) => "f64",
        Some((_, Some("f32"))) => "f32",
        Some((_, Some("certified"))) if way == Way::Fast => {
            return Err(Failure(
                "--form fast runs in f64 or f32; --precision certified goes with the other forms"
                    .into(),
            ));
        }
        Some((_, Some("certified"))) => "certified",
        Some((other, _)) => {
            return Err(Failure(format!(
                "--precision {other:?}: expected f64, f32 or certified"
            )));
        }
    };
    let machine = machine(&args, way == Way::Fast)?;
    let case = ModelCase::open(path)?;
    let ids = ids_of(&case)?;
    if matches!(way, Way::Step | Way::Prompt) {
        within_window(&case, ids.shape()[1], "use --form sequence or fast")?;
    }
    let prompt = prompt_len(&args, way, &case, ids.shape()[1])?;
    let in_case = |e: Error| Failure(e.in_file(path.display().to_string()).to_string());

    let mut writer = Writer::new();
    for (key, value) in [
        (
            "form",
            args.value("--form")
                .and_then(|f| f.to_str())
                .unwrap_or("sequence"),
        ),
        ("precision", precision),
    ] {
        writer.metadata(key, value)?;
    }
    let whole: Vec<i64> = ids.data().iter().map(|&id| id as i64).collect();
    writer.add_i64("input_ids", ids.shape(), &whole)?;
    let mut rows = vec![
        ["stage", "shape", "largest", "from CASE"]
            .map(String::from)
            .to_vec(),
    ];
    let dtype = match precision {
        "f32" => Dtype::F32,
        _ => Dtype::F64,
    };
    let saved_logits = match way {
        Way::Step => "step_logits",
        Way::Prompt => "prompt_logits",
        Way::Sequence | Way::Fast => "logits",
    };
    let mut take = |name: &str, values: &Tensor<f64>| -> Result<(), Error> {
        writer.add(name, dtype, values.shape(), values.data())?;
        rows.push(describe(&case, name, name, values)?);
        if name == "logits" && saved_logits != name {
            rows.push(describe(&case, name, saved_logits, values)?);
        }
        Ok(())
    };
    if way == Way::Fast {
        let logits = match precision {
            "f32" => fast_logits::<f32>(&case, &ids, machine),
            _ => fast_logits::<f64>(&case, &ids, machine),
        };
        take("logits", &logits.map_err(in_case)?).map_err(in_case)?;
    } else {
        let parameters = case.parameters().map_err(in_case)?;
        let exact = ModelRun::whole(&parameters, &ids);
        if precision == "certified" {
            let run = ModelRun { prompt, ..exact };
            let certified = run.certified().map_err(in_case)?;
            for stage in &certified.stages {
                take(&stage.name, &stage.values).map_err(in_case)?;
            }
            for (row, stage) in rows.iter_mut().skip(1).zip(&certified.stages) {
                let radius = largest(stage.radii.data().iter().copied());
                row.push(format!("{radius:.1e}"));
            }
            rows[0].push("radius".into());
            for stage in &certified.stages {
                let (name, radii) = (format!("radius.{}", stage.name), &stage.radii);
                writer.add(&name, dtype, radii.shape(), radii.data())?;
            }
        } else {
            let form = match exact.form {
                Form::Convolution => Form::Convolution,
                _ => Form::Fft,
            };
            let run = ModelRun {
                prompt,
                form,
                ..exact
            };
            let stages = match precision {
                "f32" => stages::<f32>(&run),
                _ => stages::<f64>(&run),
            };
            for (name, values) in stages.map_err(in_case)? {
                take(&name, &values).map_err(in_case)?;
            }
        }
    }
    writer.write(out)?;
    let config = case.config();
    args::print(&format!(
        "{} blocks, attention in {:?}, d_model {}, vocabulary {}, input_ids {:?}, precision \
         {precision}\n{}written to {}\n",
        config.n_layer,
        config.attn_layer_idx,
        config.d_model(),
        config.vocab_size,
        ids.shape(),
        aligned(&rows, false),
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn prompt_len(args: &Args, way: Way, case: &ModelCase, seq_len: usize) -> Result<usize, Failure> {
    let asked: Option<usize> = args.parsed("--prompt-len", "a whole number from 1")?;
    match (way, asked) {
        (Way::Prompt, Some(len)) if (1..=seq_len).contains(&len) => Ok(len),
        (Way::Prompt, Some(len)) => Err(Failure(format!(
            "--prompt-len {len}: input_ids has {seq_len} tokens a sequence"
        ))),
        (_, Some(_)) => Err(Failure("--prompt-len goes with --form prompt".into())),
        (Way::Prompt, None) => Ok(case
            .prompt_len(seq_len)
            .map_err(|e| e.in_file(case.file().path()))?),
        (Way::Step, None) => Ok(0),
        (Way::Sequence | Way::Fast, None) => Ok(seq_len),
    }
}

fn stages<T>(run: &ModelRun<'_>) -> Result<Vec<(String, Tensor<f64>)>, Error>
where
    T: Real,
    T::Complex: hungry_hippos::algebra::RootsOfUnity,
{
    let stages = run.stages::<T>()?.into_iter();
    Ok(stages
        .map(|(name, stage)| (name, stage.map(Real::to_f64)))
        .collect())
}

/// The logits (batch, seq_len, vocabulary) of the fast path.
pub(super) fn fast_logits<T: ModelElement>(
    case: &ModelCase,
    ids: &Tensor<usize>,
    machine: FastOptions,
) -> Result<Tensor<f64>, Error> {
    let model: FastModel<T> = fast_model(case, machine.level)?;
    let (batch, len) = (ids.shape()[0], ids.shape()[1]);
    let vocab = case.config().vocab_size;
    let mut all = vec![f64::NAN; batch * len * vocab];
    let mut workspace = ModelWorkspace::new(machine.threads);
    let mut state = model.zero_state(batch, len);
    model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
        let tokens = logits.len() / (batch * vocab);
        for (b, logits) in logits.chunks_exact(tokens * vocab).enumerate() {
            let place = &mut all[(b * len + first) * vocab..][..tokens * vocab];
            for (place, x) in place.iter_mut().zip(logits) {
                *place = x.to_f64();
            }
        }
        Ok(())
    })?;
    Tensor::new([batch, len, vocab], all)
}

/// A row of the table: shape, largest magnitude, deviation from what the case holds.
fn describe(
    case: &ModelCase,
    name: &str,
    saved: &str,
    tensor: &Tensor<f64>,
) -> Result<Vec<String>, Error> {
    let shape: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let deviation = match case.saved(saved, tensor.shape())? {
        None => String::new(),
        Some(saved) => {
            let scale = largest(saved.data().iter().copied());
            let pairs = saved.data().iter().zip(tensor.data());
            let worst = largest(pairs.map(|(saved, ours)| ours - saved));
            format!("{:.1e}", if worst > 0.0 { worst / scale } else { worst })
        }
    };
    Ok(vec![
        if name == saved {
            name.to_string()
        } else {
            format!("{name} ({saved})")
        },
        shape.join(" x "),
        format!("{:.3e}", largest(tensor.data().iter().copied())),
        deviation,
    ])
}
