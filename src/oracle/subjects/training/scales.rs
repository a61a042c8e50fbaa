//! The error bound of a port after training steps: gradients as [`gradient_errors`] has them, moments and
//! weights as a first-order rounding error analysis of AdamW, carried from step to step.

use super::super::model::{followed_gradients, gradient_errors};
use super::case::TrainingCase;
use super::hooks::in_its_place;
use crate::algebra::{ErrorBound, ErrorScale, Field, FloatFormat, Real, Ring};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockName, ModelConfig, ModelGradients, ModelName, ModelParameters, Rows, Targets,
};
use crate::oracle::format::Format;
use crate::oracle::subject::{Named, errors};
use crate::oracle::upstream::{Replaced, Upstream};
use crate::training::{
    Element, OptimizerHooks, Schedule, StepNumbers, UpdateStage, adamw_moments, adamw_value,
    global_norm,
};

/// The error scale of every stage of the steps, in units of the port's unit roundoff.
///
/// The errors that a step leaves in the weights are those of parameters at the next: each part of the
/// model is analysed with them.
///
/// # Errors
///
/// As [`TrainingCase::steps`].
pub(super) fn error_scales(case: &TrainingCase) -> Result<Named<ErrorBound>, Error> {
    scales_by(case, None, gradient_errors)
}

/// The error scale of every stage of the steps, each computed from a port's own stages. (From the weights to
/// the gradients errors are followed part by part, and the scale is wide.)
///
/// # Errors
///
/// As [`TrainingCase::steps`].
pub(super) fn local_scales(
    case: &TrainingCase,
    upstream: &Upstream,
    format: Format,
) -> Result<Named<ErrorBound>, Error> {
    let replaced = Replaced::within_roundings(upstream, format.unit_roundoff());
    scales_by(case, Some(&replaced), followed_gradients)
}

/// The gradients of a model, with errors.
type Gradients = fn(
    &ModelParameters<ErrorScale>,
    Rows<'_, usize>,
    &Targets,
) -> Result<ModelGradients<ErrorScale>, Error>;

fn scales_by(
    case: &TrainingCase,
    replaced: Option<&Replaced<'_, ErrorScale>>,
    gradients: Gradients,
) -> Result<Named<ErrorBound>, Error> {
    let update = UpdateAnalysis {
        config: case.parameters.config(),
        replaced,
    };
    let parameters = case.parameters.map(ErrorScale::from_f64);
    let gradients =
        |parameters: &ModelParameters<ErrorScale>, rows: Rows<'_, usize>, targets: &_| {
            let found = gradients(&with_exact_key_biases(parameters), rows, targets)?;
            Ok((found.loss, found.parameters))
        };
    let named = case.steps_by(&case.optimizer, &update, parameters, gradients)?;
    Ok(errors(match replaced {
        Some(replaced) => replaced.restore(named),
        None => named,
    }))
}

/// The parameters with the biases of the keys known: no loss and no gradient sees them, and ports move them
/// by noise as far as the rate allows.
fn with_exact_key_biases(parameters: &ModelParameters<ErrorScale>) -> ModelParameters<ErrorScale> {
    let mut exact = parameters.clone();
    let d = parameters.config().d_model();
    for i in 0..parameters.config().n_layer {
        let biases = exact.get_mut(ModelName::Block(i, BlockName::QkvBias));
        for x in biases.iter_mut().skip(d).take(d) {
            *x = ErrorScale::new(x.value(), ErrorBound::both(x.value().abs()));
        }
    }
    exact
}

/// An update of AdamW with the largest error bound over the ways to compute it, in whose place a port's own
/// stages may stand.
struct UpdateAnalysis<'a> {
    config: &'a ModelConfig,
    replaced: Option<&'a Replaced<'a, ErrorScale>>,
}

