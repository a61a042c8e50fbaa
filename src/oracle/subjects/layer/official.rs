//! An H3 layer in checkpoints.

use crate::h3::Name;
use crate::oracle::official::{Choices, Official, Parameter, Sizes, as_they_are};

/// The parameters of a layer: d channels, H heads, n diagonal models, m taps, p modes.
pub(crate) const SHAPES: [(Name, &str); Name::ALL.len()] = [
    (Name::QWeight, "dd"),
    (Name::QBias, "d"),
    (Name::KWeight, "dd"),
    (Name::KBias, "d"),
    (Name::VWeight, "dd"),
    (Name::VBias, "d"),
    (Name::ShiftB, "dm"),
    (Name::ShiftC, "1dm"),
    (Name::ShiftD, "d"),
    (Name::LogDt, "H"),
    (Name::B, "np2"),
    (Name::C, "1Hp2"),
    (Name::InvAReal, "np"),
    (Name::AImag, "np"),
    (Name::D, "H"),
    (Name::OutputWeight, "dd"),
    (Name::OutputBias, "d"),
];

/// The choices of layers of these sizes.
pub(crate) fn choices(sizes: &Sizes<'_>) -> Choices {
    let (d, heads) = (sizes.of('d'), sizes.of('H'));
    let mut asked = vec!["disc", "real_type", "l_max"];
    // With one channel a head the two orders are one.
    if heads < d {
        asked.push("head_order");
    }
    let head_dim = d.checked_div(heads).unwrap_or(0);
    Choices {
        told: vec![("head_dim", head_dim.to_string())],
        asked,
        possible: &["head_order"],
    }
}

/// HazyResearch/H3 `src/models/ssm/h3.py`, `H3`; safari has the same.
pub(crate) const OFFICIAL: Official = Official {
    stored: as_they_are,
    parameters: |_| {
        let row = |(name, shape): (Name, _)| Parameter::needed(name.official(), shape);
        SHAPES.map(row).into()
    },
    beside: &[],
    choices,
};
