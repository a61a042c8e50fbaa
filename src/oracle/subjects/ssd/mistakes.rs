//! The known mistakes of the operator: one row each, in words and by its hooks.

use super::hooks::SsdHook::{
    self, Back, Blocks, Group, Initial, OneSequence, Operands, Respond, Skip,
};
use crate::algebra::{FloatFormat, Matrix, dot};
use crate::error::Error;
use crate::flashconv::VaryingBlocks;
use crate::into_vec::IntoVec as _;
use crate::mamba::{Place, Ssd, by_recurrence, group_of};
use crate::oracle::mistake::{Row, rows};
use crate::ssm::{
    Varying, VaryingGradients, VaryingResponse, varying_recurrence, varying_recurrence_adjoint,
};
use crate::tensor::Tensor;

fn dt_squared(ssd: &mut Ssd<f64>) {
    ssd.dt = ssd.dt.as_ref().map(|dt| dt.map(|dt| dt * dt));
}

fn x_times_dt(ssd: &Ssd<f64>) -> Tensor<f64> {
    let Some(dt) = &ssd.dt else {
        return ssd.x.clone();
    };
    let each = ssd.x.shape()[3].max(1);
    let pairs = ssd.x.data().iter().enumerate();
    let products = pairs.map(|(at, x)| x * dt.data()[at / each]).into_vec();
    Tensor::known(ssd.x.shape(), products)
}

/// `y_t = S_(t-1) C_t`.
fn before_update(
    ssm: &Varying<f64>,
    u: &Matrix<f64>,
    x0: &Matrix<f64>,
) -> Result<VaryingResponse<f64>, Error> {
    let mut response = varying_recurrence(ssm, u, Some(x0))?;
    let mut state = x0.clone();
    for t in 0..ssm.seq_len() {
        let (step, (_, _, c)) = (ssm.tokens(t..t + 1), ssm.parts());
        for p in 0..u.cols() {
            response.output.row_mut(t)[p] = dot(state.row(p), c.row(t));
        }
        let inputs = u.row_range(t..t + 1);
        state = varying_recurrence(&step, &inputs, Some(&state))?.state;
    }
    Ok(response)
}

/// The mask without its diagonal: the state is read between its decay and its update.
fn without_own_token(
    ssm: &Varying<f64>,
    u: &Matrix<f64>,
    x0: &Matrix<f64>,
) -> Result<VaryingResponse<f64>, Error> {
    let mut response = varying_recurrence(ssm, u, Some(x0))?;
    let (_, b, c) = ssm.parts();
    for t in 0..ssm.seq_len() {
        let own = dot(b.row(t), c.row(t));
        for (y, u) in response.output.row_mut(t).iter_mut().zip(u.row(t)) {
            *y -= own * u;
        }
    }
    Ok(response)
}

/// The model with the decays of every step in place of those of the step before it, ones first.
fn decayed_late(ssm: &Varying<f64>) -> Result<Varying<f64>, Error> {
    let (a, b, c) = ssm.parts();
    let late = |t: usize, n: usize| if t == 0 { 1.0 } else { a.row(t - 1)[n] };
    let a = Matrix::from_fn(a.rows(), a.cols(), late);
    Varying::new(a, b.clone(), c.clone())
}

/// The inputs times the decays of their own steps; nothing where these differ by channel.
fn inputs_decayed(ssm: &Varying<f64>) -> Result<Varying<f64>, Error> {
    let (a, b, c) = ssm.parts();
    let b = Matrix::from_fn(b.rows(), b.cols(), |t, n| {
        a.row(t)[n % a.cols()] * b.row(t)[n]
    });
    Varying::new(a.clone(), b, c.clone())
}

struct OwnDecayWithin;
impl VaryingBlocks<f64> for OwnDecayWithin {
    fn within(&self, ssm: &Varying<f64>, u: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
        inputs_decayed(ssm)?.matrix()?.times(u)
    }
}

struct LateWithin;
impl VaryingBlocks<f64> for LateWithin {
    fn within(&self, ssm: &Varying<f64>, u: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
        decayed_late(ssm)?.matrix()?.times(u)
    }
}

