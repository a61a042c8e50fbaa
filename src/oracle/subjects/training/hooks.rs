//! The places in a training step where a mistake can be made, and steps with mistakes.

use super::super::model::{ModelHook, wrong_gradients};
use super::case::TrainingCase;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, ModelParameters, Rows, Targets};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::oracle::upstream::{Replaced, replaced_or_stored};
use crate::tensor::Tensor;
use crate::training::{
    AdamW, Element, OptimizerHooks, ParameterGroup, Schedule, StepNumbers, UpdateStage,
    adamw_moments, adamw_value, clip_factor, global_norm,
};

/// Groups of parameters, of which an edit may make more.
pub(super) type Partition = Vec<ParameterGroup>;

/// One edit of a training step.
#[derive(Clone, Copy)]
pub(crate) enum TrainingHook {
    /// The groups of parameters.
    Groups(fn(&mut Partition)),
    /// The rate of a group at a step, from 0.
    Rate(fn(&Schedule, f64, u64) -> Result<f64, Error>),
    /// The norm of all gradients.
    Norm(fn(&ModelParameters<f64>) -> f64),
    /// The gradients that are left where their norm has a limit: given the groups, the norm and the limit.
    Clip(Clip),
    /// The moments of one number.
    Moments(fn(&StepNumbers<f64>, Element<f64>, f64) -> [f64; 2]),
    /// One number from its moments.
    Value(fn(&StepNumbers<f64>, f64, [f64; 2]) -> f64),
    /// A mistake of the loss and its gradients, made at every step.
    Gradients(&'static Row<ModelHook>),
}

/// A clipping of gradients.
type Clip =
    fn(&[ParameterGroup], &ModelParameters<f64>, f64, f64) -> Result<ModelParameters<f64>, Error>;

/// The first hook of a kind.
macro_rules! first {
    ($hooks:expr, $kind:ident) => {
        $hooks.iter().find_map(|hook| match hook {
            TrainingHook::$kind(hook) => Some(hook),
            _ => None,
        })
    };
}

/// The steps with mistakes.
pub(super) fn run_with(
    case: &TrainingCase,
    mistakes: &[&'static Row<TrainingHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let hooks = mistakes.iter().flat_map(|row| row.hooks.iter().copied());
    let hooks: Vec<TrainingHook> = hooks.into_vec();
    let mut groups = case.optimizer.groups().to_vec();
    for hook in &hooks {
        if let TrainingHook::Groups(edit) = hook {
            edit(&mut groups);
        }
    }
    let in_gradients = hooks.iter().filter_map(|hook| match hook {
        TrainingHook::Gradients(row) => Some(*row),
        _ => None,
    });
    let in_gradients: Vec<_> = in_gradients.into_vec();
    let config = case.parameters.config();
    let schedule = case.optimizer.schedule().clone();
    let optimizer = AdamW::new(config, groups, schedule, case.optimizer.clip())?;
    let update = WrongUpdate {
        config,
        groups: optimizer.groups(),
        hooks,
        replaced: replaced_or_stored(setting, |_| true),
    };
    let gradients =
        |parameters: &ModelParameters<f64>, rows: Rows<'_, usize>, targets: &Targets| {
            let found = wrong_gradients(parameters, rows, targets, &in_gradients)?;
            Ok((found.loss, found.parameters))
        };
    let named = case.steps_by(&optimizer, &update, case.parameters.clone(), gradients)?;
    let mut named = update.replaced.restore(named);
    // A group that a mistake parts has one rate.
    let known = case.optimizer.groups().len();
    for (name, stage) in &mut named {
        if name.ends_with(".lr") && stage.data().len() > known {
            *stage = Tensor::known([known], stage.data()[..known].to_vec());
        }
    }
    Ok(named)
}

/// The stage of a port, or else what was computed, of step `step` from 1.
pub(super) fn in_its_place<T: Copy>(
    replaced: &Replaced<'_, T>,
    config: &ModelConfig,
    (step, of): (u64, UpdateStage),
    computed: Vec<T>,
) -> Vec<T> {
    let shape = match of {
        UpdateStage::Norm | UpdateStage::Rates => vec![computed.len()],
        UpdateStage::Gradient(name)
        | UpdateStage::Mean(name)
        | UpdateStage::Square(name)
        | UpdateStage::Value(name) => name.shape(config),
    };
    let computed = Tensor::known(shape, computed);
    replaced.stage(&of.name(step), computed).into_data()
}

/// An update with mistakes, in whose place a port's own stages may stand.
struct WrongUpdate<'a> {
    config: &'a ModelConfig,
    groups: &'a [ParameterGroup],
    hooks: Vec<TrainingHook>,
    replaced: Replaced<'a, f64>,
}

impl OptimizerHooks<f64> for WrongUpdate<'_> {
    fn stage(&self, step: u64, of: UpdateStage, computed: Vec<f64>) -> Vec<f64> {
        in_its_place(&self.replaced, self.config, (step, of), computed)
    }

    fn rate(&self, schedule: &Schedule, base: f64, step: u64) -> Result<f64, Error> {
        match first!(self.hooks, Rate) {
            Some(rate) => rate(schedule, base, step),
            None => schedule.rate(base, step),
        }
    }

    fn norm(&self, gradients: &ModelParameters<f64>) -> f64 {
        match first!(self.hooks, Norm) {
            Some(norm) => norm(gradients),
            None => global_norm(gradients),
        }
    }

    fn clip(
        &self,
        gradients: &ModelParameters<f64>,
        norm: f64,
        limit: f64,
    ) -> Result<ModelParameters<f64>, Error> {
        match first!(self.hooks, Clip) {
            Some(clip) => clip(self.groups, gradients, norm, limit),
            None => {
                let factor = clip_factor(norm, limit)?;
                Ok(gradients.map(|g| g * factor))
            }
        }
    }

    fn moments(&self, numbers: &StepNumbers<f64>, before: Element<f64>, g: f64) -> [f64; 2] {
        match first!(self.hooks, Moments) {
            Some(moments) => moments(numbers, before, g),
            None => adamw_moments(numbers, before, g),
        }
    }

    fn value(&self, numbers: &StepNumbers<f64>, before: f64, moments: [f64; 2]) -> f64 {
        match first!(self.hooks, Value) {
            Some(value) => value(numbers, before, moments),
            None => adamw_value(numbers, before, moments),
        }
    }
}
