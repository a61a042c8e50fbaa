//! The H3 operators of the suite.

use super::super::graph::{Inputs, Numbers};
use super::case::{H3OperatorCase, SIGNAL};
use crate::error::Error;
use crate::oracle::sequence::Sequence;
use crate::oracle::stage::Axis;
use crate::oracle::subject::SuiteRow;
use crate::ssm::Padding;

fn sample(
    name: &str,
    exact: bool,
    (len, lengths): (usize, Option<[usize; 2]>),
    seed: u64,
) -> Result<H3OperatorCase, Error> {
    let (batch, heads, head_dim) = (2, 2, 2);
    let (d, taps, shift) = (heads * head_dim, len + 3, 4);
    let mut numbers = Numbers::named(seed, name, exact);
    let signal = [batch, d, len];
    let mut inputs = Inputs::default();
    for name in ["k", "q", "v"] {
        inputs.push(name, numbers.tensor(&signal)?, &SIGNAL);
    }
    let kernel = numbers.tensor(&[heads, taps])?;
    inputs.push("ssm_kernel", kernel, &[Axis::Head, Axis::Tap]);
    inputs.push("D", numbers.tensor(&[heads])?, &[Axis::Head]);
    let kernel = numbers.tensor(&[d, shift])?;
    inputs.push("shift_kernel", kernel, &[Axis::Channel, Axis::Tap]);
    inputs.push("ssm_k_D", numbers.tensor(&[d])?, &[Axis::Channel]);
    inputs.push_cotangent("g", numbers.tensor(&signal)?, &SIGNAL);
    if let Some(lengths) = lengths {
        let sequence = Sequence::Padded(lengths.into(), Padding::Left);
        inputs.set_sequence(sequence, [batch, len])?;
    }
    Ok(H3OperatorCase::new(inputs))
}

/// The H3 operators of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<H3OperatorCase>> {
    [
        (
            "92-h3-operator",
            "an H3 operator from given kernels, two channels per head",
            false,
            (17, None),
        ),
        (
            "92b-h3-operator-padded",
            "an H3 operator on rows with padding on the left",
            false,
            (13, Some([6, 11])),
        ),
        (
            "93-exact-h3-operator",
            "an H3 operator in which nothing rounds",
            true,
            (7, None),
        ),
    ]
    .map(|(name, stresses, exact, lens)| {
        SuiteRow::new(name, stresses, move |seed| sample(name, exact, lens, seed))
    })
    .into()
}