struct WithoutLastDecay;
impl VaryingBlocks<f64> for WithoutLastDecay {
    fn absorb(&self, ssm: &Varying<f64>, u: &Matrix<f64>) -> Matrix<f64> {
        let (a, b, c) = ssm.parts();
        let last = ssm.seq_len() - 1;
        let a = Matrix::from_fn(a.rows(), a.cols(), |t, n| match t == last {
            true => 1.0,
            false => a.row(t)[n],
        });
        match Varying::new(a, b.clone(), c.clone()) {
            Ok(ssm) => ssm.input_to_state(u),
            Err(_) => ssm.input_to_state(u),
        }
    }
}

struct OwnDecayAbsorbed;
impl VaryingBlocks<f64> for OwnDecayAbsorbed {
    fn absorb(&self, ssm: &Varying<f64>, u: &Matrix<f64>) -> Matrix<f64> {
        match inputs_decayed(ssm) {
            Ok(ssm) => ssm.input_to_state(u),
            Err(_) => ssm.input_to_state(u),
        }
    }
}

struct EarlyRows;
impl VaryingBlocks<f64> for EarlyRows {
    fn read(&self, ssm: &Varying<f64>, x: &Matrix<f64>) -> Matrix<f64> {
        match decayed_late(ssm) {
            Ok(late) => late.state_to_output(x),
            Err(_) => ssm.state_to_output(x),
        }
    }
}

struct NotRead;
impl VaryingBlocks<f64> for NotRead {
    fn read(&self, ssm: &Varying<f64>, x: &Matrix<f64>) -> Matrix<f64> {
        Matrix::from_fn(ssm.seq_len(), x.rows(), |_, _| 0.0)
    }
}

struct NotCarried;
impl VaryingBlocks<f64> for NotCarried {
    fn carry(&self, _: &Varying<f64>, x: &Matrix<f64>) -> Matrix<f64> {
        x.map(|_| 0.0)
    }
}

struct CarriedWhole;
impl VaryingBlocks<f64> for CarriedWhole {
    fn carry(&self, _: &Varying<f64>, x: &Matrix<f64>) -> Matrix<f64> {
        x.clone()
    }
}

