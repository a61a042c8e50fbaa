//! A StripedHyena operator in checkpoints.

use super::case::{LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SKIP, TAPS, WEIGHT};
use super::read::CONVOLUTION_ORDER;
use crate::oracle::official::{Choices, Official, Parameter, Sizes, as_they_are};
use std::collections::BTreeSet;

/// The parameters: d channels, T of the projections, s taps before the gates; g filters of n modes or k
/// taps.
fn parameters(names: &BTreeSet<&str>) -> Vec<Parameter> {
    let mut rows = vec![
        Parameter::needed(WEIGHT, "Td"),
        Parameter::optional("projections.bias", "T"),
        Parameter::needed(SHORT, "T1s"),
        Parameter::optional(SHORT_BIAS, "T"),
    ];
    rows.extend(match (names.contains(POLES), names.contains(LOG_POLES)) {
        (true, _) => vec![
            Parameter::needed(POLES, "gn12"),
            Parameter::needed(RESIDUES, "gn12"),
            Parameter::needed(SKIP, "d"),
        ],
        (false, true) => vec![
            Parameter::needed(LOG_POLES, "gn1"),
            Parameter::needed(RESIDUES, "gn"),
            Parameter::needed(SKIP, "d"),
        ],
        (false, false) => vec![
            Parameter::needed(TAPS, "g1k"),
            Parameter::optional(SKIP, "d"),
        ],
    });
    rows.push(Parameter::needed("out_filter_dense.weight", "dd"));
    rows.push(Parameter::optional("out_filter_dense.bias", "d"));
    rows
}

fn choices(sizes: &Sizes<'_>) -> Choices {
    let operator = match (sizes.has(POLES), sizes.has(LOG_POLES)) {
        (true, _) => Operator::Sh1,
        (false, true) => Operator::Hcl,
        (false, false) if sizes.of('k') >= CONVOLUTION_ORDER => Operator::Hcm,
        (false, false) => Operator::Hcs,
    };
    Choices {
        told: vec![("operator", operator.to_string())],
        asked: vec!["layout", "hyena_flip_x1x2"],
        possible: &["num_attention_heads"],
    }
}

/// togethercomputer/stripedhyena `stripedhyena/model.py` and Zymrael/vortex `vortex/model/model.py`,
/// `ParallelGatedConvBlock`, without norms and MLP.
pub(crate) const OFFICIAL: Official = Official {
    stored: as_they_are,
    parameters,
    beside: &["pre_norm.", "post_norm.", "mlp."],
    choices,
};
