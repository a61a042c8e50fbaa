//! The convolutions of the suite.

use super::super::graph::{Inputs, Numbers};
use super::case::{ConvolutionCase, SIGNAL};
use crate::error::Error;
use crate::oracle::stage::Axis;
use crate::oracle::subject::SuiteRow;

fn sample(
    name: &str,
    exact: bool,
    [taps, len]: [usize; 2],
    seed: u64,
) -> Result<ConvolutionCase, Error> {
    let (batch, channels) = (2, 3);
    let mut numbers = Numbers::named(seed, name, exact);
    let signal = [batch, channels, len];
    let kernel = [channels, taps];
    let mut inputs = Inputs::default();
    inputs.push("u", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push("k", numbers.tensor(&kernel)?, &[Axis::Channel, Axis::Tap]);
    inputs.push("D", numbers.tensor(&[channels])?, &[Axis::Channel]);
    inputs.push("pregate", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push("postgate", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push_fixed("g", numbers.tensor(&signal)?);
    Ok(ConvolutionCase::new(inputs))
}

/// The convolutions of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<ConvolutionCase>> {
    [
        (
            "90-convolution",
            "a gated convolution, its kernel longer than the sequence",
            false,
            [37, 29],
        ),
        (
            "91-exact-convolution",
            "a gated convolution in which nothing rounds",
            true,
            [13, 13],
        ),
    ]
    .map(|(name, stresses, exact, lens)| {
        SuiteRow::new(name, stresses, move |seed| sample(name, exact, lens, seed))
    })
    .into()
}
