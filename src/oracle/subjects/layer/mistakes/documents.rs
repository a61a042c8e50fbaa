//! M99 to M103: documents in a row, and padded rows.

use super::super::hooks::Beginning;
use super::super::hooks::LayerHook::{self, Documents, FinalState, InitialState, Stage};
use super::super::stage_run::{Place, StageRun};
use super::left_by;
use crate::h3::{Form, Layer, LayerState, Stage as At};
use crate::oracle::mistake::rows;
use crate::ssm::StateSpace;
use crate::tensor::Tensor;
use core::ops::Range;
use num_complex::Complex;

type C = Complex<f64>;

/// The part of an array that belongs to one entry of its first axis.
fn part<T: Copy>(x: &Tensor<T>, at: usize) -> Range<usize> {
    let each = x.data().len() / x.shape()[0].max(1);
    at * each..(at + 1) * each
}

/// The state of one document.
fn state_of(states: &LayerState<f64>, n: usize) -> LayerState<f64> {
    let one = |shape: &[usize]| [&[1], &shape[1..]].concat();
    let (keys, modes) = (&states.shift, &states.diagonal);
    LayerState {
        shift: Tensor::known(one(keys.shape()), keys.data()[part(keys, n)].to_vec()),
        diagonal: Tensor::known(one(modes.shape()), modes.data()[part(modes, n)].to_vec()),
        position: states.position,
    }
}

/// The state after tokens of a row, taken in from a state; none where `l_max` leaves no recurrence.
fn after(
    layer: &Layer<f64>,
    input: &Tensor<f64>,
    (row, tokens): (usize, Range<usize>),
    state: &LayerState<f64>,
) -> Option<LayerState<f64>> {
    let &[_, len, d] = input.shape() else {
        return None;
    };
    let data = &input.data()[(row * len + tokens.start) * d..(row * len + tokens.end) * d];
    let tokens = Tensor::new([1, tokens.len(), d], data.to_vec()).ok()?;
    let stages = layer.forward(&Form::Recurrence, &tokens, Some(state));
    stages.ok().map(|stages| stages.state)
}

/// Every document of a row but the first begins from what the one before it left in these models.
fn leak(state: &mut LayerState<f64>, beginning: &Beginning<'_>, keys: bool, modes: bool) {
    let Beginning {
        layer,
        input,
        documents,
        ..
    } = *beginning;
    let pairs = documents.iter().zip(documents.iter().skip(1));
    for (before, ((row, tokens), (next_row, _))) in pairs.enumerate() {
        if row == next_row
            && let Some(left) = after(layer, input, (row, tokens), &state_of(state, before))
        {
            if keys {
                let at = part(&state.shift, before + 1);
                state.shift.data_mut()[at].copy_from_slice(left.shift.data());
            }
            if modes {
                let at = part(&state.diagonal, before + 1);
                state.diagonal.data_mut()[at].copy_from_slice(left.diagonal.data());
            }
        }
    }
}

/// Rows begin with the padding on their left: its tokens as they stand, or those of zeros.
fn left_padding(state: &mut LayerState<f64>, beginning: &Beginning<'_>, masked: bool) {
    let Beginning {
        layer,
        input,
        documents,
        ..
    } = *beginning;
    let zeros = input.map(|_| 0.0);
    let input = if masked { &zeros } else { input };
    for (n, (row, tokens)) in documents.iter().enumerate() {
        let is_first = documents.row(row).first() == Some(&tokens);
        let padding = 0..tokens.start;
        if is_first
            && !padding.is_empty()
            && let Some(left) = after(layer, input, (row, padding), &state_of(state, n))
        {
            let (keys, modes) = (part(&state.shift, n), part(&state.diagonal, n));
            state.shift.data_mut()[keys].copy_from_slice(left.shift.data());
            state.diagonal.data_mut()[modes].copy_from_slice(left.diagonal.data());
        }
    }
}

/// The positions after the last document of a row.
fn padding_after(run: &StageRun<'_>, row: usize, tokens: &Range<usize>) -> Range<usize> {
    match run.so_far.documents.row(row).last() == Some(tokens) {
        true => tokens.end..run.so_far.sizes.len,
        false => 0..0,
    }
}

