//! `hippos lm`: language models of H3 and attention.

mod cost;
mod generate;
mod init;
mod logits;
mod perplexity;
mod shared;

use crate::args::{self, Failure};
use std::ffi::OsString;
use std::process::ExitCode;

const HELP: &str = "\
usage: hippos lm COMMAND [ARGUMENTS]

Hybrid H3-attention language models. CASE is a safetensors file with the weights under their
official names (those of older checkpoints are read too) and, as metadata, the choices that shapes do not tell:
layer_norm_epsilon; disc, real_type and l_max of the H3 layers; num_heads of the attention layers.

commands:
  logits      the scores of every next token, and both outputs of every block
  generate    the next tokens: greedy, or sampled
  perplexity  how well the model predicts a text
  init        a file of random weights in the shape of a published model
  cost        the cost of one token after a given number: counted and measured

`hippos lm COMMAND --help` describes each.
";

pub(crate) fn main(mut raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    if raw.is_empty() {
        raw.push(OsString::from("--help"));
    }
    let command = raw.remove(0);
    match command.to_str() {
        Some("logits") => logits::main(raw),
        Some("generate") => generate::main(raw),
        Some("perplexity") => perplexity::main(raw),
        Some("init") => init::main(raw),
        Some("cost") => cost::main(raw),
        Some("help" | "--help" | "-h") => args::print(HELP).map(|()| ExitCode::SUCCESS),
        _ => Err(Failure(format!(
            "lm: unknown command {command:?}; expected logits, generate, perplexity, init or cost \
             (hippos lm --help)"
        ))),
    }
}
