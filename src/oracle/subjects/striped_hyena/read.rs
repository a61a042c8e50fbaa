//! A StripedHyena operator's file.

use super::super::graph::Inputs;
use super::case::{
    ChannelLayout, LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SKIP, StripedHyenaCase,
    TAPS, TOKENS, WEIGHT, Wiring,
};
use crate::error::Error;
use crate::oracle::read::{Strings, check_size, demand, flag, optional, required};
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;

/// From so many taps on the official code takes a filter for one in convolution order.
pub(super) const CONVOLUTION_ORDER: usize = 128;

/// The case in a file.
pub(super) fn read(file: &dyn Tensors) -> Result<StripedHyenaCase, Error> {
    use Axis::{Channel, Column, Row, Sequence, Tap};
    let strings = file.metadata();
    demand(strings, &["operator", "layout"])?;
    let operator: Operator = required(strings, "operator")?;
    let mut inputs = Inputs::default();
    let input @ [batch, len, d] = inputs.sizes(file, "input")?;
    let layout: ChannelLayout = required(strings, "layout")?;
    for (key, of) in [
        ("column_split_hyena", ChannelLayout::ColumnSplit),
        ("interleave", ChannelLayout::Interleave),
    ] {
        if flag(strings, key)?.is_some_and(|stated| stated != (layout == of)) {
            return Err(Error::value(
                format!("metadata {key}"),
                format!("contradicts the layout, {layout}"),
            ));
        }
    }
    let heads: Option<usize> = optional(strings, "num_attention_heads")?;
    let heads = match (layout, heads) {
        (ChannelLayout::ColumnSplit, None) => {
            return Err(Error::missing(
                "metadata num_attention_heads, which the layout column_split needs",
            ));
        }
        (_, heads) => heads.unwrap_or(1),
    };
    if heads == 0 || !d.is_multiple_of(heads) {
        return Err(Error::value(
            "metadata num_attention_heads",
            format!("{heads}; expected a divisor of d_model = {d}"),
        ));
    }

    inputs.read(file, "input", &input, &TOKENS)?;
    inputs.read(file, WEIGHT, &[3 * d, d], &[Row, Column])?;
    inputs.read_optional(file, "projections.bias", &[3 * d], &[Channel])?;
    let [_, _, taps] = inputs.sizes(file, SHORT)?;
    inputs.read(file, SHORT, &[3 * d, 1, taps], &[Channel, Sequence, Tap])?;
    inputs.read_optional(file, SHORT_BIAS, &[3 * d], &[Channel])?;
    let groups = read_filter(file, operator, &mut inputs)?;
    if !d.is_multiple_of(groups) {
        return Err(Error::shape(
            "filters",
            format_args!("a number that divides d_model = {d}"),
            groups,
        ));
    }
    if operator == Operator::Hcs && file.find(SKIP).is_some() {
        return Err(Error::value(format!("tensor {SKIP:?}"), "hcs has none"));
    }
    inputs.read_optional(file, SKIP, &[d], &[Channel])?;
    inputs.read(file, "out_filter_dense.weight", &[d, d], &[Row, Column])?;
    inputs.read_optional(file, "out_filter_dense.bias", &[d], &[Channel])?;
    inputs.read_cotangent(file, &input, &TOKENS)?;
    inputs.read_sequence(file, "input", [batch, len])?;

    for (key, size) in [
        ("B", batch),
        ("L", len),
        ("d_model", d),
        ("short_filter_length", taps),
        ("systems", groups),
    ] {
        check_size(strings, key, size, false)?;
    }
    check_groups(strings, operator, d, groups)?;
    check_filter(strings, operator, &inputs)?;
    Ok(StripedHyenaCase {
        inputs,
        operator,
        layout,
        flip: flag(strings, "hyena_flip_x1x2")?.unwrap_or(false),
        heads,
        wiring: Wiring::RIGHT,
    })
}

/// Reads what the filters are made of; how many there are.
fn read_filter(
    file: &dyn Tensors,
    operator: Operator,
    inputs: &mut Inputs,
) -> Result<usize, Error> {
    use Axis::{Channel, Mode, RealImaginary, Sequence, Tap};
    match operator {
        Operator::Sh1 => {
            let [groups, state, _, _] = inputs.sizes(file, POLES)?;
            let shape = [groups, state, 1, 2];
            let axes = [Channel, Mode, Sequence, RealImaginary];
            inputs.read(file, POLES, &shape, &axes)?;
            inputs.read(file, RESIDUES, &shape, &axes)?;
            Ok(groups)
        }
        Operator::Hcl => {
            let [groups, state, _] = inputs.sizes(file, LOG_POLES)?;
            let axes = [Channel, Mode, Sequence];
            inputs.read(file, LOG_POLES, &[groups, state, 1], &axes)?;
            inputs.read(file, RESIDUES, &[groups, state], &axes[..2])?;
            Ok(groups)
        }
        Operator::Hcm | Operator::Hcs => {
            let [groups, _, taps] = inputs.sizes(file, TAPS)?;
            if (taps >= CONVOLUTION_ORDER) != (operator == Operator::Hcm) {
                return Err(Error::value(
                    format!("tensor {TAPS:?}"),
                    format!(
                        "{taps} taps; expected at least {CONVOLUTION_ORDER} in hcm and fewer in hcs, \
                         which the official code tells apart by that"
                    ),
                ));
            }
            let axes = [Channel, Sequence, Tap];
            inputs.read(file, TAPS, &[groups, 1, taps], &axes)?;
            Ok(groups)
        }
    }
}

/// Holds `hyena_filter_groups` against the number of filters: it is that number, and in sh1 what divides
/// the channels into them.
fn check_groups(
    strings: &Strings,
    operator: Operator,
    d: usize,
    groups: usize,
) -> Result<(), Error> {
    let key = "hyena_filter_groups";
    let Some(stated) = optional::<usize>(strings, key)? else {
        return Ok(());
    };
    let filters = match operator {
        Operator::Sh1 if stated == 0 || !d.is_multiple_of(stated) => None,
        Operator::Sh1 => Some(d / stated),
        _ => Some(stated),
    };
    match filters == Some(groups) {
        true => Ok(()),
        false => Err(Error::value(
            format!("metadata {key}"),
            format!(
                "says {stated}, but the tensors hold {groups} filters of {d} channels ({operator})"
            ),
        )),
    }
}

/// Holds the sizes that the metadata states of a filter against its tensors.
fn check_filter(strings: &Strings, operator: Operator, inputs: &Inputs) -> Result<(), Error> {
    let last = |name: &str, axis: usize| inputs.get(name).map(|x| x.shape()[axis]);
    let (state, taps) = match operator.has_modes() {
        true => (last(RESIDUES, 1), None),
        false => (None, last(TAPS, 2)),
    };
    for (key, size) in [("state_size", state), ("inner_filter_length", taps)] {
        check_size(strings, key, size.unwrap_or(0), size.is_none())?;
    }
    Ok(())
}