rows! { SsdHook:
    "S01a" "groups_tiled" at "y"
        wrong "B and C of group h mod G for head h"
        right "of group floor(h / (H/G)): heads of a group stand next to each other"
        seen "llama.cpp#15625 (perplexity 16.14 instead of 9.19), transformers#37533, fla layers/mamba2.py; repeat for repeat_interleave"
        looks "right where there is one group, or as many as heads; else every head but some is wrong from the first token"
        fix "repeat every group H/G times before going on to the next (repeat_interleave)"
        by [Group(|head, _, groups| head % groups)];
    "S01b" "one_group_for_all" at "y"
        wrong "B and C of the first group for every head"
        right "of group floor(h / (H/G))"
        seen "a port written for G = 1"
        looks "the first H/G heads are right, the others wrong from the first token"
        fix "index B and C by the head's group"
        by [Group(|_, _, _| 0)];
    "S05a" "dt_twice" at "y"
        wrong "S_t = a_t S_(t-1) + dt_t^2 x_t B_t^T"
        right "S_t = a_t S_(t-1) + dt_t x_t B_t^T"
        seen "TileOps#1118: dt multiplied into x and again into B"
        looks "every token in proportion to its own dt"
        fix "multiply dt into x or into B, not into both"
        by [Operands(dt_squared)];
    "S05b" "dt_not_applied" at "y"
        wrong "S_t = a_t S_(t-1) + x_t B_t^T"
        right "S_t = a_t S_(t-1) + dt_t x_t B_t^T"
        seen "ssd_minimal_discrete expects x already times dt, and its callers forget it"
        looks "every token divided by its dt"
        fix "pass x * dt to a function whose argument is the discretized input"
        by [Operands(|ssd| ssd.dt = None)];
    "S06a" "skip_times_dt" at "y"
        wrong "y_t = S_t C_t + D dt_t x_t"
        right "y_t = S_t C_t + D x_t"
        seen "D added to the operand that dt is already multiplied into"
        looks "what D adds is in proportion to dt"
        fix "keep x itself for D"
        by [Skip(x_times_dt)];
    "S06b" "no_skip" at "y"
        wrong "y_t = S_t C_t"
        right "y_t = S_t C_t + D x_t"
        seen "ssd_minimal_discrete has no D"
        looks "every token is off by a multiple of x"
        fix "add D x"
        by [Skip(|ssd| ssd.x.map(|_| 0.0))];
    "S12a" "state_read_before_update" at "y"
        wrong "y_t = S_(t-1) C_t"
        right "y_t = S_t C_t"
        seen "decoders that read the cache before they write it"
        looks "the first token is zero but for D x, every output reads states one token old"
        fix "update the state, then read it"
        by [Respond(before_update)];
    "S12b" "own_token_masked" at "y"
        wrong "L_ii = 0"
        right "L_ii = 1: a token reads itself"
        seen "tril(diagonal=-1) for tril()"
        looks "every output lacks (C_t B_t) dt_t x_t"
        fix "mask above the diagonal only"
        by [Respond(without_own_token)];
    "S13" "decay_inverted" at "y"
        wrong "a_t = exp(-log_a_t)"
        right "a_t = exp(log_a_t), at most 1"
        seen "A = exp(A_log) without its sign"
        looks "outputs grow along the sequence"
        fix "A = -exp(A_log)"
        by [Operands(|ssd| ssd.a = ssd.a.map(|a| 1.0 / a))];
    "S14a" "mask_with_own_decay" at "y"
        wrong "L_ij = a_i ... a_j within a chunk, so L_ii = a_i"
        right "L_ij = a_i ... a_(j+1), so L_ii = 1"
        seen "segsum without the shift by one: sums over an inclusive mask"
        looks "within every chunk each input is decayed once too often; what comes from earlier chunks is right"
        fix "exp(s_i - s_j) with both sums inclusive"
        by [Blocks(&OwnDecayWithin)];
    "S14b" "mask_one_step_late" at "y"
        wrong "L_ij = a_(i-1) ... a_j within a chunk"
        right "L_ij = a_i ... a_(j+1)"
        seen "differences of exclusive running sums, cumsum(x) - x"
        looks "within every chunk each product of decays is of the steps one token earlier"
        fix "take the differences of inclusive sums"
        by [Blocks(&LateWithin)];
    "S15a" "chunk_state_without_last_decay" at "y"
        wrong "M_ux = [a_(T-1) ... a_2 B_1, ..., B_(T-1), B_T]"
        right "M_ux = [a_T ... a_2 B_1, ..., a_T B_(T-1), B_T]"
        seen "decay_states from the sum before the chunk's last token"
        looks "the first chunk is right, everything after it is off by the last decay of a chunk"
        fix "exp(s_T - s_j) with the inclusive sum at the last token"
        by [Blocks(&WithoutLastDecay)];
    "S15b" "chunk_state_with_own_decay" at "y"
        wrong "M_ux = [a_T ... a_1 B_1, ..., a_T B_T]"
        right "M_ux = [a_T ... a_2 B_1, ..., B_T]"
        seen "the decays of S14a, of the chunk's state"
        looks "the first chunk is right, everything after it is decayed once too often"
        fix "a token's own decay is not applied to it"
        by [Blocks(&OwnDecayAbsorbed)];
    "S15c" "state_read_one_decay_early" at "y"
        wrong "M_xy = [C_1; C_2 a_1; ...; C_T a_(T-1) ... a_1]"
        right "M_xy = [C_1 a_1; C_2 a_2 a_1; ...; C_T a_T ... a_1]"
        seen "FlashConv's rows C, CA, ..., once more: state_decay_out from exclusive sums"
        looks "the first chunk is right, in every later one the incoming state is decayed once too little"
        fix "the incoming state is decayed by the first token too: inclusive sums"
        by [Blocks(&EarlyRows)];
    "S15d" "state_not_passed" at "y"
        wrong "every chunk begins from the zero state for its outputs"
        right "from the state the chunk before it left"
        seen "Y_off left out"
        looks "the first chunk is right, the others lack all that is older"
        fix "add M_xy x to a chunk's outputs"
        by [Blocks(&NotRead)];
    "S15e" "state_of_last_chunk_alone" at "y"
        wrong "M_xx = 0: a chunk hands on what its own tokens left"
        right "M_xx = a_T ... a_1"
        seen "the pass over chunks left out"
        looks "the first two chunks are right, later ones lack all that is older than a chunk"
        fix "x <- M_xx x + M_ux u from chunk to chunk"
        by [Blocks(&NotCarried)];
    "S15f" "carried_without_decay" at "y"
        wrong "M_xx = 1"
        right "M_xx = a_T ... a_1"
        seen "states summed up over chunks"
        looks "the first two chunks are right, then states pile up"
        fix "decay the incoming state by the whole chunk"
        by [Blocks(&CarriedWhole)];
    "S16a" "boundaries_ignored" at "y"
        wrong "every row is one sequence: states run on from document to document, and over padding"
        right "a state is zero, or its own, where a document begins, and final where it ends"
        seen "seq_idx or the attention mask not passed on; transformers' final states are those after right padding"
        looks "the first document is right, later ones begin with what the one before them left"
        fix "reset the state at every boundary"
        by [OneSequence];
    "S18a" "initial_state_dropped" at "y"
        wrong "S_0 = 0"
        right "S_0 as given"
        seen "prefill that ignores the cache"
        looks "the first tokens are wrong, later ones less as the state fades"
        fix "begin from the given state"
        by [Initial(|state| state.data_mut().fill(0.0))];
    "S18b" "states_exchanged_between_sequences" at "y"
        wrong "a sequence begins from the state of another"
        right "from its own"
        seen "cache lines reordered, state not"
        looks "the first tokens are wrong in every sequence"
        fix "reorder states with their sequences"
        by [Initial(|state| {
            let each = state.data().len() / state.shape()[0].max(1);
            state.data_mut().rotate_left(each);
        })];
    "S19" "query_scaled" at "y"
        wrong "y_t = S_t C_t / sqrt(N)"
        right "y_t = S_t C_t"
        seen "fla's default scale for linear attention"
        looks "all that comes from states is divided by sqrt(N)"
        fix "scale = 1"
        by [Operands(|ssd| {
            let n = ssd.c.shape()[3] as f64;
            ssd.c = ssd.c.map(|c| c / n.sqrt());
        })];
    "S20" "decays_in_bf16" at "y"
        wrong "decays rounded to bfloat16"
        right "decays in float32"
        seen "autocast around the exponential"
        looks "errors that grow with the number of steps a token is carried"
        fix "keep log_a, its sums and exponentials in float32"
        rounding BF16
        by [Operands(|ssd| ssd.a = ssd.a.map(|a| FloatFormat::BF16.round(a)))];
}

