//! M84, M85 and M91: how states are read and written.

use super::super::super::wrong_model::ModelHook::ReadLater;
use super::super::hooks::Beginning;
use super::super::hooks::LayerHook::{self, Diagonal, FinalState, InitialState, Shift, Stage};
use super::sequences_exchanged;
use crate::h3::{LayerState, Stage as At};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;
use num_complex::Complex;

type C = Complex<f64>;

/// States (batch, d1, d2, H, m/2) with d1 and d2 exchanged.
fn transposed(x: &Tensor<C>) -> Tensor<C> {
    let mut exchanged = x.clone();
    if let &[batch, d_h, _, heads, _] = x.shape() {
        let row = |b, d1, d2, h| ((b * d_h + d1) * d_h + d2) * heads + h;
        for b in 0..batch {
            for i in 0..d_h * d_h * heads {
                let (d1, d2, h) = (i / heads / d_h, i / heads % d_h, i % heads);
                let from = x.row(row(b, d2, d1, h));
                exchanged.row_mut(row(b, d1, d2, h)).copy_from_slice(from);
            }
        }
    }
    exchanged
}

/// All real parts of a state's modes, then all imaginary ones, read as pairs.
fn planar(mut x: Tensor<C>) -> Tensor<C> {
    let modes_each = x.shape().last().copied().unwrap_or(0);
    for row in 0..x.data().len().checked_div(modes_each).unwrap_or(0) {
        let modes = x.row_mut(row);
        let parts: Vec<f64> = modes.iter().map(|z| z.re).into_vec();
        let parts: Vec<f64> = parts
            .into_iter()
            .chain(modes.iter().map(|z| z.im))
            .into_vec();
        let pairs = parts.chunks_exact(2).map(|pair| C::new(pair[0], pair[1]));
        modes
            .iter_mut()
            .zip(pairs)
            .for_each(|(mode, pair)| *mode = pair);
    }
    x
}

fn read_transposed(state: &mut LayerState<f64>, _: &Beginning<'_>) {
    state.diagonal = transposed(&state.diagonal);
}

fn read_exchanged(state: &mut LayerState<f64>, _: &Beginning<'_>) {
    state.shift = sequences_exchanged(&state.shift);
    state.diagonal = sequences_exchanged(&state.diagonal);
}

rows! { LayerHook:
    "M84a" "given_state_one_early" at "ssm_out"
        wrong "C A^i x_0, i from 0, for the state that is given"
        right "C A^{i+1} x_0"
        seen "a hardware paper on H3 (VGA) prints both; see the chapter on FlashConv"
        looks "right from a zero state; else wrong from the first position, fading, final_state right"
        fix "x_0 is the state after the token before: it passes A once before it is read"
        by [Diagonal(ReadLater(-1))];
    "M84b" "given_state_one_late" at "ssm_out"
        wrong "C A^{i+2} x_0 for the state that is given"
        right "C A^{i+1} x_0"
        seen "plausible (a state that was advanced when it was saved)"
        looks "right from a zero state; else wrong from the first position, fading, final_state right"
        fix "the state is stored after its last input and no further"
        by [Diagonal(ReadLater(1))];
    "M84c" "given_keys_one_early" at "shift_k"
        wrong "C A^i x_0, i from 0, for the window that is given"
        right "C A^{i+1} x_0"
        seen "plausible (as M84a)"
        looks "right from a zero state; else wrong at the first N positions, final_state_k right"
        fix "shift the window before the new key is inserted"
        by [Shift(ReadLater(-1))];
    "M84d" "given_keys_one_late" at "shift_k"
        wrong "C A^{i+2} x_0 for the window that is given"
        right "C A^{i+1} x_0"
        seen "plausible (as M84b; a cache of N - 1 keys read as one of N)"
        looks "right from a zero state; else wrong at the first N - 2 positions, final_state_k right"
        fix "the window's entry 0 is the newest key, one token before the first input"
        by [Shift(ReadLater(1))];
    "M85a" "given_state_transposed" at "ssm_out"
        wrong "the given state read as [d2, d1]"
        right "as [d1, d2]"
        seen "fla-org/flash-linear-attention#776, sgl-project/sglang#20283 (states [K, V] and [V, K])"
        looks "right with head_dim 1 and from a zero state; else pairs with d1 != d2 wrong"
        fix "d1, the key's index, is the slow one"
        by [InitialState(read_transposed)];
    "M85b" "final_state_transposed" at "final_state"
        wrong "the final state written as [d2, d1]"
        right "as [d1, d2]"
        seen "fla-org/flash-linear-attention#776, sgl-project/sglang#20283 (states [K, V] and [V, K])"
        looks "all outputs right; final_state wrong for pairs with d1 != d2"
        fix "d1, the key's index, is the slow one"
        by [FinalState(|x, _| transposed(&x))];
    "M85c" "final_state_conjugated" at "final_state"
        wrong "conj(x)"
        right "x"
        seen "plausible (as M45a: the official constructor conjugates C)"
        looks "all outputs right; imaginary parts of final_state with the other sign"
        fix "store the state that goes with the stored A, B and C"
        by [FinalState(|x, _| x.map(|z| z.conj()))];
    "M85d" "final_state_planar" at "final_state"
        wrong "all real parts, then all imaginary parts"
        right "pairs (re, im) along the last axis"
        seen "plausible (cat where the official code has view_as_real)"
        looks "all outputs right; final_state holds the right numbers in another order"
        fix "stack real and imaginary parts along a last axis"
        by [FinalState(|x, _| planar(x))];
    "M85e" "final_state_real" at "final_state"
        wrong "Re(x), imaginary parts zero"
        right "x"
        seen "plausible (PyTorch: casting complex values to real discards the imaginary part)"
        looks "all outputs right; imaginary parts of final_state zero"
        fix "keep the state in a complex array, or in pairs"
        by [FinalState(|x, _| x.map(|z| z.re.into()))];
    "M85f" "given_state_conjugated" at "ssm_out"
        wrong "the given state read as conj(x_0)"
        right "x_0"
        seen "plausible (as M85c)"
        looks "right from a zero state; else wrong from the first position, fading"
        fix "read the pairs as (re, im)"
        by [InitialState(|state, _| state.diagonal = state.diagonal.map(|z| z.conj()))];
    "M91a" "final_states_exchanged" at "final_state_k"
        wrong "both final states of sequence b in the place of sequence b - 1"
        right "each in its own place"
        seen "NVIDIA/TensorRT-LLM#13151, sgl-project/sglang#33450 (states of a batch under wrong indices)"
        looks "all outputs right; right with a batch of one"
        fix "write states by the index that they are read by; test with a batch above 1"
        by [Stage(At::FinalStateK, |x, _| sequences_exchanged(&x)), FinalState(|x, _| sequences_exchanged(&x))];
    "M91b" "given_states_exchanged" at "shift_k"
        wrong "sequence b from the given states of sequence b + 1"
        right "from its own"
        seen "NVIDIA/TensorRT-LLM#13151, sgl-project/sglang#33450 (states of a batch under wrong indices)"
        looks "right with a batch of one and from zero states; else wrong from the first position"
        fix "read states by the index that they are written by; test with a batch above 1"
        by [InitialState(read_exchanged)];
}
