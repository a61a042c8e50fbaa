//! The StripedHyena operators of the suite.

use super::super::graph::{GraphCase, Inputs, Numbers};
use super::case::{
    ChannelLayout, LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SKIP, StripedHyenaCase,
    TAPS, TOKENS, WEIGHT, Wiring,
};
use crate::error::Error;
use crate::oracle::sequence::{Schedule, Sequence};
use crate::oracle::stage::Axis;
use crate::oracle::subject::SuiteRow;
use crate::ssm::Padding;

/// The choices in which the cases differ.
#[derive(Clone, Copy)]
struct Choices {
    operator: Operator,
    layout: ChannelLayout,
    flip: bool,
    groups: usize,
    /// Modes or taps.
    size: usize,
    len: usize,
    rows: Rows,
}

/// The division of rows into sequences.
#[derive(Clone, Copy)]
enum Rows {
    Whole,
    /// Three documents in a row, with cotangents of their states.
    Packed,
    /// Padding on the right.
    Padded,
    /// A prompt, steps and a chunk.
    Scheduled,
}

impl Rows {
    fn sequence(self, len: usize) -> Result<Sequence, Error> {
        Ok(match self {
            Self::Whole => Sequence::Whole,
            Self::Packed => Sequence::Packed(vec![0, 1, len / 2, len]),
            Self::Padded => Sequence::Padded(vec![len / 2, len - 3], Padding::Right),
            Self::Scheduled => {
                let parts = format!("prompt=3,steps=2,chunk={}", len - 5);
                Sequence::Scheduled(Schedule::parse(&parts, None, len)?)
            }
        })
    }
}

fn sample(name: &str, choices: Choices, seed: u64) -> Result<StripedHyenaCase, Error> {
    use Axis::{Channel, Column, Mode, RealImaginary, Row, Sequence, Tap};
    let Choices {
        operator,
        groups,
        size,
        len,
        rows,
        ..
    } = choices;
    let batch = if matches!(rows, Rows::Packed) { 1 } else { 2 };
    let (d, heads) = (6, 2);
    let mut numbers = Numbers::named(seed, name, false);
    let mut inputs = Inputs::default();
    inputs.push("input", numbers.tensor(&[batch, len, d])?, &TOKENS);
    inputs.push(WEIGHT, numbers.tensor(&[3 * d, d])?, &[Row, Column]);
    let taps = numbers.tensor(&[3 * d, 1, 3])?;
    inputs.push(SHORT, taps, &[Channel, Sequence, Tap]);
    if operator == Operator::Sh1 {
        inputs.push("projections.bias", numbers.tensor(&[3 * d])?, &[Channel]);
        inputs.push(SHORT_BIAS, numbers.tensor(&[3 * d])?, &[Channel]);
    }
    match operator {
        Operator::Sh1 => {
            let (shape, axes) = (
                [groups, size, 1, 2],
                [Channel, Mode, Sequence, RealImaginary],
            );
            // Of modulus below one, in every direction; 24 bits, so that coarser poles show.
            inputs.push(POLES, numbers.fine(&shape, 0.65)?, &axes);
            inputs.push(RESIDUES, numbers.fine(&shape, 1.5)?, &axes);
        }
        Operator::Hcl => {
            let (shape, axes) = ([groups, size, 1], [Channel, Mode, Sequence]);
            let logarithms = numbers.fine(&shape, 0.4)?.map(|x| x - 0.375);
            inputs.push(LOG_POLES, logarithms, &axes);
            inputs.push(RESIDUES, numbers.fine(&shape[..2], 1.5)?, &axes[..2]);
        }
        Operator::Hcm | Operator::Hcs => {
            let taps = numbers.tensor(&[groups, 1, size])?;
            inputs.push(TAPS, taps, &[Channel, Sequence, Tap]);
        }
    }
    if operator != Operator::Hcs {
        inputs.push(SKIP, numbers.tensor(&[d])?, &[Channel]);
    }
    let weight = numbers.tensor(&[d, d])?;
    inputs.push("out_filter_dense.weight", weight, &[Row, Column]);
    inputs.push("out_filter_dense.bias", numbers.tensor(&[d])?, &[Channel]);
    inputs.push_cotangent("g", numbers.tensor(&[batch, len, d])?, &TOKENS);
    inputs.set_sequence(rows.sequence(len)?, [batch, len])?;
    let case = StripedHyenaCase {
        inputs,
        operator,
        layout: choices.layout,
        flip: choices.flip,
        heads,
        wiring: Wiring::RIGHT,
    };
    match rows {
        Rows::Packed => case.with_state_cotangents(|shape| numbers.tensor(shape)),
        _ => Ok(case),
    }
}

/// The StripedHyena operators of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<StripedHyenaCase>> {
    let sh1 = Choices {
        operator: Operator::Sh1,
        layout: ChannelLayout::ColumnSplit,
        flip: false,
        groups: 3,
        size: 3,
        len: 17,
        rows: Rows::Whole,
    };
    let hcl = Choices {
        operator: Operator::Hcl,
        layout: ChannelLayout::Interleave,
        groups: 6,
        ..sh1
    };
    let hcm = Choices {
        operator: Operator::Hcm,
        layout: ChannelLayout::Split,
        size: 128,
        ..sh1
    };
    let hcs = Choices {
        operator: Operator::Hcs,
        layout: ChannelLayout::Interleave,
        flip: true,
        size: 7,
        ..hcm
    };
    [
        ("96-sh1", "StripedHyena 1: complex modes", sh1),
        (
            "96b-sh1-packed",
            "StripedHyena 1 over three documents in a row, with cotangents of their states",
            Choices {
                rows: Rows::Packed,
                ..sh1
            },
        ),
        (
            "97-hcl",
            "StripedHyena 2: real modes, some of them growing",
            hcl,
        ),
        (
            "97b-hcl-padded",
            "StripedHyena 2: real modes, rows with padding on the right",
            Choices {
                rows: Rows::Padded,
                len: 13,
                ..hcl
            },
        ),
        (
            "98-hcm",
            "StripedHyena 2: 128 taps, longer than the sequence",
            hcm,
        ),
        (
            "99-hcs",
            "StripedHyena 2: 7 taps in the other order, gates exchanged",
            hcs,
        ),
        (
            "99b-hcs-schedule",
            "StripedHyena 2: 7 taps, a prompt shorter than them, steps and a chunk",
            Choices {
                rows: Rows::Scheduled,
                len: 12,
                ..hcs
            },
        ),
    ]
    .map(|(name, stresses, choices)| {
        SuiteRow::new(name, stresses, move |seed| sample(name, choices, seed))
    })
    .into()
}
