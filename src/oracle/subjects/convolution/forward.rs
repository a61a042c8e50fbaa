//! The known mistakes of long convolutions.

use super::super::graph::GraphHook::{self, Case, Convolution, Documents};
use super::super::graph::{
    circular, documents_end_early, documents_end_late, documents_leak, fill, from_the_beginning,
    late, one_token_early, one_token_late, reverse_rows, without_present, wrapped,
};
use super::case::{ConvolutionCase, Skip};
use crate::oracle::mistake::rows;

rows! { GraphHook<ConvolutionCase>:
    "Y10" "no_feedthrough" at "y"
        wrong "y = k * p"
        right "y = k * p + D p"
        seen "savanna's flashfft and cgcg paths use no conv_bias; its fftconv and long_conv1d paths do"
        looks "off by a multiple of the present input, per channel"
        fix "Add D times the gated input to the convolution's output."
        by [Case(|case| fill(case.inputs.get_mut("D"), 0.0))];
    "Y20" "circular_of_sequence_length" at "y"
        wrong "FFTs of length L"
        right "FFTs of length at least L + K - 1, as 2 L"
        seen "the usual slip of FFT convolutions; L = 2^k gives no error message"
        looks "wrong from the first token on, less towards the end; the last token of a kernel as long as the sequence is right"
        fix "Pad the kernel and the input with zeros to 2 L before the transform."
        by [Convolution("y", circular)];
    "Y21" "kernel_not_cut" at "y"
        wrong "a kernel of K > L taps in FFTs of length 2 L"
        right "the kernel cut to its first L taps"
        seen "H3's fftconv_ref and flash-fft-conv as they stand; H3's layers cut the kernel before the call"
        looks "taps L + 1, ... act on future inputs: the first tokens are wrong, the last ones right"
        fix "Cut the kernel to the sequence's length before its transform: k[..., :L]."
        by [Convolution("y", wrapped)];
    "Y22" "kernel_reversed" at "y"
        wrong "sum_j k_{K-1-j} p_{t-j}"
        right "sum_j k_j p_{t-j}"
        seen "conv1d correlates: its last tap meets the present input, a long convolution's first"
        looks "uncorrelated with the right output"
        fix "Flip the kernel, or use the other order of taps: k_0 meets the present input."
        by [Case(|case| {
            if let Some(k) = case.inputs.get_mut("k") {
                reverse_rows(k);
            }
        })];
    "Y23" "kernel_one_step_late" at "y"
        wrong "sum_j k_j p_{t-1-j}"
        right "sum_j k_j p_{t-j}"
        seen "a padding of K in place of K - 1"
        looks "the convolution's part one step late, the feedthrough in time"
        fix "Let k_0 meet the present input."
        by [Convolution("y", late)];
    "Y24" "feedthrough_of_the_ungated_input" at "y"
        wrong "k * p + D u"
        right "k * p + D p with p = pregate u"
        seen "the feedthrough inside a fused kernel reads what was loaded first"
        looks "off by D u (1 - pregate), per token"
        fix "Multiply D with the input after its gate."
        by [Case(|case| case.skip = Skip::Ungated)];
    "Y25" "gates_exchanged" at "y"
        wrong "pregate (k * (postgate u) + D postgate u)"
        right "postgate (k * (pregate u) + D pregate u)"
        seen "two tensors of one shape in the order of a signature"
        looks "at a single token right; uncorrelated else"
        fix "Multiply the input with pregate and the output with postgate."
        by [Case(|case| {
            let pregate = case.inputs.get("pregate").cloned();
            let postgate = case.inputs.get("postgate").cloned();
            for (name, values) in [("pregate", postgate), ("postgate", pregate)] {
                if let (Some(place), Some(values)) = (case.inputs.get_mut(name), values) {
                    *place = values;
                }
            }
        })];
    "Y26" "no_pregate" at "y"
        wrong "p = u"
        right "p = pregate u"
        seen "a gate left to the caller, who leaves it to the callee"
        looks "uncorrelated with the right output"
        fix "Multiply the input with pregate before the convolution."
        by [Case(|case| fill(case.inputs.get_mut("pregate"), 1.0))];
    "Y27" "no_postgate" at "y"
        wrong "y = k * p + D p"
        right "y = postgate (k * p + D p)"
        seen "a gate left to the caller, who leaves it to the callee"
        looks "a factor 1 / postgate, per token"
        fix "Multiply the output with postgate."
        by [Case(|case| fill(case.inputs.get_mut("postgate"), 1.0))];
    "Y28" "feedthrough_after_the_gate" at "y"
        wrong "postgate (k * p) + D p"
        right "postgate (k * p + D p)"
        seen "the feedthrough added to the result of a kernel that gates"
        looks "off by D p (1 - postgate), per token"
        fix "Add D p before the output is gated."
        by [Case(|case| case.skip = Skip::AfterGate)];
    "Y29" "no_present_tap" at "y"
        wrong "sum_{j >= 1} k_j p_{t-j} + D p_t"
        right "sum_{j >= 0} k_j p_{t-j} + D p_t"
        seen "a feedthrough taken to be tap 0"
        looks "off by k_0 times the present input, per channel"
        fix "Keep tap 0: D is added to it."
        by [Convolution("y", without_present)];
    in the words of documents_leak at "y"
        by [Documents("y", from_the_beginning)];
    in the words of documents_end_late at "y"
        by [Documents("y", one_token_late)];
    in the words of documents_end_early at "y"
        by [Documents("y", one_token_early)];
}
