//! `hippos lm perplexity`: how well a model predicts a text.

use super::shared::{backend, can_step, read_ids, text_of};
use crate::args::{self, Failure, Spec};
use hungry_hippos::Error;
use hungry_hippos::lm::perplexity;
use hungry_hippos::model::Perplexity;
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::safetensors::Dtype;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm perplexity CASE [--ids FILE] [--form sequence|step|fast] [--precision f64|f32] [--weights W]

Prints the perplexity of a text: exp of the mean of -ln p(token | previous tokens), over every token but the
first of each sequence, with p over the whole padded vocabulary. If rows hold several documents (cu_seqlens),
each is a separate sequence: its first token is not counted, and the model sees nothing of the documents
before it. Padding (lengths) is neither read nor counted.

  --ids FILE       the text: token ids separated by spaces, commas or line ends, one sequence
                   (default: input_ids of CASE)
  --form F         fast: the fast path (default); sequence: the reference; step: the reference, one token
                   at a time, of whole sequences
  --precision P    f64 (default) or f32
  --weights F      store the weights of matrices in f32, f16, bf16 or int8, as lm generate does
  --threads K      threads of the fast path (default: all cores)
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best available)
",
    positional: &["CASE"],
    values: &[
        "--ids",
        "--form",
        "--precision",
        "--weights",
        "--threads",
        "--level",
    ],
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
    let dtype = match args.value("--precision").map(|p| (p, p.to_str())) {
        None | Some((_, Some("f64"))) => Dtype::F64,
        Some((_, Some("f32"))) => Dtype::F32,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--precision {other:?}: expected f64 or f32"
            )));
        }
    };
    let backend = backend(&args, form == "fast")?;
    let path = Path::new(args.positional(0));
    let case = ModelFile::open(path)?;
    let in_case = |e: Error| Failure(e.in_file(path).to_string());
    let text = match args.value("--ids") {
        None => text_of(&case)?,
        Some(file) => read_ids(Path::new(file))?,
    };
    if let Some(file) = args.value("--ids") {
        let (name, vocab) = (Path::new(file).display(), case.config().vocab_size);
        if let Some(id) = text.ids().data().iter().find(|&&id| id >= vocab) {
            return Err(Failure(format!(
                "{name}: {id} is outside the vocabulary of {vocab}"
            )));
        }
    }
    let name = args.value("--ids").map_or(path, Path::new);
    // Said before a large model is read.
    Perplexity::check(&text).map_err(|e| Failure(e.in_file(name).to_string()))?;
    let text = match form {
        "step" => {
            can_step(&case, &text, form)?;
            text.with_prompt(0)?
        }
        _ => text,
    };
    let found = perplexity(&case, &text, backend, dtype).map_err(in_case)?;
    let mean = found.mean();
    args::print(&format!(
        "{} tokens predicted\nmean -ln p   {mean:.12}\nbits a token {:.12}\nperplexity   {:.12}\n",
        found.tokens,
        mean / core::f64::consts::LN_2,
        found.value()
    ))?;
    Ok(ExitCode::SUCCESS)
}