/// The mistakes of the forward pass.
pub(crate) fn forward_mistakes() -> Vec<&'static Row<SsdHook>> {
    ROWS.iter().into_vec()
}

/// The gradient of the decay from the state after the step.
fn decay_gradient_late(
    _: &Place,
    ssm: &Varying<f64>,
    [u, x0, g, g_state]: [&Matrix<f64>; 4],
) -> Result<VaryingGradients<f64>, Error> {
    let mut of = varying_recurrence_adjoint(ssm, u, Some(x0), g, Some(g_state))?;
    // <l_t, x_t> = a_t <l_t, x_(t-1)> + <l_t, u_t B_t>, with <l_t, u_t B_t> = B_t dB_t.
    let (a, b, _) = ssm.parts();
    let width = a.cols();
    for t in 0..a.rows() {
        for n in 0..width {
            let own: f64 = (0..b.cols())
                .filter(|k| k % width == n)
                .map(|k| b.row(t)[k] * of.model.b.row(t)[k])
                .sum();
            let right = of.model.a.row(t)[n] * a.row(t)[n];
            of.model.a.row_mut(t)[n] = right + own;
        }
    }
    Ok(of)
}

fn without_state_cotangent(
    place: &Place,
    ssm: &Varying<f64>,
    [u, x0, g, g_state]: [&Matrix<f64>; 4],
) -> Result<VaryingGradients<f64>, Error> {
    by_recurrence(place, ssm, [u, x0, g, &g_state.map(|_| 0.0)])
}

