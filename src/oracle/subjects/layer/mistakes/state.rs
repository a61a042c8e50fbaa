//! M55 to M70, M94: chunks, carried and saved states, steps, low precision.

use super::super::super::wrong_model::ModelHook::{
    Carry, Dropped, Kernel, Read, ReadApart, ReadLater, Response as By, Unreversed,
};
use super::super::hooks::Beginning;
use super::super::hooks::LayerHook::{
    self, Diagonal, FinalState, InChunks, InitialState, Modes, Shift, Stage,
};
use super::super::stage_run::StageRun;
use super::{bf16, left_by};
use crate::h3::{LayerState, Modes as Decoded, Parameters as Loaded, Stage as At};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{
    Diagonal as DiagonalModel, Response, Shift as ShiftModel, StateSpace, add_states,
};
use crate::tensor::Tensor;
use num_complex::Complex;

type C = Complex<f64>;

fn forgotten(state: &mut LayerState<f64>, _: &Beginning<'_>) {
    state.shift.data_mut().fill(0.0);
    state.diagonal.data_mut().fill(C::ZERO);
}

/// `2 Re(C) Re(A^{i+1} x)`.
fn real_parts(ssm: &DiagonalModel<f64>, x: &[C], len: usize) -> Vec<f64> {
    let mut x = x.to_vec();
    let row = |_| {
        x = ssm.advance(&x, 1);
        let terms = ssm.c().iter().zip(&x);
        2.0 * terms.map(|(c, x)| c.re * x.re).sum::<f64>()
    };
    (0..len).map(row).into_vec()
}

/// `gated + sum_d1 C A^{i+1} x`.
fn carried_after_gate(gated: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    run.plus_ungated(gated, &run.carried())
}

/// The shift models' states before the last chunk, from sequence `first` on.
fn keys_at_boundary(x: Tensor<f64>, run: &StageRun<'_>, first: usize) -> Tensor<f64> {
    run.keys_at(x, |len| run.last_boundary(len), first)
}

/// The diagonal models' states before the last chunk, from sequence `first` on.
fn modes_at_boundary(x: Tensor<C>, run: &StageRun<'_>, first: usize) -> Tensor<C> {
    run.modes_at(x, |len| run.last_boundary(len), first)
}

fn keys_from_shift_k(x: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    run.keys(x, 0, |run, ssm, at, x0| {
        left_by(ssm, x0, at.of(&run.stages().shift_k))
    })
}

