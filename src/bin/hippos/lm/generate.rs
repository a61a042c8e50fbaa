//! `hippos lm generate`: the next tokens.

use super::shared::{
    MOST_TOKENS, backend, one_sequence, parse_ids, peak_memory, text_of, whole_sequences,
    within_window,
};
use crate::args::{self, Args, Failure, Spec};
use hungry_hippos::lm::{Generation, generate};
use hungry_hippos::model::{Sampling, Text};
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::safetensors::{Dtype, Writer};
use hungry_hippos::{Error, Tensor};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm generate CASE --tokens K [--prompt IDS] [--temperature T] [--top-k N] [--top-p P] [--seed S]
                          [--weights W]

Continues a prompt by K tokens and prints their ids, one line per sequence. Generation is greedy unless a
temperature, top-k or top-p is given. Prompts may have different lengths: documents packed in a row (cu_seqlens)
or rows with padding on either side (lengths). Each is continued as if it were alone.

  --tokens K       number of tokens
  --prompt IDS     token ids, separated by commas or spaces (default: the first prompt_len tokens of every
                   sequence of input_ids, or all of them; every document of packed or padded rows)
  --temperature T  sample with probabilities softmax(logits / T)
  --top-k N        sample only from the N most likely tokens
  --top-p P        sample only from the most likely tokens that together reach probability P
  --seed S         seed of the random numbers (default 0); the same seed gives the same tokens
  --unpadded       never generate a token beyond vocab_size (metadata), that is, a row that pads the vocabulary
  --form F         fast: the fast path (default); step: the reference, one token at a time
  --precision P    f32 (default) or f64
  --weights F      store the weights of matrices in f32, f16, bf16 or int8 (a scale per row), which rounds them;
                   sums stay in the precision (default: as the precision holds them)
  --threads K      threads of the fast path (default: all cores); they do not change a token
  --level L        its instruction set: baseline, avx2, avx512 or neon (default: the best available)
  --out FILE       also write prompt and tokens, as generated_ids (batch x tokens); if lengths differ, padded
                   on the left, with the lengths
  --time           report on stderr the time for the prompt and for the tokens, and the peak memory
",
    positional: &["CASE"],
    values: &[
        "--tokens",
        "--prompt",
        "--temperature",
        "--top-k",
        "--top-p",
        "--seed",
        "--form",
        "--precision",
        "--weights",
        "--threads",
        "--level",
        "--out",
    ],
    switches: &["--time", "--unpadded"],
};