fn without_initial_state(
    place: &Place,
    ssm: &Varying<f64>,
    [u, x0, g, g_state]: [&Matrix<f64>; 4],
) -> Result<VaryingGradients<f64>, Error> {
    by_recurrence(place, ssm, [u, &x0.map(|_| 0.0), g, g_state])
}

fn last_head_of_group(
    place: &Place,
    ssm: &Varying<f64>,
    given: [&Matrix<f64>; 4],
) -> Result<VaryingGradients<f64>, Error> {
    let mut of = by_recurrence(place, ssm, given)?;
    let (heads, groups) = (place.sizes.heads, place.sizes.groups);
    let group = |head| group_of(head, heads, groups);
    if place.head + 1 < heads && group(place.head + 1) == group(place.head) {
        let (a, b, c) = of.model.parts();
        of.model = Varying::new(a.clone(), b.map(|_| 0.0), c.map(|_| 0.0))?;
    }
    Ok(of)
}

fn decay_gradient_itself(
    _: &Place,
    ssm: &Varying<f64>,
    [u, x0, g, g_state]: [&Matrix<f64>; 4],
) -> Result<VaryingGradients<f64>, Error> {
    varying_recurrence_adjoint(ssm, u, Some(x0), g, Some(g_state))
}

mod backward {
    use super::*;

    rows! { SsdHook:
        "S30a" "decay_gradient_from_state_after" at "grad.log_a"
            wrong "dlog_a_t = a_t <l_t, S_t> / a_t, the state after the step"
            right "dlog_a_t = a_t <l_t, S_(t-1)>"
            seen "the backward pass reuses the states that it saved for C"
            looks "the gradient of log_a is off by B_t dB_t at every token, the others are right"
            fix "pair the cotangent with the state before the step"
            by [Back(decay_gradient_late)];
        "S30b" "gradient_of_decay_for_its_logarithm" at "grad.log_a"
            wrong "dlog_a_t = <l_t, S_(t-1)>"
            right "dlog_a_t = a_t <l_t, S_(t-1)>"
            seen "the exponential left out of the chain"
            looks "the gradient of log_a is divided by a"
            fix "multiply by a_t"
            by [Back(decay_gradient_itself)];
        "S31" "state_cotangent_dropped" at "grad.B"
            wrong "l_L = g_L C_L^T"
            right "l_L = g_L C_L^T + g.final_state"
            seen "the final state returned without a gradient"
            looks "the last tokens' gradients are wrong, earlier ones less as the cotangent fades"
            fix "begin from the cotangent of the final state"
            by [Back(without_state_cotangent)];
        "S32" "gradients_without_initial_state" at "grad.C"
            wrong "states recomputed from zero"
            right "from the initial state"
            seen "recomputation in the backward pass forgets what the forward pass was given"
            looks "grad.C and grad.log_a are wrong in the first tokens"
            fix "recompute from the initial state"
            by [Back(without_initial_state)];
        "S33" "group_gradient_of_one_head" at "grad.B"
            wrong "dB and dC of a group are those of its last head"
            right "summed over the heads of the group"
            seen "heads of a group write to one place instead of adding"
            looks "grad.B and grad.C are too small where a group has several heads"
            fix "sum over the heads of a group"
            by [Back(last_head_of_group)];
    }
}

/// The mistakes of the backward pass.
pub(crate) fn backward_mistakes() -> Vec<&'static Row<SsdHook>> {
    backward::ROWS.iter().into_vec()
}
