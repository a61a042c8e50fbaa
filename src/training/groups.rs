//! Groups of parameters that share a rate and a weight decay.

use crate::error::Error;
use crate::h3::Name;
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName};

/// Parameters with the numbers AdamW updates them by.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGroup {
    /// The learning rate, before a schedule.
    pub rate: f64,
    /// The share of a weight that decays per step and unit of rate.
    pub weight_decay: f64,
    /// The decay factors of the moments, of the gradient and of its square.
    pub betas: [f64; 2],
    /// The number added to the denominator; above 0, since gradients may be 0.
    pub epsilon: f64,
    /// The parameters.
    pub parameters: Vec<ModelName>,
}

/// The options of the optimizer that the official experiments configure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerOptions {
    /// The learning rate.
    pub rate: f64,
    /// The weight decay of unmarked parameters.
    pub weight_decay: f64,
    /// The shares of the moments that stay.
    pub betas: [f64; 2],
    /// The number added to the denominator.
    pub epsilon: f64,
    /// The rate of the SSMs' own parameters.
    pub ssm_rate: f64,
}

impl OptimizerOptions {
    /// The options of H3's experiments at a learning rate: weight decay 0.1, betas 0.9 and 0.999, epsilon 1e-8,
    /// and at most 0.001 for the SSMs' own parameters (safari, `configs/experiment`,
    /// `configs/model/layer/h3.yaml`).
    #[must_use]
    pub fn official(rate: f64) -> Self {
        Self {
            rate,
            weight_decay: 0.1,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            ssm_rate: rate.min(1e-3),
        }
    }
}

/// True if the official modules mark a parameter as the SSM's own (`_optim`, set by `register` in
/// `src/models/ssm/ss_kernel_diag.py` and `ss_kernel_shift.py`): `log_dt`, `B`, `inv_A_real` and `A_imag`
/// of the diagonal model and `B` of the shift model. `C` of both, `D` and `ssm_k_D` are not marked. Of an
/// S4D layer: `log_dt`, `log_w_real` and `w_imag`.
pub(crate) fn is_marked(name: ModelName) -> bool {
    use Name::{AImag, B, InvAReal, LogDt, ShiftB};
    let ModelName::Block(_, BlockName::H3(name) | BlockName::S4d(name)) = name else {
        return false;
    };
    matches!(name, LogDt | B | InvAReal | AImag | ShiftB)
}

/// The official groups (safari, `train.py`, `configure_optimizers`): all unmarked parameters, then the
/// marked ones, without weight decay and at a rate of their own. A model without SSMs has the first
/// alone.
///
/// Weight decay pulls a number to zero, and zero of `log_dt` is a step of 1, zero of `inv_A_real` a decay of
/// `e^-1`: so the marks. No H3 experiment marks anything else, and weight decay falls on biases, LayerNorms
/// and embeddings too.
#[must_use]
pub fn official_groups(config: &ModelConfig, options: &OptimizerOptions) -> Vec<ParameterGroup> {
    let (marked, unmarked): (Vec<_>, Vec<_>) =
        config.names().into_iter().partition(|n| is_marked(*n));
    let of = |parameters, rate, weight_decay| ParameterGroup {
        rate,
        weight_decay,
        betas: options.betas,
        epsilon: options.epsilon,
        parameters,
    };
    let groups = [
        of(unmarked, options.rate, options.weight_decay),
        of(marked, options.ssm_rate, 0.0),
    ];
    let is_there = |group: &ParameterGroup| !group.parameters.is_empty();
    groups.into_iter().filter(is_there).into_vec()
}

/// Refuses groups that are not those of a model.
///
/// # Errors
///
/// If a number is out of range, or a parameter is in no group or in more than one.
pub(crate) fn check_groups(config: &ModelConfig, groups: &[ParameterGroup]) -> Result<(), Error> {
    for (i, group) in groups.iter().enumerate() {
        let refuse = |what: &str, x: f64, expected: &str| {
            let why = format!("{what} {x}; expected {expected}");
            Err(Error::value(format!("parameter group {i}"), why))
        };
        for (what, x, is_in_range, expected) in [
            (
                "lr",
                group.rate,
                group.rate >= 0.0,
                "a finite number from 0",
            ),
            (
                "weight_decay",
                group.weight_decay,
                group.weight_decay >= 0.0,
                "a finite number from 0",
            ),
            (
                "eps",
                group.epsilon,
                group.epsilon > 0.0,
                "a finite number above 0",
            ),
        ] {
            if !(x.is_finite() && is_in_range) {
                return refuse(what, x, expected);
            }
        }
        if let Some(beta) = group.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            return refuse("beta", *beta, "a number from 0 and below 1");
        }
    }
    let names = config.names();
    let grouped = || groups.iter().flat_map(|group| &group.parameters);
    if let Some(name) = grouped().find(|name| !names.contains(name)) {
        let why = "is in a group, but the model has no such parameter";
        return Err(Error::value(format!("parameter {}", name.official()), why));
    }
    for name in names {
        let count = grouped().filter(|grouped| **grouped == name).count();
        if count != 1 {
            let why = format!("is in {count} groups; expected exactly one");
            return Err(Error::value(format!("parameter {}", name.official()), why));
        }
    }
    Ok(())
}
