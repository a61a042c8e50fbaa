//! A Mamba-2 layer in checkpoints.

use crate::mamba::Mamba2Name;
use crate::oracle::official::{Choices, Official, Parameter, Sizes, as_they_are};

/// The parameters: d channels, r rows of the input projection, c channels of the convolution and its k
/// taps, h heads, s channels of the model, i of the output projection; D has one number a head or a
/// channel.
const SHAPES: [(Mamba2Name, &str, bool); Mamba2Name::ALL.len()] = [
    (Mamba2Name::InWeight, "rd", true),
    (Mamba2Name::InBias, "r", false),
    (Mamba2Name::ConvWeight, "c1k", true),
    (Mamba2Name::ConvBias, "c", false),
    (Mamba2Name::DtBias, "h", true),
    (Mamba2Name::ALog, "h", true),
    (Mamba2Name::D, "D", true),
    (Mamba2Name::NormWeight, "s", false),
    (Mamba2Name::OutWeight, "di", true),
    (Mamba2Name::OutBias, "d", false),
];

fn choices(sizes: &Sizes<'_>) -> Choices {
    let has_norm = sizes.has(Mamba2Name::NormWeight.official());
    Choices {
        told: vec![("rmsnorm", has_norm.to_string())],
        asked: match has_norm {
            true => vec![
                "ngroups",
                "dt_limit",
                "norm_before_gate",
                "norm_eps",
                "norm_groups",
            ],
            false => vec!["ngroups", "dt_limit", "headdim"],
        },
        possible: &["headdim", "activation"],
    }
}

/// state-spaces/mamba `mamba_ssm/modules/mamba2.py`, `Mamba2`; huggingface/transformers
/// `modeling_mamba2.py`, `Mamba2Mixer`, has the same names.
pub(crate) const OFFICIAL: Official = Official {
    stored: as_they_are,
    parameters: |_| {
        let row = |(name, shape, needed): (Mamba2Name, _, _)| Parameter {
            needed,
            ..Parameter::needed(name.official(), shape)
        };
        SHAPES.map(row).into()
    },
    beside: &[],
    choices,
};
