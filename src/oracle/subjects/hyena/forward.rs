//! The known mistakes of Hyena.

use super::super::graph::GraphHook::{self, Case, Convolution, Documents};
use super::super::graph::{
    circular, documents_end_early, documents_end_late, documents_leak, fill, from_the_beginning,
    late, one_token_early, one_token_late, short_filter_leaks,
};
use super::case::{BIAS, DECAYS, FEATURES, FilterLayout, HyenaCase, PLACES, SHORT_BIAS, network};
use crate::attention::hyena::positional_features;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::causal_convolution;

/// The places in time of the filters as `i / last`.
fn places(case: &mut HyenaCase, last: usize) {
    if let Some(t) = case.inputs.get_mut(PLACES) {
        let places = t.data_mut().iter_mut().enumerate();
        places.for_each(|(i, t)| *t = i as f64 / last.max(1) as f64);
    }
}

/// Two halves of a sequence convolved apart, with the whole filter.
fn in_blocks(f: &[f64], u: &[f64]) -> Vec<f64> {
    let half = u.len().div_ceil(2).max(1);
    let blocks = u.chunks(half);
    blocks
        .flat_map(|block| causal_convolution(f, block))
        .into_vec()
}

/// A short filter centred on the present input.
fn centred(f: &[f64], u: &[f64]) -> Vec<f64> {
    let ahead = f.len() / 2;
    let mut padded = u.to_vec();
    padded.resize(u.len() + ahead, 0.0);
    causal_convolution(f, &padded).split_off(ahead)
}

