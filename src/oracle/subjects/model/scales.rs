//! The error bound of a port of a language model: the model as a first-order rounding error analysis.
//!
//! The model is a path `x_0, x_1, ...` of sums: the embedded tokens, and after each mixer or MLP `F_k`
//! `x_{k+1} = x_k + F_k(x_k)`. What it computes of the sum before is analysed as a layer is: a run of
//! the reference on [`ErrorScale`], whose sums are of their terms in any order, from a sum
//! without error; where right ports compute a part in another way, what that way adds is a term
//! with its source. That gives `delta_k`, what a port adds to the error of `x_k` by its own
//! roundings, and the same for `hidden` and the logits.
//!
//! Errors of a sum then pass through all that follows. To follow them part by part by absolute values
//! would lose how they cancel, and multiply the bound in every block: instead, to first order, an
//! error `e` of `x_k` is `J e` at a later stage, with J the derivative of that stage with respect to
//! `x_k` *through all parts between*, and so a stage is off by no more than
//!
//! `sum_k |J_k| delta_k + its own delta`,
//!
//! every rounding at its worst. The columns of J are central differences of the f64 model: with a step
//! of 2^-16 of a token's deviation, good to some nine digits.

use super::analysis::{ModelAnalysis, WithoutErrors};
use crate::algebra::{ErrorBound, ErrorScale, Real};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::model::{Model, ModelHooks, ModelParameters, Rows, Targets, mean_loss};
use crate::oracle::subject::Named;
use crate::ssm::Documents;
use crate::tensor::Tensor;
use crate::threads;

/// The step of a difference, in units of a token's deviation.
pub const STEP: f64 = 1.0 / 65536.0;

/// The error scale of every stage of a model run over rows of ids (batch, seq_len), in units of the
/// port's unit roundoff, under the names of the stages: a port that works in one format throughout
/// is within tolerance where `|port - golden| <= unit_roundoff * scale`. Zero at padding.
///
/// # Errors
///
/// As [`Model::forward`].
pub(super) fn error_scales(
    parameters: &ModelParameters<f64>,
    (ids, documents): Rows<'_, usize>,
) -> Result<Named<ErrorBound>, Error> {
    let own = OwnErrors::of(parameters, (ids, documents))?;
    let model = parameters.build::<f64>()?;
    let form = parameters.config().h3.default_form(documents.longest());
    let run = (&model, &form, documents);
    // The channels of one sequence, to be moved one at a time, in all sequences at once.
    let batch = ids.shape()[0];
    let moves: Vec<(usize, usize)> = (0..own.sums.len())
        .flat_map(|k| (0..own.sums[k].data().len() / batch).map(move |at| (k, at)))
        .into_vec();
    let columns = threads::map(&moves, |&(k, at)| column(run, &own, (k, at)));
    let mut scales = own.stages;
    for ((k, at), column) in moves.into_iter().zip(columns) {
        let error = &own.errors[k];
        for (name, column) in column? {
            let Some((_, scale)) = scales.iter_mut().find(|(known, _)| *known == name) else {
                continue;
            };
            let (per, from) = (scale.data().len() / batch, error.data().len() / batch);
            let errors =
                (0..batch).flat_map(|b| core::iter::repeat_n(error.data()[b * from + at], per));
            for ((scale, &slope), error) in
                scale.data_mut().iter_mut().zip(column.data()).zip(errors)
            {
                *scale = *scale + error * slope.abs();
            }
        }
    }
    Ok(scales)
}

/// The error scale of the loss (1), given those of the stages: that of its own text on logits with their errors.
///
/// # Errors
///
/// As [`Model::forward`], or if no loss can be taken of the targets.
pub(super) fn loss_error(
    parameters: &ModelParameters<f64>,
    rows: Rows<'_, usize>,
    targets: &Targets,
    scales: &Named<ErrorBound>,
) -> Result<Tensor<ErrorBound>, Error> {
    let form = parameters.config().h3.default_form(rows.1.longest());
    let logits = parameters
        .build::<f64>()?
        .forward_by(&form, rows, None)?
        .logits;
    let scale = scales.iter().find(|(name, _)| name == "logits");
    let (_, scale) = scale.ok_or_else(|| Error::missing("the error scale of the logits"))?;
    let pairs = logits.data().iter().zip(scale.data());
    let off = pairs.map(|(&x, &error)| ErrorScale::new(x, error));
    let loss = mean_loss(
        &Tensor::new(logits.shape(), off.into_vec())?,
        targets,
        rows.1,
    )?;
    Ok(Tensor::known([1], vec![loss.error()]))
}

