//! What a port may be off by: the layer as a first-order rounding error analysis.
//!
//! The tolerance has to accept every right way to compute the layer, so it is the largest of what
//! they may do: models run as recurrences, scans or chunks, as direct convolutions, or by FFT;
//! kernels by running powers or by exponentials of logarithms; sums in any order. Each part is a run
//! of the reference's own text on [`ErrorScale`], or a term with its source.

use super::super::worst_response::{
    WithError, fft_error, larger_errors, magnitudes, norm, worst_response,
};
use super::case::LayerCase;
use super::run::{BackwardRun, owned, tokens_of};
use super::upstream::{FromUpstream, local_stages};
use crate::algebra::{
    Ball, ComplexErrorScale, ComplexScalar, ErrorBound, ErrorScale, LIBRARY_FACTOR, Real, Ring,
    modulus,
};
use crate::error::Error;
use crate::h3::{Evaluate, Plain};
use crate::oracle::format::Format;
use crate::oracle::subject::{Named, Scale};
use crate::oracle::upstream::{Replaced, Upstream};
use crate::ssm::{Diagonal, Response, Shift, StateSpace};
use crate::tensor::Tensor;

/// The error scale of every stage and gradient of a case.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward).
pub(super) fn scales(case: &LayerCase) -> Result<Vec<Scale>, Error> {
    let uniform = error_scales(case, Format::F64)?;
    // The coarsest projections against the finest models that any format has.
    let coarsest = Format::MIXED_BF16;
    let span = coarsest.projection_unit_roundoff() / coarsest.unit_roundoff() - 1.0;
    let mixed = error_scales(case, coarsest)?;
    let mut scales: Vec<Scale> = uniform
        .into_iter()
        .zip(mixed)
        .map(|((name, uniform), (_, mixed))| {
            let pairs = uniform.data().iter().zip(mixed.data());
            let parts = pairs.map(|(one, mixed)| (mixed.worst - one.worst).max(0.0) / span);
            let projections = Some(Tensor::known(uniform.shape(), parts.collect()));
            Scale {
                name,
                uniform,
                projections,
            }
        })
        .collect();
    if case.cotangent.is_some() {
        // Gradients have no analysis in two formats; the coarser one throughout bounds it.
        scales.extend(
            gradient_scales(case)?
                .into_iter()
                .map(|(name, uniform)| Scale {
                    name,
                    uniform,
                    projections: None,
                }),
        );
    }
    Ok(scales)
}

/// The error scale of every stage of a case, in units of the format's unit roundoff, under the
/// names and shapes of the stages: a port is within tolerance where
/// `|port - golden| <= unit_roundoff * scale`.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward).
pub(super) fn error_scales(case: &LayerCase, format: Format) -> Result<Named<ErrorBound>, Error> {
    let (layer, input, state) = case.in_precision::<ErrorScale>()?;
    let analysis = Analysis {
        ratio: format.projection_unit_roundoff() / format.unit_roundoff(),
    };
    let state = state.as_ref();
    let mut scales = owned(layer.forward_by(&analysis, &input, state)?);
    scales.extend(case.chunk_states(&layer, state, |tokens, state| {
        let tokens = tokens_of(&input, tokens)?;
        let stages = layer.forward_by(&analysis, &tokens, Some(state))?;
        Ok([stages.state.clone(), stages.state])
    })?);
    Ok(errors(scales))
}

/// The error scale of every stage of a case computed from a port's own stages.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward).
pub(super) fn local_scales(
    case: &LayerCase,
    upstream: &Upstream,
    format: Format,
) -> Result<Named<ErrorBound>, Error> {
    let (layer, input, state) = case.in_precision::<ErrorScale>()?;
    let analysis = Analysis {
        ratio: format.projection_unit_roundoff() / format.unit_roundoff(),
    };
    let u = format.unit_roundoff();
    // In units of the models' roundoff: never less than one rounding in it.
    let rounded = |x: f64, rounding: f64| {
        ErrorScale::new(x, ErrorBound::both(x.abs() * (rounding / u).max(1.0)))
    };
    let by = FromUpstream {
        by: &analysis,
        replaced: Replaced::new(Some(upstream), rounded),
    };
    local_stages(case, &layer, &by, &input, state).map(|stages| errors(by.replaced.restore(stages)))
}

fn errors(scales: Named<ErrorScale>) -> Named<ErrorBound> {
    let scales = scales.into_iter();
    scales
        .map(|(name, scale)| (name, scale.map(ErrorScale::error)))
        .collect()
}

/// The error scale of every gradient of a case, the larger of what a port may be off by that runs
/// the layer backwards by recurrences, by direct sums or by FFT. (Through FFTs this counts every
/// butterfly at its worst, where the forward stages use the normwise bound: rigorous, and loose.)
///
/// # Errors
///
/// As [`Layer::gradients`](crate::h3::Layer::gradients).
pub(super) fn gradient_scales(case: &LayerCase) -> Result<Named<ErrorBound>, Error> {
    let parameters = case.parameters.map(ErrorScale::from_f64);
    let (layer, input, state) = case.in_precision::<ErrorScale>()?;
    let run = BackwardRun {
        parameters: &parameters,
        layer: &layer,
        input: &input,
        state: state.as_ref(),
        g: &case.cotangent()?.map(ErrorScale::from_f64),
    };
    let mut scales: Named<ErrorBound> = Vec::new();
    for form in [Plain::Convolution, Plain::Fft, Plain::Recurrence] {
        if case.is_cut() && form == Plain::Recurrence {
            continue;
        }
        let errors = errors(run.gradients(&form, &form)?);
        if scales.is_empty() {
            scales = errors;
            continue;
        }
        for ((_, scale), (_, other)) in scales.iter_mut().zip(errors) {
            for (scale, &other) in scale.data_mut().iter_mut().zip(other.data()) {
                *scale = scale.max(other);
            }
        }
    }
    Ok(scales)
}

