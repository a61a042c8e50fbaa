//! `hippos lm logits`: every block, and the scores of every next token.

use super::shared::{backend, can_step, text_of};
use crate::args::{self, Args, Failure, Spec};
use crate::run::{largest, undecided};
use hungry_hippos::lm::{Backend, fast_logits, stages};
use hungry_hippos::model::Text;
use hungry_hippos::oracle::{Case, ModelFile};
use hungry_hippos::safetensors::{Dtype, Tensors as _, Writer};
use hungry_hippos::table::aligned;
use hungry_hippos::{Error, Tensor};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm logits CASE --out FILE [--form sequence|step|prompt|fast] [--precision f64|f32|certified]

Runs the model of a case file over its input_ids (batch x seq_len) and writes logits
(batch x seq_len x vocabulary), block{i}.hidden and block{i}.residual (the results of every block), and
input_ids. If CASE already holds them (step_logits and prompt_logits for those forms),
the deviation is printed, relative to the largest magnitude.

Rows may hold documents (metadata sequence = packed with cu_seqlens, or padded with lengths and padding =
left or right): each is computed as if it were alone, and the results are zero at padding. A schedule
(sequence = schedule) divides sequences into parts, each run from the final state of the part before.

  --out FILE       the file to write; written completely or not at all
  --form F         sequence: sequences at once, or in the parts of their schedule (default); step: one
                   token at a time; prompt: the first prompt_len tokens (metadata, or --prompt-len) at once,
                   then one at a time (both of whole sequences); fast: the fast path, logits only
  --prompt-len N   the prompt of form prompt
  --precision P    f64 (default), f32, or certified: ball arithmetic, every element correctly rounded
                   to f64, with radius.STAGE for every stage
  --threads K      threads of the fast path (default: all cores); they do not change a bit of the result
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best available)
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

/// `--form`.
#[derive(Clone, Copy, PartialEq)]
enum Form {
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
    args::not_the_same_file("--out", path, out)?;
    let form = match args.value("--form").map(|form| (form, form.to_str())) {
        None | Some((_, Some("sequence"))) => Form::Sequence,
        Some((_, Some("step"))) => Form::Step,
        Some((_, Some("prompt"))) => Form::Prompt,
        Some((_, Some("fast"))) => Form::Fast,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--form {other:?}: expected sequence, step, prompt or fast"
            )));
        }
    };
    let precision = match args.value("--precision").map(|p| (p, p.to_str())) {
        None | Some((_, Some("f64"))) => "f64",
        Some((_, Some("f32"))) => "f32",
        Some((_, Some("certified"))) if form == Form::Fast => {
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
    let backend = backend(&args, form == Form::Fast)?;
    let case = ModelFile::open(path)?;
    let text = text_of(&case)?;
    let prompt = prompt_len(&args, form, &case, &text)?;
    let text = match prompt {
        Some(prompt) => text.with_prompt(prompt)?,
        None => text,
    };
    let in_case = |e: Error| Failure(e.in_file(path).to_string());

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
    write_text(&mut writer, &case, &text)?;
    let mut rows = vec![
        ["stage", "shape", "largest", "from CASE"]
            .map(String::from)
            .to_vec(),
    ];
    let dtype = match precision {
        "f32" => Dtype::F32,
        _ => Dtype::F64,
    };
    let saved_logits = match form {
        Form::Step => "step_logits",
        Form::Prompt => "prompt_logits",
        Form::Sequence | Form::Fast => "logits",
    };
    let mut open = String::new();
    let mut take = |name: &str, values: &Tensor<f64>| -> Result<(), Error> {
        writer.add(name, dtype, values.shape(), values.data())?;
        rows.push(describe(&case, name, name, values)?);
        if name == "logits" && saved_logits != name {
            rows.push(describe(&case, name, saved_logits, values)?);
        }
        Ok(())
    };
    if let Backend::Fast { level, threads, .. } = backend {
        let logits = fast_logits(&case, &text, level, threads, dtype).map_err(in_case)?;
        take("logits", &logits).map_err(in_case)?;
    } else if precision == "certified" {
        let whole = case.case().map_err(in_case)?;
        let whole = Case::from(match prompt {
            Some(prompt) => whole.with_prompt(prompt)?,
            None => whole,
        });
        let certified = whole.certified(&whole.default_form(), false);
        let certified = certified.map_err(in_case)?;
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
        if let Some(counts) = certified.undecided() {
            writer.metadata("undecided", &counts)?;
            open = undecided(&counts, "radius.STAGE bounds");
        }
    } else {
        for (name, values) in stages(&case, &text, dtype).map_err(in_case)? {
            take(&name, &values).map_err(in_case)?;
        }
    }
    writer.write(out)?;
    let config = case.config();
    args::print_of_written(
        out,
        &format!(
            "{} blocks, attention in {:?}, d_model {}, vocabulary {}, input_ids {:?}, precision \
         {precision}\n{}{open}written to {}\n",
            config.n_layer,
            config.attn_layer_idx,
            config.d_model(),
            config.vocab_size,
            text.ids().shape(),
            aligned(&rows, false),
            out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// The tokens that the form takes at once before it takes one at a time, if it does so.
fn prompt_len(
    args: &Args,
    form: Form,
    case: &ModelFile,
    text: &Text,
) -> Result<Option<usize>, Failure> {
    let asked: Option<usize> = args.parsed("--prompt-len", "a whole number from 1")?;
    let seq_len = text.documents().seq_len();
    match (form, asked) {
        (Form::Sequence | Form::Step | Form::Fast, Some(_)) => {
            Err(Failure("--prompt-len goes with --form prompt".into()))
        }
        (Form::Sequence | Form::Fast, None) => Ok(None),
        (Form::Step, None) => {
            can_step(case, text, "step")?;
            Ok(Some(0))
        }
        (Form::Prompt, Some(len)) if !(1..=seq_len).contains(&len) => Err(Failure(format!(
            "--prompt-len {len}: input_ids has {seq_len} tokens a sequence"
        ))),
        (Form::Prompt, asked) => {
            can_step(case, text, "prompt")?;
            let stated = || {
                let stated = case.prompt_len(seq_len);
                stated.map_err(|e| e.in_file(case.file().path()))
            };
            Ok(Some(asked.map_or_else(stated, Ok)?))
        }
    }
}

/// The tokens, and what says where documents lie in them.
fn write_text(writer: &mut Writer, case: &ModelFile, text: &Text) -> Result<(), Failure> {
    let ids: Vec<i64> = text.ids().data().iter().map(|&id| id as i64).collect();
    writer.add_i64("input_ids", text.ids().shape(), &ids)?;
    for name in ["cu_seqlens", "lengths"] {
        let Some((_, shape)) = case.file().find(name) else {
            continue;
        };
        writer.add_i64(name, shape, &case.file().integers(name)?)?;
        for key in ["sequence", "padding"] {
            if let Some(value) = case.file().metadata().get(key) {
                writer.metadata(key, value)?;
            }
        }
    }
    Ok(())
}

/// A row of the table: shape, largest magnitude, deviation from what the case holds.
fn describe(
    case: &ModelFile,
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