/// The errors a port adds to every number by its own roundings.
#[derive(Clone, Debug)]
pub struct OwnErrors {
    /// The sums `x_k` (batch, seq_len, d).
    /// The sums.
    pub sums: Vec<Tensor<f64>>,
    /// Of each of them.
    /// What a port adds to each of them.
    pub errors: Vec<Tensor<ErrorBound>>,
    /// Of the stages under their names. (A residual's are those of a sum, and come in as such.)
    /// What it adds to the stages that are no sums.
    pub stages: Named<ErrorBound>,
}

impl OwnErrors {
    pub(super) fn of(
        parameters: &ModelParameters<f64>,
        rows: Rows<'_, usize>,
    ) -> Result<Self, Error> {
        Self::of_model(&parameters.build()?, rows)
    }

    /// Of a model whose parameters may have errors of their own, which count as those of each part.
    pub(super) fn of_model(
        model: &Model<ErrorScale>,
        rows: Rows<'_, usize>,
    ) -> Result<Self, Error> {
        let by = ModelAnalysis(WithoutErrors);
        let stages = model.forward_by(&by, rows, None)?;
        let mut sums = vec![model.embed(rows, rows.1, None)?];
        for [hidden, residual] in &stages.blocks {
            let pairs = hidden.data().iter().zip(residual.data());
            let after = pairs.map(|(&h, &r)| h + by.on_residual(r)).into_vec();
            sums.push(residual.clone());
            sums.push(Tensor::new(residual.shape(), after)?);
        }
        let stages = stages.named().into_iter();
        Ok(Self {
            errors: sums.iter().map(|sum| sum.map(ErrorScale::error)).into_vec(),
            sums: sums.iter().map(|sum| sum.map(Real::to_f64)).into_vec(),
            stages: stages
                .map(|(name, stage)| {
                    let is_sum = name.ends_with(".residual");
                    let own = |x: ErrorScale| if is_sum { ErrorBound::ZERO } else { x.error() };
                    (name, stage.map(own))
                })
                .into_vec(),
        })
    }
}

/// One column of the derivatives of all later stages with respect to sum `k`: channel `at` of a
/// sequence moved, in all sequences at once.
pub(super) fn column(
    (model, form, documents): (&Model<f64>, &Form, &Documents),
    own: &OwnErrors,
    (k, at): (usize, usize),
) -> Result<Named<f64>, Error> {
    let sum = &own.sums[k];
    let steps = steps_of(sum, at, model.config().d_model());
    let step = |way: f64| {
        let steps: Vec<f64> = steps.iter().map(|step| way * step).into_vec();
        let stages = model.forward_after(form, documents, k, moved(sum.clone(), at, &steps))?;
        Ok::<_, Error>(stages.named_from(k / 2))
    };
    let (up, down) = (step(1.0)?, step(-1.0)?);
    let slopes = up.into_iter().zip(down).map(|((name, up), (_, down))| {
        let per = up.data().len() / steps.len();
        let steps = steps
            .iter()
            .flat_map(|&step| core::iter::repeat_n(step, per));
        let pairs = up.data().iter().zip(down.data()).zip(steps);
        let slopes = pairs.map(|((up, down), step)| (up - down) / (2.0 * step));
        Ok((name, Tensor::new(up.shape(), slopes.into_vec())?))
    });
    slopes.collect()
}

/// The step of a difference by channel `at` of a sequence of a sum with `d` channels, for every sequence.
pub(super) fn steps_of(sum: &Tensor<f64>, at: usize, d: usize) -> Vec<f64> {
    let of_sequence = sum.data().len() / sum.shape()[0];
    let sequences = sum.data().chunks_exact(of_sequence);
    let steps = sequences.map(|sequence| STEP * deviation(&sequence[at / d * d..][..d]));
    steps.into_vec()
}

/// A sum with channel `at` of every sequence moved by that sequence's step.
pub(super) fn moved(mut sum: Tensor<f64>, at: usize, steps: &[f64]) -> Tensor<f64> {
    let of_sequence = sum.data().len() / steps.len();
    let sequences = sum.data_mut().chunks_exact_mut(of_sequence);
    for (sequence, step) in sequences.zip(steps) {
        sequence[at] += step;
    }
    sum
}

/// The distance of the channels of a token from their mean; some step to take if they are all the same.
pub fn deviation(token: &[f64]) -> f64 {
    let d = token.len() as f64;
    let mean = token.iter().sum::<f64>() / d;
    let variance = token.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d;
    match variance.sqrt() {
        deviation if deviation > 0.0 => deviation,
        _ => mean.abs().max(STEP),
    }
}
