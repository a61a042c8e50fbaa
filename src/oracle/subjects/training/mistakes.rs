//! Known mistakes of training steps: those of the optimizer, and those of losses and gradients.

use super::super::model::{ModelHook, backward_mistakes};
use super::hooks::Partition;
use super::hooks::TrainingHook::{self, Clip, Gradients, Groups, Moments, Norm, Rate, Value};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelName, ModelParameters};
use crate::oracle::mistake::{Row, rows};
use crate::training::{
    Element, ParameterGroup, Schedule, StepNumbers, adamw_moments, adamw_value, clip_factor,
    is_marked,
};
use std::borrow::Cow;
use std::sync::LazyLock;

/// The mistakes of losses and gradients, made at every step.
pub(super) static IN_GRADIENTS: LazyLock<Vec<Row<TrainingHook>>> = LazyLock::new(|| {
    let row = |row: &'static Row<ModelHook>| Row {
        mistake: row.mistake,
        hooks: Cow::Owned(vec![Gradients(row)]),
    };
    backward_mistakes().iter().map(row).into_vec()
});

/// True of a group that holds the SSMs' own parameters.
fn is_of_ssm(group: &ParameterGroup) -> bool {
    group.parameters.iter().any(|name| is_marked(*name))
}

fn largest(groups: &[ParameterGroup], of: fn(&ParameterGroup) -> f64) -> f64 {
    groups.iter().map(of).fold(0.0, f64::max)
}

fn decay_on_ssm(groups: &mut Partition) {
    let decay = largest(groups, |group| group.weight_decay);
    let of_ssm = groups.iter_mut().filter(|group| is_of_ssm(group));
    of_ssm.for_each(|group| group.weight_decay = decay);
}

fn ssm_rate_not_capped(groups: &mut Partition) {
    let rate = largest(groups, |group| group.rate);
    let of_ssm = groups.iter_mut().filter(|group| is_of_ssm(group));
    of_ssm.for_each(|group| group.rate = rate);
}

fn no_decay(groups: &mut Partition) {
    groups.iter_mut().for_each(|group| group.weight_decay = 0.0);
}

/// The unmarked vectors and the embeddings in a group without decay.
fn no_decay_on_vectors(groups: &mut Partition) {
    use crate::model::BlockName::{
        Fc1Bias, Fc2Bias, Norm1Bias, Norm1Weight, Norm2Bias, Norm2Weight, OutBias, QkvBias,
    };
    let is_vector = |name: &ModelName| match name {
        ModelName::Block(_, within) => matches!(
            within,
            Fc1Bias
                | Fc2Bias
                | Norm1Bias
                | Norm1Weight
                | Norm2Bias
                | Norm2Weight
                | OutBias
                | QkvBias
        ),
        _ => true,
    };
    let mut without = Vec::new();
    for group in groups.iter_mut().filter(|group| group.weight_decay > 0.0) {
        let all = core::mem::take(&mut group.parameters);
        let (vectors, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_vector);
        group.parameters = rest;
        without.push(ParameterGroup {
            weight_decay: 0.0,
            parameters: vectors,
            ..group.clone()
        });
    }
    groups.extend(without);
}

fn clip_never(
    _groups: &[ParameterGroup],
    gradients: &ModelParameters<f64>,
    _norm: f64,
    _limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    Ok(gradients.clone())
}

fn clip_always(
    _groups: &[ParameterGroup],
    gradients: &ModelParameters<f64>,
    norm: f64,
    limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    Ok(gradients.map(|g| g * (limit / (norm + 1e-6))))
}

/// Every set of parameters clipped by its own norm.
fn clip_sets(
    sets: impl Iterator<Item = Vec<ModelName>>,
    gradients: &ModelParameters<f64>,
    limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    let mut clipped = gradients.clone();
    for set in sets {
        let numbers = set.iter().flat_map(|&name| gradients.get(name));
        let norm = numbers.map(|g| g * g).sum::<f64>().sqrt();
        let factor = clip_factor(norm, limit)?;
        for name in set {
            clipped.get_mut(name).iter_mut().for_each(|g| *g *= factor);
        }
    }
    Ok(clipped)
}

