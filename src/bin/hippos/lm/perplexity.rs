//! `hippos lm perplexity`: how well a model foretells a text.

use super::shared::{fast_model, ids_of, machine, read_ids, within_window};
use crate::args::{self, Failure, Spec};
use crate::fast_options::FastOptions;
use hungry_hippos::algebra::Real;
use hungry_hippos::fast::{FastModel, ModelElement, ModelWorkspace};
use hungry_hippos::h3::Form;
use hungry_hippos::model::{Perplexity, perplexity};
use hungry_hippos::oracle::{ModelCase, ModelRun};
use hungry_hippos::{Error, Tensor};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm perplexity CASE [--ids FILE] [--form sequence|step|fast] [--precision f64|f32]

The perplexity of a text: exp of the mean of -ln p(token | those before it), over every token but the
first of each sequence, p over the whole padded vocabulary.

  --ids FILE       the text: token ids separated by spaces, commas or line ends, one sequence
                   (default: input_ids of CASE)
  --form F         fast: the fast path (default); sequence or step: the reference
  --precision P    f64 (default) or f32
  --threads K      threads of the fast path (default: all cores)
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best there is)
",
    positional: &["CASE"],
    values: &["--ids", "--form", "--precision", "--threads", "--level"],
    switches: &[],
};

pub(super) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let form = match args.value("--form").map(|form| (form, form.to_str())) {
        None => "fast",
        Some((_, Some(form @ ("fast" | "sequence" | "step")))) => form,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--form {other:?}: expected sequence, step or fast"
            )));
        }
    };
    let single = match args.value("--precision").map(|p| (p, p.to_str())) {
        None | Some((_, Some("f64"))) => false,
        Some((_, Some("f32"))) => true,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--precision {other:?}: expected f64 or f32"
            )));
        }
    };
    let machine = machine(&args, form == "fast")?;
    let path = Path::new(args.positional(0));
    let case = ModelCase::open(path)?;
    let in_case = |e: Error| Failure(e.in_file(path.display().to_string()).to_string());
    let (ids, name) = match args.value("--ids") {
        None => (ids_of(&case)?, path.display().to_string()),
        Some(file) => (
            read_ids(Path::new(file))?,
            Path::new(file).display().to_string(),
        ),
    };
    let in_ids = |e: Error| Failure(e.in_file(&name).to_string());
    let vocab = case.config().vocab_size;
    if let Some(id) = ids.data().iter().find(|&&id| id >= vocab) {
        return Err(Failure(format!(
            "{name}: {id} is outside the vocabulary of {vocab}"
        )));
    }
    // Said before a large model is read.
    if form == "step" {
        within_window(&case, ids.shape()[1], "use --form sequence or fast")?;
    }
    Perplexity::check_len(ids.shape()[1]).map_err(in_ids)?;
    let found = match (form, single) {
        ("fast", true) => fast::<f32>(&case, &ids, machine),
        ("fast", _) => fast::<f64>(&case, &ids, machine),
        (_, true) => reference::<f32>(&case, &ids, form == "step"),
        (_, false) => reference::<f64>(&case, &ids, form == "step"),
    }
    .map_err(in_case)?;
    let mean = found.negative_log_likelihood / found.tokens.max(1) as f64;
    args::print(&format!(
        "{} tokens foretold\nmean -ln p   {mean:.12}\nbits a token {:.12}\nperplexity   {:.12}\n",
        found.tokens,
        mean / core::f64::consts::LN_2,
        found.value()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn reference<T>(case: &ModelCase, ids: &Tensor<usize>, step: bool) -> Result<Perplexity, Error>
where
    T: Real,
    T::Complex: hungry_hippos::algebra::RootsOfUnity,
{
    let parameters = case.parameters()?;
    let mut run = ModelRun::whole(&parameters, ids);
    if step {
        run.prompt = 0;
    } else if run.form == Form::Recurrence {
        run.form = Form::Fft;
    }
    let model = parameters.build::<T>()?;
    let stages = model.forward_from_prompt(&run.form, run.prompt, ids)?;
    let logits = stages.logits.map(Real::to_f64);
    perplexity(logits.data(), ids.data(), ids.shape()[1])
}

fn fast<T: ModelElement>(
    case: &ModelCase,
    ids: &Tensor<usize>,
    machine: FastOptions,
) -> Result<Perplexity, Error> {
    let model: FastModel<T> = fast_model(case, machine.level)?;
    let (batch, len, vocab) = (ids.shape()[0], ids.shape()[1], case.config().vocab_size);
    let mut found = Perplexity::default();
    let mut row = Vec::with_capacity(vocab);
    let mut state = model.zero_state(batch, len);
    let mut workspace = ModelWorkspace::new(machine.threads);
    model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
        let tokens = logits.len() / (batch * vocab);
        for (r, logits) in logits.chunks_exact(vocab).enumerate() {
            let (b, t) = (r / tokens, first + r % tokens);
            if t + 1 < len {
                row.clear();
                row.extend(logits.iter().map(|&x| x.to_f64()));
                found.count(&row, ids.data()[b * len + t + 1])?;
            }
        }
        Ok(())
    })?;
    Ok(found)
}
