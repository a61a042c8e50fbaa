//! A convolution's case.

use super::super::graph::Inputs;
use crate::oracle::stage::Axis;

/// One convolution of every channel, the same for every sequence. Its stage is `y` (batch, channels,
/// seq_len), `y_t = (sum_{j <= t} k_j p_{t-j} + D p_t) postgate_t` with `p = u pregate`.
///
/// Files hold `u` (batch, channels, seq_len), `k` (channels, any length), whose first tap meets the
/// present input and of which nothing beyond the sequence is read; optionally `D` (channels),
/// `pregate` and `postgate` (as `u`), the cotangent `g` (as `y`); metadata `kind` = `convolution`; and
/// where documents or padding lie in the rows.
#[derive(Clone, Debug)]
pub(crate) struct ConvolutionCase {
    pub(super) inputs: Inputs,
    /// The signal that `D` multiplies.
    pub(super) skip: Skip,
}

/// The signal that the feedthrough is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// The gated input.
    Gated,
    /// The input before its gate, a mistake.
    Ungated,
    /// The gated input, added after the second gate: a mistake.
    AfterGate,
}

pub(super) const SIGNAL: [Axis; 3] = [Axis::Sequence, Axis::Channel, Axis::Time];

impl ConvolutionCase {
    pub(super) fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            skip: Skip::Gated,
        }
    }

    /// Sequences, channels, tokens.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let shape = self.inputs.get("u").map(|u| u.shape());
        shape
            .and_then(|shape| shape.try_into().ok())
            .unwrap_or([0; 3])
    }
}
