//! M89 and M90: padding that is stepped through.

use super::super::hooks::Beginning;
use super::super::hooks::LayerHook::{self, FinalState, InitialState, Numbered, Stage};
use super::super::stage_run::{Place, StageRun};
use super::left_by;
use crate::h3::{Form, Layer, LayerState, Name, Stage as At};
use crate::oracle::mistake::rows;
use crate::ssm::StateSpace;
use crate::tensor::Tensor;
use num_complex::Complex;

type C = Complex<f64>;

/// The shift models' states after `n` zeros more.
fn keys_stepped(x: Tensor<f64>, run: &StageRun<'_>, n: impl Fn(&Place) -> usize) -> Tensor<f64> {
    let after = x.clone();
    run.keys(x, 0, |_, ssm, at, _| {
        ssm.advance(after.row(at.state), n(at))
    })
}

/// The diagonal models' states after `n` zeros more.
fn modes_stepped(x: Tensor<C>, run: &StageRun<'_>, n: impl Fn(&Place) -> usize) -> Tensor<C> {
    let after = x.clone();
    run.modes(x, 0, |_, ssm, at, _| {
        ssm.advance(after.row(at.state), n(at))
    })
}

/// The tokens that the last chunk lacks.
fn lacking(run: &StageRun<'_>, at: &Place) -> usize {
    at.tokens.len().next_multiple_of(run.number) - at.tokens.len()
}

/// The state after `n` tokens of zeros; none where `l_max` leaves no recurrence.
fn after_padding(layer: &Layer<f64>, state: &LayerState<f64>, n: usize) -> Option<LayerState<f64>> {
    let batch = state.shift.shape()[0];
    let zeros = Tensor::filled([batch, n, layer.input_channels()], 0.0);
    let layer = layer.without_output();
    let stages = layer.forward(&Form::Recurrence, &zeros, Some(state));
    stages.ok().map(|stages| stages.state)
}

/// The shift models' states after tokens of zeros, whose keys are the bias.
fn keys_after_tokens(x: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    if !run.passes_states() {
        return x;
    }
    let after = x.clone();
    run.keys(x, 0, |run, ssm, at, _| {
        let channel = run.channel_of_all(at.signal % run.so_far.sizes.d);
        let bias = run.parameters.get(Name::KBias)[channel];
        left_by(ssm, after.row(at.state), &vec![bias; run.number])
    })
}

/// The diagonal models' states, likewise.
fn modes_after_tokens(x: Tensor<C>, run: &StageRun<'_>) -> Tensor<C> {
    let keys = Tensor::filled(run.so_far.initial.shift.shape(), 0.0);
    let shift = run.keys(keys, 0, |run, ssm, at, x0| {
        left_by(ssm, x0, at.of(&run.stages().k))
    });
    let state = LayerState {
        shift,
        diagonal: x,
        position: run.so_far.sizes.len,
    };
    let padded = after_padding(run.so_far.layer, &state, run.number);
    padded.map_or(state.diagonal, |padded| padded.diagonal)
}

/// From sequence `first` on the states after tokens of zeros in place of the given ones.
fn left_padded(state: &mut LayerState<f64>, beginning: &Beginning<'_>, first: usize) {
    let Beginning {
        layer,
        documents,
        number,
        ..
    } = *beginning;
    let (batch, len) = (documents.count(), documents.longest());
    // Beyond l_max the padding would be forgotten, and no state says so.
    let end = state.position.saturating_add(number).saturating_add(len);
    if layer.window(end) < end {
        return;
    }
    if let Some(padded) = after_padding(layer, state, number) {
        let keep = |each: usize| first.min(batch) * each;
        let (keys, modes) = (state.shift.data().len(), state.diagonal.data().len());
        let (keys, modes) = (keep(keys / batch.max(1)), keep(modes / batch.max(1)));
        state.shift.data_mut()[keys..].copy_from_slice(&padded.shift.data()[keys..]);
        state.diagonal.data_mut()[modes..].copy_from_slice(&padded.diagonal.data()[modes..]);
    }
}

rows! { LayerHook:
    "M89a" "padding_stepped" at "final_state_k"
        wrong "x_{L+n}: n zeros behind k and kv are stepped through"
        right "x_L"
        seen "huggingface/transformers#48256 (right padding: the window zero, the state decayed)"
        looks "all outputs right; both saved states n steps too old, their newest entries zero"
        fix "take the states at each sequence's own length"
        by [Numbered, Stage(At::FinalStateK, |x, run| keys_stepped(x, run, |_| run.number)),
            FinalState(|x, run| modes_stepped(x, run, |_| run.number))];
    "M89b" "padding_of_last_chunk_stepped" at "final_state_k"
        wrong "the zeros that fill the last chunk up are stepped through"
        right "x_L"
        seen "plausible (as M67, M89a, with chunks of one length)"
        looks "right where the chunk length divides the length; else both saved states too old"
        fix "take the states after the last real token of the last chunk"
        by [Numbered, Stage(At::FinalStateK, |x, run| keys_stepped(x, run, |at| lacking(run, at))),
            FinalState(|x, run| modes_stepped(x, run, |at| lacking(run, at)))];
    "M89c" "padding_tokens_stepped" at "final_state_k"
        wrong "n tokens of zeros behind the input, whose keys and values are the biases"
        right "x_L"
        seen "plausible (as M89a, with padding that is not masked after the projections)"
        looks "all outputs right; the newest entries of final_state_k those of the bias"
        fix "take the states at each sequence's own length"
        by [Numbered, Stage(At::FinalStateK, keys_after_tokens), FinalState(modes_after_tokens)];
    "M90a" "left_padding" at "shift_k"
        wrong "n tokens of zeros before the first, whose keys and values are the biases"
        right "the first token begins from the given state"
        seen "state-spaces/mamba#66, huggingface/transformers#32677 (left padding that is not masked)"
        looks "q, k, v right; the first N - 1 positions of shift_k wrong, ssm_out fading"
        fix "set k and kv to zero at padding, or take it off before the layer"
        by [Numbered, InitialState(|state, beginning| left_padded(state, beginning, 0))];
    "M90b" "left_padding_later" at "shift_k"
        wrong "as M90a, for all sequences of a batch but the first"
        right "each sequence begins from its given state"
        seen "state-spaces/mamba#66, huggingface/transformers#31540 (right for the longest sequence alone)"
        looks "the first sequence right, the others wrong at their beginning"
        fix "set k and kv to zero at padding, or take it off before the layer"
        by [Numbered, InitialState(|state, beginning| left_padded(state, beginning, 1))];
}
