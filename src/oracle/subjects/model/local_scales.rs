//! The error bound of the one step in which a port of a language model computes a stage from its own.

use super::analysis::{FromUpstream, ModelAnalysis};
use super::case::ModelCase;
use super::gradient_scales::lookup_as_rest;
use crate::algebra::{ErrorBound, ErrorScale, Real};
use crate::error::Error;
use crate::oracle::format::Format;
use crate::oracle::subject::{Named, errors};
use crate::oracle::upstream::{Replaced, Upstream};

/// The error scale of every stage of a model computed from a port's own stages. (Where some are not
/// there, errors go through several blocks part by part, and the scale is wide.)
///
/// # Errors
///
/// As [`Model::forward`].
pub(super) fn local_scales(
    case: &ModelCase,
    upstream: &Upstream,
    format: Format,
) -> Result<Named<ErrorBound>, Error> {
    let replaced = Replaced::within_roundings(upstream, format.unit_roundoff());
    let by = ModelAnalysis(FromUpstream(replaced));
    let parameters = case.parameters.map(ErrorScale::from_f64);
    let rows = case.text.rows();
    let stages = match &case.targets {
        None => parameters.model()?.forward_by(&by, rows, None)?.named(),
        Some(targets) => {
            let (stages, mut gradients) = parameters.gradients_by(&by, rows, targets)?;
            lookup_as_rest(&mut gradients);
            [stages.named(), gradients.named()].concat()
        }
    };
    let ModelAnalysis(FromUpstream(replaced)) = by;
    Ok(errors(replaced.restore(stages)))
}