pub(super) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let expected = format!("a whole number from 1 to {MOST_TOKENS}");
    let tokens: usize = args
        .parsed("--tokens", &expected)?
        .ok_or_else(|| Failure("--tokens is missing".into()))?;
    if !(1..=MOST_TOKENS).contains(&tokens) {
        return Err(Failure(format!("--tokens {tokens}: expected {expected}")));
    }
    let sampling = sampling(&args)?;
    let seed: u64 = args.parsed("--seed", "a whole number from 0")?.unwrap_or(0);
    let fast = match args.value("--form").map(|form| (form, form.to_str())) {
        None | Some((_, Some("fast"))) => true,
        Some((_, Some("step"))) => false,
        Some((other, _)) => {
            return Err(Failure(format!("--form {other:?}: expected fast or step")));
        }
    };
    let backend = backend(&args, fast)?;
    let dtype = match args.value("--precision").map(|p| (p, p.to_str())) {
        None | Some((_, Some("f32"))) => Dtype::F32,
        Some((_, Some("f64"))) => Dtype::F64,
        Some((other, _)) => {
            return Err(Failure(format!(
                "--precision {other:?}: expected f32 or f64"
            )));
        }
    };
    let path = Path::new(args.positional(0));
    if let Some(out) = args.value("--out") {
        args::not_the_same_file("--out", path, Path::new(out))?;
    }
    let prompt_flag = match args.value("--prompt") {
        None => None,
        Some(text) => Some(parse_ids("--prompt", &text.to_string_lossy())?),
    };
    let case = ModelFile::open(path)?;
    let vocab = case.config().vocab_size;
    let vocabulary = match args.has("--unpadded") {
        true => unpadded(&case)?,
        false => vocab,
    };
    let prompts = prompts(&case, prompt_flag)?;
    let longest = prompts.documents().longest();
    let in_case = |e: Error| Failure(e.in_file(path).to_string());
    let asked = Generation {
        prompts: &prompts,
        tokens,
        vocabulary,
        sampling,
        seed,
    };
    within_window(
        &case,
        longest + tokens - 1,
        "ask for fewer tokens, or give a shorter prompt",
    )?;
    let found = generate(&case, &asked, backend, dtype).map_err(in_case)?;
    let mut text = String::new();
    for sequence in &found.sequences {
        let new = &sequence[sequence.len() - tokens..];
        let new: Vec<String> = new.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{}", new.join(" "));
    }
    if let Some(out) = args.value("--out") {
        written(&found.sequences, tokens)?.write(Path::new(out))?;
        args::print_of_written(Path::new(out), &text);
    } else {
        args::print(&text)?;
    }
    if args.has("--time") {
        let (load, first) = (found.read_seconds, found.prompt_seconds);
        let rest = found.tokens_seconds;
        let memory = peak_memory().map_or(String::new(), |mb| format!(", {mb:.0} MB at most"));
        let steps = (tokens - 1).max(1) as f64;
        // Where stderr cannot be written, nobody is waiting for it.
        let _ = writeln!(
            std::io::stderr(),
            "read {load:.3} s, prompt of {longest} {first:.4} s, {} tokens {rest:.4} s: {:.3} ms a \
             token, {:.2} tokens/s{memory}",
            tokens - 1,
            1e3 * rest / steps,
            steps * found.sequences.len() as f64 / rest.max(1e-9),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Greedy, unless a flag asks for random tokens.
fn sampling(args: &Args) -> Result<Sampling, Failure> {
    let temperature: Option<f64> = args.parsed("--temperature", "a finite number above 0")?;
    let top_k = args.parsed("--top-k", "a whole number from 1")?;
    let top_p = args.parsed("--top-p", "a number above 0, at most 1")?;
    if temperature.is_none() && top_k.is_none() && top_p.is_none() {
        return Ok(Sampling::Greedy);
    }
    let sampling = Sampling::Random {
        temperature: temperature.unwrap_or(1.0),
        top_k,
        top_p,
    };
    match sampling.check() {
        Ok(()) => Ok(sampling),
        Err(e) => Err(Failure(format!("--{e}"))),
    }
}

/// The rows of the vocabulary that stand for tokens (metadata `vocab_size`).
fn unpadded(case: &ModelFile) -> Result<usize, Failure> {
    let rows = case.config().vocab_size;
    let stated = case.unpadded_vocabulary();
    let stated = stated.map_err(|e| e.in_file(case.file().path()))?;
    stated
        .filter(|stated| (1..=rows).contains(stated))
        .ok_or_else(|| {
            Failure(format!(
                "--unpadded: {} does not say vocab_size, a number from 1 to {rows}",
                case.file().path()
            ))
        })
}

/// The prompts: the flag's, or what the case holds.
fn prompts(case: &ModelFile, flag: Option<Vec<usize>>) -> Result<Text, Failure> {
    let vocab = case.config().vocab_size;
    if let Some(ids) = flag {
        if let Some(id) = ids.iter().find(|&&id| id >= vocab) {
            return Err(Failure(format!(
                "--prompt: {id} is outside the vocabulary of {vocab}"
            )));
        }
        return one_sequence(ids);
    }
    let text = text_of(case)?;
    let len = text.documents().seq_len();
    let prompt = case
        .prompt_len(len)
        .map_err(|e| e.in_file(case.file().path()))?;
    if prompt == len {
        return Ok(text);
    }
    whole_sequences(case, &text, "metadata prompt_len")?;
    let first: Vec<usize> = text
        .sequences()
        .flat_map(|row| &row[..prompt])
        .copied()
        .collect();
    let ids = Tensor::new([text.documents().batch(), prompt], first)?;
    Ok(Text::new(ids)?)
}

/// The file of sequences that each end with so many generated tokens: rows of one length, or with padding
/// on the left.
fn written(sequences: &[Vec<usize>], tokens: usize) -> Result<Writer, Failure> {
    let mut writer = Writer::new();
    let lengths: Vec<i64> = sequences.iter().map(|ids| ids.len() as i64).collect();
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let rows = sequences.iter().flat_map(|ids| {
        let padding = core::iter::repeat_n(0, longest - ids.len());
        padding.chain(ids.iter().map(|&id| id as i64))
    });
    let rows: Vec<i64> = rows.collect();
    if sequences.iter().all(|ids| ids.len() == longest) {
        writer.metadata("prompt_len", &(longest - tokens).to_string())?;
    } else {
        writer.metadata("sequence", "padded")?;
        writer.metadata("padding", "left")?;
        writer.add_i64("lengths", &[lengths.len()], &lengths)?;
    }
    writer.add_i64("generated_ids", &[sequences.len(), longest], &rows)?;
    Ok(writer)
}
