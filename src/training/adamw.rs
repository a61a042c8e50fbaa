//! AdamW: one update of all parameters.

use super::groups::{ParameterGroup, check_groups};
use super::schedule::Schedule;
use crate::algebra::Real;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, ModelName, ModelParameters};

/// The number that the official clipping adds to the norm.
const CLIP_EPSILON: f64 = 1e-6;

/// The optimizer: what does not change from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    groups: Vec<ParameterGroup>,
    schedule: Schedule,
    /// The largest norm of all gradients together; none is clipped if `None`.
    clip: Option<f64>,
}

/// The state from which training continues: the parameters, and the moments of their gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState<T> {
    /// The weights.
    pub parameters: ModelParameters<T>,
    /// The running mean of the gradients.
    pub exp_avg: ModelParameters<T>,
    /// The running mean of their squares.
    pub exp_avg_sq: ModelParameters<T>,
    /// Updates made.
    pub steps: u64,
}

impl<T: Real> TrainingState<T> {
    /// The state before the first step: moments of zero.
    #[must_use]
    pub fn new(parameters: ModelParameters<T>) -> Self {
        let zeros = parameters.map(|_| T::ZERO);
        Self {
            exp_avg: zeros.clone(),
            exp_avg_sq: zeros,
            parameters,
            steps: 0,
        }
    }
}

/// The numbers that an update computes on its way.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Update<T> {
    /// The norm of all gradients together, before clipping.
    pub grad_norm: T,
    /// The rate of every group.
    pub rates: Vec<T>,
}

/// One number of a parameter with its moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<T> {
    pub(crate) value: T,
    pub(crate) exp_avg: T,
    pub(crate) exp_avg_sq: T,
}

/// The numbers of a group at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepNumbers<T> {
    /// The schedule's.
    pub(crate) rate: T,
    pub(crate) weight_decay: T,
    pub(crate) epsilon: T,
    /// b of each moment, `1 - b`, and `1 - b^k` at step k, from 1.
    pub(crate) betas: [T; 2],
    pub(crate) complements: [T; 2],
    pub(crate) corrections: [T; 2],
}

impl<T: Real> StepNumbers<T> {
    fn new(group: &ParameterGroup, rate: T, step: u64) -> Self {
        let betas = group.betas;
        Self {
            rate,
            weight_decay: T::from_f64(group.weight_decay),
            epsilon: T::from_f64(group.epsilon),
            betas: betas.map(T::from_f64),
            complements: betas.map(complement),
            corrections: betas.map(|beta| correction(complement(beta), step)),
        }
    }
}

/// `1 - x` for x from 0 to 1: the difference in f64 and what it lost, which together are exact.
pub fn complement<T: Real>(x: f64) -> T {
    let difference = 1.0 - x;
    T::from_f64(difference) + T::from_f64((1.0 - difference) - x)
}

/// `1 - (1 - c)^n` without cancellation: with `s_n` for it, `s_{m+n} = s_m + s_n (1 - s_m)`.
pub fn correction<T: Real>(c: T, n: u64) -> T {
    if n == 0 {
        return T::ZERO;
    }
    let half = correction(c, n / 2);
    let even = half + half * (T::ONE - half);
    match n % 2 {
        0 => even,
        _ => even + c * (T::ONE - even),
    }
}

/// A stage of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpdateStage {
    /// `grad.PARAMETER`
    Gradient(ModelName),
    /// `grad_norm`
    Norm,
    /// `lr`
    Rates,
    /// `exp_avg.PARAMETER`
    Mean(ModelName),
    /// `exp_avg_sq.PARAMETER`
    Square(ModelName),
    /// `param.PARAMETER`
    Value(ModelName),
}

impl UpdateStage {
    /// The name in files, of step `step` from 1.
    pub(crate) fn name(self, step: u64) -> String {
        let of = |kind: &str, name: ModelName| format!("step{step}.{kind}.{}", name.official());
        match self {
            Self::Gradient(name) => of("grad", name),
            Self::Norm => format!("step{step}.grad_norm"),
            Self::Rates => format!("step{step}.lr"),
            Self::Mean(name) => of("exp_avg", name),
            Self::Square(name) => of("exp_avg_sq", name),
            Self::Value(name) => of("param", name),
        }
    }
}

/// The parts of an update that can be computed in another way: with a known mistake, or as an error analysis. The
/// defaults are the reference. (Mistakes of groups are edits of the groups.)
pub(crate) trait OptimizerHooks<T: Real> {
    /// Hook applied to a stage of step `step`, from 1, once it is complete. Its result, which is as long, stands
    /// in the place of the stage, also for all that is computed from it.
    fn stage(&self, _step: u64, _of: UpdateStage, computed: Vec<T>) -> Vec<T> {
        computed
    }

