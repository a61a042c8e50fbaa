//! What a port of a language model may be off by: the model as a first-order rounding error
//! analysis.
//!
//! The model is a path `x_0, x_1, ...` of sums: the embedded tokens, and after each mixer or MLP `F_k`
//! `x_{k+1} = x_k + F_k(x_k)`. What it computes of the sum before is analysed as a layer is: a run of
//! the reference's own text on [`ErrorScale`], whose sums are of their terms in any order, from a sum
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

use super::super::layer::Analysis;
use crate::algebra::{ErrorBound, ErrorScale, Field, LIBRARY_FACTOR, Matrix, Real, Ring};
use crate::error::Error;
use crate::h3::{Form, Layer, LayerState};
use crate::model::{
    LayerNorm, Mixed, Model, ModelHooks, ModelParameters, Rows, SQRT_2_OVER_PI, gelu,
};
use crate::oracle::parallel;
use crate::oracle::subject::Named;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The step of a difference, in units of a token's deviation.
pub(super) const STEP: f64 = 1.0 / 65536.0;

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
        .collect();
    let columns = parallel::map(&moves, |&(k, at)| column(run, &own, (k, at)));
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

/// The errors a port adds to every number by its own roundings.
pub(super) struct OwnErrors {
    /// The sums `x_k` (batch, seq_len, d).
    pub(super) sums: Vec<Tensor<f64>>,
    /// Of each of them.
    pub(super) errors: Vec<Tensor<ErrorBound>>,
    /// Of the stages under their names. (A residual's are those of a sum, and come in as such.)
    stages: Named<ErrorBound>,
}

impl OwnErrors {
    fn of(parameters: &ModelParameters<f64>, rows: Rows<'_, usize>) -> Result<Self, Error> {
        Self::of_model(&parameters.build()?, rows)
    }

    /// Of a model whose parameters may have errors of their own, which count as those of each part.
    pub(super) fn of_model(
        model: &Model<ErrorScale>,
        rows: Rows<'_, usize>,
    ) -> Result<Self, Error> {
        let stages = model.forward_by(&ModelAnalysis, rows, None)?;
        let mut sums = vec![model.embed(rows, rows.1, None)?];
        for [hidden, residual] in &stages.blocks {
            let pairs = hidden.data().iter().zip(residual.data());
            let after = pairs
                .map(|(&h, &r)| h + ModelAnalysis.on_residual(r))
                .collect();
            sums.push(residual.clone());
            sums.push(Tensor::new(residual.shape(), after)?);
        }
        let stages = stages.named().into_iter();
        Ok(Self {
            errors: sums.iter().map(|sum| sum.map(ErrorScale::error)).collect(),
            sums: sums.iter().map(|sum| sum.map(Real::to_f64)).collect(),
            stages: stages
                .map(|(name, stage)| {
                    let is_sum = name.ends_with(".residual");
                    let own = |x: ErrorScale| if is_sum { ErrorBound::ZERO } else { x.error() };
                    (name, stage.map(own))
                })
                .collect(),
        })
    }
}

/// One column of the derivatives of all later stages with respect to sum `k`: channel `at` of a
/// sequence moved, in all sequences at once.
fn column(
    (model, form, documents): (&Model<f64>, &Form, &Documents),
    own: &OwnErrors,
    (k, at): (usize, usize),
) -> Result<Named<f64>, Error> {
    let (sum, d) = (&own.sums[k], model.config().d_model());
    let of_sequence = sum.data().len() / sum.shape()[0];
    let steps: Vec<f64> = sum
        .data()
        .chunks_exact(of_sequence)
        .map(|sequence| STEP * deviation(&sequence[at / d * d..][..d]))
        .collect();
    let moved = |way: f64| {
        let mut moved = sum.clone();
        let sequences = moved.data_mut().chunks_exact_mut(of_sequence);
        for (sequence, step) in sequences.zip(&steps) {
            sequence[at] += way * step;
        }
        let stages = model.forward_after(form, documents, k, moved)?;
        Ok::<_, Error>(stages.named_from(k / 2))
    };
    let (up, down) = (moved(1.0)?, moved(-1.0)?);
    let slopes = up.into_iter().zip(down).map(|((name, up), (_, down))| {
        let per = up.data().len() / steps.len();
        let steps = steps
            .iter()
            .flat_map(|&step| core::iter::repeat_n(step, per));
        let pairs = up.data().iter().zip(down.data()).zip(steps);
        let slopes = pairs.map(|((up, down), step)| (up - down) / (2.0 * step));
        Ok((name, Tensor::new(up.shape(), slopes.collect())?))
    });
    slopes.collect()
}

