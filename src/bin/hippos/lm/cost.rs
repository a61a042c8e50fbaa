//! `hippos lm cost`: what one token costs after how many.

use super::init::random;
use super::shared::MOST_TOKENS;
use crate::args::{self, Failure, Spec};
use crate::fast_options::FastOptions;
use crate::progress::Progress;
use crate::table::aligned;
use hungry_hippos::fast::{FastModel, ModelWorkspace};
use hungry_hippos::h3;
use hungry_hippos::model::{
    ModelConfig, ModelPreset, Operations, initial_values, operations_per_token,
};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

const SPEC: Spec = Spec {
    help: "\
usage: hippos lm cost [--preset small|tiny|125m|355m] [--from N] [--to N] [--rounds R] [--csv]

What one more token costs after N tokens, in three models of one shape with random weights: H3 in
every block, attention in the blocks of the preset, attention in every block. Multiplications are
counted by formula; the time is the median step of the fast path in f32, the models and lengths taking turns
round by round. What H3 and attention remember of the N tokens is put there, not computed: the time does
not depend on its values.

  --preset P       the shape (default small: 6 blocks of 256 channels, attention in block 3, vocabulary 4096)
  --from N, --to N the first and the last length, doubling between (default 512 and 32768)
  --rounds R       rounds of steps (default 7)
  --threads K      threads (default 1)
  --level L        instruction set: baseline, avx2, avx512 or neon (default: the best there is)
  --csv            the table with commas between
",
    positional: &[],
    values: &["--preset", "--from", "--to", "--rounds", "--threads", "--level"],
    switches: &["--csv"],
};

/// Steps of one round at one length.
const STEPS: usize = 9;

/// The models' names, and what is timed of each.
struct Timed {
    name: &'static str,
    config: ModelConfig,
    model: FastModel<f32>,
    /// Seconds a step, by length and round.
    seconds: Vec<Vec<f64>>,
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
    let mut models = Vec::new();
    for (name, attn_layer_idx) in kinds {
        let config = ModelConfig {
            attn_layer_idx,
            ..config.clone()
        };
        let model = FastModel::new(machine.level, &config, |name| {
            Ok(initial_values(&config, name, random(0, &name.official())).collect())
        })?;
        models.push(Timed {
            name,
            config,
            model,
            seconds: vec![Vec::new(); lengths.len()],
        });
    }
    let mut progress = Progress::new("rounds", rounds);
    let mut workspace = ModelWorkspace::new(machine.threads);
    for round in 0..rounds {
        for (place, &n) in lengths.iter().enumerate() {
            for timed in &mut models {
                let mut state = timed.model.zero_state(1, n + STEPS).at_position(n);
                let mut seconds = Vec::with_capacity(STEPS);
                for step in 0..STEPS {
                    let id = (round * STEPS + step) % timed.config.vocab_size;
                    let begun = Instant::now();
                    timed.model.last_logits(&[id], &mut state, &mut workspace)?;
                    seconds.push(begun.elapsed().as_secs_f64());
                }
                timed.seconds[place].push(median(&mut seconds));
            }
        }
        progress.step();
    }
    drop(progress);
    args::print(&report(&lengths, &mut models, args.has("--csv")))?;
    Ok(ExitCode::SUCCESS)
}

/// A shape small enough that attention is seen beside the weights.
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

fn report(lengths: &[usize], models: &mut [Timed], csv: bool) -> String {
    let mut rows = vec![vec!["tokens before".to_string()]];
    for timed in models.iter() {
        rows[0].push(format!("{} mults", timed.name));
        rows[0].push(format!("{} ms", timed.name));
    }
    for (place, &n) in lengths.iter().enumerate() {
        let mut row = vec![n.to_string()];
        for timed in models.iter_mut() {
            let counted: Operations = operations_per_token(&timed.config, n);
            row.push(counted.total().to_string());
            row.push(format!("{:.4}", 1e3 * median(&mut timed.seconds[place])));
        }
        rows.push(row);
    }
    let mut text = if csv {
        rows.iter()
            .fold(String::new(), |text, row| text + &row.join(",") + "\n")
    } else {
        aligned(&rows, true)
    };
    if csv {
        return text;
    }
    for timed in models.iter() {
        let samples = lengths.iter().zip(&timed.seconds);
        let samples: Vec<(f64, f64)> = samples
            .flat_map(|(&n, rounds)| rounds.iter().map(move |&s| (n as f64, s)))
            .collect();
        let counted = |n: usize| operations_per_token(&timed.config, n).total();
        let more = counted(1) - counted(0);
        let _ = match lengths.len() {
            1 => writeln!(
                text,
                "{}: {more} multiplications more for each token before; their time takes two lengths (--to {})",
                timed.name,
                2 * lengths[0]
            ),
            _ => {
                let (slope, error) = slope(&samples);
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The slope of the line of least squares, and its standard error; of at least three samples at two
/// places.
fn slope(samples: &[(f64, f64)]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| samples.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(&|s| s.0), mean(&|s| s.1));
    let spread: f64 = samples.iter().map(|s| (s.0 - x) * (s.0 - x)).sum();
    let slope = samples.iter().map(|s| (s.0 - x) * (s.1 - y)).sum::<f64>() / spread;
    let rest: f64 = samples
        .iter()
        .map(|s| (s.1 - y - slope * (s.0 - x)).powi(2))
        .sum();
    (slope, (rest / (n - 2.0) / spread).sqrt())
}
