//! Error bounds of a correct port: the layer as a first-order rounding error analysis.
//!
//! The tolerance must accept every correct algorithm for the layer, so it is the largest error that
//! they may do: models run as recurrences, scans or chunks, as direct convolutions, or by FFT;
//! kernels by running powers or by exponentials of logarithms; sums in any order. Each part is a run
//! of the reference on [`ErrorScale`], or a term with its source.

use super::analysis::Analysis;
use super::case::LayerCase;
use super::cotangents;
use super::run::{BackwardRun, owned};
use super::upstream::{FromUpstream, local_stages};
use crate::algebra::{ErrorBound, ErrorScale, Real};
use crate::error::Error;
use crate::h3::{Stage, documents_of};
use crate::into_vec::IntoVec as _;
use crate::oracle::format::Format;
use crate::oracle::subject::{Named, Scale, errors, scaled};
use crate::oracle::upstream::{Replaced, Upstream, of_port};
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
            let projections = Some(Tensor::known(uniform.shape(), parts.into_vec()));
            Scale {
                name,
                uniform,
                projections,
            }
        })
        .into_vec();
    if case.has_cotangent() {
        // Gradients have no analysis in two formats; the coarser one throughout bounds it.
        scales.extend(Scale::throughout(gradient_scales(case)?));
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
pub fn error_scales(case: &LayerCase, format: Format) -> Result<Named<ErrorBound>, Error> {
    scales_by(case, &Analysis::in_format(format))
}

/// From so many roundings on that multiply, in units of the last place, a first-order analysis says too
/// little.
const MANY: f64 = 1.0 / 8.0;

/// True if roundings of a case in a format are to be followed beyond the first order.
fn is_beyond(case: &LayerCase, format: Format) -> bool {
    case.documents().longest() as f64 * format.unit_roundoff() >= MANY
}

/// An analysis beyond the first order where it has to be.
fn far_enough(case: &LayerCase, analysis: Analysis, format: Format) -> Analysis {
    match is_beyond(case, format) {
        true => analysis.beyond_first_order(format),
        false => analysis,
    }
}

/// The error scale of every stage and gradient in a format, where that of golden files, of first order
/// and for transforms as fine as the models, is not enough.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward).
pub(super) fn further_scales(case: &LayerCase, format: Format) -> Result<Named<ErrorBound>, Error> {
    if !is_beyond(case, format) && format.transforms().is_none() {
        return Ok(Vec::new());
    }
    let in_format = Analysis::in_format(format);
    let mut scales = scales_by(case, &far_enough(case, in_format, format))?;
    if case.has_cotangent() && is_beyond(case, format) {
        let coarse = format.projection_unit_roundoff() / format.unit_roundoff();
        let analysis = Analysis::UNIFORM.beyond_first_order(format);
        let gradients = gradients_by(case, &analysis)?.into_iter();
        scales.extend(gradients.map(|(name, x)| (name, x.map(|error| error * coarse))));
    }
    Ok(scales)
}

fn scales_by(case: &LayerCase, analysis: &Analysis) -> Result<Named<ErrorBound>, Error> {
    let (layer, input, state) = case.in_precision::<ErrorScale>()?;
    let state = state.as_ref();
    let mut scales = owned(layer.forward_by(analysis, (&input, &case.documents()), state)?);
    scales.extend(case.states_between(&layer, state, |tokens, state| {
        let tokens = input.tokens(tokens)?;
        let whole = documents_of(&tokens);
        let stages = layer.forward_by(analysis, (&tokens, &whole), Some(state))?;
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
    let analysis = far_enough(case, Analysis::in_format(format), format);
    let u = format.unit_roundoff();
    let by = FromUpstream {
        by: &analysis,
        replaced: Replaced::within_roundings(upstream, u),
        projections_known: true,
    };
    let documents = case.documents();
    let stages = local_stages(case, &layer, &by, (&input, &documents), state.clone())?;
    let mut scales = errors(by.replaced.restore(stages));
    // They are computed from none of these.
    let projections = [Stage::Q, Stage::K, Stage::V].map(Stage::name);
    scales.retain(|(name, _)| !projections.contains(&&name[..]));
    let mut cotangents = cotangents::STAGES.into_iter().map(cotangents::name);
    if case.has_cotangent() && cotangents.any(|name| upstream.get(&name).is_some()) {
        let (g, g_state) = case.cotangents()?;
        let run = BackwardRun {
            parameters: &case.parameters.map(ErrorScale::from_f64),
            layer: &layer,
            input: &input,
            documents: &documents,
            state: state.as_ref(),
            g: &g,
            g_state: g_state.as_ref(),
        };
        // As on the whole, by the coarser of two formats throughout.
        let coarse = format.projection_unit_roundoff();
        let by = &far_enough(case, Analysis::UNIFORM, format);
        let gradients = run.gradients_from(Some(upstream), &of_port(coarse), by, by)?;
        scales.extend(scaled(errors(gradients), coarse / u));
    }
    Ok(scales)
}

/// The error scale of every gradient of a case.
///
/// # Errors
///
/// As [`Layer::gradients`](crate::h3::Layer::gradients).
pub fn gradient_scales(case: &LayerCase) -> Result<Named<ErrorBound>, Error> {
    gradients_by(case, &Analysis::UNIFORM)
}

fn gradients_by(case: &LayerCase, analysis: &Analysis) -> Result<Named<ErrorBound>, Error> {
    let parameters = case.parameters.map(ErrorScale::from_f64);
    let (layer, input, state) = case.in_precision::<ErrorScale>()?;
    let (g, g_state) = case.cotangents()?;
    let run = BackwardRun {
        parameters: &parameters,
        layer: &layer,
        input: &input,
        documents: &case.documents(),
        state: state.as_ref(),
        g: &g,
        g_state: g_state.as_ref(),
    };
    Ok(errors(run.gradients(analysis, analysis)?))
}

/// The errors of a kernel of `len` numbers: to first order, or beyond it in a format.
#[cfg(feature = "internals")]
#[must_use]
pub fn kernel_errors(
    ssm: &crate::ssm::Diagonal<ErrorScale>,
    len: usize,
    beyond: Option<Format>,
) -> Vec<ErrorBound> {
    let analysis = match beyond {
        None => Analysis::UNIFORM,
        Some(format) => Analysis::UNIFORM.beyond_first_order(format),
    };
    let kernel = crate::h3::Evaluate::ssm_kernel(&analysis, ssm, len);
    kernel.into_iter().map(ErrorScale::error).into_vec()
}