    /// The rate of a group at a step, from 0.
    fn rate(&self, schedule: &Schedule, base: f64, step: u64) -> Result<T, Error> {
        schedule.rate(base, step)
    }

    /// The norm of all gradients together.
    fn norm(&self, gradients: &ModelParameters<T>) -> T {
        global_norm(gradients)
    }

    /// The gradients that are left where their norm has a limit.
    fn clip(
        &self,
        gradients: &ModelParameters<T>,
        norm: T,
        limit: f64,
    ) -> Result<ModelParameters<T>, Error> {
        let factor = clip_factor(norm, limit)?;
        Ok(gradients.map(|g| g * factor))
    }

    /// The moments of one number after a step with the gradient `g`: of the gradient, and of its square.
    fn moments(&self, numbers: &StepNumbers<T>, before: Element<T>, g: T) -> [T; 2] {
        adamw_moments(numbers, before, g)
    }

    /// One number after a step, from its moments.
    fn value(&self, numbers: &StepNumbers<T>, before: T, moments: [T; 2]) -> T {
        adamw_value(numbers, before, moments)
    }
}

/// The reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsOfficial;

impl<T: Real> OptimizerHooks<T> for AsOfficial {}

/// `sqrt(sum g^2)` over all parameters, the tied embedding once.
pub(crate) fn global_norm<T: Real>(gradients: &ModelParameters<T>) -> T {
    let names = gradients.config().names().into_iter();
    let sum = names.fold(T::ZERO, |sum, name| {
        let of = gradients.get(name).iter();
        of.fold(sum, |sum, &g| sum + g * g)
    });
    sum.sqrt()
}

/// `min(1, limit / (norm + 1e-6))`.
///
/// # Errors
///
/// If the norm cannot be told from `-1e-6`: it is not known.
pub fn clip_factor<T: Real>(norm: T, limit: f64) -> Result<T, Error> {
    let factor = T::from_f64(limit).divide(norm + T::from_f64(CLIP_EPSILON));
    let factor = factor.ok_or_else(|| Error::value("norm of the gradients", "is not known"))?;
    // 1 where the factor is below 1, else 0; the hull of both for a ball in doubt.
    let is_below = (T::ONE - factor).step();
    Ok(is_below * factor + (T::ONE - is_below))
}

/// The moments of one number after a step with the gradient `g`.
pub(crate) fn adamw_moments<T: Real>(numbers: &StepNumbers<T>, before: Element<T>, g: T) -> [T; 2] {
    let (betas, complements) = (numbers.betas, numbers.complements);
    [
        betas[0] * before.exp_avg + complements[0] * g,
        betas[1] * before.exp_avg_sq + complements[1] * (g * g),
    ]
}

/// One number after a step: decay, and the step along the quotient of its moments.
///
/// The denominator is at least epsilon, and the quotient exists. It is not known, and NaN, where an enclosure
/// is so wide that it does not tell.
pub(crate) fn adamw_value<T: Real>(
    numbers: &StepNumbers<T>,
    before: T,
    [exp_avg, exp_avg_sq]: [T; 2],
) -> T {
    let StepNumbers {
        rate,
        weight_decay,
        epsilon,
        corrections,
        ..
    } = *numbers;
    let quotient = |a: T, b: T| a.divide(b).unwrap_or_else(|| T::from_f64(f64::NAN));
    let decayed = before * (T::ONE - rate * weight_decay);
    let mean = quotient(exp_avg, corrections[0]);
    let deviation = quotient(exp_avg_sq, corrections[1]).sqrt();
    decayed - rate * quotient(mean, deviation + epsilon)
}

/// Refuses a limit of the gradients' norm that is none.
///
/// # Errors
///
/// If it is not a finite number above 0.
pub(crate) fn check_clip(clip: Option<f64>) -> Result<(), Error> {
    match clip.filter(|clip| !(clip.is_finite() && *clip > 0.0)) {
        None => Ok(()),
        Some(clip) => Err(Error::value(
            "limit of the gradients' norm",
            format!("{clip}; expected a finite number above 0"),
        )),
    }
}

