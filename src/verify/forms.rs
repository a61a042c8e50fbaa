//! Every form against every other: exactly over the prime field, within derived bounds in floats.

use super::models::{Kind, Model, sample};
use super::trials::outcomes;
use crate::algebra::{Chosen, FloatFormat, M61, Real, Rng, RootsOfUnity, Rounded, in_format};
use crate::error::Error;
use crate::flashconv::Chunking;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use std::sync::{Mutex, PoisonError};

/// The longest sequence tried, on which the stated soundness bound rests.
const LONGEST: usize = 200;

/// The degree of a layer's outputs as polynomials in its parameters, input and state, beyond the
/// sequence length: `A^(N-1)`, with B, C, the two SSM inputs of degree 4 and 2, q of degree 2 and
/// the output projection.
const EXTRA_DEGREE: usize = 10;

/// One trial in so many is run in floats too: their balls take most of the time.
const FLOAT_EVERY: usize = 8;

/// Two forms of the same models, compared.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FormPair {
    /// The names of the two forms.
    pub forms: [String; 2],
    /// Results compared over the prime field, each all outputs and the final state of one model.
    pub compared: usize,
    /// Those that were equal.
    pub equal: usize,
    /// The largest deviation between the two in f64, relative to the largest result of the model.
    pub f64: f64,
    /// The same in f32.
    pub f32: f64,
}

/// All pairs of forms, compared on random models.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FormsReport {
    /// Every pair of forms once.
    pub pairs: Vec<FormPair>,
    /// Trials over the prime field, each of a dense, a shift and a diagonal model and a layer.
    pub trials: usize,
    /// Trials in f64 and f32.
    pub float_trials: usize,
    /// The longest sequence that could be drawn.
    pub longest: usize,
    /// The largest degree of an output as a polynomial in parameters, input and state.
    pub degree: usize,
    /// An upper bound on the probability that one random trial misses a wrong identity (Schwartz
    /// and Zippel).
    pub miss_probability: f64,
    /// Numbers in f64 and f32 compared with the bound that ball arithmetic derives for their form.
    pub float_comparisons: usize,
    /// Those beyond their bound.
    pub outside_bound: usize,
    /// The largest share of a bound that was used, in f64 and in f32.
    pub bound_used: [f64; 2],
}

impl FormsReport {
    /// Number of results compared over the prime field.
    #[must_use]
    pub fn exact_comparisons(&self) -> usize {
        self.pairs.iter().map(|pair| pair.compared).sum()
    }

    /// Number of failed comparisons: results that are not equal, values beyond their bound.
    #[must_use]
    pub fn failures(&self) -> usize {
        let unequal = |pair: &FormPair| pair.compared - pair.equal;
        self.pairs.iter().map(unequal).sum::<usize>() + self.outside_bound
    }
}

/// Runs every form of `trials` random dense, diagonal and shift models and layers, and compares outputs and
/// final states. `progress` is called after each trial.
///
/// # Errors
///
/// If a form refuses a model, which none should.
pub fn forms(
    seed: u64,
    trials: usize,
    progress: &mut (dyn FnMut() + Send),
) -> Result<FormsReport, Error> {
    let progress = Mutex::new(progress);
    let found = outcomes(trials, |trial| {
        let mut comparison = Comparison::new();
        let rng = &mut Rng::new(seed.wrapping_add((trial as u64) << 32));
        for kind in Kind::ALL {
            comparison.exact_trial(&sample::<M61>(kind, LONGEST, rng)?, rng)?;
            if trial % FLOAT_EVERY != 0 {
                continue;
            }
            let model = sample::<f64>(kind, LONGEST, rng)?;
            for (pair, deviation) in
                in_format(FloatFormat::F64, || comparison.float_trial(&model, 0, rng))?
            {
                let worst = &mut comparison.pairs[pair].f64;
                *worst = worst.max(deviation);
            }
            let model = sample::<f32>(kind, LONGEST, rng)?;
            for (pair, deviation) in
                in_format(FloatFormat::F32, || comparison.float_trial(&model, 1, rng))?
            {
                let worst = &mut comparison.pairs[pair].f32;
                *worst = worst.max(deviation);
            }
        }
        let step = &mut *progress.lock().unwrap_or_else(PoisonError::into_inner);
        step();
        Ok(comparison)
    })?;
    let mut comparison = Comparison::new();
    for found in found {
        comparison.add(found);
    }
    let degree = LONGEST + EXTRA_DEGREE;
    Ok(FormsReport {
        pairs: comparison.pairs,
        trials,
        float_trials: trials.div_ceil(FLOAT_EVERY),
        longest: LONGEST,
        degree,
        miss_probability: degree as f64 / M61::MODULUS as f64,
        float_comparisons: comparison.float_comparisons,
        outside_bound: comparison.outside_bound,
        bound_used: comparison.bound_used,
    })
}

