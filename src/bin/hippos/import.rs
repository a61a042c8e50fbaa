//! `hippos import`: a block of a checkpoint as a case file.

use crate::args::{self, Args, Failure, Spec};
use hungry_hippos::Error;
use hungry_hippos::oracle::Checkpoint;
use hungry_hippos::safetensors::{SafeTensors, TensorFile};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos import CHECKPOINT --kind K --out FILE [--prefix P] [--ignore NAMES] [--CHOICE VALUE ...]
                     [--input FILE | --batch B --seq-len N --seed S]
       hippos import CHECKPOINT --kind K --out FILE [--prefix P] [--ignore NAMES] --parameters

Writes one block of a checkpoint as a case file: its parameters under their official names, an input, and the
choices that the tensors do not tell. The checkpoint is a safetensors file; the Python package converts
PyTorch's .bin and .pt. Nothing is guessed: missing parameters, tensors that are not parameters, contradictory
shapes and missing choices are all listed. `golden --from` certifies the case.

  --kind K         layer, model (HazyResearch/H3, safari), hyena (safari, hyena-dna), striped-hyena
                   (stripedhyena, vortex) or mamba2 (mamba_ssm, transformers)
  --out FILE       the case file; written completely or not at all
  --prefix P       the prefix of the block's names, such as backbone.layers.0.mixer. (default: nothing)
  --ignore NAMES   tensors of the block (without the prefix) to leave out: a,b,...
  --parameters     write only the parameters, in the types of the checkpoint: no choices, no input
  --input FILE     a file with the input (batch x seq_len x channels), or input_ids of a model, and anything
                   else that a case of this kind may hold: g, states, documents, with their metadata
  --batch B        without --input: number of sequences of a random input, uniform in [-1, 1), or over the
                   vocabulary (default 1)
  --seq-len N      their length (default 64)
  --seed S         whole number from 0 (default 0)

choices (those of the kind that its tensors do not tell are required):
  layer, model     --disc bilinear|zoh, --real-type exp|none|relu|sigmoid|softplus, --l-max L|none; with more
                   than one channel per head --head-order d2h|hd2
  model            --layer-norm-epsilon E; with attention --num-heads K; --qkv-bias false; --vocab-size V
  hyena            --filter-layout \"(v o)\"|\"(o d)\", --normalized True|False; with the buffers --modulate True|False,
                   --shift X; with filter_fn.bias --use-bias True|False
  striped-hyena    --layout split|column_split|interleave, --hyena-flip-x1x2 True|False; for column_split
                   --num-attention-heads K
  mamba2           --ngroups G, --dt-limit LOW,HIGH (0.0,inf for none); with norm.weight
                   --norm-before-gate True|False, --norm-eps E, --norm-groups K; without it --headdim P
",
    positional: &["CHECKPOINT"],
    values: &[
        "--kind",
        "--out",
        "--prefix",
        "--ignore",
        "--input",
        "--batch",
        "--seq-len",
        "--seed",
        "--disc",
        "--real-type",
        "--l-max",
        "--head-order",
        "--layer-norm-epsilon",
        "--num-heads",
        "--qkv-bias",
        "--vocab-size",
        "--filter-layout",
        "--normalized",
        "--modulate",
        "--shift",
        "--use-bias",
        "--layout",
        "--hyena-flip-x1x2",
        "--num-attention-heads",
        "--ngroups",
        "--dt-limit",
        "--norm-before-gate",
        "--norm-eps",
        "--norm-groups",
        "--headdim",
        "--activation",
    ],
    switches: &["--parameters"],
};

/// The flags before the choices.
const OWN: usize = 8;

/// The flag of a metadata key.
fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The choices given, by their metadata keys.
fn choices(args: &Args) -> Result<BTreeMap<String, String>, Failure> {
    let mut choices = BTreeMap::new();
    for flag in &SPEC.values[OWN..] {
        if let Some(value) = args.parsed::<String>(flag, "a word")? {
            choices.insert(flag[2..].replace('-', "_"), value);
        }
    }
    Ok(choices)
}

/// The file with the input: the one named, or one that is drawn.
fn input(args: &Args, block: &Checkpoint<'_>) -> Result<SafeTensors, Failure> {
    let Some(path) = args.value("--input") else {
        let expected = "a whole number from 1";
        let batch = args.parsed("--batch", expected)?.unwrap_or(1);
        let seq_len = args.parsed("--seq-len", expected)?.unwrap_or(64);
        let seed = args.parsed("--seed", "a whole number from 0")?.unwrap_or(0);
        let bytes = block.drawn(batch, seq_len, seed)?.to_bytes()?;
        return Ok(SafeTensors::from_bytes(bytes)?);
    };
    for flag in ["--batch", "--seq-len", "--seed"] {
        if args.value(flag).is_some() {
            return Err(Failure(format!(
                "{flag} goes with an input that is drawn, not with --input"
            )));
        }
    }
    Ok(SafeTensors::open(Path::new(path))?)
}

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let out = Path::new(args.required("--out")?);
    let path = Path::new(args.positional(0));
    let expected = "a name";
    let kind: Option<String> = args.parsed("--kind", expected)?;
    let kind = kind.ok_or_else(|| {
        let known = Checkpoint::kinds().join(", ");
        Failure(format!("--kind is missing; expected one of {known}"))
    })?;
    let prefix: String = args.parsed("--prefix", expected)?.unwrap_or_default();
    let ignored: String = args.parsed("--ignore", "names")?.unwrap_or_default();
    let ignored: Vec<&str> = ignored.split(',').filter(|name| !name.is_empty()).collect();
    args::not_the_same_file("--out", path, out)?;
    let choices = choices(&args)?;
    let in_file = |e: Error| Failure(e.in_file(path).to_string());
    let file = TensorFile::open(path)?;
    let block = Checkpoint::block(&file, &kind, &prefix, &ignored).map_err(in_file)?;
    let mut said = String::new();
    let writer = if args.has("--parameters") {
        let others = SPEC.values[4..].iter();
        let given: Vec<&str> = others
            .copied()
            .filter(|f| args.value(f).is_some())
            .collect();
        if let Some(flag) = given.first() {
            return Err(Failure(format!("{flag} does not go with --parameters")));
        }
        said += &format!("the parameters of a {kind} into {}\n", out.display());
        block.parameters().map_err(in_file)?
    } else {
        let missing: Vec<String> = block.missing(&choices).into_iter().map(flag).collect();
        if !missing.is_empty() {
            return Err(Failure(format!(
                "{} missing: what the tensors of this {kind} do not tell",
                match &missing[..] {
                    [one] => format!("{one} is"),
                    several => format!("{} are", several.join(", ")),
                }
            )));
        }
        let given = input(&args, &block)?;
        let case = block.case(&choices, &given).map_err(|e| {
            // What a case says in its metadata is a flag here.
            let text = e.in_file(path).to_string();
            Failure(choices.keys().fold(text, |text, key| {
                text.replace(&format!("metadata {key}: "), &format!("{}: ", flag(key)))
            }))
        })?;
        said += &format!("{} into {}\n", case.describe(), out.display());
        case.writer()?
    };
    for (what, names) in [("left out", block.left_out()), ("absent", block.absent())] {
        if !names.is_empty() {
            said += &format!("{what}: {}\n", names.join(", "));
        }
    }
    writer.write(out)?;
    args::print_of_written(out, &said);
    Ok(ExitCode::SUCCESS)
}
