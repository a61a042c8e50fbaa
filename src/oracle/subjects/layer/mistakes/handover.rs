//! M92 and M93: states passed between chunks, and from a prompt to the steps after it.

use super::super::super::wrong_model::HandOver;
use super::super::super::wrong_model::ModelHook::{Dropped, HandedOn, ReadLater};
use super::super::hooks::LayerHook::{self, AfterPrompt, Diagonal, InChunks, Shift};
use super::{bf16, left_by, window};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{Shift as ShiftModel, StateSpace};
use num_complex::Complex;

/// The state once its last input has been stepped through again.
fn last_twice<S: StateSpace<Scalar = f64>>(over: &HandOver<'_, S>) -> Vec<S::Element> {
    let mut state = over.state.to_vec();
    if let Some(&u) = over.inputs.last() {
        over.ssm.step(&mut state, u);
    }
    state
}

/// The state before its last input.
fn last_missing<S: StateSpace<Scalar = f64>>(over: &HandOver<'_, S>) -> Vec<S::Element> {
    let all_but_one = over.inputs.len().saturating_sub(1);
    left_by(over.ssm, over.initial, &over.inputs[..all_but_one])
}

/// As many entries as the chunk before the boundary is long, and zeros after them.
fn cut_to_chunk(over: &HandOver<'_, ShiftModel<f64>>) -> Vec<f64> {
    let mut state = over.state.to_vec();
    let old = state.iter_mut().skip(over.chunk_len);
    old.for_each(|x| *x = 0.0);
    state
}

/// The state that the chunk before the boundary leaves on its own.
fn of_chunk_alone<S: StateSpace<Scalar = f64>>(over: &HandOver<'_, S>) -> Vec<S::Element> {
    let before = over.inputs.len() - over.chunk_len;
    over.ssm.input_to_state(&over.inputs[before..])
}

