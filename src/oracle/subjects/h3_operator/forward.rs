//! The known mistakes of the operator.

use super::super::graph::GraphHook::{self, Case, Convolution, Documents, Stage};
use super::super::graph::{
    circular, documents_end_early, documents_end_late, documents_leak, fill, from_the_beginning,
    one_token_early, one_token_late, reverse_rows, short_filter_leaks, wrapped,
};
use super::case::{H3OperatorCase, Query};
use crate::h3::HeadOrder;
use crate::oracle::mistake::rows;

/// Two inputs exchanged.
fn exchange(case: &mut H3OperatorCase, names: [&str; 2]) {
    let values = names.map(|name| case.inputs.get(name).cloned());
    for (name, values) in names.into_iter().zip(values.into_iter().rev()) {
        if let (Some(place), Some(values)) = (case.inputs.get_mut(name), values) {
            *place = values;
        }
    }
}

fn reverse(case: &mut H3OperatorCase, name: &str) {
    if let Some(kernel) = case.inputs.get_mut(name) {
        reverse_rows(kernel);
    }
}

rows! { GraphHook<H3OperatorCase>:
    "Y10" "no_feedthrough" at "ssm_out"
        wrong "ssm_out = ssm_kernel * kv"
        right "ssm_out = ssm_kernel * kv + D kv"
        seen "savanna's flashfft and cgcg paths use no conv_bias; its fftconv and long_conv1d paths do"
        looks "off by a multiple of the present pair, per head"
        fix "Add D times kv to the convolution's output."
        by [Case(|case| fill(case.inputs.get_mut("D"), 0.0))];
    "Y50" "no_feedthrough_of_the_keys" at "shift_k"
        wrong "shift_k = shift_kernel * k"
        right "shift_k = shift_kernel * k + ssm_k_D k"
        seen "two feedthroughs of one name: the layer's D belongs to the heads"
        looks "off by a multiple of the present key, per channel"
        fix "Add ssm_k_D times k to the shifted keys."
        by [Case(|case| fill(case.inputs.get_mut("ssm_k_D"), 0.0))];
    "Y51" "no_shift" at "shift_k"
        wrong "kv = k v"
        right "kv = shift_k v"
        seen "an operator that is called with keys already shifted elsewhere"
        looks "uncorrelated with the right stages from kv on"
        fix "Convolve the keys with shift_kernel before multiplying by the values."
        by [Stage("shift_k", |stage, moment| {
            if let Some(k) = moment.case.inputs.get("k") {
                stage.clone_from(k);
            }
        })];
    "Y52" "shift_of_the_values" at "shift_k"
        wrong "(shift_kernel * v) k"
        right "(shift_kernel * k) v"
        seen "the Hyena paper writes H3 with the shift on v"
        looks "uncorrelated with the right stages"
        fix "Shift the keys, not the values."
        by [Case(|case| exchange(case, ["k", "v"]))];
    "Y53" "query_and_value_exchanged" at "kv"
        wrong "gated = v ssm(shift_k q)"
        right "gated = q ssm(shift_k v)"
        seen "three tensors of one shape in the order of a signature: fftconv_h3_ref takes k, v and q by place"
        looks "uncorrelated with the right stages from kv on"
        fix "Multiply keys with values before the convolution, and queries after it."
        by [Case(|case| exchange(case, ["q", "v"]))];
    "Y54" "query_meets_value_channel" at "gated"
        wrong "gated[h, i] = sum_d2 q[h, d2] ssm_out[i, d2, h]"
        right "gated[h, i] = sum_d1 q[h, d1] ssm_out[d1, i, h]"
        seen "the two head axes of ssm_out are of one length"
        looks "right at head_dim 1"
        fix "Contract q with the axis of ssm_out that the key brought in, the first."
        by [Case(|case| case.query = Query::Value)];
    "Y55" "gated_in_the_other_head_order" at "gated"
        wrong "channel i heads + h"
        right "channel h head_dim + i"
        seen "the layer's plain path and its fused kernel disagree"
        looks "the right numbers in other channels; right at head_dim 1"
        fix "Lay gated out as the file's head_order says."
        by [Case(|case| {
            case.head_order = match case.head_order {
                HeadOrder::HD2 => HeadOrder::D2H,
                HeadOrder::D2H => HeadOrder::HD2,
            };
        })];
    "Y20" "circular_of_sequence_length" at "ssm_out"
        wrong "FFTs of length L"
        right "FFTs of length at least L + K - 1, as 2 L"
        seen "the usual slip of FFT convolutions; L = 2^k gives no error message"
        looks "wrong from the first token on, less towards the end"
        fix "Pad the kernel and the input with zeros to 2 L before the transform."
        by [Convolution("ssm_out", circular)];
    "Y20b" "circular_shift" at "shift_k"
        wrong "FFTs of length L for the shift"
        right "FFTs of length at least L + K - 1, as 2 L"
        seen "as Y20, where only the long kernel is padded"
        looks "the first tokens see the last ones"
        fix "Pad the shift's kernel and the keys with zeros to 2 L before the transform."
        by [Convolution("shift_k", circular)];
    "Y21" "kernel_not_cut" at "shift_k"
        wrong "kernels of K > L taps in FFTs of length 2 L"
        right "kernels cut to their first L taps"
        seen "H3's fftconv_ref and fftconv_h3_ref as they stand; H3's layers cut kernels before the call"
        looks "taps L + 1, ... act on future inputs"
        fix "Cut kernels to the sequence's length before their transforms: k[..., :L]."
        by [Convolution("shift_k", wrapped), Convolution("ssm_out", wrapped)];
    "Y22" "kernel_reversed" at "ssm_out"
        wrong "sum_j f_{K-1-j} kv_{t-j}"
        right "sum_j f_j kv_{t-j}"
        seen "conv1d correlates: its last tap meets the present input, a long convolution's first"
        looks "uncorrelated with the right output"
        fix "Use the other order of taps: f_0 meets the present pair."
        by [Case(|case| reverse(case, "ssm_kernel"))];
    "Y22b" "shift_kernel_reversed" at "shift_k"
        wrong "sum_j s_{K-1-j} k_{t-j}"
        right "sum_j s_j k_{t-j}"
        seen "a shift by conv1d, which correlates"
        looks "uncorrelated with the right stages"
        fix "Flip the kernel for conv1d: s_0 meets the present key."
        by [Case(|case| reverse(case, "shift_kernel"))];
    "Y56" "heads_of_the_kernel_tiled" at "ssm_out"
        wrong "pair (d1, d2, h) meets the kernel of head (d1 head_dim + d2) heads + h, divided by head_dim^2"
        right "pair (d1, d2, h) meets the kernel of head h"
        seen "kernels repeated where they should be tiled: the head is the last of the three axes"
        looks "right at head_dim 1"
        fix "Tile the kernels: the head varies fastest."
        by [Case(|case| case.heads_repeated = true)];
    in the words of documents_leak at "ssm_out"
        by [Documents("ssm_out", from_the_beginning)];
    in the words of short_filter_leaks at "shift_k"
        by [Documents("shift_k", from_the_beginning)];
    in the words of documents_end_late at "shift_k"
        by [Documents("shift_k", one_token_late), Documents("ssm_out", one_token_late)];
    in the words of documents_end_early at "shift_k"
        by [Documents("shift_k", one_token_early), Documents("ssm_out", one_token_early)];
}
