//! Error bounds of a correct port of the layer: the reference on numbers with errors, with the
//! least accurate algorithm for the operator's heads.

use super::super::ssd::{worst_gradients_of_head, worst_response_of_head};
use super::case::Mamba2Case;
use crate::algebra::{ErrorBound, ErrorScale, Matrix};
use crate::error::Error;
use crate::mamba::{Mamba2Evaluate, Mamba2Pass, Mamba2Stage, Mamba2Stages};
use crate::oracle::format::Format;
use crate::oracle::subject::{Named, Scale, errors, scaled};
use crate::oracle::upstream::{Replaced, Upstream};
use crate::ssm::{Varying, VaryingResponse};
use crate::tensor::Tensor;

struct Worst;

impl Mamba2Evaluate<ErrorScale> for Worst {
    fn respond(
        &self,
        log_a: &Matrix<ErrorScale>,
        ssm: &Varying<ErrorScale>,
        u: &Matrix<ErrorScale>,
        x0: &Matrix<ErrorScale>,
    ) -> Result<VaryingResponse<ErrorScale>, Error> {
        worst_response_of_head(log_a, ssm, u, x0)
    }
}

/// The error scale of every stage.
pub(super) fn scales(case: &Mamba2Case) -> Result<Vec<Scale>, Error> {
    let layers = case.layers();
    let back = |log_a: &_, place: &_, ssm: &_, given: [&_; 4]| {
        worst_gradients_of_head(log_a, place, ssm, given)
    };
    let back = case.has_cotangent().then_some(&back as _);
    let stages = case.assemble(&layers, (&Worst, &Worst), &|_| {}, back)?;
    Ok(Scale::throughout(errors(stages)))
}

/// From a port's own stages.
struct FromUpstream<'a> {
    replaced: Replaced<'a, ErrorScale>,
}

impl Mamba2Evaluate<ErrorScale> for FromUpstream<'_> {
    fn respond(
        &self,
        log_a: &Matrix<ErrorScale>,
        ssm: &Varying<ErrorScale>,
        u: &Matrix<ErrorScale>,
        x0: &Matrix<ErrorScale>,
    ) -> Result<VaryingResponse<ErrorScale>, Error> {
        worst_response_of_head(log_a, ssm, u, x0)
    }

    fn stage(
        &self,
        _: &Mamba2Pass<'_, ErrorScale>,
        stage: Mamba2Stage,
        computed: Tensor<ErrorScale>,
        _: &Mamba2Stages<ErrorScale>,
    ) -> Result<Tensor<ErrorScale>, Error> {
        Ok(self.replaced.stage(stage.name(), computed))
    }
}

/// The error scale of every stage computed from a port's own. A port in two formats is taken for one
/// in the coarser throughout.
pub(super) fn local_scales(
    case: &Mamba2Case,
    upstream: &Upstream,
    format: Format,
) -> Result<Named<ErrorBound>, Error> {
    let u = format.projection_unit_roundoff();
    let ratio = u / format.unit_roundoff();
    let by = FromUpstream {
        replaced: Replaced::within_roundings(upstream, u),
    };
    let stages = case.assemble(&case.layers(), (&by, &Worst), &|_| {}, None)?;
    Ok(scaled(errors(by.replaced.restore(stages)), ratio))
}