/// The diagonal models' states from what is read for sequence and value channel.
fn states_from(
    x: Tensor<C>,
    run: &StageRun<'_>,
    read: fn(&StageRun<'_>, usize, usize) -> Vec<f64>,
) -> Tensor<C> {
    run.modes(x, 0, |run, ssm, at, x0| {
        let channel = at.head * run.so_far.sizes.d_h + at.value;
        left_by(ssm, x0, &read(run, at.sequence, channel)[at.tokens.clone()])
    })
}

fn states_without_b(x: Tensor<C>, run: &StageRun<'_>) -> Tensor<C> {
    run.modes(x, 0, |run, ssm, at, x0| {
        let mut ssm = ssm.clone();
        ssm.edit_modes(|_, (a, _)| (a, C::ONE));
        left_by(&ssm, x0, at.of(&run.stages().kv))
    })
}

/// One zero too many where the length is odd.
fn padded_keys(x: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let after = x.clone();
    run.keys(x, 0, |_, ssm, at, _| {
        ssm.advance(after.row(at.state), at.tokens.len() % 2)
    })
}

/// One zero too many where the length is odd.
fn padded_modes(x: Tensor<C>, run: &StageRun<'_>) -> Tensor<C> {
    let after = x.clone();
    run.modes(x, 0, |_, ssm, at, _| {
        ssm.advance(after.row(at.state), at.tokens.len() % 2)
    })
}

/// The response by steps of another shift.
fn steps(
    ssm: &ShiftModel<f64>,
    u: &[f64],
    x0: &[f64],
    moved: fn(&mut [f64]),
) -> Response<ShiftModel<f64>> {
    let mut state = x0.to_vec();
    let step = |&u: &f64| {
        moved(&mut state);
        state = add_states(&state, &ssm.inject(u));
        ssm.read(&state) + ssm.feedthrough() * u
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

fn clear(entry: Option<&mut f64>) {
    if let Some(entry) = entry {
        *entry = 0.0;
    }
}

fn reads_before(ssm: &ShiftModel<f64>, u: &[f64], x0: &[f64]) -> Response<ShiftModel<f64>> {
    let mut state = x0.to_vec();
    let step = |&u: &f64| {
        let before = ssm.read(&state);
        ssm.step(&mut state, u);
        before + ssm.feedthrough() * u
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

fn bf16_states(ssm: &DiagonalModel<f64>, u: &[f64], x0: &[C]) -> Response<DiagonalModel<f64>> {
    let mut state = x0.to_vec();
    let step = |&u: &f64| {
        ssm.step(&mut state, u);
        state
            .iter_mut()
            .for_each(|x| *x = C::new(bf16(x.re), bf16(x.im)));
        ssm.read(&state) + ssm.feedthrough() * u
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

/// The diagonal models' states from keys that no `l_max` truncates.
fn states_of_steps(x: Tensor<C>, run: &StageRun<'_>) -> Tensor<C> {
    if run.passes_states() {
        return x;
    }
    let sizes = run.so_far.sizes;
    let mut uncut = run.stages().shift_k.clone();
    for (n, (b, tokens)) in run.so_far.documents.iter().enumerate() {
        for (c, ssm) in run.so_far.layer.parts().shift.iter().enumerate() {
            let row = sizes.channel(b, c);
            let mut state = run.so_far.initial.shift.row(sizes.channel(n, c)).to_vec();
            let keys = &run.stages().k.row(row)[tokens.clone()];
            let steps = keys.iter().map(|&key| ssm.step(&mut state, key));
            let places = uncut.row_mut(row)[tokens.clone()].iter_mut().zip(steps);
            places.for_each(|(place, y)| *place = y);
        }
    }
    let kv = run.product(&uncut, &run.stages().v);
    run.modes(x, 0, |_, ssm, at, x0| left_by(ssm, x0, at.of(&kv)))
}

fn decoded_in_bf16(modes: &mut Decoded<f64>, _: &Loaded<f64>) {
    modes
        .lambda
        .iter_mut()
        .for_each(|l| *l = C::new(bf16(l.re), bf16(l.im)));
    modes.dt.iter_mut().for_each(|dt| *dt = bf16(*dt));
}

rows! { LayerHook:
    "M55" "mxy_one_early" at "ssm_out"
        wrong "M_xy = [C; CA; ...; CA^{T-1}] with the state after the chunk's last input"
        right "M_xy = [CA; CA^2; ...; CA^T]"
        seen "a hardware paper on H3 (VGA) prints both; see the chapter on FlashConv"
        looks "first chunk right, every later one wrong from its first position"
        fix "multiply the carried state by A once more: row i is C A^{i+1}, i from 0"
        by [InChunks, Diagonal(ReadLater(-1))];
    "M56" "mxy_one_late" at "ssm_out"
        wrong "M_xy = [CA^2; ...; CA^{T+1}]"
        right "M_xy = [CA; ...; CA^T]"
        seen "plausible"
        looks "first chunk right, every later one wrong from its first position"
        fix "the carried state is advanced twice: row i is C A^{i+1}, i from 0"
        by [InChunks, Diagonal(ReadLater(1))];
    "M57" "mux_unreversed" at "ssm_out"
        wrong "x = A^T x + sum_j A^j B u_j"
        right "x = A^T x + sum_j A^{T-1-j} B u_j"
        seen "plausible"
        looks "first chunk right, its final state and every later chunk wrong"
        fix "the oldest input of a chunk has the highest power of A: flip the columns of M_ux"
        by [InChunks, Diagonal(Unreversed)];
    "M58a" "carry_full_chunk" at "final_state"
        wrong "A^T x for a last chunk shorter than T"
        right "A^{len} x, len the chunk's own length"
        seen "vllm-project/vllm#23279 (decay counted from the wrong place)"
        looks "all outputs right, only the final state wrong"
        fix "advance the carried state by the number of inputs the chunk really has"
        by [InChunks, Diagonal(Carry(|ssm, x, _, first| ssm.advance(x, first)))];
    "M58b" "carry_one_short" at "ssm_out"
        wrong "A^{len-1} x"
        right "A^{len} x"
        seen "plausible"
        looks "chunks 1 and 2 right, wrong from chunk 3 on"
        fix "the carried state passes all len inputs of the chunk"
        by [InChunks, Diagonal(Carry(|ssm, x, len, _| ssm.advance(x, len.saturating_sub(1))))];
    "M58c" "carry_undecayed" at "ssm_out"
        wrong "x = x + M_ux u"
        right "x = A^{len} x + M_ux u"
        seen "vllm-project/vllm#23279 (decay counted from the wrong place)"
        looks "chunks 1 and 2 right, wrong from chunk 3 on"
        fix "the carried state decays by A^{len} over a chunk"
        by [InChunks, Diagonal(Carry(|_, x, _, _| x.to_vec()))];
    "M59a" "carry_dropped" at "ssm_out"
        wrong "every chunk after the first starts from the zero state"
        right "from the state the chunk before left"
        seen "vllm-project/vllm#22034"
        looks "first chunk right, later ones as if each were a new sequence"
        fix "pass the diagonal SSM's state on to the next chunk"
        by [InChunks, Diagonal(Dropped)];
    "M59b" "initial_state_ignored" at "shift_k"
        wrong "both states start from zero though some were given"
        right "from the given states"
        seen "vllm-project/vllm#22034 (batch of 1); the official prefill ignores cached states"
        looks "wrong from the first position, better later"
        fix "use the state that was passed in, for every batch size"
        by [InitialState(forgotten)];
    "M60a" "snapshot_boundary" at "final_state_k"
        wrong "saved states are those one chunk boundary before the end"
        right "those after the last input"
        seen "sgl-project/sglang#31833"
        looks "all outputs right, both saved states old"
        fix "save the state after the last token, not at the last full boundary"
        by [InChunks, Stage(At::FinalStateK, |x, run| keys_at_boundary(x, run, 0)), FinalState(|x, run| modes_at_boundary(x, run, 0))];
    "M60b" "snapshot_boundary_later" at "final_state_k"
        wrong "as M60a, for all sequences of a batch but the first"
        right "the state after the last input"
        seen "sgl-project/sglang#31833 (first request exact, the others not)"
        looks "the first sequence's states right, the others' old"
        fix "index the snapshots by sequence; test with a batch above 1"
        by [InChunks, Stage(At::FinalStateK, |x, run| keys_at_boundary(x, run, 1)), FinalState(|x, run| modes_at_boundary(x, run, 1))];
    "M61" "carry_after_gate" at "ssm_out"
        wrong "gated = sum_d1 (q (K * kv + D kv) + C A^{i+1} x)"
        right "sum_d1 q (K * kv + D kv + C A^{i+1} x)"
        seen "seen in an independent port"
        looks "first chunk right; later ones carry a part that q does not gate"
        fix "add the carried part before the query gates"
        by [InChunks, Diagonal(ReadApart), Stage(At::Gated, carried_after_gate)];
    "M62a" "carry_real_parts" at "ssm_out"
        wrong "2 Re(C) Re(A^{i+1} x) in the carried part"
        right "2 Re(C A^{i+1} x)"
        seen "plausible"
        looks "first chunk right, wrong from the second"
        fix "multiply complex numbers first, then take the real part"
        by [InChunks, Diagonal(Read(real_parts))];
    "M62b" "carry_no_factor_2" at "ssm_out"
        wrong "Re(C A^{i+1} x) in the carried part"
        right "2 Re(C A^{i+1} x)"
        seen "plausible"
        looks "first chunk right; later ones miss half of the carried part"
        fix "the factor 2 belongs to every read of the state"
        by [InChunks, Diagonal(Read(|ssm, x, len| ssm.state_to_output(x, len).iter().map(|y| 0.5 * y).into_vec()))];
    "M63" "shift_state_lost" at "shift_k"
        wrong "the shift model starts every chunk from zero"
        right "from the last N keys of the chunk before"
        seen "plausible (as lost convolution states: state-spaces/mamba#460, #739)"
        looks "wrong at the first N - 1 positions of every chunk but the first"
        fix "carry the shift state too, not the diagonal one alone"
        by [InChunks, Shift(Dropped)];
    "M64a" "shift_step_transposed" at "shift_k"
        wrong "step: x_n = x_{n+1} + B_n u, ones above the diagonal"
        right "x_n = x_{n-1} + B_n u"
        seen "plausible"
        looks "kernel right, stepped outputs wrong; at B = e_1 only the newest key is seen"
        fix "the window moves away from entry 0"
        by [Shift(By(|ssm, u, x0| steps(ssm, u, x0, |x| { x.rotate_left(1); clear(x.last_mut()); })))];
    "M64b" "shift_step_rolled_back" at "shift_k"
        wrong "step: x = roll(x, -1), entry 0 cleared, + B u"
        right "x = roll(x, +1), entry 0 cleared, + B u"
        seen "plausible"
        looks "kernel right, stepped outputs wrong; the oldest keys come first"
        fix "roll by +1 along the state axis"
        by [Shift(By(|ssm, u, x0| steps(ssm, u, x0, |x| { x.rotate_left(1); clear(x.first_mut()); })))];
    "M64c" "shift_step_reads_before" at "shift_k"
        wrong "step: y = C x before u is inserted"
        right "after"
        seen "plausible"
        looks "kernel right, stepped shift_k one position late"
        fix "insert the new key, then read"
        by [Shift(By(reads_before))];
    "M65a" "state_from_input" at "final_state"
        wrong "the diagonal SSM's saved state computed from the layer's input u"
        right "from kv"
        seen "seen in an independent port"
        looks "all outputs right, final_state wrong"
        fix "forward_state takes the SSM's own input, kv"
        by [FinalState(|x, run| states_from(x, run, |run, b, v| run.input_channel(b, v)))];
    "M65b" "shift_state_from_shift_k" at "final_state_k"
        wrong "the shift model's saved state computed from shift_k"
        right "from k"
        seen "plausible"
        looks "all outputs right, final_state_k wrong"
        fix "the window holds the raw keys, before the shift model"
        by [Stage(At::FinalStateK, keys_from_shift_k)];
    "M65c" "state_from_v" at "final_state"
        wrong "the diagonal SSM's saved state computed from v"
        right "from kv"
        seen "plausible"
        looks "all outputs right, final_state wrong"
        fix "forward_state takes the SSM's own input, kv"
        by [FinalState(|x, run| states_from(x, run, |run, b, v| run.channel(&run.stages().v, b, v)))];
    "M66" "state_without_b" at "final_state"
        wrong "x = sum_j a^{L-1-j} u_j"
        right "x = sum_j a^{L-1-j} b u_j"
        seen "state-spaces/mamba, pull request 371"
        looks "all outputs right; final_state off by a factor b a mode"
        fix "multiply the saved state by the discrete b"
        by [FinalState(states_without_b)];
    "M67" "pad_in_state" at "final_state_k"
        wrong "x_{L+1} = A x_L at odd L: the padding zero is stepped through"
        right "x_L"
        seen "plausible (the official fast path pads odd lengths: HazyResearch/H3#21, #28)"
        looks "all outputs right; at odd lengths both saved states one step too old"
        fix "compute the saved states from the unpadded input"
        by [Stage(At::FinalStateK, padded_keys), FinalState(padded_modes)];
    "M70a" "kernel_bf16" at "ssm_kernel"
        wrong "the kernel rounded to bfloat16"
        right "the kernel in the precision of the SSM (float32 at least)"
        seen "plausible (as M70b, M70c)"
        looks "relative errors up to 2^-9 (0.2 %) in every tap"
        fix "keep kernels in float32, also under autocast"
        rounding BF16
        by [Diagonal(Kernel(|_, f, len| f(len).into_iter().map(bf16).into_vec()))];
    "M70b" "state_bf16" at "ssm_out"
        wrong "the diagonal state rounded to bfloat16 after every step"
        right "in the precision of the SSM"
        seen "vllm-project/vllm#13466"
        looks "kernel right; ssm_out drifts with t, most in slow modes"
        fix "keep states in float32"
        rounding BF16
        by [Diagonal(By(bf16_states))];
    "M70c" "decode_bf16" at "ssm_kernel"
        wrong "A and dt rounded to bfloat16 before discretization"
        right "in float32 at least"
        seen "state-spaces/mamba, pull request 923"
        looks "a phase error that grows with t"
        fix "keep log_dt, inv_A_real and A_imag, and what is decoded from them, in float32"
        rounding BF16
        by [Modes(decoded_in_bf16)];
    "M94" "state_of_steps" at "final_state"
        wrong "with l_max below the length, the diagonal state of keys whose kernel is not cut"
        right "of shift_k as the layer computes it, cut at l_max"
        seen "the official step() after its own forward()"
        looks "all outputs right, final_state wrong from l_max tokens on"
        fix "a recurrence cannot honour l_max: compute the state from the cut shift_k, or drop l_max"
        by [FinalState(states_of_steps)];
}