rows! { GraphHook<HyenaCase>:
    "Y10" "no_feedthrough" at "v.1"
        wrong "v.n = filter * product.n"
        right "v.n = filter * product.n + bias product.n"
        seen "savanna's flashfft and cgcg paths use no conv_bias; its fftconv and long_conv1d paths do"
        looks "off by a multiple of the present product, per channel"
        fix "Add the filter's bias times the convolution's input to its output."
        by [Case(|case| fill(case.inputs.get_mut(BIAS), 0.0))];
    "Y24" "feedthrough_of_the_ungated_input" at "v.1"
        wrong "filter * product.n + bias v.(n-1)"
        right "filter * product.n + bias product.n"
        seen "the bias read as a residual connection around gate and filter"
        looks "off by the bias times v.(n-1) - product.n"
        fix "Multiply the bias with what is convolved, after its gate."
        by [Case(|case| case.wiring.gated_bias = false)];
    "Y60" "gates_in_ascending_order" at "product.1"
        wrong "product.n = v.(n-1) x_{n-1}, mixed = v.(order-1) x_{order-1}"
        right "product.n = v.(n-1) x_{order-n}, mixed = v.(order-1) x_0"
        seen "the official loop runs over reversed(x[1:]) and ends with x[0]"
        looks "at order 2 as two gates exchanged"
        fix "Begin with the gate next to v, and end with the first."
        by [Case(|case| case.wiring.gates_descend = false)];
    "Y61" "filter_layout" at "filter"
        wrong "the flat outputs read in the other layout"
        right "as the file's filter_layout says: v (order-1) + o in safari, o d + v in both standalone files"
        seen "safari's operator rearranges (v o), standalone_hyena.py and standalone_hyenadna.py (o d)"
        looks "right at order 2"
        fix "Find out which code the checkpoint was trained with, and read weight rows and bias in its layout."
        by [Case(|case| {
            case.layout = match case.layout {
                FilterLayout::ChannelMajor => FilterLayout::FilterMajor,
                FilterLayout::FilterMajor => FilterLayout::ChannelMajor,
            };
        })];
    "Y62" "decays_with_their_sign" at "filter"
        wrong "exp(-t delta)"
        right "exp(-t |delta|)"
        seen "the official deltas are all negative at the beginning, so that the absolute value looks like a sign"
        looks "filters that grow"
        fix "Take the absolute value of deltas."
        by [Case(|case| case.wiring.absolute = false)];
    "Y63" "normalized_over_time" at "filter"
        wrong "h / sum_t |h|"
        right "h / sum_c |h|, place by place"
        seen "the official norm runs over the last axis, which is that of channels before the transpose"
        looks "acts where `normalized` is True"
        fix "Divide by the sum of absolute values over channels at each place."
        by [Case(|case| case.wiring.over_channels = false)];
    "Y63b" "not_normalized" at "filter"
        wrong "h"
        right "h / sum_c |h|"
        seen "both standalone files ignore `normalized`"
        looks "acts where `normalized` is True"
        fix "Normalize filters where the configuration says so."
        by [Case(|case| case.normalized = false)];
    "Y64" "places_end_below_one" at "filter"
        wrong "t_i = i / l_max"
        right "t_i = i / (l_max - 1)"
        seen "the same module divides by l_max in its angles"
        looks "decays a little too slow"
        fix "Let t run from 0 to 1 over l_max places, both included; or load it."
        by [Case(|case| places(case, case.sizes()[3]))];
    "Y64b" "places_of_the_sequence" at "filter"
        wrong "t_i = i / (L - 1)"
        right "t_i = i / (l_max - 1)"
        seen "filters computed for the length at hand"
        looks "right where the sequence is l_max long"
        fix "Compute places for l_max, and cut them to the sequence."
        by [Case(|case| {
            let [_, _, _, l_max] = case.sizes();
            if case.taps() < l_max {
                places(case, case.taps() - 1);
            }
        })];
    "Y65" "the_other_shift" at "filter"
        wrong "a shift of 0.05 (of 0 where it is 0.05)"
        right "exp(-t |delta|) + shift with the shift of the code the checkpoint comes from"
        seen "hyena-dna's standalone file has 0.05 by default, safari and hyena-dna's package 0"
        looks "filters that end too high or too low"
        fix "Take the shift from the configuration, not from a default."
        by [Case(|case| case.shift = if case.shift == 0.05 { 0.0 } else { 0.05 })];
    "Y66" "no_modulation" at "filter"
        wrong "h"
        right "h (exp(-t |delta|) + shift)"
        seen "hyena-dna's package tests `modulate` in the filter, safari in the modulation"
        looks "filters that do not decay"
        fix "Multiply filters with their window."
        by [Case(|case| case.modulate = false)];
    "Y67" "positional_features_recomputed" at "filter"
        wrong "z of the closed form with w_i = 2 pi i / (l_max - 1)"
        right "z as stored: w_i = 2 pi i / l_max at the beginning, and trained"
        seen "pos_emb.z is a parameter; published checkpoints hold float32 values"
        looks "near a right filter at the first places where z was not trained"
        fix "Load pos_emb.z."
        by [Case(|case| {
            let [_, _, _, l_max] = case.sizes();
            if let Some(z) = case.inputs.get_mut(FEATURES) {
                let emb_dim = z.shape().last().copied().unwrap_or(1);
                if let Ok(features) = positional_features::<f64>((l_max - 1).max(1), emb_dim) {
                    let (t, places) = (1.0 / (l_max - 1).max(1) as f64, features.entries());
                    for (at, z) in z.data_mut().iter_mut().enumerate() {
                        // Place l_max - 1 is the first one again.
                        *z = places[at % places.len()];
                        if at % emb_dim == 0 {
                            *z = (at / emb_dim) as f64 * t;
                        }
                    }
                }
            }
        })];
    "Y68" "sines_without_frequency" at "filter"
        wrong "sin(W x + b)"
        right "sin(freq (W x + b))"
        seen "freq is one shared parameter under the names of several layers"
        looks "uncorrelated filters"
        fix "Multiply with freq before every sine."
        by [Case(|case| {
            for layer in 0..case.sines {
                fill(case.inputs.get_mut(&network(2 * layer + 1, "freq")), 1.0);
            }
        })];
    "Y69" "decays_of_one_channel" at "filter"
        wrong "exp(-t |delta_0|) for all channels"
        right "exp(-t |delta_c|)"
        seen "a buffer of shape (1, 1, channels) broadcast the wrong way"
        looks "the first channel is right"
        fix "Keep a decay per channel."
        by [Case(|case| {
            if let Some(x) = case.inputs.get_mut(DECAYS) {
                let first = x.data().first().copied().unwrap_or(0.0);
                x.data_mut().fill(first);
            }
        })];
    "Y03b" "short_taps_reversed" at "short"
        wrong "sum_j w_j z_{t-j}"
        right "sum_j w_j z_{t-(K-1)+j}"
        seen "conv1d correlates: its last tap meets the present input"
        looks "uncorrelated with the right stages"
        fix "Let the last tap of short_filter.weight meet the present input."
        by [Case(|case| case.wiring.short_correlates = false)];
    "Y70" "short_filter_centred" at "short"
        wrong "z_{t-1}, z_t, z_{t+1}"
        right "z_{t-2}, z_{t-1}, z_t"
        seen "conv1d with padding K / 2 in place of K - 1, cut to the length"
        looks "not causal"
        fix "Pad by K - 1 and cut to the sequence."
        by [Convolution("short", centred)];
    "Y71" "no_short_bias" at "short"
        wrong "w * z"
        right "w * z + b"
        seen "StripedHyena 2's short filters have no bias"
        looks "off by a constant per channel"
        fix "Add short_filter.bias."
        by [Case(|case| fill(case.inputs.get_mut(SHORT_BIAS), 0.0))];
    "Y72" "value_first" at "v.0"
        wrong "channels v | x_0 | ... "
        right "channels x_0 | ... | x_{order-1} | v"
        seen "q, k, v and x, v in one port"
        looks "uncorrelated with the right stages from v.0 on"
        fix "Read v from the last d channels."
        by [Case(|case| case.wiring.value_last = false)];
    "Y73" "heads_within_signals" at "v.0"
        wrong "signal by signal, heads within"
        right "head by head, signals within"
        seen "the official operator splits by d_model where it means head_dim, and raises for more than one head"
        looks "right with one head"
        fix "Split every head's (order + 1) head_dim channels apart."
        by [Case(|case| case.wiring.by_head = false)];
    "Y74" "no_last_gate" at "mixed"
        wrong "mixed = v.(order-1)"
        right "mixed = v.(order-1) x_0"
        seen "order counted by the filters"
        looks "a factor 1 / x_0, per token"
        fix "Multiply with the first gate after the last filter."
        by [Case(|case| case.wiring.last_gate = false)];
    "Y20" "circular_of_sequence_length" at "v.1"
        wrong "FFTs of length L"
        right "FFTs of length 2 L"
        seen "the usual slip of FFT convolutions; L = 2^k gives no error message"
        looks "wrong from the first token on, less towards the end"
        fix "Pad filter and signal with zeros to 2 L before the transform."
        by [Convolution("v.n", circular)];
    "Y23" "kernel_one_step_late" at "v.1"
        wrong "sum_j h_j p_{t-1-j}"
        right "sum_j h_j p_{t-j}"
        seen "a padding of K in place of K - 1"
        looks "the convolution's part one step late, the bias in time"
        fix "Let h_0 meet the present input."
        by [Convolution("v.n", late)];
    "Y75" "blocks_convolved_apart" at "v.1"
        wrong "two halves of the sequence convolved apart"
        right "the whole sequence convolved"
        seen "num_blocks > 1 in safari"
        looks "the first half is right"
        fix "Convolve over the whole sequence: num_blocks = 1."
        by [Convolution("v.n", in_blocks)];
    in the words of documents_leak at "v.1"
        by [Case(|case| case.wiring.filters_of_rows = true), Documents("v.n", from_the_beginning)];
    in the words of short_filter_leaks at "short"
        by [Documents("short", from_the_beginning)];
    in the words of documents_end_late at "short"
        by [Documents("short", one_token_late), Documents("v.n", one_token_late)];
    in the words of documents_end_early at "short"
        by [Documents("short", one_token_early), Documents("v.n", one_token_early)];
}
