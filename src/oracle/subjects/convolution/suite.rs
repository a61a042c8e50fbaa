//! The convolutions of the suite.

use super::super::graph::{Inputs, Numbers};
use super::case::{ConvolutionCase, SIGNAL};
use crate::error::Error;
use crate::oracle::sequence::Sequence;
use crate::oracle::stage::Axis;
use crate::oracle::subject::SuiteRow;

/// The documents of a case, if its rows are not whole: tokens before the end of each.
type Documents = Option<[usize; 5]>;

fn sample(
    name: &str,
    exact: bool,
    ([taps, len], documents): ([usize; 2], Documents),
    seed: u64,
) -> Result<ConvolutionCase, Error> {
    let (batch, channels) = (if documents.is_some() { 1 } else { 2 }, 3);
    let mut numbers = Numbers::named(seed, name, exact);
    let signal = [batch, channels, len];
    let kernel = [channels, taps];
    let mut inputs = Inputs::default();
    inputs.push("u", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push("k", numbers.tensor(&kernel)?, &[Axis::Channel, Axis::Tap]);
    inputs.push("D", numbers.tensor(&[channels])?, &[Axis::Channel]);
    inputs.push("pregate", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push("postgate", numbers.tensor(&signal)?, &SIGNAL);
    inputs.push_cotangent("g", numbers.tensor(&signal)?, &SIGNAL);
    if let Some(ends) = documents {
        inputs.set_sequence(Sequence::Packed(ends.into()), [batch, len])?;
    }
    Ok(ConvolutionCase::new(inputs))
}

/// The convolutions of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<ConvolutionCase>> {
    [
        (
            "90-convolution",
            "a gated convolution, its kernel longer than the sequence",
            false,
            ([37, 29], None),
        ),
        (
            "90b-convolution-packed",
            "a gated convolution over four documents in a row, one of a single token",
            false,
            ([11, 29], Some([0, 5, 6, 19, 29])),
        ),
        (
            "91-exact-convolution",
            "a gated convolution in which nothing rounds",
            true,
            ([13, 13], None),
        ),
    ]
    .map(|(name, stresses, exact, sizes)| {
        SuiteRow::new(name, stresses, move |seed| sample(name, exact, sizes, seed))
    })
    .into()
}