rows! { LayerHook:
    "M92a" "window_cut_to_chunk" at "shift_k"
        wrong "T < N: entries T, T + 1, ... of the window zero at every boundary"
        right "all N entries, of as many chunks as the window is long"
        seen "fla-org/flash-linear-attention#1140, vllm-project/vllm#56196 (chunks shorter than the window)"
        looks "right where chunks are as long as the window; else wrong after every boundary"
        fix "shift the old window by the chunk's length, then insert its keys"
        by [InChunks, Shift(HandedOn(cut_to_chunk))];
    "M92b" "window_of_chunk_alone" at "shift_k"
        wrong "what a chunk leaves in the window replaces what was carried into it"
        right "x = A^{len} x + M_ux u"
        seen "fla-org/flash-linear-attention#1140, vllm-project/vllm#56196 (chunks shorter than the window)"
        looks "right where chunks are as long as the window; else wrong from the second boundary on"
        fix "shift the old window by the chunk's length, then insert its keys"
        by [InChunks, Shift(HandedOn(of_chunk_alone))];
    "M92c" "state_of_chunk_alone" at "ssm_out"
        wrong "x = M_ux u: what a chunk leaves replaces what was carried into it"
        right "x = A^{len} x + M_ux u"
        seen "plausible (as M92a, of the diagonal model)"
        looks "chunks 1 and 2 right, wrong from chunk 3 on"
        fix "add the decayed state to what the chunk leaves"
        by [InChunks, Diagonal(HandedOn(of_chunk_alone))];
    "M93a" "prompt_state_lost" at "ssm_out"
        wrong "the diagonal model begins anew after the prompt"
        right "from the state that the prompt leaves"
        seen "lablup/mlxcel#1220, ggml-org/llama.cpp#18154 (steps that see no history)"
        looks "right up to the last token of the prompt, wrong from the next one on"
        fix "pass the diagonal state of the prompt to the first step"
        by [AfterPrompt, Diagonal(Dropped)];
    "M93b" "prompt_window_lost" at "shift_k"
        wrong "the shift model begins anew after the prompt"
        right "from the window that the prompt leaves"
        seen "plausible (as lost convolution states: state-spaces/mamba#460, #739)"
        looks "wrong at the first N - 1 positions after the prompt"
        fix "pass the window of the prompt to the first step"
        by [AfterPrompt, Shift(Dropped)];
    "M93c" "prompt_states_lost" at "shift_k"
        wrong "both models begin anew after the prompt"
        right "from the states that the prompt leaves"
        seen "lablup/mlxcel#1220, ggml-org/llama.cpp#18154 (steps that see no history)"
        looks "after the prompt as if it had not been"
        fix "pass both states of the prompt to the first step"
        by [AfterPrompt, Shift(Dropped), Diagonal(Dropped)];
    "M93d" "prompt_window_of_shift_k" at "shift_k"
        wrong "the window handed over after the prompt is the state of shift_k"
        right "the state of the keys, before the shift model"
        seen "plausible (as M65b: a cache filled after the convolution in place of before it)"
        looks "right up to the last token of the prompt, then N - 1 positions wrong"
        fix "fill the window from k, before the shift model"
        by [AfterPrompt, Shift(HandedOn(|over| left_by(over.ssm, over.initial, over.outputs)))];
    "M93e" "prompt_window_of_raw_keys" at "shift_k"
        wrong "the window handed over after the prompt holds the last N keys"
        right "the keys through the shift model's B"
        seen "plausible (caches of convolutions hold raw inputs, and B is e_1 at initialization)"
        looks "right while B = e_1; else N - 1 positions after the prompt wrong"
        fix "pass on the state x = A x + B k; it equals the raw keys only if B = e_1"
        by [AfterPrompt, Shift(HandedOn(|over| window(over.inputs, over.initial)))];
    "M93f" "prompt_window_reversed" at "shift_k"
        wrong "the window handed over after the prompt oldest first"
        right "newest first"
        seen "plausible (causal_conv1d keeps its inputs in this order)"
        looks "right up to the last token of the prompt, then N - 1 positions wrong"
        fix "entry 0 of the state is the newest"
        by [AfterPrompt, Shift(HandedOn(|over| over.state.iter().rev().copied().into_vec()))];
    "M93g" "prompt_state_one_early" at "ssm_out"
        wrong "C A^i x, i from 0, after the prompt"
        right "C A^{i+1} x"
        seen "a hardware paper on H3 (VGA) prints both; see the chapter on FlashConv"
        looks "right up to the last token of the prompt, wrong from the next one on, fading"
        fix "the state is stored after the prompt's last token: it passes A once before it is read"
        by [AfterPrompt, Diagonal(ReadLater(-1))];
    "M93h" "prompt_last_token_twice" at "shift_k"
        wrong "the prompt's last token stepped through once more before the next one"
        right "the state after the prompt has taken it in"
        seen "plausible (a decode loop that begins with the prompt's last token)"
        looks "right up to the last token of the prompt, wrong from the next one on"
        fix "start stepping with the first token after the prompt"
        by [AfterPrompt, Shift(HandedOn(last_twice)), Diagonal(HandedOn(last_twice))];
    "M93i" "prompt_last_token_missing" at "shift_k"
        wrong "the states handed over are those before the prompt's last token"
        right "after it"
        seen "plausible (a state saved before the update)"
        looks "right up to the last token of the prompt, wrong from the next one on"
        fix "pass on the states after the update of the last token"
        by [AfterPrompt, Shift(HandedOn(last_missing)), Diagonal(HandedOn(last_missing))];
    "M93j" "prompt_state_bf16" at "ssm_out"
        wrong "the diagonal state rounded to bfloat16 where it is handed over"
        right "in float32"
        seen "vllm-project/vllm#39032, #22928 (a cache of states in 16 bits)"
        looks "right up to the last token of the prompt, then off by up to 2^-9 of the state, fading"
        fix "keep the cache of states in float32"
        rounding BF16
        by [AfterPrompt, Diagonal(HandedOn(|over| over.state.iter().map(|z| Complex::new(bf16(z.re), bf16(z.im))).into_vec()))];
    "M93k" "prompt_state_real" at "ssm_out"
        wrong "the real part of the diagonal state handed over"
        right "the complex state"
        seen "plausible (PyTorch: casting complex values to real discards the imaginary part)"
        looks "right up to the last token of the prompt, wrong from the next one on, fading"
        fix "keep the cache of states complex, or in pairs"
        by [AfterPrompt, Diagonal(HandedOn(|over| over.state.iter().map(|z| z.re.into()).into_vec()))];
}
