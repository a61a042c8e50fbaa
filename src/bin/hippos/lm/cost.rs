//! `hippos lm cost`: the cost of one token after a given number.

use super::shared::MOST_TOKENS;
use crate::args::{self, Failure, Spec};
use crate::fast_options::FastOptions;
use crate::progress::Progress;
use hungry_hippos::h3;
use hungry_hippos::lm::{StepTimes, step_times};
use hungry_hippos::model::{ModelConfig, ModelPreset, operations_per_token};
use hungry_hippos::table::aligned;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm cost [--preset small|tiny|125m|355m] [--from N] [--to N] [--rounds R] [--csv]

Prints the cost of one more token after N tokens, for three models of the same shape with random weights: H3 in
every block, attention in the blocks of the preset, attention in every block. Multiplications are
counted by formula. The time is the median step of the fast path in f32, with models and lengths taking turns
in each round. States and caches are filled with given values, not computed from N tokens, since the time does
not depend on the values.

  --preset P       the shape (default small: 6 blocks of 256 channels, attention in block 3, vocabulary 4096)
  --from N, --to N the first and the last length, doubling in between (default 512 and 32768)
  --rounds R       rounds of steps (default 7)
  --threads K      threads (default 1)
  --level L        instruction set: baseline, avx2, avx512 or neon (default: the best available)
  --csv            print the table with comma-separated values
",
    positional: &[],
    values: &["--preset", "--from", "--to", "--rounds", "--threads", "--level"],
    switches: &["--csv"],
};

/// A model, and the time of its steps.
struct Timed {
    name: &'static str,
    config: ModelConfig,
    times: StepTimes,
}

pub(super) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let config = match args.value("--preset").map(|name| name.to_string_lossy()) {
        None => small(),
        Some(name) if name == "small" => small(),
        Some(name) => name
            .parse::<ModelPreset>()
            .map_err(|e| Failure(format!("--{e}, or small")))?
            .config(),
    };
    let length = |flag: &str, default: usize| -> Result<usize, Failure> {
        let expected = format!("a whole number from 1 to {MOST_TOKENS}");
        let n = args.parsed(flag, &expected)?.unwrap_or(default);
        if (1..=MOST_TOKENS).contains(&n) {
            return Ok(n);
        }
        Err(Failure(format!("{flag} {n}: expected {expected}")))
    };
    let (from, to) = (length("--from", 512)?, length("--to", 32768)?);
    if from > to {
        return Err(Failure(format!("--from {from} is beyond --to {to}")));
    }
    let rounds: usize = args
        .parsed("--rounds", "a whole number from 3 to 1000")?
        .unwrap_or(7);
    if !(3..=1000).contains(&rounds) {
        return Err(Failure(format!(
            "--rounds {rounds}: expected a whole number from 3 to 1000"
        )));
    }
    let machine = FastOptions::asked(&args, 1)?;
    let lengths: Vec<usize> = core::iter::successors(Some(from), |n| n.checked_mul(2))
        .take_while(|&n| n <= to)
        .collect();
    let kinds = [
        ("H3", Vec::new()),
        ("hybrid", config.attn_layer_idx.clone()),
        ("attention", (0..config.n_layer).collect()),
    ];
    let configs = kinds.clone().map(|(_, attn_layer_idx)| ModelConfig {
        attn_layer_idx,
        ..config.clone()
    });
    let mut progress = Progress::new("rounds", rounds);
    let FastOptions { level, threads } = machine;
    let mut step = || progress.step();
    let times = step_times(&configs, &lengths, rounds, level, threads, &mut step)?;
    drop(progress);
    let named = kinds.into_iter().zip(configs).zip(times);
    let models: Vec<Timed> = named
        .map(|(((name, _), config), times)| Timed {
            name,
            config,
            times,
        })
        .collect();
    args::print(&report(&lengths, &models, args.has("--csv")))?;
    Ok(ExitCode::SUCCESS)
}

/// A shape small enough that attention is visible next to the weights.
fn small() -> ModelConfig {
    let preset = ModelPreset::M125.config();
    ModelConfig {
        n_layer: 6,
        d_inner: 1024,
        vocab_size: 4096,
        attn_layer_idx: vec![3],
        num_heads: 4,
        h3: h3::Config {
            d_model: 256,
            n_ssm: 256,
            ..preset.h3
        },
        ..preset
    }
}

fn report(lengths: &[usize], models: &[Timed], csv: bool) -> String {
    let mut rows = vec![vec!["tokens before".to_string()]];
    rows.extend(lengths.iter().map(|n| vec![n.to_string()]));
    for timed in models {
        rows[0].push(format!("{} mults", timed.name));
        rows[0].push(format!("{} ms", timed.name));
        for ((row, &n), seconds) in rows[1..].iter_mut().zip(lengths).zip(timed.times.medians()) {
            let counted = operations_per_token(&timed.config, n);
            row.push(counted.total().to_string());
            row.push(format!("{:.4}", 1e3 * seconds));
        }
    }
    if csv {
        let lines = rows.iter().map(|row| row.join(",") + "\n");
        return lines.collect();
    }
    let mut text = aligned(&rows, true);
    for timed in models {
        let counted = |n: usize| operations_per_token(&timed.config, n).total();
        let more = counted(1) - counted(0);
        let _ = match timed.times.seconds_per_token_before() {
            None => writeln!(
                text,
                "{}: {more} multiplications more for each token before; their time takes two lengths (--to {})",
                timed.name,
                2 * lengths[0]
            ),
            Some((slope, error)) => {
                let (slope, error) = (1e9 * slope, 1e9 * error);
                writeln!(
                    text,
                    "{}: {slope:.3} +- {error:.3} ns more for each token before ({more} multiplications more)",
                    timed.name
                )
            }
        };
    }
    text
}
