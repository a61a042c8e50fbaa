//! The adjoint of every part of a model as a rounding error analysis.

use super::super::layer::Analysis;
use super::analysis::{ModelAnalysis, Path, attention_weights, normed_from};
use crate::algebra::{ErrorScale, Field, LIBRARY_FACTOR, Matrix, Ring};
use crate::error::Error;
use crate::h3::{Backward, Layer, LayerGradients};
use crate::into_vec::IntoVec as _;
use crate::model::{
    Cotangent, GELU_CUBE, LayerNorm, ModelBackward, ModelHooks, NormGradient, Rows, SQRT_2_OVER_PI,
    cross_entropy, gelu_slope,
};
use crate::tensor::Tensor;

impl<P: Path> ModelBackward<ErrorScale> for ModelAnalysis<P> {
    fn h3_back(
        &self,
        _block: usize,
        layer: &Layer<ErrorScale>,
        u: Rows<'_, ErrorScale>,
        g: &Tensor<ErrorScale>,
    ) -> Result<LayerGradients<ErrorScale>, Error> {
        layer.gradients_by(&Analysis::UNIFORM, &Analysis::UNIFORM, u, None, g, None)
    }

    fn models_back(&self) -> &dyn Backward<ErrorScale> {
        &Analysis::UNIFORM
    }

    /// With the weights as on the way forward, computed again or kept. The mean that is taken off the
    /// cotangents of a row's weights is `sum_j p_j e_j`, or the same number as `sum_c g_c o_c`, o being the
    /// output (Dao and others 2022, `FlashAttention`, section B.2); and the scale is multiplied into every
    /// score's cotangent.
    fn attend_back(
        &self,
        [q, k, v]: [&Matrix<ErrorScale>; 3],
        scale: ErrorScale,
        g: &Matrix<ErrorScale>,
    ) -> Result<[Matrix<ErrorScale>; 3], Error> {
        let weights = attention_weights(q, k, scale)?;
        let output = self.attend(q, k, v, scale)?;
        let zeros = |of: &Matrix<ErrorScale>| of.map(|_| ErrorScale::ZERO);
        let (mut of_q, mut of_k, mut of_v) = (zeros(q), zeros(k), zeros(v));
        let sum = |terms: &mut dyn Iterator<Item = ErrorScale>| {
            terms.fold(ErrorScale::ZERO, |sum, x| sum + x)
        };
        let add = |row: &mut [ErrorScale], factor: ErrorScale, other: &[ErrorScale]| {
            for (x, &y) in row.iter_mut().zip(other) {
                *x = *x + factor * y;
            }
        };
        for (i, weights) in weights.into_iter().enumerate() {
            let of_weights: Vec<ErrorScale> = (0..=i)
                .map(|j| sum(&mut g.row(i).iter().zip(v.row(j)).map(|(&g, &v)| g * v)))
                .into_vec();
            let pairs = weights.iter().zip(&of_weights);
            let mean = sum(&mut pairs.map(|(&p, &e)| p * e));
            let pairs = g.row(i).iter().zip(output.row(i));
            let by_output = sum(&mut pairs.map(|(&g, &o)| g * o));
            let mean = mean.with_error(mean.error().max(by_output.error()));
            for (j, (weight, of_weight)) in weights.into_iter().zip(of_weights).enumerate() {
                let of_score = scale * (weight * (of_weight - mean));
                add(of_q.row_mut(i), of_score, k.row(j));
                add(of_k.row_mut(j), of_score, q.row(i));
                add(of_v.row_mut(j), weight, g.row(i));
            }
        }
        Ok([of_q, of_k, of_v])
    }

    /// Zero, where a port that sums it up has the rounding noise of the sum.
    fn key_biases(&self, sum: &[ErrorScale]) -> Vec<ErrorScale> {
        let noise = |x: &ErrorScale| ErrorScale::new(0.0, x.error());
        sum.iter().map(noise).into_vec()
    }

    /// From the normed token; or, as `torch.nn.functional.layer_norm` goes back, from the token itself: with
    /// `r` the inverse deviation, `r e + b x - (b mean + r mean(e))`, `b = r^3 (mean sum(e) - sum(e x)) / d`,
    /// which cancels where a token is far from zero.
    fn norm_back(
        &self,
        norm: &LayerNorm<ErrorScale>,
        _last: bool,
        x: &[ErrorScale],
        g: &[ErrorScale],
    ) -> Result<NormGradient<ErrorScale>, Error> {
        let (off, center, variance) = normed_from(norm, x)?;
        let mut back = norm.adjoint_of(&off, (center, variance), g)?;
        let inverse = norm.deviation(variance).inverse();
        let d = ErrorScale::from_i64(x.len() as i64).inverse();
        let (Some(r), Some(share)) = (inverse, d) else {
            return Ok(back);
        };
        let e: Vec<ErrorScale> = g.iter().zip(norm.weight()).map(|(&g, &w)| g * w).into_vec();
        let sum = e.iter().fold(ErrorScale::ZERO, |sum, &e| sum + e);
        let along = crate::algebra::dot(&e, x);
        let b = (center * sum - along) * (r * r * r) * share;
        for ((to, &e), &x) in back.input.iter_mut().zip(&e).zip(x) {
            let other = r * e + b * x - (b * center + r * (sum * share));
            *to = to.with_error(to.error().max(other.error()));
        }
        Ok(back)
    }

    /// By the hyperbolic tangent, `1 - t^2` from t or its square, or by `s = sigmoid(2z)` as
    /// `s + x s (1 - s) 2z'`: each knows 1 and what is taken off it to a few roundings.
    fn slope(&self, x: ErrorScale) -> ErrorScale {
        let by_tanh = gelu_slope(x);
        let size = x.value().abs();
        let inner = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBE * size * size);
        // Where both factors vanish, so does what is rounded in them.
        let left = match size {
            beyond if beyond > 30.0 => 0.0,
            size => size * inner,
        };
        let units = (LIBRARY_FACTOR + 2.0) * (1.0 + left);
        by_tanh.with_error(by_tanh.error() + units)
    }

    fn logits(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        self.0.logits(computed)
    }

    /// Without cancellation, or from the logarithm of the normalizer, `l = top + ln sum e^(z - top)` or
    /// `ln sum e^z`: loss `l - z_target`, slopes `e^(z - l)`, with the roundings of `z`, `top` and `l`.
    fn token_loss(
        &self,
        logits: &[ErrorScale],
        target: usize,
    ) -> Result<(ErrorScale, Vec<ErrorScale>), Error> {
        let (loss, mut slopes) = cross_entropy(logits, target)?;
        let z = |j: usize| logits[j].value().abs();
        let top = logits.iter().map(|z| z.value()).fold(f64::MIN, f64::max);
        let normalizer = loss.value() + logits[target].value();
        let sizes = 2.0 * top.abs() + (LIBRARY_FACTOR + 1.0) * normalizer.abs();
        let of_logarithm = LIBRARY_FACTOR * (normalizer - top).abs();
        for (j, slope) in slopes.iter_mut().enumerate() {
            let one = if j == target { 1.0 } else { 0.0 };
            let probability = (slope.value() + one).abs();
            let units = 2.0 * z(j) + sizes + LIBRARY_FACTOR;
            *slope = slope.with_error(slope.error() + probability * units);
        }
        let units = 2.0 * z(target) + sizes + of_logarithm;
        Ok((loss.with_error(loss.error() + units), slopes))
    }

    fn cotangent(&self, of: Cotangent, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        self.0.cotangent(of, computed)
    }
}
