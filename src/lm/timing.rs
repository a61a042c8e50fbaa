//! The time one more token takes after so many, on the fast path.

use crate::algebra::Rng;
use crate::error::Error;
use crate::fast::{FastModel, Level, ModelWorkspace};
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, initial_values};
use std::time::Instant;

/// Steps of one round at one length.
const STEPS: usize = 9;

/// The seconds one step of a model takes after so many tokens.
#[derive(Clone, Debug)]
pub struct StepTimes {
    lengths: Vec<usize>,
    /// By length and round, each the median of the round's steps.
    seconds: Vec<Vec<f64>>,
}

impl StepTimes {
    /// The seconds of every round at each length.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn of(lengths: Vec<usize>, seconds: Vec<Vec<f64>>) -> Self {
        Self { lengths, seconds }
    }

    /// Seconds per step after each length: the median of all rounds.
    #[must_use]
    pub fn medians(&self) -> Vec<f64> {
        self.seconds.iter().cloned().map(median).into_vec()
    }

    /// The increase in seconds per previous token, and its standard error: the slope of the
    /// least-squares line through all rounds. `None` for fewer than two lengths, or fewer than
    /// three rounds in all.
    #[must_use]
    pub fn seconds_per_token_before(&self) -> Option<(f64, f64)> {
        let rounds = self.lengths.iter().zip(&self.seconds);
        let samples: Vec<(f64, f64)> = rounds
            .flat_map(|(&n, rounds)| rounds.iter().map(move |&s| (n as f64, s)))
            .into_vec();
        (self.lengths.len() > 1 && samples.len() > 2).then(|| slope(&samples))
    }
}

/// Times one step of models with random weights after each of `lengths` tokens, in f32: per model, round and length a few
/// steps, the models and lengths taking turns within a round. What a model remembers of the tokens is put there, not
/// computed: the time does not depend on its values. `progress` is called after each round.
///
/// # Errors
///
/// If a configuration is impossible.
pub fn step_times(
    configs: &[ModelConfig],
    lengths: &[usize],
    rounds: usize,
    level: Level,
    threads: usize,
    progress: &mut dyn FnMut(),
) -> Result<Vec<StepTimes>, Error> {
    let mut models = Vec::new();
    for config in configs {
        let model = FastModel::<f32>::new(level, config, |name| {
            let rng = Rng::named(0, &name.official());
            Ok(initial_values(config, name, rng).into_vec())
        })?;
        let times = StepTimes {
            lengths: lengths.to_vec(),
            seconds: vec![Vec::new(); lengths.len()],
        };
        models.push((model, times));
    }
    let mut workspace = ModelWorkspace::new(threads);
    for round in 0..rounds {
        for (place, &n) in lengths.iter().enumerate() {
            for (model, times) in &mut models {
                let mut state = model.zero_state(1, n + STEPS).at_position(n);
                let mut seconds = Vec::with_capacity(STEPS);
                for step in 0..STEPS {
                    let id = (round * STEPS + step) % model.config().vocab_size;
                    let begun = Instant::now();
                    model.last_logits(&[id], &mut state, &mut workspace)?;
                    seconds.push(begun.elapsed().as_secs_f64());
                }
                times.seconds[place].push(median(seconds));
            }
        }
        progress();
    }
    Ok(models.into_iter().map(|(_, times)| times).into_vec())
}

/// The middle one of some values, the upper one of two; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
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