impl OptimizerHooks<ErrorScale> for UpdateAnalysis<'_> {
    fn stage(&self, step: u64, of: UpdateStage, computed: Vec<ErrorScale>) -> Vec<ErrorScale> {
        let computed: Vec<ErrorScale> = computed
            .into_iter()
            .map(ErrorScale::as_one_number)
            .into_vec();
        match self.replaced {
            Some(replaced) => in_its_place(replaced, self.config, (step, of), computed),
            None => computed,
        }
    }

    /// With the factor as a difference of numbers up to 1.
    fn rate(&self, schedule: &Schedule, base: f64, step: u64) -> Result<ErrorScale, Error> {
        let rate: ErrorScale = schedule.rate(base, step)?;
        Ok(rate.with_error(rate.error() + base))
    }

    /// Of gradients that are all zero, it is what their errors make of it.
    fn norm(&self, gradients: &ModelParameters<ErrorScale>) -> ErrorScale {
        let norm = global_norm(gradients);
        if norm.value() > 0.0 {
            return norm;
        }
        let names = gradients.config().names().into_iter();
        let errors = names.flat_map(|name| gradients.get(name).iter().map(|g| g.error()));
        ErrorScale::new(0.0, errors.fold(ErrorBound::ZERO, |sum, e| sum + e))
    }

    /// With `1 - b` as a difference in the port's format, from b rounded to it; and with the square of the
    /// gradient's error, which is all there is where the gradient is zero: in the coarsest format, to be one
    /// of first order in every other.
    fn moments(
        &self,
        numbers: &StepNumbers<ErrorScale>,
        before: Element<ErrorScale>,
        g: ErrorScale,
    ) -> [ErrorScale; 2] {
        let [mean, square] = adamw_moments(numbers, before, g.as_one_number());
        let size = g.value().abs();
        let second = |error: f64| {
            numbers.complements[1].value() * error * error * FloatFormat::BF16.unit_roundoff()
        };
        let of_square = ErrorBound {
            worst: second(g.error().worst),
            probable: second(g.error().probable),
        };
        [
            mean.with_error(mean.error() + size),
            square.with_error(square.error() + of_square + size * size),
        ]
    }

    /// With `1 - b^k` as a difference in the port's format.
    ///
    /// The root of the second moment is a norm of the gradients, which has no derivative at zero: an error `e`
    /// of the moment is one of `d` in the root with `d (2 root + d u) = e`, u being that of the coarsest format.
    /// Where the root is zero so is the first moment, and what a port has in it is divided by no less than
    /// epsilon. To first order the quotient's error is that of its parts, divided by its denominator: twice that
    /// where the denominator is known to half of itself, and eight times that where it is not. And no quotient,
    /// of whatever gradients, is above [`largest_quotient`].
    fn value(
        &self,
        numbers: &StepNumbers<ErrorScale>,
        before: ErrorScale,
        [mean, square]: [ErrorScale; 2],
    ) -> ErrorScale {
        let numbers = StepNumbers {
            corrections: [0, 1].map(|which| {
                let correction = numbers.corrections[which];
                let steps = correction.value() / numbers.complements[which].value();
                correction.with_error(correction.error() + 1.0 + steps)
            }),
            ..*numbers
        };
        let [to_mean, to_square] = numbers.corrections;
        let quotient = |a: ErrorScale, b: ErrorScale| a.divide(b).unwrap_or(ErrorScale::ZERO);
        let coarsest = FloatFormat::BF16.unit_roundoff();
        let corrected = quotient(square, to_square);
        let root = corrected.value().sqrt();
        let of_root = |error: f64| match error > 0.0 {
            true => error / (root + (root * root + coarsest * error).sqrt()),
            false => 0.0,
        };
        let deviation = ErrorScale::new(
            root,
            ErrorBound {
                worst: of_root(corrected.error().worst) + root,
                probable: of_root(corrected.error().probable) + root,
            },
        );
        let denominator = (deviation + numbers.epsilon).as_one_number();
        let quotient = quotient(quotient(mean, to_mean), denominator);
        let is_known = denominator.error().worst * coarsest <= 0.5 * denominator.value();
        let times = if is_known { 2.0 } else { 8.0 };
        let error = quotient.error() * times;
        let most = (quotient.value().abs() + largest_quotient(&numbers)) / f64::UNIT_ROUNDOFF;
        let quotient = quotient.with_error(ErrorBound {
            worst: error.worst.min(most),
            probable: error.probable.min(most),
        });
        let after = adamw_value(&numbers, before, [ErrorScale::ZERO, ErrorScale::ONE]);
        (after - numbers.rate * quotient).as_one_number()
    }
}

/// The largest quotient of the moments, by the inequality of Cauchy and Schwarz: both are means of the
/// gradients and of their squares, with shares `a b1^j` and `c b2^j`, so that its square is at most
/// `sum_j (a b1^j)^2 / (c b2^j)`. (Where `b1^2 >= b2` it has no bound for all steps.)
fn largest_quotient(numbers: &StepNumbers<ErrorScale>) -> f64 {
    let share =
        |which: usize| numbers.complements[which].value() / numbers.corrections[which].value();
    let [b1, b2] = numbers.betas.map(Real::to_f64);
    match b1 * b1 < b2 {
        true => share(0) / (share(1) * (1.0 - b1 * b1 / b2)).sqrt(),
        false => f64::INFINITY,
    }
}