/// The distance of the channels of a token from their mean; some step to take if they are all the same.
pub(super) fn deviation(token: &[f64]) -> f64 {
    let d = token.len() as f64;
    let mean = token.iter().sum::<f64>() / d;
    let variance = token.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / d;
    match variance.sqrt() {
        deviation if deviation > 0.0 => deviation,
        _ => mean.abs().max(STEP),
    }
}

/// Every part as the worst of all right ways to compute it, from sums without error.
pub(super) struct ModelAnalysis;

impl ModelHooks<ErrorScale> for ModelAnalysis {
    fn h3(
        &self,
        _block: usize,
        layer: &Layer<ErrorScale>,
        u: Rows<'_, ErrorScale>,
        state: Option<&LayerState<ErrorScale>>,
    ) -> Result<Mixed<ErrorScale>, Error> {
        let stages = layer.forward_by(&Analysis::UNIFORM, u, state)?;
        Ok((stages.output, stages.state))
    }

    /// Scores, exponentials, normalizer and weighted sum; what other ways add, for each score `s`:
    ///
    /// - the scale multiplied into q or k first (as the official `k * softmax_scale`) rounds every
    ///   product of the score, not their sum: `scale sum_c |q_c k_c|`;
    /// - `2^(s log2(e))` for `e^s`, with the factor held rounded: two roundings more of `s` and of
    ///   what is subtracted from it;
    /// - the running softmax (Milakov and Gimelshein 2018; `FlashAttention`), which goes on from a smaller
    ///   largest score by multiplying what it has by `e^(old - new)`: an exponential and a product for each
    ///   time the largest rises, and the roundings of the differences, which add up to no
    ///   more than its whole rise.
    ///
    /// What is subtracted from the scores before the exponential (the largest, or nothing) is one
    /// number in numerator and normalizer: its own error drops out.
    fn attend(
        &self,
        q: &Matrix<ErrorScale>,
        k: &Matrix<ErrorScale>,
        v: &Matrix<ErrorScale>,
        scale: ErrorScale,
    ) -> Result<Matrix<ErrorScale>, Error> {
        let mut output = Matrix::from_fn(q.rows(), v.cols(), |_, _| ErrorScale::ZERO);
        for (i, weights) in attention_weights(q, k, scale)?.into_iter().enumerate() {
            for (j, weight) in weights.into_iter().enumerate() {
                for (o, &v) in output.row_mut(i).iter_mut().zip(v.row(j)) {
                    *o = *o + weight * v;
                }
            }
        }
        Ok(output)
    }

    /// In two passes, or with the variance as `mean(x^2) - mean(x)^2`, which cancels (Chan, Golub and
    /// LeVeque 1983; it also bounds Welford's running one); and by dividing, or with the inverse
    /// deviation `r` as `x r - mean r`: then `x r`, `mean r` and `r` are rounded, which is as if x were off
    /// by a rounding of x, of the mean and of their difference more.
    fn norm(
        &self,
        norm: &LayerNorm<ErrorScale>,
        _last: bool,
        x: &[ErrorScale],
    ) -> Result<Vec<ErrorScale>, Error> {
        let (x, center, variance) = normed_from(norm, x)?;
        norm.scaled(&x, center, variance)
    }