/// The states once the padding on the right has been stepped through: its tokens as they stand, or
/// those of zeros.
fn at_padded_end(run: &StageRun<'_>, masked: bool) -> LayerState<f64> {
    let initial = run.so_far.initial;
    let (k, kv) = (run.model_input(At::ShiftK), run.model_input(At::SsmOut));
    let mut state = LayerState {
        shift: run.keys(initial.shift.clone(), 0, |_, ssm, at, x0| {
            left_by(ssm, x0, at.of(&k))
        }),
        diagonal: run.modes(initial.diagonal.clone(), 0, |_, ssm, at, x0| {
            left_by(ssm, x0, at.of(&kv))
        }),
        position: 0,
    };
    let zeros = run.so_far.input.map(|_| 0.0);
    let input = if masked { &zeros } else { run.so_far.input };
    for (n, (row, tokens)) in run.so_far.documents.iter().enumerate() {
        let padding = padding_after(run, row, &tokens);
        if !padding.is_empty()
            && let Some(end) = after(
                run.so_far.layer,
                input,
                (row, padding),
                &state_of(&state, n),
            )
        {
            let (keys, modes) = (part(&state.shift, n), part(&state.diagonal, n));
            state.shift.data_mut()[keys].copy_from_slice(end.shift.data());
            state.diagonal.data_mut()[modes].copy_from_slice(end.diagonal.data());
        }
    }
    state
}

/// The states of documents that padding follows, in place of those computed.
fn keys_at_end(x: Tensor<f64>, run: &StageRun<'_>, masked: bool) -> Tensor<f64> {
    let (right, end) = (x.clone(), at_padded_end(run, masked).shift);
    run.keys(x, 0, |run, _, at, _| {
        let is_right = padding_after(run, at.sequence, &at.tokens).is_empty();
        (if is_right { &right } else { &end })
            .row(at.state)
            .to_vec()
    })
}

/// Those of the diagonal models, likewise.
fn modes_at_end(x: Tensor<C>, run: &StageRun<'_>, masked: bool) -> Tensor<C> {
    let (right, end) = (x.clone(), at_padded_end(run, masked).diagonal);
    run.modes(x, 0, |run, _, at, _| {
        let is_right = padding_after(run, at.sequence, &at.tokens).is_empty();
        (if is_right { &right } else { &end })
            .row(at.state)
            .to_vec()
    })
}

/// The tokens of padding after a document.
fn steps_after(run: &StageRun<'_>, at: &Place) -> usize {
    padding_after(run, at.sequence, &at.tokens).len()
}

/// Every state replaced by that of the last document of its row.
fn of_last<T: Copy>(x: Tensor<T>, run: &StageRun<'_>) -> Tensor<T> {
    let mut data = x.data().to_vec();
    for (n, (row, _)) in run.so_far.documents.iter().enumerate() {
        let last = run.so_far.documents.numbers(row).end - 1;
        data.copy_within(part(&x, last), part(&x, n).start);
    }
    Tensor::known(x.shape(), data)
}

