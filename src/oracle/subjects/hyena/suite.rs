//! The Hyena operators of the suite.

use super::super::graph::{Inputs, Numbers};
use super::case::{
    BIAS, DECAYS, FEATURES, FilterLayout, HyenaCase, PLACES, SHORT, SHORT_BIAS, TOKENS, Wiring,
    network,
};
use crate::error::Error;
use crate::oracle::sequence::Sequence as Rows;
use crate::oracle::stage::Axis;
use crate::oracle::subject::SuiteRow;

/// The choices of a case.
#[derive(Clone, Copy)]
struct Choices {
    order: usize,
    heads: usize,
    layout: FilterLayout,
    shift: f64,
    normalized: bool,
    len: usize,
    l_max: usize,
    /// The ends of the documents in a row, if it is not one sequence.
    documents: Option<[usize; 4]>,
}

fn sample(name: &str, choices: Choices, seed: u64) -> Result<HyenaCase, Error> {
    use Axis::{Channel, Column, Mode, Row, Sequence, Tap, Time};
    let Choices {
        order,
        heads,
        l_max,
        len,
        ..
    } = choices;
    let batch = if choices.documents.is_some() { 1 } else { 2 };
    let (d, emb_dim, width, sines) = (4, 3, 4, 2);
    let (signals, flat) = ((order + 1) * d, (order - 1) * (d / heads));
    let mut numbers = Numbers::named(seed, name, false);
    let mut inputs = Inputs::default();
    inputs.push("input", numbers.tensor(&[batch, len, d])?, &TOKENS);
    let weight = numbers.tensor(&[signals, d])?;
    inputs.push("in_proj.weight", weight, &[Row, Column]);
    inputs.push("in_proj.bias", numbers.tensor(&[signals])?, &[Channel]);
    let taps = numbers.tensor(&[signals, 1, 3])?;
    inputs.push(SHORT, taps, &[Channel, Sequence, Tap]);
    inputs.push(SHORT_BIAS, numbers.tensor(&[signals])?, &[Channel]);
    let features = numbers.tensor(&[1, l_max, emb_dim])?;
    inputs.push(FEATURES, features, &[Row, Time, Mode]);
    let frequency = numbers.scaled(&[1, width], 3.0)?;
    for layer in 0..sines {
        let from = if layer == 0 { emb_dim } else { width };
        let weight = numbers.tensor(&[width, from])?;
        inputs.push(network(2 * layer, "weight"), weight, &[Row, Column]);
        inputs.push(
            network(2 * layer, "bias"),
            numbers.tensor(&[width])?,
            &[Row],
        );
        let name = network(2 * layer + 1, "freq");
        match layer {
            0 => inputs.push(name, frequency.clone(), &[Sequence, Row]),
            _ => inputs.push_fixed(name, frequency.clone()),
        }
    }
    let weight = numbers.tensor(&[flat, width])?;
    inputs.push(network(2 * sines, "weight"), weight, &[Row, Column]);
    // Of no closed form: a port has to load them.
    inputs.push_fixed(PLACES, numbers.tensor(&[1, l_max, 1])?.map(f64::abs));
    inputs.push_fixed(DECAYS, numbers.scaled(&[1, 1, flat], 3.0)?);
    inputs.push(BIAS, numbers.tensor(&[flat])?, &[Row]);
    let weight = numbers.tensor(&[d, d])?;
    inputs.push("out_proj.weight", weight, &[Row, Column]);
    inputs.push("out_proj.bias", numbers.tensor(&[d])?, &[Channel]);
    let output = match choices.documents {
        None => len.min(l_max),
        Some(ends) => {
            inputs.set_sequence(Rows::Packed(ends.into()), [batch, len])?;
            len
        }
    };
    let g = numbers.tensor(&[batch, output, d])?;
    inputs.push_cotangent("g", g, &TOKENS);
    Ok(HyenaCase {
        inputs,
        order,
        heads,
        layout: choices.layout,
        shift: choices.shift,
        modulate: true,
        normalized: choices.normalized,
        use_bias: true,
        sines,
        wiring: Wiring::RIGHT,
    })
}

/// The Hyena operators of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<HyenaCase>> {
    [
        (
            "94-hyena",
            "Hyena of order 2, sequences longer than l_max, normalized filters",
            Choices {
                order: 2,
                heads: 1,
                layout: FilterLayout::FilterMajor,
                shift: 0.05,
                normalized: true,
                len: 21,
                l_max: 19,
                documents: None,
            },
        ),
        (
            "95-hyena-order-3",
            "Hyena of order 3 with two heads, sequences shorter than l_max",
            Choices {
                order: 3,
                heads: 2,
                layout: FilterLayout::ChannelMajor,
                shift: 0.0,
                normalized: false,
                len: 17,
                l_max: 23,
                documents: None,
            },
        ),
        (
            "95b-hyena-packed",
            "Hyena of order 3 over three documents in a row longer than l_max",
            Choices {
                order: 3,
                heads: 1,
                layout: FilterLayout::FilterMajor,
                shift: 0.0,
                normalized: false,
                len: 19,
                l_max: 13,
                documents: Some([0, 7, 8, 19]),
            },
        ),
    ]
    .map(|(name, stresses, choices)| {
        SuiteRow::new(name, stresses, move |seed| sample(name, choices, seed))
    })
    .into()
}