/// A model's response, with the largest error bound over all admissible algorithms.
pub(crate) struct Analysis {
    /// The projections' unit roundoff over the models'.
    ratio: f64,
}

impl Analysis {
    /// The analysis of a port that works in one format throughout.
    pub(crate) const UNIFORM: Self = Self { ratio: 1.0 };
}

impl Evaluate<ErrorScale> for Analysis {
    fn shift_kernel(&self, ssm: &Shift<ErrorScale>, len: usize) -> Vec<ErrorScale> {
        shift_kernel(ssm, len)
    }

    fn ssm_kernel(&self, ssm: &Diagonal<ErrorScale>, len: usize) -> Vec<ErrorScale> {
        diagonal_kernel(ssm, len)
    }

    fn shift(
        &self,
        ssm: &Shift<ErrorScale>,
        kernel: &[ErrorScale],
        u: &[ErrorScale],
        x0: &[ErrorScale],
    ) -> Result<Response<Shift<ErrorScale>>, Error> {
        let majorant = Shift::new(
            magnitudes(ssm.b()),
            magnitudes(ssm.c()),
            ssm.feedthrough().absolute(),
        )?;
        worst_response(ssm, &majorant, kernel, u, x0)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<ErrorScale>,
        kernel: &[ErrorScale],
        u: &[ErrorScale],
        x0: &[ComplexErrorScale],
    ) -> Result<Response<Diagonal<ErrorScale>>, Error> {
        let majorant = Diagonal::new(
            magnitudes(ssm.poles()),
            magnitudes(ssm.b()),
            magnitudes(ssm.c()),
            ssm.feedthrough().absolute(),
        )?;
        worst_response(ssm, &majorant, kernel, u, x0)
    }

    fn at_projection(&self, x: ErrorScale, inward: bool) -> ErrorScale {
        if self.ratio <= 1.0 {
            return x;
        }
        // Errors are in units of the models' roundoff between the projections, and of the
        // projections' within them; what enters the last projection is rounded to its format.
        let error = if inward {
            x.error() * self.ratio
        } else {
            x.error() / self.ratio + x.value().abs()
        };
        ErrorScale::new(x.value(), error)
    }
}

/// The shift model's kernel, by its sum or, as the official code does, by an FFT of length 2m.
fn shift_kernel(ssm: &Shift<ErrorScale>, len: usize) -> Vec<ErrorScale> {
    let m = ssm.state_dim();
    let fft = fft_error(2 * m) * norm(ssm.b()) * norm(ssm.c());
    ssm.kernel(len)
        .into_iter()
        .enumerate()
        // Beyond the window the kernel is not computed but zero.
        .map(|(j, f)| f.with_error(f.error() + if j < m { fft } else { 0.0 }))
        .collect()
}

/// The diagonal model's kernel, by running powers or, as the official code does, by
/// `exp(l log a)`: the logarithm is good to one library function, its product with `l` and the
/// exponential's argument carry that error `l` times, and `exp(z)` is `e^x (cos y + i sin y)`.
fn diagonal_kernel(ssm: &Diagonal<ErrorScale>, len: usize) -> Vec<ErrorScale> {
    let weights: Vec<_> = ssm.c().iter().zip(ssm.b()).map(|(&c, &b)| c * b).collect();
    let running = ssm.kernel(len);
    // The relative error of a pole and what its logarithm adds, which grow with l in the power a^l.
    let steps: Vec<ErrorBound> = ssm
        .poles()
        .iter()
        .map(|a| {
            let (value, size) = (a.value(), modulus(a.value()));
            // |log a| <= |ln |a|| + |arg a|, the arc at most pi/2 times its chord.
            let chord = modulus(value / size - 1.0);
            let logarithm = Ball::from_f64(size * size - 1.0).ln_1p().to_f64() / 2.0;
            let log = logarithm.abs() + core::f64::consts::FRAC_PI_2 * chord;
            a.error() / size + (LIBRARY_FACTOR + 1.0) * log
        })
        .collect();
    let by_logarithm = (0..len).map(|l| {
        let mut sum = ErrorScale::ZERO;
        for ((&weight, a), &step) in weights.iter().zip(ssm.poles()).zip(&steps) {
            let (value, size) = (a.value(), modulus(a.value()));
            if size <= 0.0 {
                continue;
            }
            let relative = step * l as f64 + 2.0 * LIBRARY_FACTOR + 2.0;
            let power = value.powu(u32::try_from(l).unwrap_or(u32::MAX));
            let power = ComplexErrorScale::new(power, relative * modulus(power));
            sum = sum + (weight * power).trace();
        }
        sum.error()
    });
    larger_errors(&running, by_logarithm)
}

#[cfg(test)]
mod tests;