rows! { LayerHook:
    "M99a" "window_leaks" at "shift_k"
        wrong "the shift model's window is not emptied where a document begins"
        right "both states are zero there"
        seen "fla-org/flash-linear-attention#1184, state-spaces/mamba#1027 (convolutions that see the document before)"
        looks "the first document right, the first N - 1 positions of every later one wrong"
        fix "reset the window at every boundary of cu_seqlens"
        by [InitialState(|state, beginning| leak(state, beginning, true, false))];
    "M99b" "state_leaks" at "ssm_out"
        wrong "the diagonal state is not reset where a document begins"
        right "both states are zero there"
        seen "THUDM/slime#1686, PrimeIntellect-ai/prime-rl#3000 (states that leak into the next document)"
        looks "shift_k right; ssm_out wrong from the second document on, fading"
        fix "set A to 0 at a document's first token, or begin anew there"
        by [InitialState(|state, beginning| leak(state, beginning, false, true))];
    "M99c" "states_leak" at "shift_k"
        wrong "neither state is reset where a document begins: the row is one sequence"
        right "both states are zero there"
        seen "THUDM/slime#1686, huggingface/transformers#46588 (packed rows without cu_seqlens)"
        looks "the first document right, every later one wrong from its first token"
        fix "pass cu_seqlens down to both models"
        by [InitialState(|state, beginning| leak(state, beginning, true, true))];
    "M100a" "boundary_late" at "shift_k"
        wrong "documents end one token late: the next one's first token belongs to them"
        right "document n holds tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1, row i lengths[i] of them"
        seen "plausible (cu_seqlens of targets, which are shifted by one)"
        looks "wrong at the first tokens of documents, and in all states"
        fix "cu_seqlens counts tokens before a document: it begins there"
        by [Documents(|documents| documents.moved(1))];
    "M100b" "boundary_early" at "shift_k"
        wrong "documents end one token early"
        right "document n holds tokens cu_seqlens[n] to cu_seqlens[n + 1] - 1, row i lengths[i] of them"
        seen "plausible (an end taken as inclusive)"
        looks "wrong at the last tokens of documents, and in all states"
        fix "the end of a document is not part of it, and the token before it is"
        by [Documents(|documents| documents.moved(-1))];
    "M101a" "cache_at_padded_end" at "final_state_k"
        wrong "states after the row's last position, with k and kv zero at padding"
        right "after each row's last token"
        seen "huggingface/transformers#48256 (a cache taken at the padded end)"
        looks "all outputs right; rows with padding have old states, their windows' newest entries zero"
        fix "take the states at each row's own length"
        by [Stage(At::FinalStateK, |x, run| {
                let after = x.clone();
                run.keys(x, 0, |run, ssm, at, _| ssm.advance(after.row(at.state), steps_after(run, at)))
            }),
            FinalState(|x, run| {
                let after = x.clone();
                run.modes(x, 0, |run, ssm, at, _| ssm.advance(after.row(at.state), steps_after(run, at)))
            })];
    "M101b" "cache_at_padded_end_of_tokens" at "final_state_k"
        wrong "states after the row's last position, its padding taken for tokens"
        right "after each row's last token"
        seen "huggingface/transformers#48256, vllm-project/vllm#34587 (padding that is stepped through)"
        looks "all outputs right; rows with padding have states of something else"
        fix "take the states at each row's own length"
        by [Stage(At::FinalStateK, |x, run| keys_at_end(x, run, false)), FinalState(|x, run| modes_at_end(x, run, false))];
    "M101c" "cache_at_padded_end_of_bias" at "final_state_k"
        wrong "states after the row's last position, with the input zero at padding: k and v are the biases"
        right "after each row's last token"
        seen "plausible (as M101a, with a mask before the projections alone)"
        looks "all outputs right; the newest entries of padded rows' windows are those of the bias"
        fix "mask k and kv, not the input; take the states at each row's own length"
        by [Stage(At::FinalStateK, |x, run| keys_at_end(x, run, true)), FinalState(|x, run| modes_at_end(x, run, true))];
    "M102a" "left_padding_of_bias" at "shift_k"
        wrong "padding on the left is zero before the projections and their biases after them"
        right "a row begins with its first token, from its given state"
        seen "state-spaces/mamba#66, huggingface/transformers#32677 (left padding that is not masked)"
        looks "rows without padding right; in others the first N - 1 positions of shift_k wrong, ssm_out fading"
        fix "set k and kv to zero at padding, after the projections"
        by [InitialState(|state, beginning| left_padding(state, beginning, true))];
    "M102b" "left_padding_of_tokens" at "shift_k"
        wrong "padding on the left is taken for tokens"
        right "a row begins with its first token, from its given state"
        seen "ml-explore/mlx-lm#1486, huggingface/transformers#31540 (left padding that is seen)"
        looks "rows without padding right, others wrong at their beginning"
        fix "set k and kv to zero at padding, after the projections"
        by [InitialState(|state, beginning| left_padding(state, beginning, false))];
    "M103" "states_of_last_document" at "final_state_k"
        wrong "every document of a row has the state after the row's last token"
        right "after its own last token"
        seen "plausible (a kernel that stores its state once a row)"
        looks "all outputs right, the states of all documents but the last wrong"
        fix "store a state at every end in cu_seqlens"
        by [Stage(At::FinalStateK, of_last), FinalState(of_last)];
}
