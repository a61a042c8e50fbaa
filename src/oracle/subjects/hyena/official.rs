//! A Hyena operator in checkpoints.

use super::case::{BIAS, DECAYS, FEATURES, PLACES, SHORT, SHORT_BIAS, network};
use crate::oracle::official::{Choices, Official, Parameter, Sizes, as_they_are};
use std::collections::BTreeSet;

/// The parameters and buffers: d channels, S of all signals, t taps, f filters of a head's channels; of the
/// filters' network l positions, e features, w units.
fn parameters(names: &BTreeSet<&str>) -> Vec<Parameter> {
    let mut rows = vec![
        Parameter::needed("in_proj.weight", "Sd"),
        Parameter::needed("in_proj.bias", "S"),
        Parameter::needed(SHORT, "S1t"),
        Parameter::needed(SHORT_BIAS, "S"),
        Parameter::needed(FEATURES, "1le"),
    ];
    let is_there = |sine: &usize| names.contains(&network(2 * sine + 1, "freq")[..]);
    let sines = (0..).take_while(is_there).count().max(1);
    for sine in 0..sines {
        let inputs = if sine == 0 { "we" } else { "ww" };
        rows.push(Parameter::needed(network(2 * sine, "weight"), inputs));
        rows.push(Parameter::needed(network(2 * sine, "bias"), "w"));
        rows.push(Parameter::needed(network(2 * sine + 1, "freq"), "1w"));
    }
    rows.push(Parameter::needed(network(2 * sines, "weight"), "fw"));
    rows.extend([
        Parameter::optional(PLACES, "1l1"),
        Parameter::optional(DECAYS, "11f"),
        Parameter::optional(BIAS, "f"),
        Parameter::needed("out_proj.weight", "dd"),
        Parameter::needed("out_proj.bias", "d"),
    ]);
    rows
}

fn choices(sizes: &Sizes<'_>) -> Choices {
    let (d, signals, flat) = (sizes.of('d'), sizes.of('S'), sizes.of('f'));
    let order = signals.checked_div(d).unwrap_or(0).saturating_sub(1);
    let heads = (order.saturating_sub(1) * d).checked_div(flat).unwrap_or(0);
    let mut choices = Choices {
        told: vec![
            ("order", order.to_string()),
            ("num_heads", heads.to_string()),
        ],
        asked: vec!["filter_layout", "normalized"],
        possible: &["shift"],
    };
    match sizes.has(DECAYS) || sizes.has(PLACES) {
        true => choices.asked.extend(["modulate", "shift"]),
        false => choices.told.push(("modulate", "False".into())),
    }
    match sizes.has(BIAS) {
        true => choices.asked.push("use_bias"),
        false => choices.told.push(("use_bias", "False".into())),
    }
    choices
}

/// HazyResearch/safari `src/models/sequence/hyena.py`, `HyenaOperator`; hyena-dna has the same names.
pub(crate) const OFFICIAL: Official = Official {
    stored: as_they_are,
    parameters,
    beside: &[],
    choices,
};