fn clip_by_tensor(
    _groups: &[ParameterGroup],
    gradients: &ModelParameters<f64>,
    _norm: f64,
    limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    let names = gradients.config().names().into_iter();
    clip_sets(names.map(|name| vec![name]), gradients, limit)
}

fn clip_by_group(
    groups: &[ParameterGroup],
    gradients: &ModelParameters<f64>,
    _norm: f64,
    limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    let sets = groups.iter().map(|group| group.parameters.clone());
    clip_sets(sets, gradients, limit)
}

fn clip_by_value(
    _groups: &[ParameterGroup],
    gradients: &ModelParameters<f64>,
    _norm: f64,
    limit: f64,
) -> Result<ModelParameters<f64>, Error> {
    Ok(gradients.map(|g| g.clamp(-limit, limit)))
}

fn tied_twice(gradients: &ModelParameters<f64>) -> f64 {
    let squares = |name| gradients.get(name).iter().map(|g| g * g).sum::<f64>();
    let names = gradients.config().names().into_iter();
    let all: f64 = names.map(squares).sum();
    (all + squares(ModelName::Embeddings)).sqrt()
}

fn uncorrected(
    numbers: &StepNumbers<f64>,
    before: f64,
    moments: [f64; 2],
    which: [bool; 2],
) -> f64 {
    let mut numbers = *numbers;
    for (correction, left_out) in numbers.corrections.iter_mut().zip(which) {
        if left_out {
            *correction = 1.0;
        }
    }
    adamw_value(&numbers, before, moments)
}

/// With the decay after the step.
fn decay_after(numbers: &StepNumbers<f64>, before: f64, moments: [f64; 2]) -> f64 {
    let undecayed = StepNumbers {
        weight_decay: 0.0,
        ..*numbers
    };
    adamw_value(&undecayed, before, moments) * (1.0 - numbers.rate * numbers.weight_decay)
}

fn no_decay_at_all(numbers: &StepNumbers<f64>, before: f64, moments: [f64; 2]) -> f64 {
    let undecayed = StepNumbers {
        weight_decay: 0.0,
        ..*numbers
    };
    adamw_value(&undecayed, before, moments)
}

/// Decay of the whole coefficient, whatever the rate.
fn decay_without_rate(numbers: &StepNumbers<f64>, before: f64, moments: [f64; 2]) -> f64 {
    no_decay_at_all(numbers, before, moments) - numbers.weight_decay * before
}

fn epsilon_inside(numbers: &StepNumbers<f64>, before: f64, [mean, square]: [f64; 2]) -> f64 {
    let decayed = before * (1.0 - numbers.rate * numbers.weight_decay);
    let mean = mean / numbers.corrections[0];
    let root = (square / numbers.corrections[1] + numbers.epsilon).sqrt();
    decayed - numbers.rate * mean / root
}

fn epsilon_before_correction(
    numbers: &StepNumbers<f64>,
    before: f64,
    [mean, square]: [f64; 2],
) -> f64 {
    let decayed = before * (1.0 - numbers.rate * numbers.weight_decay);
    let mean = mean / numbers.corrections[0];
    let root = (square.sqrt() + numbers.epsilon) / numbers.corrections[1].sqrt();
    decayed - numbers.rate * mean / root
}

fn coupled(numbers: &StepNumbers<f64>, before: Element<f64>, g: f64) -> [f64; 2] {
    adamw_moments(numbers, before, g + numbers.weight_decay * before.value)
}

/// The moments mixed with one share exchanged for the other.
fn betas_exchanged(numbers: &StepNumbers<f64>, before: Element<f64>, g: f64) -> [f64; 2] {
    let exchanged = |pair: [f64; 2]| [pair[1], pair[0]];
    let numbers = StepNumbers {
        betas: exchanged(numbers.betas),
        complements: exchanged(numbers.complements),
        ..*numbers
    };
    adamw_moments(&numbers, before, g)
}

