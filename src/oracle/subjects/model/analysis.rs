//! A model as a rounding error analysis: every part with the largest error bound over all admissible
//! algorithms, along a path on which sums and cotangents are what an analysis says.

use super::super::layer::Analysis;
use crate::algebra::{ErrorBound, ErrorScale, Field, LIBRARY_FACTOR, Matrix, Real, Ring};
use crate::error::Error;
use crate::h3::{Evaluate, Layer, LayerState};
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockStage, Cotangent, GELU_CUBE, LayerNorm, Mixed, ModelHooks, Rows, SQRT_2_OVER_PI, gelu,
};
use crate::oracle::upstream::Replaced;
use crate::tensor::Tensor;

/// The numbers that stand on the path through a model, forwards and back, in the place of those computed.
pub(super) trait Path {
    /// The embedded tokens.
    fn embedded(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        computed
    }

    /// A stage of a block.
    fn stage(
        &self,
        _block: usize,
        _which: BlockStage,
        computed: Tensor<ErrorScale>,
    ) -> Tensor<ErrorScale> {
        computed
    }

    /// The logits from which the loss is computed.
    fn logits(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        computed
    }

    /// A cotangent.
    fn cotangent(&self, _of: Cotangent, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        computed
    }

    /// A number of the residual stream before it is read.
    fn on_residual(&self, x: ErrorScale) -> ErrorScale {
        x.as_one_number()
    }
}

/// Sums without error: what is found is what each part adds.
pub(super) struct WithoutErrors;

impl Path for WithoutErrors {
    fn on_residual(&self, x: ErrorScale) -> ErrorScale {
        ErrorScale::new(x.value(), ErrorBound::ZERO)
    }
}

/// Errors are followed through the whole model, part by part.
pub(super) struct Followed;

impl Path for Followed {}

/// A port's own stages.
pub(super) struct FromUpstream<'a>(pub(super) Replaced<'a, ErrorScale>);

impl Path for FromUpstream<'_> {
    fn stage(
        &self,
        block: usize,
        which: BlockStage,
        computed: Tensor<ErrorScale>,
    ) -> Tensor<ErrorScale> {
        self.0.stage(&which.name(block), computed)
    }

    fn logits(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        self.0.stage("logits", computed)
    }

    fn cotangent(&self, of: Cotangent, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        self.0.stage(&of.name(), computed)
    }
}

/// Every part of a model with the largest error bound over all admissible algorithms, along a path.
pub(super) struct ModelAnalysis<P>(pub(super) P);

impl<P: Path> ModelHooks<ErrorScale> for ModelAnalysis<P> {
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

    fn models(&self) -> &dyn Evaluate<ErrorScale> {
        &Analysis::UNIFORM
    }

    /// Scores, exponentials, normalizer and weighted sum; what other ways add, for each score `s`:
    ///
    /// - the scale multiplied into q or k first (as the official `k * softmax_scale`) rounds every
    ///   product of the score, not their sum: `scale sum_c |q_c k_c|`;
    /// - `2^(s log2(e))` for `e^s`, with the factor held rounded: two roundings more of `s` and of
    ///   what is subtracted from it;
    /// - the running softmax (Milakov and Gimelshein 2018; `FlashAttention`), which continues from a smaller
    ///   largest score by multiplying what it has by `e^(old - new)`: an exponential and a product for each
    ///   time the largest rises, and the roundings of the differences, which add up to no
    ///   more than its whole rise.
    ///
    /// The number subtracted from the scores before the exponential (the largest, or nothing) is
    /// the same in numerator and normalizer, so its own error cancels.
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
        let inner = x + ErrorScale::from_f64(GELU_CUBE) * (x * x * x);
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

    fn embedded(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        self.0.embedded(computed)
    }

    fn on_residual(&self, x: ErrorScale) -> ErrorScale {
        self.0.on_residual(x)
    }

    fn stage(
        &self,
        block: usize,
        which: BlockStage,
        computed: Tensor<ErrorScale>,
    ) -> Tensor<ErrorScale> {
        self.0.stage(block, which, computed)
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
            .into_vec();
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
    Ok((x.into_vec(), center, variance))
}

/// The rises of the largest score so far, from the first token to the last.
#[derive(Clone, Copy, Debug)]
pub struct Rises {
    /// The largest score.
    pub top: f64,
    /// The number of rises.
    pub count: f64,
    /// All of them together.
    pub whole: f64,
}

impl Rises {
    /// Of some scores.
    #[must_use]
    pub fn of(scores: &[ErrorScale]) -> Self {
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
    #[must_use]
    pub fn error(&self) -> f64 {
        self.count * (LIBRARY_FACTOR + 1.0) + self.whole
    }
}
