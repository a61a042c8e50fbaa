//! M86 to M88: what is saved as the final state.

use super::super::super::wrong_model::ModelHook::Response as By;
use super::super::hooks::LayerHook::{self, Diagonal, FinalState, Numbered, Shift, Stage};
use super::super::stage_run::StageRun;
use super::window;
use crate::h3::Stage as At;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{Response, StateSpace};
use crate::tensor::Tensor;

/// The last values of a (batch, d, seq_len) stage as the window.
fn window_of(x: Tensor<f64>, run: &StageRun<'_>, stage: &Tensor<f64>) -> Tensor<f64> {
    run.keys(x, 0, |_, _, at, x0| window(at.of(stage), x0))
}

/// Every window back to front.
fn oldest_first(x: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let after = x.clone();
    run.keys(x, 0, |_, _, at, _| {
        after.row(at.state).iter().rev().copied().into_vec()
    })
}

fn raw_keys(x: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    window_of(x, run, &run.stages().k)
}

/// The response of steps that all begin from the first state.
fn frozen<S: StateSpace>(ssm: &S, u: &[S::Scalar], x0: &[S::Element]) -> Response<S> {
    let mut state = x0.to_vec();
    let step = |&u: &S::Scalar| {
        state.copy_from_slice(x0);
        ssm.step(&mut state, u)
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

rows! { LayerHook:
    "M86a" "raw_key_window" at "final_state_k"
        wrong "the last N keys, newest first"
        right "x_n = sum_j B_{n-j} k_{L-1-j}: the keys through the shift model's B"
        seen "plausible (caches of convolutions hold raw inputs, and B is e_1 at initialization)"
        looks "all outputs right; final_state_k holds raw keys, right while B = e_1"
        fix "step the state x = A x + B k; it equals the raw keys only if B = e_1"
        by [Stage(At::FinalStateK, raw_keys)];
    "M86b" "raw_key_window_oldest_first" at "final_state_k"
        wrong "the last N keys, newest last"
        right "x_n = sum_j B_{n-j} k_{L-1-j}: entry 0 is the newest"
        seen "plausible (causal_conv1d keeps its inputs in this order)"
        looks "all outputs right; final_state_k holds raw keys backwards"
        fix "entry 0 of the state is the newest key, and B applies to it"
        by [Stage(At::FinalStateK, |x, run| oldest_first(raw_keys(x, run), run))];
    "M86c" "window_oldest_first" at "final_state_k"
        wrong "x_{N-1-n}: entry 0 the oldest"
        right "x_n: entry 0 the newest"
        seen "plausible (causal_conv1d keeps its inputs in this order)"
        looks "all outputs right; final_state_k backwards"
        fix "flip the state along its last axis"
        by [Stage(At::FinalStateK, oldest_first)];
    "M86d" "window_of_shift_k" at "final_state_k"
        wrong "the last N values of shift_k, newest first"
        right "the state of the keys, before the shift model"
        seen "plausible (a cache filled after the convolution in place of before it)"
        looks "all outputs right; final_state_k holds what shift_k ends with"
        fix "fill the window from k, before the shift model"
        by [Stage(At::FinalStateK, |x, run| window_of(x, run, &run.stages().shift_k))];
    "M87a" "state_frozen" at "ssm_out"
        wrong "x_i = A x_0 + B u_i: every step begins from the first state"
        right "x_i = A x_{i-1} + B u_i"
        seen "lablup/mlxcel#1220 (the state rebuilt at every step); an update that goes to a copy"
        looks "right at the first position only; final_state has seen one token"
        fix "write the new state back"
        by [Diagonal(By(frozen))];
    "M87b" "window_frozen" at "shift_k"
        wrong "x_i = A x_0 + B k_i: every step begins from the first window"
        right "x_i = A x_{i-1} + B k_i"
        seen "lablup/mlxcel#1220 (the state rebuilt at every step); an update that goes to a copy"
        looks "right at the first position only; final_state_k has seen one token"
        fix "write the new window back"
        by [Shift(By(frozen))];
    "M87c" "states_not_saved" at "final_state_k"
        wrong "the given states, or zeros, as the final ones"
        right "the states after the last input"
        seen "ggml-org/llama.cpp#18154 (the state read back is always zero)"
        looks "all outputs right; both final states as they were given"
        fix "return the new states, not the buffers that came in"
        by [Stage(At::FinalStateK, |x, run| run.keys(x, 0, |_, _, _, x0| x0.to_vec())),
            FinalState(|x, run| run.modes(x, 0, |_, _, _, x0| x0.to_vec()))];
    "M88a" "states_old" at "final_state_k"
        wrong "both final states n tokens before the end"
        right "after the last input"
        seen "sgl-project/sglang#33450 (a state taken at the wrong token)"
        looks "all outputs right, both saved states old"
        fix "save the states after the last token"
        by [Numbered, Stage(At::FinalStateK, |x, run| run.keys_at(x, |len| run.before_end(len), 0)),
            FinalState(|x, run| run.modes_at(x, |len| run.before_end(len), 0))];
    "M88b" "states_old_later" at "final_state_k"
        wrong "as M88a, for all sequences of a batch but the first"
        right "after the last input"
        seen "sgl-project/sglang#33450 (right for the first request alone)"
        looks "the first sequence's states right, the others' old"
        fix "index the states by sequence; test with a batch above 1"
        by [Numbered, Stage(At::FinalStateK, |x, run| run.keys_at(x, |len| run.before_end(len), 1)),
            FinalState(|x, run| run.modes_at(x, |len| run.before_end(len), 1))];
}