fn schedule_ahead(schedule: &Schedule, base: f64, step: u64) -> Result<f64, Error> {
    match schedule {
        // Beyond the last factor that is known, the schedule goes on as it is.
        Schedule::Factors(factors) => {
            let last = factors.len().saturating_sub(1) as u64;
            schedule.rate(base, (step + 1).min(last))
        }
        _ => schedule.rate(base, step + 1),
    }
}

rows! { TrainingHook:
    "T11a" "no_bias_correction" at "step1.param"
        wrong "m / (sqrt(v) + eps)"
        right "(m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)"
        seen "google-research/bert's optimization.py, which leaves both out"
        looks "moments right, the first weights moved three times as far"
        fix "divide m by 1 - b1^k and v by 1 - b2^k, k from 1"
        by [Value(|n, p, m| uncorrected(n, p, m, [true, true]))];
    "T11b" "no_correction_of_mean" at "step1.param"
        wrong "m / (sqrt(v / (1 - b2^k)) + eps)"
        right "m / (1 - b1^k) above"
        seen "plausible"
        looks "moments right, the first weights moved a tenth as far"
        fix "divide m by 1 - b1^k"
        by [Value(|n, p, m| uncorrected(n, p, m, [true, false]))];
    "T11c" "no_correction_of_square" at "step1.param"
        wrong "(m / (1 - b1^k)) / (sqrt(v) + eps)"
        right "v / (1 - b2^k) under the root"
        seen "plausible"
        looks "moments right, the first weights moved thirty times as far"
        fix "divide v by 1 - b2^k"
        by [Value(|n, p, m| uncorrected(n, p, m, [false, true]))];
    "T12a" "decay_on_ssm" at "step1.param"
        wrong "weight decay on log_dt, B, inv_A_real, A_imag of the diagonal model and B of the shift model"
        right "none: the official modules mark them (_optim)"
        seen "state-spaces/s4 (its README: custom optimizers must read _optim)"
        looks "moments and gradients of the first step right, the marked parameters off by lr wd p"
        fix "give marked parameters a group without weight decay"
        by [Groups(decay_on_ssm)];
    "T12b" "ssm_rate_not_capped" at "step1.lr"
        wrong "the SSMs' own parameters at the rate of all others"
        right "at their own, at most 0.001"
        seen "state-spaces/s4 (as T12a)"
        looks "the marked parameters move too far, the others right"
        fix "give marked parameters a group with their own rate"
        by [Groups(ssm_rate_not_capped)];
    "T12c" "no_decay_on_vectors" at "step1.param"
        wrong "no weight decay on biases, LayerNorms and embeddings"
        right "the file's groups: no H3 experiment exempts them"
        seen "plausible (what most trainers do, minGPT first)"
        looks "biases, LayerNorms and embeddings off by lr wd p"
        fix "use the groups of the official trainer: unmarked parameters, then each mark"
        by [Groups(no_decay_on_vectors)];
    "T13a" "decay_coupled" at "step1.exp_avg"
        wrong "g + wd p in the moments, and the decay too"
        right "p (1 - lr wd) apart from the moments"
        seen "plausible (torch.optim.Adam with weight_decay is L2)"
        looks "gradients right, moments wrong"
        fix "decay the weights, not the gradients: AdamW"
        by [Moments(coupled)];
    "T13b" "decay_as_l2" at "step1.exp_avg"
        wrong "g + wd p in the moments in the decay's place"
        right "p (1 - lr wd) apart from the moments"
        seen "plausible (torch.optim.Adam with weight_decay is L2)"
        looks "gradients right, moments wrong"
        fix "decay the weights, not the gradients: AdamW"
        by [Moments(coupled), Value(no_decay_at_all)];
    "T13c" "decay_without_rate" at "step1.param"
        wrong "p - wd p"
        right "p - lr wd p"
        seen "plausible (Loshchilov and Hutter's decay times the schedule's factor alone)"
        looks "all decaying weights far too small"
        fix "multiply the decay by the rate"
        by [Value(decay_without_rate)];
    "T13d" "no_decay" at "step1.param"
        wrong "no weight decay"
        right "p (1 - lr wd)"
        seen "plausible"
        looks "all decaying weights off by lr wd p"
        fix "decay the weights"
        by [Groups(no_decay)];
    "T13e" "decay_after_step" at "step1.param"
        wrong "the decay after the step"
        right "before it"
        seen "plausible"
        looks "off by lr^2 wd, a millionth"
        fix "p <- p (1 - lr wd) first"
        by [Value(decay_after)];
    "T14a" "clip_never" at "step1.exp_avg"
        wrong "gradients not clipped"
        right "times min(1, c / (norm + 1e-6))"
        seen "plausible"
        looks "gradients and norm right, moments larger by one factor where the norm is above c"
        fix "clip before the moments"
        by [Clip(clip_never)];
    "T14b" "clip_always" at "step1.exp_avg"
        wrong "times c / (norm + 1e-6), also where that is above 1"
        right "times min(1, c / (norm + 1e-6))"
        seen "plausible (gradients normalized)"
        looks "moments larger by one factor where the norm is below c"
        fix "leave gradients of a norm below c as they are"
        by [Clip(clip_always)];
    "T14c" "clip_by_tensor" at "step1.exp_avg"
        wrong "every parameter clipped by its own norm"
        right "all by the norm of all together"
        seen "plausible (clip_grad_norm_ in a loop over parameters)"
        looks "moments larger, each parameter's by its own factor"
        fix "one norm over all parameters"
        by [Clip(clip_by_tensor)];
    "T14d" "clip_by_group" at "step1.exp_avg"
        wrong "every group clipped by its own norm"
        right "all by the norm of all together"
        seen "plausible (clip_grad_norm_ in a loop over param_groups)"
        looks "moments larger, each group's by its own factor"
        fix "one norm over all groups"
        by [Clip(clip_by_group)];
    "T14e" "clip_by_value" at "step1.exp_avg"
        wrong "every number clipped to c"
        right "all by the norm of all together"
        seen "plausible (clip_grad_value_)"
        looks "as not clipped, but for the largest numbers"
        fix "one norm over all parameters: clip_grad_norm_"
        by [Clip(clip_by_value)];
    "T14f" "norm_of_tied_twice" at "step1.grad_norm"
        wrong "the norm with the embedding and the head counted each"
        right "with the one parameter they are, once"
        seen "plausible (state_dict holds it under both names)"
        looks "gradients right, norm too large"
        fix "sum over distinct parameters"
        by [Norm(tied_twice)];
    "T15a" "epsilon_inside_root" at "step1.param"
        wrong "sqrt(v + eps)"
        right "sqrt(v) + eps"
        seen "plausible (optax.adam's eps_root)"
        looks "moments right; weights of small gradients move too little"
        fix "add eps to the root"
        by [Value(epsilon_inside)];
    "T15b" "epsilon_before_correction" at "step1.param"
        wrong "(sqrt(v) + eps) / sqrt(1 - b2^k)"
        right "sqrt(v / (1 - b2^k)) + eps"
        seen "plausible (Kingma and Ba 2015, section 2, its faster order)"
        looks "moments right; off by eps / |g|, thirty times at the first step"
        fix "correct the moment, then add eps"
        by [Value(epsilon_before_correction)];
    "T16a" "schedule_ahead" at "step1.lr"
        wrong "the factor of step k + 1 at step k"
        right "that of step k, the first being 0 in a warmup"
        seen "plausible (scheduler.step() before optimizer.step())"
        looks "the first weights move where the rate is 0"
        fix "optimizer.step(), then scheduler.step()"
        by [Rate(schedule_ahead)];
    "T16b" "schedule_left_out" at "step1.lr"
        wrong "the rate itself at every step"
        right "times the schedule's factor"
        seen "plausible (a scheduler that is never stepped, from another beginning)"
        looks "the first weights move where the rate is 0"
        fix "multiply every group's rate by the schedule's factor"
        by [Rate(|_, base, _| Ok(base))];
    "T17" "betas_exchanged" at "step1.exp_avg"
        wrong "m by b2, v by b1"
        right "m by b1, v by b2"
        seen "plausible"
        looks "gradients right, both moments off by one factor each"
        fix "betas are of the mean, then of the square"
        by [Moments(betas_exchanged)];
}
