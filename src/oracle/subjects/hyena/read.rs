//! A Hyena operator's file.

use super::super::graph::Inputs;
use super::case::{
    BIAS, DECAYS, FEATURES, FilterLayout, HyenaCase, PLACES, SHORT, SHORT_BIAS, TOKENS, Wiring,
    network,
};
use crate::error::Error;
use crate::oracle::read::{Strings, check_size, demand, flag, metadata, optional, required};
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;
use crate::ssm::Documents;

/// The options with which the operator is refused.
const UNSUPPORTED: [(&str, &str); 3] = [
    ("activation", "id"),
    ("post_order_ffn", "False"),
    ("num_blocks", "1"),
];

/// The case in a file.
pub(super) fn read(file: &dyn Tensors) -> Result<HyenaCase, Error> {
    use Axis::{Channel, Column, Mode, Row, Sequence, Tap, Time};
    let strings = file.metadata();
    for (key, known) in UNSUPPORTED {
        if let Some(stated) = strings.get(key).filter(|stated| *stated != known) {
            return Err(Error::value(
                format!("metadata {key}"),
                format!("{stated:?}; expected {known:?}, the only one known here"),
            ));
        }
    }
    demand(strings, &["order", "filter_layout"])?;
    let mut inputs = Inputs::default();
    let input @ [batch, len, d] = inputs.sizes(file, "input")?;
    let order: usize = required(strings, "order")?;
    let heads: usize = optional(strings, "num_heads")?.unwrap_or(1);
    if order < 2 || heads == 0 || !d.is_multiple_of(heads) {
        return Err(Error::value(
            "metadata order and num_heads",
            format!(
                "{order} and {heads}; expected an order of at least 2, and heads that divide d_model = {d}"
            ),
        ));
    }
    let (signals, flat) = ((order + 1) * d, (order - 1) * (d / heads));
    inputs.read(file, "input", &input, &TOKENS)?;
    inputs.read(file, "in_proj.weight", &[signals, d], &[Row, Column])?;
    inputs.read_optional(file, "in_proj.bias", &[signals], &[Channel])?;
    let [_, _, taps] = inputs.sizes(file, SHORT)?;
    inputs.read(file, SHORT, &[signals, 1, taps], &[Channel, Sequence, Tap])?;
    inputs.read_optional(file, SHORT_BIAS, &[signals], &[Channel])?;

    let [_, l_max, emb_dim] = inputs.sizes(file, FEATURES)?;
    inputs.read(file, FEATURES, &[1, l_max, emb_dim], &[Row, Time, Mode])?;
    let (mut width, mut sines) = (emb_dim, 0);
    while file.find(&network(2 * sines + 1, "freq")).is_some() {
        let weight = network(2 * sines, "weight");
        let [outputs, _] = inputs.sizes(file, &weight)?;
        inputs.read(file, &weight, &[outputs, width], &[Row, Column])?;
        let bias = network(2 * sines, "bias");
        inputs.read_optional(file, &bias, &[outputs], &[Row])?;
        width = outputs;
        let frequency = network(2 * sines + 1, "freq");
        let values = inputs.tensor(file, &frequency, &[1, width])?;
        match inputs.get(&network(1, "freq")) {
            None => inputs.push(frequency, values, &[Sequence, Row]),
            Some(first) if *first == values => inputs.push_fixed(frequency, values),
            Some(_) => {
                return Err(Error::value(
                    format!("tensor {frequency:?}"),
                    "differs from the first one; expected one frequency, shared by all layers",
                ));
            }
        }
        sines += 1;
    }
    if sines == 0 {
        return Err(Error::missing(format!("tensor {:?}", network(1, "freq"))));
    }
    let last = network(2 * sines, "weight");
    inputs.read(file, &last, &[flat, width], &[Row, Column])?;
    if file.find(&network(2 * sines, "bias")).is_some() {
        return Err(Error::value(
            format!("tensor {:?}", network(2 * sines, "bias")),
            "the last layer has no bias",
        ));
    }
    let modulate = flag(strings, "modulate")?.unwrap_or(true);
    if modulate || file.find(PLACES).is_some() {
        inputs.push_fixed(PLACES, inputs.tensor(file, PLACES, &[1, l_max, 1])?);
        inputs.push_fixed(DECAYS, inputs.tensor(file, DECAYS, &[1, 1, flat])?);
    }
    let use_bias = flag(strings, "use_bias")?.unwrap_or(true);
    match use_bias {
        true => inputs.read(file, BIAS, &[flat], &[Row])?,
        false => inputs.read_optional(file, BIAS, &[flat], &[Row])?,
    }
    inputs.read(file, "out_proj.weight", &[d, d], &[Row, Column])?;
    inputs.read_optional(file, "out_proj.bias", &[d], &[Channel])?;
    inputs.read_sequence(file, "input", [batch, len])?;
    let output = match inputs.documents().map(Documents::longest) {
        None => len.min(l_max),
        Some(longest) if longest <= l_max => len,
        Some(longest) => {
            return Err(Error::unsupported(format!(
                "a document of {longest} tokens: filters end at l_max = {l_max}, and so would it"
            )));
        }
    };
    inputs.read_cotangent(file, &[batch, output, d], &TOKENS)?;

    for (key, size) in [
        ("B", batch),
        ("L", len),
        ("d_model", d),
        ("l_max", l_max),
        ("emb_dim", emb_dim),
        ("filter_order", width),
        ("num_inner_mlps", sines - 1),
        ("short_filter_order", taps),
    ] {
        check_size(strings, key, size, false)?;
    }
    Ok(HyenaCase {
        inputs,
        order,
        heads,
        layout: read_layout(strings)?,
        shift: optional(strings, "shift")?.unwrap_or(0.0),
        modulate,
        normalized: flag(strings, "normalized")?.unwrap_or(false),
        use_bias,
        sines,
        wiring: Wiring::RIGHT,
    })
}

/// `(v o): flat = ...`: what stands before the colon.
fn read_layout(strings: &Strings) -> Result<FilterLayout, Error> {
    let stated = metadata(strings, "filter_layout")?;
    stated.split(':').next().unwrap_or_default().trim().parse()
}