impl AdamW {
    /// The optimizer of a model with these groups, this schedule and this limit of the norm.
    ///
    /// # Errors
    ///
    /// If a parameter is in no group or in more than one, or a number is out of range.
    pub fn new(
        config: &ModelConfig,
        groups: Vec<ParameterGroup>,
        schedule: Schedule,
        clip: Option<f64>,
    ) -> Result<Self, Error> {
        check_groups(config, &groups)?;
        schedule.check()?;
        check_clip(clip)?;
        Ok(Self {
            groups,
            schedule,
            clip,
        })
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[ParameterGroup] {
        &self.groups
    }

    /// The schedule of the rates.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The limit of the gradients' norm, if there is one.
    #[must_use]
    pub fn clip(&self) -> Option<f64> {
        self.clip
    }

    /// Updates parameters and moments by gradients, as the official optimizer does.
    ///
    /// # Errors
    ///
    /// If the gradients are those of another model, the schedule has no such step, or the norm is to be
    /// clipped and is not known. The state is then as it was.
    pub fn update<T: Real>(
        &self,
        state: &mut TrainingState<T>,
        gradients: &ModelParameters<T>,
    ) -> Result<Update<T>, Error> {
        self.update_by(&AsOfficial, state, gradients)
    }

    /// [`update`](Self::update) through hooks.
    pub(crate) fn update_by<T: Real>(
        &self,
        hooks: &dyn OptimizerHooks<T>,
        state: &mut TrainingState<T>,
        gradients: &ModelParameters<T>,
    ) -> Result<Update<T>, Error> {
        let step = state.steps + 1;
        let grad_norm = hooks.norm(gradients);
        let grad_norm = hooks.stage(step, UpdateStage::Norm, vec![grad_norm]);
        let grad_norm = one(UpdateStage::Norm, step, &grad_norm)?;
        let clipped = self
            .clip
            .map(|limit| hooks.clip(gradients, grad_norm, limit));
        let clipped = clipped.transpose()?;
        let gradients = clipped.as_ref().unwrap_or(gradients);
        let rate = |group: &ParameterGroup| hooks.rate(&self.schedule, group.rate, state.steps);
        let rates = self
            .groups
            .iter()
            .map(rate)
            .collect::<Result<Vec<T>, Error>>()?;
        let rates = hooks.stage(step, UpdateStage::Rates, rates);
        check_len(
            &UpdateStage::Rates.name(step),
            rates.len(),
            self.groups.len(),
        )?;
        let mut after = state.clone();
        after.steps = step;
        for (group, &rate) in self.groups.iter().zip(&rates) {
            let numbers = StepNumbers::new(group, rate, step);
            for &name in &group.parameters {
                after.update_parameter(hooks, &numbers, name, gradients.get(name))?;
            }
        }
        *state = after;
        Ok(Update { grad_norm, rates })
    }
}

/// The one number of what is one.
fn one<T: Copy>(of: UpdateStage, step: u64, values: &[T]) -> Result<T, Error> {
    check_len(&of.name(step), values.len(), 1)?;
    Ok(values[0])
}

impl<T: Real> TrainingState<T> {
    fn update_parameter(
        &mut self,
        hooks: &dyn OptimizerHooks<T>,
        numbers: &StepNumbers<T>,
        name: ModelName,
        gradient: &[T],
    ) -> Result<(), Error> {
        let step = self.steps;
        let values = self.parameters.get(name).to_vec();
        let what = format!("gradient of {}", name.official());
        check_len(&what, gradient.len(), values.len())?;
        let (means, squares) = (self.exp_avg.get(name), self.exp_avg_sq.get(name));
        let before = values.iter().zip(means).zip(squares);
        let moments = before.zip(gradient);
        let moments = moments.map(|(((&value, &exp_avg), &exp_avg_sq), &g)| {
            let before = Element {
                value,
                exp_avg,
                exp_avg_sq,
            };
            hooks.moments(numbers, before, g)
        });
        let moments: Vec<[T; 2]> = moments.into_vec();
        let [means, squares] = [0, 1].map(|which| moments.iter().map(|m| m[which]).into_vec());
        let stands = |of: UpdateStage, computed: Vec<T>| {
            let stands = hooks.stage(step, of, computed);
            check_len(&of.name(step), stands.len(), values.len())?;
            Ok::<_, Error>(stands)
        };
        let means = stands(UpdateStage::Mean(name), means)?;
        let squares = stands(UpdateStage::Square(name), squares)?;
        let after = values.iter().zip(means.iter().zip(&squares));
        let after = after.map(|(&value, (&m, &v))| hooks.value(numbers, value, [m, v]));
        let after = stands(UpdateStage::Value(name), after.into_vec())?;
        self.parameters.get_mut(name).copy_from_slice(&after);
        self.exp_avg.get_mut(name).copy_from_slice(&means);
        self.exp_avg_sq.get_mut(name).copy_from_slice(&squares);
        Ok(())
    }
}