    /// By the hyperbolic tangent, or as `x sigmoid(2z)`: `1 + tanh(z) = 2 / (1 + e^(-2z))`.
    fn activation(&self, x: ErrorScale) -> ErrorScale {
        let by_tanh = gelu(x);
        let inner = x + ErrorScale::from_f64(0.044715) * (x * x * x);
        let exponent = ErrorScale::from_f64(-2.0 * SQRT_2_OVER_PI) * inner;
        // Beyond, the power overflows in f64 and the result is x or underflows.
        if exponent.value().abs() > 600.0 {
            return by_tanh;
        }
        let by_sigmoid = x.divide(ErrorScale::ONE + exponent.exp());
        by_sigmoid.map_or(by_tanh, |other| {
            by_tanh.with_error(by_tanh.error().max(other.error()))
        })
    }

    fn on_residual(&self, x: ErrorScale) -> ErrorScale {
        ErrorScale::new(x.value(), ErrorBound::ZERO)
    }
}

/// The weights of causal attention, row by row up to the diagonal, with the errors that
/// [`ModelAnalysis::attend`](ModelHooks::attend) tells of.
pub(super) fn attention_weights(
    q: &Matrix<ErrorScale>,
    k: &Matrix<ErrorScale>,
    scale: ErrorScale,
) -> Result<Vec<Vec<ErrorScale>>, Error> {
    let row = |i: usize| {
        let scores: Vec<ErrorScale> = (0..=i)
            .map(|j| {
                let products = q.row(i).iter().zip(k.row(j)).map(|(&q, &k)| q * k);
                let size: f64 = products.clone().map(|x| x.value().abs()).sum();
                let score = scale * products.fold(ErrorScale::ZERO, |sum, x| sum + x);
                score.with_error(score.error() + scale.value().abs() * size)
            })
            .collect();
        let rises = Rises::of(&scores);
        let top = ErrorScale::new(rises.top, ErrorBound::ZERO);
        let powers: Vec<ErrorScale> = scores
            .iter()
            .map(|&s| {
                let base_two = 2.0 * (s.value().abs() + rises.top.abs());
                let power = (s.with_error(s.error() + base_two) - top).exp();
                power.with_error(power.error() + power.value() * rises.error())
            })
            .collect();
        let sum = powers.iter().fold(ErrorScale::ZERO, |sum, &e| sum + e);
        let weights = powers.into_iter().map(|power| {
            power
                .divide(sum)
                .ok_or_else(|| Error::value("softmax attention", "the normalizer has no value"))
        });
        weights.collect()
    };
    (0..q.rows()).map(row).collect()
}

/// A token, its mean and its variance, with the errors of every way to norm it that
/// [`ModelAnalysis::norm`](ModelHooks::norm) tells of.
pub(super) fn normed_from(
    norm: &LayerNorm<ErrorScale>,
    x: &[ErrorScale],
) -> Result<(Vec<ErrorScale>, ErrorScale, ErrorScale), Error> {
    let (center, variance) = norm.moments(x)?;
    let d = ErrorScale::from_i64(x.len() as i64);
    let squares = x.iter().fold(ErrorScale::ZERO, |sum, &x| sum + x * x);
    let one_pass = squares.divide(d).map(|mean| mean - center * center);
    let variance = one_pass.map_or(variance, |one_pass| {
        variance.with_error(variance.error().max(one_pass.error()))
    });
    let x = x.iter().map(|x| {
        let (x_size, c) = (x.value().abs(), center.value());
        x.with_error(x.error() + (x_size + c.abs() + (x.value() - c).abs()))
    });
    Ok((x.collect(), center, variance))
}

/// How the largest score so far rises, from the first token to the last.
struct Rises {
    top: f64,
    count: f64,
    whole: f64,
}

impl Rises {
    fn of(scores: &[ErrorScale]) -> Self {
        let first = scores.first().map_or(0.0, |s| s.value());
        let mut rises = Self {
            top: first,
            count: 0.0,
            whole: 0.0,
        };
        for score in scores {
            if score.value() > rises.top {
                rises.top = score.value();
                rises.count += 1.0;
            }
        }
        rises.whole = rises.top - first;
        rises
    }

    /// Of everything that was summed before the last rise, in units of its size.
    fn error(&self) -> f64 {
        self.count * (LIBRARY_FACTOR + 1.0) + self.whole
    }
}

#[cfg(test)]
pub(super) mod tests;
