//! A Hyena operator's case.

use super::super::graph::Inputs;
use crate::oracle::stage::Axis;
use crate::spelled::spelled;

/// Hyena of any order with its implicit filters (safari `HyenaOperator`, hyena-dna's standalone file).
///
/// Files hold the parameters under their official names, `input` (batch, seq_len, d), optionally the
/// cotangent `g` of the output, and metadata `kind` = `hyena` with `order`, `filter_layout` = `(v o)` or
/// `(o d)` (what follows a colon is not read), `shift`, and, where they are not the usual ones,
/// `num_heads` (1), `modulate` (True), `normalized` (False), `use_bias` (True).
///
/// Documents and padding as in every case; then no document may be longer than `l_max`, the output is as
/// long as the row, and filters are as long as the longest document.
///
/// With `C = (order + 1) d` and `L' = min(seq_len, l_max)` the stages are `projected` (batch, C,
/// seq_len), `short` (batch, C, L'), `filter` (order - 1, head_dim, L'), `v.0`, `product.n`, `v.n` (batch,
/// d, L') for n = 1, ..., order - 1, `mixed` and `output` (batch, L', d).
#[derive(Clone, Debug)]
pub(crate) struct HyenaCase {
    pub(super) inputs: Inputs,
    pub(super) order: usize,
    pub(super) heads: usize,
    pub(super) layout: FilterLayout,
    pub(super) shift: f64,
    pub(super) modulate: bool,
    pub(super) normalized: bool,
    pub(super) use_bias: bool,
    /// Layers of the filters' network with a sine behind them.
    pub(super) sines: usize,
    pub(super) wiring: Wiring,
}

/// The order of channels and filters in the last layer's outputs and in the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterLayout {
    /// `v (order - 1) + o`: safari's package.
    ChannelMajor,
    /// `o d + v`: both standalone files.
    FilterMajor,
}

spelled!(FilterLayout, "filter_layout",
    ChannelMajor => "(v o)",
    FilterMajor => "(o d)",
);

/// Choices that only mistakes change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wiring {
    /// Decays by their absolute value.
    pub(super) absolute: bool,
    /// Gates from the last to the first.
    pub(super) gates_descend: bool,
    /// Filters normalized over channels; else over time.
    pub(super) over_channels: bool,
    /// The short filters' last tap meets the present input.
    pub(super) short_correlates: bool,
    /// The value stands behind the gates.
    pub(super) value_last: bool,
    /// A head's signals stand together; else a signal's heads do.
    pub(super) by_head: bool,
    /// The last gate is applied.
    pub(super) last_gate: bool,
    /// The bias is multiplied with the gated signal.
    pub(super) gated_bias: bool,
    /// Every sine has the one frequency.
    pub(super) one_frequency: bool,
    /// Filters are as long as rows; else as the longest document.
    pub(super) filters_of_rows: bool,
}

impl Wiring {
    pub(super) const RIGHT: Self = Self {
        absolute: true,
        gates_descend: true,
        over_channels: true,
        short_correlates: true,
        value_last: true,
        by_head: true,
        last_gate: true,
        gated_bias: true,
        one_frequency: true,
        filters_of_rows: false,
    };
}

pub(super) const SIGNAL: [Axis; 3] = [Axis::Sequence, Axis::Channel, Axis::Time];
pub(super) const TOKENS: [Axis; 3] = [Axis::Sequence, Axis::Time, Axis::Channel];

pub(super) const FEATURES: &str = "filter_fn.pos_emb.z";
pub(super) const PLACES: &str = "filter_fn.pos_emb.t";
pub(super) const DECAYS: &str = "filter_fn.modulation.deltas";
pub(super) const BIAS: &str = "filter_fn.bias";
pub(super) const SHORT: &str = "short_filter.weight";
pub(super) const SHORT_BIAS: &str = "short_filter.bias";

/// The name of a part of the filters' network: weights and biases stand at even places, sines at odd
/// ones.
pub(super) fn network(place: usize, part: &str) -> String {
    format!("filter_fn.implicit_filter.{place}.{part}")
}

impl HyenaCase {
    /// Sequences, tokens, channels, `l_max`.
    pub(super) fn sizes(&self) -> [usize; 4] {
        let shape = |name| self.inputs.get(name).map(|x| x.shape());
        match (shape("input"), shape(FEATURES)) {
            (Some(&[batch, len, d]), Some(&[_, l_max, _])) => [batch, len, d, l_max],
            _ => [0; 4],
        }
    }

    /// Tokens of the output: documents are none of them longer than `l_max`, and their rows may be.
    pub(super) fn len(&self) -> usize {
        let [_, len, _, l_max] = self.sizes();
        match self.inputs.documents() {
            None => len.min(l_max),
            Some(_) => len,
        }
    }

    /// Taps of the long filters.
    pub(super) fn taps(&self) -> usize {
        let [_, len, _, l_max] = self.sizes();
        let documents = self.inputs.documents();
        match documents.filter(|_| !self.wiring.filters_of_rows) {
            None => len.min(l_max),
            Some(documents) => documents.longest(),
        }
    }
}
