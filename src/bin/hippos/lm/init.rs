//! `hippos lm init`: random weights of a published model's shape.

use super::shared::MOST_TOKENS;
use crate::args::{self, Failure, Spec};
use hungry_hippos::algebra::Rng;
use hungry_hippos::model::{ModelConfig, ModelName, ModelPreset, initial_values};
use hungry_hippos::oracle::model_metadata;
use hungry_hippos::safetensors::write_streamed;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm init --preset tiny|125m|355m --out FILE [--attention none|all|I,J,...] [--seed S]

Writes random weights (F32) in a model's shape, distributed as in the official initialization, with
the metadata that a case needs. Weights are written as they are drawn, so they take no memory.

  --preset P       tiny: 2 blocks of 32 channels; 125m: 12 of 768, vocabulary 50257 padded to 50264, attention
                   of 12 heads in block 6, as published; 355m: 24 of 1024, attention in blocks 8 and 16
  --out FILE       the file to write; written completely or not at all
  --attention A    other blocks with attention, by index from 0
  --seed S         seed of the random numbers (default 0)
",
    positional: &[],
    values: &["--preset", "--out", "--attention", "--seed"],
    switches: &[],
};

pub(super) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let preset: ModelPreset = args
        .required("--preset")?
        .to_string_lossy()
        .parse()
        .map_err(|e| Failure(format!("--{e}")))?;
    let mut config = preset.config();
    if let Some(attention) = args.value("--attention") {
        config.attn_layer_idx = blocks(&attention.to_string_lossy(), config.n_layer)?;
    }
    let seed: u64 = args.parsed("--seed", "a whole number from 0")?.unwrap_or(0);
    let named: BTreeMap<String, ModelName> = config
        .names()
        .into_iter()
        .map(|name| (name.official(), name))
        .collect();
    let tensors: Vec<_> = named
        .iter()
        .map(|(official, name)| (official.clone(), name.shape(&config)))
        .collect();
    write_streamed(out, &metadata(&config, preset), &tensors, |official| {
        initial_values(&config, named[official], Rng::named(seed, official))
    })?;
    args::print_of_written(
        out,
        &format!(
            "{} parameters in {} tensors, {:.1} MB, written to {}\n",
            config.parameter_count(),
            tensors.len(),
            4.0 * config.parameter_count() as f64 / 1e6,
            out.display()
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// `none`, `all`, or block indices.
fn blocks(text: &str, n_layer: usize) -> Result<Vec<usize>, Failure> {
    match text {
        "none" => return Ok(Vec::new()),
        "all" => return Ok((0..n_layer).collect()),
        _ => {}
    }
    let mut blocks = super::shared::parse_ids("--attention", text)?;
    blocks.sort_unstable();
    blocks.dedup();
    match blocks.last() {
        Some(&last) if last >= n_layer => Err(Failure(format!(
            "--attention {last}: the blocks are 0 to {}",
            n_layer - 1
        ))),
        _ => Ok(blocks),
    }
}

fn metadata(config: &ModelConfig, preset: ModelPreset) -> BTreeMap<String, String> {
    debug_assert!(config.vocab_size <= MOST_TOKENS);
    let mut metadata = model_metadata(config);
    metadata.insert("preset".into(), format!("{preset:?}"));
    metadata
}