/// All forms, with a random chunking of a sequence of `len`.
fn all_forms(len: usize, rng: &mut Rng) -> Vec<Form> {
    let mut chunks = Vec::new();
    let mut rest = len;
    while rest > 0 {
        let chunk = (1 + rng.below(40)).min(rest);
        chunks.push(chunk);
        rest -= chunk;
    }
    Form::all([Chunking::Ragged(chunks)])
}

/// The pairs so far, in the order of [`pairs_of`].
struct Comparison {
    pairs: Vec<FormPair>,
    float_comparisons: usize,
    outside_bound: usize,
    bound_used: [f64; 2],
}

impl Comparison {
    fn new() -> Self {
        let forms = all_forms(1, &mut Rng::new(0));
        let names: Vec<String> = forms.iter().map(ToString::to_string).into_vec();
        let pairs = pairs_of(&names).map(|(a, b)| FormPair {
            forms: [a.clone(), b.clone()],
            ..FormPair::default()
        });
        Self {
            pairs: pairs.into_vec(),
            float_comparisons: 0,
            outside_bound: 0,
            bound_used: [0.0; 2],
        }
    }

    fn add(&mut self, others: Self) {
        for (pair, other) in self.pairs.iter_mut().zip(others.pairs) {
            pair.compared += other.compared;
            pair.equal += other.equal;
            pair.f64 = pair.f64.max(other.f64);
            pair.f32 = pair.f32.max(other.f32);
        }
        self.float_comparisons += others.float_comparisons;
        self.outside_bound += others.outside_bound;
        for (used, other) in self.bound_used.iter_mut().zip(others.bound_used) {
            *used = used.max(other);
        }
    }

    fn exact_trial(&mut self, model: &Model<M61>, rng: &mut Rng) -> Result<(), Error> {
        let results = all_forms(model.len(), rng)
            .iter()
            .map(|form| model.run(form))
            .collect::<Result<Vec<_>, _>>()?;
        for (pair, (a, b)) in self.pairs.iter_mut().zip(pairs_of(&results)) {
            if let (Some(a), Some(b)) = (a, b) {
                pair.compared += 1;
                pair.equal += usize::from(a == b);
            }
        }
        Ok(())
    }

    /// Runs every form in `T` and holds it to the bound that the same form yields on balls of
    /// its format, the chosen one. Returns the largest deviation of each pair by its place, relative to the largest result.
    fn float_trial<T>(
        &mut self,
        model: &Model<T>,
        precision: usize,
        rng: &mut Rng,
    ) -> Result<Vec<(usize, f64)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let forms = all_forms(model.len(), rng);
        let balls = model.map(|x| Rounded::<Chosen>::from_f64(x.to_f64()));
        let mut results = Vec::new();
        for form in &forms {
            let result: Option<Vec<f64>> = model
                .run(form)?
                .map(|result| result.into_iter().map(T::to_f64).into_vec());
            let bounds = balls.run(form)?;
            for (&x, ball) in result.iter().flatten().zip(bounds.iter().flatten()) {
                self.float_comparisons += 1;
                let ball = ball.ball();
                if !ball.contains(x) {
                    self.outside_bound += 1;
                } else if ball.radius() > 0.0 {
                    // The midpoint is the exact result up to 2^-100 or so; its two words are
                    // subtracted one by one, since x cancels against the first.
                    let [high, low] = ball.midpoint();
                    let used = ((x - high) - low).abs() / ball.radius();
                    self.bound_used[precision] = self.bound_used[precision].max(used);
                }
            }
            results.push(result);
        }
        let scale = results
            .iter()
            .flatten()
            .flatten()
            .fold(f64::MIN_POSITIVE, |scale, &x| scale.max(x.abs()));
        let mut deviations = Vec::new();
        for (pair, (a, b)) in pairs_of(&results).enumerate() {
            if let (Some(a), Some(b)) = (a, b) {
                let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                deviations.push((pair, differences.fold(0.0, f64::max) / scale));
            }
        }
        Ok(deviations)
    }
}

/// Every pair of a list once, the earlier first.
pub fn pairs_of<T>(list: &[T]) -> impl Iterator<Item = (&T, &T)> {
    let after = |i| list.iter().skip(i + 1);
    list.iter()
        .enumerate()
        .flat_map(move |(i, a)| after(i).map(move |b| (a, b)))
}
