//! What a port of a language model may be off by: the model as a first-order rounding error
//! analysis.
//!
//! As in the analysis of a layer, every operation is a run of the reference's own text on
//! [`ErrorScale`], whose sums are of their terms in any order; where right ports compute a part in
//! another way, what that way adds is a term with its source. H3 layers are analysed as
//! they are on their own, with the error their input already has.

use super::tolerance::Analysis;
use crate::algebra::{ErrorBound, ErrorScale, Field, LIBRARY_FACTOR, Matrix, Real, Ring};
use crate::error::Error;
use crate::h3::{Layer, Stages};
use crate::model::{LayerNorm, ModelParameters, Parts, SQRT_2_OVER_PI, gelu};
use crate::tensor::Tensor;

/// The error scale of every stage of a model run over `ids` (batch, seq_len), in units of the
/// port's unit roundoff, under the names of the stages: a port that works in one format throughout
/// is within tolerance where `|port - golden| <= unit_roundoff * scale`.
///
/// # Errors
///
/// As [`Model::forward`](crate::model::Model::forward).
pub(crate) fn model_error_scales(
    parameters: &ModelParameters<f64>,
    ids: &Tensor<usize>,
) -> Result<Vec<(String, Tensor<ErrorBound>)>, Error> {
    let model = parameters.build::<ErrorScale>()?;
    let stages = model.forward_by(&ModelAnalysis, ids)?.named();
    let errors = stages.into_iter();
    Ok(errors
        .map(|(name, stage)| (name, stage.map(ErrorScale::error)))
        .collect())
}

/// Every part as the worst of all right ways to compute it.
struct ModelAnalysis;

impl Parts<ErrorScale> for ModelAnalysis {
    fn h3(
        &self,
        layer: &Layer<ErrorScale>,
        u: &Tensor<ErrorScale>,
    ) -> Result<Stages<ErrorScale>, Error> {
        layer.forward_by(&Analysis::UNIFORM, u, None)
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
        for i in 0..q.rows() {
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
            for (j, power) in powers.into_iter().enumerate() {
                let weight = power.divide(sum).ok_or_else(|| {
                    Error::value("softmax attention", "the normalizer has no value")
                })?;
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
        let (center, variance) = norm.moments(x)?;
        let d = ErrorScale::from_i64(x.len() as i64);
        let squares = x.iter().fold(ErrorScale::ZERO, |sum, &x| sum + x * x);
        let one_pass = squares.divide(d).map(|mean| mean - center * center);
        let variance = one_pass.map_or(variance, |one_pass| {
            variance.with_error(variance.error().max(one_pass.error()))
        });
        let x: Vec<ErrorScale> = x
            .iter()
            .map(|x| {
                let (x_size, c) = (x.value().abs(), center.value());
                x.with_error(x.error() + (x_size + c.abs() + (x.value() - c).abs()))
            })
            .collect();
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

    fn kept(&self, x: ErrorScale) -> ErrorScale {
        ErrorScale::new(x.value(), x.error())
    }
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
