//! A StripedHyena operator's case.

use super::super::graph::Inputs;
use crate::oracle::stage::Axis;
use crate::spelled::spelled;

/// One operator of a StripedHyena block, between its projections: of the first generation (`sh1`:
/// stripedhyena, Evo) or the second (`hcl`, `hcm`, `hcs`: vortex, Evo 2).
///
/// Files hold the parameters under their official names, relative to the block, `input` (batch, seq_len,
/// d), optionally the cotangent `g` of the output, and metadata `kind` = `striped-hyena` with `operator`,
/// `layout`, `hyena_flip_x1x2` (False) and, for the layout by heads, `num_attention_heads`.
///
/// Its stages are `projected` (batch, seq_len, 3 d), `short` (batch, 3 d, seq_len), `x2`, `x1`, `v`, `filtered`
/// (batch, d, seq_len), `filter` (d, seq_len or taps), `gated`, `output` (batch, seq_len, d), and the states
/// from which decoding continues: `state.fir` (batch, 3 d, taps - 1), the last raw projections; `state.iir`
/// (batch, d, modes[, 2]) or `state.fir_inner` (batch, d, taps - 1), the last inputs of the filter, both
/// oldest first and no longer than the sequence. Where rows hold documents, states have one entry for
/// each, windows are no longer than the longest, and filters of modes as long as it. States at the marks of
/// a schedule stand under `state.T.NAME`, the cotangents of states under `g.NAME`.
#[derive(Clone, Debug)]
pub(crate) struct StripedHyenaCase {
    pub(super) inputs: Inputs,
    pub(super) operator: Operator,
    pub(super) layout: ChannelLayout,
    /// True if the two gates change places once channels are split.
    pub(super) flip: bool,
    pub(super) heads: usize,
    pub(super) wiring: Wiring,
}

/// The filter between the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// Complex modes.
    Sh1,
    /// Real modes.
    Hcl,
    /// At least 128 taps, the first on the present input.
    Hcm,
    /// Fewer than 128 taps, the last on the present input.
    Hcs,
}

spelled!(Operator, "operator",
    Sh1 => "sh1",
    Hcl => "hcl",
    Hcm => "hcm",
    Hcs => "hcs",
);

impl Operator {
    /// True if the filter is a diagonal state space model.
    pub(super) fn has_modes(self) -> bool {
        matches!(self, Self::Sh1 | Self::Hcl)
    }
}

/// The channels of the projections that hold x2, x1 and v.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelLayout {
    /// Thirds.
    Split,
    /// Thirds of every head's channels.
    ColumnSplit,
    /// Channels 3 i, 3 i + 1, 3 i + 2.
    Interleave,
}

spelled!(ChannelLayout, "layout",
    Split => "split",
    ColumnSplit => "column_split",
    Interleave => "interleave",
);

/// Choices that only mistakes change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wiring {
    /// Neighbouring channels share a group's filter; else every `groups`-th does.
    pub(super) groups_repeat: bool,
    /// The inner filter's taps are in the official order.
    pub(super) inner_order: bool,
    /// The short filters' last tap meets the present input.
    pub(super) short_correlates: bool,
    /// The factor of the real part of modes.
    pub(super) times: i64,
    /// The feedthrough is multiplied with x1 v; else with v.
    pub(super) gated_skip: bool,
    /// The input of the filter is x1 v, and its output is multiplied with x2.
    pub(super) gates: Gates,
}

/// The gates that are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gates {
    Both,
    WithoutX1,
    WithoutX2,
}

impl Wiring {
    pub(super) const RIGHT: Self = Self {
        groups_repeat: true,
        inner_order: true,
        short_correlates: true,
        times: 1,
        gated_skip: true,
        gates: Gates::Both,
    };
}

pub(super) const SIGNAL: [Axis; 3] = [Axis::Sequence, Axis::Channel, Axis::Time];
pub(super) const TOKENS: [Axis; 3] = [Axis::Sequence, Axis::Time, Axis::Channel];

pub(super) const WEIGHT: &str = "projections.weight";
pub(super) const SHORT: &str = "filter.short_filter_weight";
pub(super) const SHORT_BIAS: &str = "filter.short_filter_bias";
pub(super) const POLES: &str = "filter.poles";
pub(super) const LOG_POLES: &str = "filter.log_poles";
pub(super) const RESIDUES: &str = "filter.residues";
pub(super) const TAPS: &str = "filter.h";
pub(super) const SKIP: &str = "filter.D";

impl StripedHyenaCase {
    /// Sequences, tokens, channels.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let shape = self.inputs.get("input").map(|x| x.shape());
        shape
            .and_then(|shape| shape.try_into().ok())
            .unwrap_or([0; 3])
    }

    /// The name of what a group's filter is made of.
    pub(super) fn of_groups(&self) -> &'static str {
        match self.operator.has_modes() {
            true => RESIDUES,
            false => TAPS,
        }
    }

    /// The number of filters.
    pub(super) fn groups(&self) -> usize {
        let filters = self.inputs.get(self.of_groups());
        filters.map_or(1, |x| x.shape()[0])
    }

    /// The filter of a channel.
    pub(super) fn group(&self, channel: usize) -> usize {
        let ([_, _, d], groups) = (self.sizes(), self.groups());
        match self.wiring.groups_repeat {
            true => channel / (d / groups),
            false => channel % groups,
        }
    }

    /// The channel of the projections that holds channel `c` of x2, x1 or v (0, 1, 2).
    pub(super) fn projection(&self, which: usize, c: usize) -> usize {
        let [_, _, d] = self.sizes();
        let which = match (self.flip, which) {
            (true, 0) => 1,
            (true, 1) => 0,
            _ => which,
        };
        match self.layout {
            ChannelLayout::Split => which * d + c,
            ChannelLayout::Interleave => 3 * c + which,
            ChannelLayout::ColumnSplit => {
                let head_dim = d / self.heads;
                (c / head_dim * 3 + which) * head_dim + c % head_dim
            }
        }
    }
}
