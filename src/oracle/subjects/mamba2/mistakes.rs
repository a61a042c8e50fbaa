//! The known mistakes of the layer: one row each, and those of the operator in it.

use super::super::ssd::{self, SsdHook};
use super::case::Mamba2Case;
use super::hooks::Mamba2Hook::{self, Decoding, Gradients, HandOver, Prefill, Ssd, Stage};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::{
    Mamba2Name, Mamba2Pass, Mamba2Stage, Mamba2Stages, Mamba2States, clamp, group_of, silu, skip,
    softplus,
};
use crate::oracle::mistake::{Row, rows};
use crate::oracle::subject::Named;
use crate::ssm::{Documents, varying_recurrence};
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::sync::LazyLock;

type Pass<'a> = Mamba2Pass<'a, f64>;
type Stages = Mamba2Stages<f64>;
type Result1 = Result<Tensor<f64>, Error>;

/// The norm again with other groups, epsilon or place.
fn normed(
    pass: &Pass<'_>,
    s: &Stages,
    groups: Option<usize>,
    eps: Option<f64>,
    flip: bool,
) -> Result1 {
    let Some(norm) = &pass.layer.config.norm else {
        return Ok(s.normed.clone());
    };
    let (groups, eps) = (groups.unwrap_or(norm.groups), eps.unwrap_or(norm.eps));
    match norm.before_gate != flip {
        true => Ok(pass.gate(&pass.norm(&s.y_d, groups, eps)?, &s.zxbcdt)),
        false => pass.norm(&pass.gate(&s.y_d, &s.zxbcdt), groups, eps),
    }
}

fn norm_over_all(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    normed(pass, s, Some(1), None, false)
}

fn norm_at_other_place(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    normed(pass, s, None, None, true)
}

fn norm_with_small_epsilon(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    normed(pass, s, None, Some(1e-6), false)
}

/// Gated by z itself.
fn gate_without_silu(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let z = s.zxbcdt.columns(pass.layer.config.columns()[2].clone());
    let pairs = s.y_d.data().iter().zip(z.data());
    Tensor::new(z.shape(), pairs.map(|(y, z)| y * z).into_vec())
}

/// The steps again from the projection of dt and its bias.
fn steps(pass: &Pass<'_>, s: &Stages, f: impl Fn(f64, f64) -> f64) -> Result1 {
    let projected = s.zxbcdt.columns(pass.layer.config.columns()[4].clone());
    let bias = pass.layer.get(Mamba2Name::DtBias);
    let values = projected.data().iter().zip(bias.iter().cycle());
    let values = values.map(|(&x, &bias)| f(x, bias)).into_vec();
    Tensor::new(projected.shape(), values)
}

fn no_limit(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    steps(pass, s, |x, bias| softplus(x + bias))
}

fn no_softplus(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let limit = pass.layer.config.dt_limit;
    steps(pass, s, |x, bias| clamp(x + bias, limit))
}

fn bias_after_softplus(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let limit = pass.layer.config.dt_limit;
    steps(pass, s, |x, bias| clamp(softplus(x) + bias, limit))
}

fn no_dt_bias(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let limit = pass.layer.config.dt_limit;
    steps(pass, s, |x, _| clamp(softplus(x), limit))
}

/// `log(exp(v) + 1)` in float32, whose sum with 1 drops what is below its last digit.
fn softplus_by_sum(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let limit = pass.layer.config.dt_limit;
    steps(pass, s, |x, bias| {
        let v = x + bias;
        let sum = f64::from((v.exp() + 1.0) as f32);
        clamp(if v > 20.0 { v } else { sum.ln() }, limit)
    })
}

fn decays(pass: &Pass<'_>, s: &Stages, a: impl Fn(f64) -> f64) -> Result1 {
    let a_log = pass.layer.get(Mamba2Name::ALog);
    let pairs = s.dt.data().iter().zip(a_log.iter().cycle());
    let values = pairs.map(|(dt, &a_log)| (dt * a(a_log)).exp()).into_vec();
    Tensor::new(s.dt.shape(), values)
}

fn positive_a(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    decays(pass, s, f64::exp)
}

fn a_twice(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    decays(pass, s, |a_log| -(-a_log.exp()).exp())
}

fn a_log_for_a(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    decays(pass, s, |a_log| a_log)
}

/// D of one number per channel in the order (P, heads).
fn skip_transposed(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let (c, d) = (&pass.layer.config, pass.layer.get(Mamba2Name::D));
    let at = |h: usize, p: usize| d[p * c.heads + h];
    let by_channel = (0..c.d_ssm()).map(|n| at(n / c.head_dim, n % c.head_dim));
    match c.d_has_hdim {
        true => skip(&s.y, &pass.operator(s)?.x, &by_channel.into_vec()),
        false => skip(&s.y, &pass.operator(s)?.x, d),
    }
}

/// The columns of x in the convolution's.
fn is_x(pass: &Pass<'_>, at: usize) -> bool {
    let c = &pass.layer.config;
    at % c.conv_dim() < c.d_ssm()
}

fn silu_on_x_alone(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let (mut convolved, _) = pass.convolved(&s.zxbcdt);
    for (at, x) in convolved.data_mut().iter_mut().enumerate() {
        if is_x(pass, at) {
            *x = silu(*x);
        }
    }
    Ok(convolved)
}

fn no_silu(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    Ok(pass.convolved(&s.zxbcdt).0)
}

/// The convolution with other parameters.
fn convolved_with(pass: &Pass<'_>, s: &Stages, edit: impl Fn(Mamba2Name, &mut [f64])) -> Result1 {
    let mut layer = pass.layer.clone();
    for name in [Mamba2Name::ConvWeight, Mamba2Name::ConvBias] {
        edit(name, layer.get_mut(name));
    }
    let other = Mamba2Pass {
        layer: &layer,
        ..*pass
    };
    Ok(other.convolved(&s.zxbcdt).0.map(silu))
}

fn taps_reversed(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let taps = pass.layer.config.d_conv;
    convolved_with(pass, s, |name, values| {
        if name == Mamba2Name::ConvWeight {
            values.chunks_exact_mut(taps).for_each(<[f64]>::reverse);
        }
    })
}

fn no_conv_bias(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    convolved_with(pass, s, |name, values| {
        if name == Mamba2Name::ConvBias {
            values.fill(0.0);
        }
    })
}

/// A projection whose z and x stand in each other's place.
fn exchanged(pass: &Pass<'_>, zxbcdt: &Tensor<f64>) -> Tensor<f64> {
    let c = &pass.layer.config;
    let [_, _, z, x, _] = c.columns();
    let mut other = zxbcdt.clone();
    let width = c.projected();
    for row in other.data_mut().chunks_exact_mut(width) {
        for k in 0..c.d_ssm() {
            row.swap(z.start + k, x.start + k);
        }
    }
    other
}

fn x_from_z(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    Ok(pass.convolved(&exchanged(pass, &s.zxbcdt)).0.map(silu))
}

fn z_from_x(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    Ok(pass.gate(&s.y_d, &exchanged(pass, &s.zxbcdt)))
}

/// D times x before the convolution.
fn skip_unconvolved(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let c = &pass.layer.config;
    let start = c.columns()[3].start;
    let x = s.zxbcdt.columns(start..start + c.d_ssm());
    let x = Tensor::new(s.y.shape(), x.into_data())?;
    skip(&s.y, &x, pass.layer.get(Mamba2Name::D))
}

/// The last K columns of the convolution's outputs.
fn conv_outputs(pass: &Pass<'_>, s: &Stages, state: Tensor<f64>) -> Result1 {
    let mut of_outputs = s.zxbcdt.clone();
    let (c, convolved) = (&pass.layer.config, pass.convolved(&s.zxbcdt).0.map(silu));
    let start = c.columns()[3].start;
    for t in 0..convolved.data().len() / c.conv_dim() {
        let row = of_outputs.row_mut(t);
        row[start..start + c.conv_dim()].copy_from_slice(convolved.row(t));
    }
    let wrong = pass.convolved(&of_outputs).1;
    Tensor::new(state.shape(), wrong.into_data())
}

fn each_window(state: &Tensor<f64>, edit: impl Fn(&mut [f64])) -> Tensor<f64> {
    let taps = state.shape()[2].max(1);
    let mut state = state.clone();
    state.data_mut().chunks_exact_mut(taps).for_each(edit);
    state
}

fn one_column_short(_: &Pass<'_>, _: &Stages, state: Tensor<f64>) -> Result1 {
    Ok(each_window(&state, |window| {
        window.rotate_left(1);
        if let Some(last) = window.last_mut() {
            *last = 0.0;
        }
    }))
}

fn newest_first(_: &Pass<'_>, _: &Stages, state: Tensor<f64>) -> Result1 {
    Ok(each_window(&state, <[f64]>::reverse))
}

/// The convolution of every row as one sequence.
fn convolved_across(pass: &Pass<'_>, s: &Stages, _: Tensor<f64>) -> Result1 {
    let rows = Documents::whole(pass.documents.batch(), pass.documents.seq_len());
    let whole = Mamba2Pass {
        documents: &rows,
        initial: &Mamba2States::zero(&pass.layer.config, rows.count()),
        ..*pass
    };
    Ok(whole.convolved(&s.zxbcdt).0.map(silu))
}

/// The operator on every row as one sequence.
fn state_across(pass: &Pass<'_>, s: &Stages, y: Tensor<f64>) -> Result1 {
    if pass.documents.is_whole() {
        return Ok(y);
    }
    let rows = Documents::whole(pass.documents.batch(), pass.documents.seq_len());
    let zero = Mamba2States::zero(&pass.layer.config, rows.count()).ssm;
    let respond = |_: &_, ssm: &_, u: &_, x0: &_| varying_recurrence(ssm, u, Some(x0));
    let ssd = pass.operator(s)?;
    Ok(ssd.respond(&rows, &zero, group_of, &respond)?.0)
}

fn gradient_of_a(case: &Mamba2Case, stages: &mut Named<f64>) {
    let a_log = case.parameters.get(Mamba2Name::ALog);
    if let Some((_, gradient)) = stages.iter_mut().find(|(name, _)| name == "grad.A_log") {
        for (g, a_log) in gradient.data_mut().iter_mut().zip(a_log) {
            *g /= -a_log.exp();
        }
    }
}

mod forward {
    use super::*;

    rows! { Mamba2Hook:
        "S01c" "groups_tiled_in_prefill" at "y"
            wrong "B and C of group h mod G for head h in whole sequences, floor(h / (H/G)) in single steps"
            right "floor(h / (H/G)) in both"
            seen "fla layers/mamba2.py: its torch prefill tiles, its decoding interleaves"
            looks "right where there is one group, or as many as heads; steps go on from states of other heads"
            fix "repeat_interleave in the prefill too"
            by [Prefill(SsdHook::Group(|head, _, groups| head % groups))];
        "S02" "norm_over_all_groups" at "normed"
            wrong "the mean of squares over all d_ssm channels"
            right "over the d_ssm/G channels of a group"
            seen "transformers 4.57.1, mamba_split_conv1d_scan_ref, mamba2_simple.py without its fused path, llama.cpp#15507, mlx-lm falcon_h1"
            looks "right where there is one group; else every group is off by a factor of its own at every token"
            fix "normalize every group by itself"
            by [Stage(Mamba2Stage::Normed, norm_over_all)];
        "S03" "norm_at_the_other_side_of_the_gate" at "normed"
            wrong "the norm before the gate where it belongs after it, or after it where before"
            right "norm_before_gate as the layer has it: false in the official module, true by default in its functional forms"
            seen "rmsnorm_fn called with its defaults"
            looks "every token is off, by how uneven the gate is"
            fix "pass norm_before_gate on"
            by [Stage(Mamba2Stage::Normed, norm_at_other_place)];
        "S04a" "dt_limit_ignored_while_decoding" at "step_output"
            wrong "dt = softplus(dt + dt_bias) in single steps"
            right "clamped to dt_limit, as in whole sequences"
            seen "Mamba2.step and transformers 5.24.0 do so: output depends on how a text is cut"
            looks "whole sequences are right, steps are off where dt is outside the limits"
            fix "clamp in the step too"
            by [Decoding(|config| config.dt_limit = (0.0, f64::INFINITY))];
        "S04b" "dt_limit_ignored" at "dt"
            wrong "dt = softplus(dt + dt_bias)"
            right "clamped to dt_limit"
            seen "ports written for the default limits, 0 and infinity"
            looks "dt is wrong where it is outside the limits and nowhere else"
            fix "clamp dt"
            by [Stage(Mamba2Stage::Dt, no_limit)];
        "S05c" "dt_without_softplus" at "dt"
            wrong "dt = dt + dt_bias"
            right "dt = softplus(dt + dt_bias)"
            seen "dt_softplus left at its default, false"
            looks "dt is negative in places, nearly right where it is large"
            fix "apply softplus once"
            by [Stage(Mamba2Stage::Dt, no_softplus)];
        "S05d" "dt_bias_after_softplus" at "dt"
            wrong "dt = softplus(dt) + dt_bias"
            right "dt = softplus(dt + dt_bias)"
            seen "plausible: the bias added where the parameter is loaded last"
            looks "dt is off at every token"
            fix "add the bias first"
            by [Stage(Mamba2Stage::Dt, bias_after_softplus)];
        "S05e" "dt_without_bias" at "dt"
            wrong "dt = softplus(dt)"
            right "dt = softplus(dt + dt_bias)"
            seen "ssd_chunk_scan_combined_ref pads before the bias; ports that look for the bias in in_proj"
            looks "dt is off at every token, by a factor where it is small"
            fix "add dt_bias"
            by [Stage(Mamba2Stage::Dt, no_dt_bias)];
        "S05f" "softplus_by_sum" at "dt"
            wrong "log(exp(v) + 1) with the sum rounded to float32"
            right "log1p(exp(v))"
            seen "triton 3 kernels of mamba_ssm"
            looks "small steps have few digits left, and none below exp(-17)"
            fix "log1p"
            by [Stage(Mamba2Stage::Dt, softplus_by_sum)];
        "S06c" "skip_of_unconvolved_x" at "y_d"
            wrong "y + D x with x of the projection"
            right "with x after convolution and SiLU"
            seen "spec S06: D applied to the input of the convolution"
            looks "what D adds is another signal"
            fix "D multiplies the operator's own x"
            by [Stage(Mamba2Stage::YD, skip_unconvolved)];
        "S10" "skip_per_channel_transposed" at "y_d"
            wrong "D of one number per channel read as (P, heads)"
            right "as (heads, P)"
            seen "spec S10: mamba_ssm's step raises with D_has_hdim; fla's copy of it is mended"
            looks "right with one number per head"
            fix "rearrange D as (h p) -> h p"
            by [Stage(Mamba2Stage::YD, skip_transposed)];
        "S07" "gate_without_silu" at "gated"
            wrong "y_d z"
            right "y_d SiLU(z)"
            seen "plausible"
            looks "wrong most where z is negative"
            fix "SiLU on the gate"
            by [Stage(Mamba2Stage::Gated, gate_without_silu)];
        "S08a" "silu_on_x_alone" at "xBC_conv"
            wrong "B and C without SiLU"
            right "SiLU on x, B and C"
            seen "spec S08"
            looks "the x channels are right, those of B and C are not"
            fix "activate all that is convolved"
            by [Stage(Mamba2Stage::XbcConv, silu_on_x_alone)];
        "S08b" "convolution_without_silu" at "xBC_conv"
            wrong "the convolution itself"
            right "SiLU of it"
            seen "causal_conv1d without its activation argument"
            looks "wrong most where it is negative"
            fix "pass activation = silu"
            by [Stage(Mamba2Stage::XbcConv, no_silu)];
        "S08c" "taps_reversed" at "xBC_conv"
            wrong "w_0 meets the present token"
            right "w_(K-1) does: Conv1d correlates"
            seen "a convolution as signal processing defines it"
            looks "every channel is another filter's"
            fix "the last tap meets the present token"
            by [Stage(Mamba2Stage::XbcConv, taps_reversed)];
        "S08d" "convolution_without_bias" at "xBC_conv"
            wrong "no conv1d.bias"
            right "conv1d.bias added"
            seen "plausible"
            looks "every channel is off by a constant before SiLU"
            fix "add the bias"
            by [Stage(Mamba2Stage::XbcConv, no_conv_bias)];
        "S09a" "z_and_x_exchanged" at "xBC_conv"
            wrong "rows of in_proj read as [x z B C dt]"
            right "[z x B C dt]"
            seen "Mamba-1's order"
            looks "x channels of xBC_conv, and the gate, are each other's"
            fix "z comes first"
            by [
                Stage(Mamba2Stage::XbcConv, x_from_z),
                Stage(Mamba2Stage::Gated, z_from_x),
            ];
        "S09b" "b_and_c_exchanged" at "y"
            wrong "rows of in_proj read as [z x C B dt]"
            right "[z x B C dt]"
            seen "spec S09"
            looks "y is right at no token but in C_t B_t"
            fix "B comes before C"
            by [Ssd(SsdHook::Operands(|ssd| core::mem::swap(&mut ssd.b, &mut ssd.c)))];
        "S11a" "conv_state_of_outputs" at "conv_state"
            wrong "the last K outputs of the convolution"
            right "its last K inputs"
            seen "spec S11"
            looks "whole sequences are right, the first K - 1 steps after them are not"
            fix "save xBC before the convolution"
            by [Stage(Mamba2Stage::ConvState, conv_outputs)];
        "S11b" "conv_state_one_column_short" at "conv_state"
            wrong "K - 1 columns, at the left"
            right "K columns, the newest at the right"
            seen "caches of K - 1 columns copied to the wrong side"
            looks "whole sequences are right, the first steps after them see tokens one place off"
            fix "the newest column is the last"
            by [Stage(Mamba2Stage::ConvState, one_column_short)];
        "S11c" "conv_state_newest_first" at "conv_state"
            wrong "the newest column first"
            right "oldest first"
            seen "plausible: H3's shift state is so"
            looks "whole sequences are right, the first K - 1 steps after them are not"
            fix "oldest first"
            by [Stage(Mamba2Stage::ConvState, newest_first)];
        "S11d" "conv_state_dropped" at "step_output"
            wrong "steps begin from an empty convolution"
            right "from the last K columns of the prompt"
            seen "plausible"
            looks "the first K - 1 steps are wrong, then the state is"
            fix "pass on the convolution's state"
            by [HandOver(|states| states.conv.data_mut().fill(0.0))];
        "S11e" "ssm_state_dropped" at "step_output"
            wrong "steps begin from the zero state"
            right "from the state the prompt left"
            seen "plausible"
            looks "steps know nothing of the prompt but its last K tokens"
            fix "hand the state over"
            by [HandOver(|states| states.ssm.data_mut().fill(0.0))];
        "S13a" "a_without_its_sign" at "a"
            wrong "A = exp(A_log)"
            right "A = -exp(A_log)"
            seen "spec S13"
            looks "decays above 1, outputs that grow"
            fix "the minus sign"
            by [Stage(Mamba2Stage::A, positive_a)];
        "S13b" "exponential_applied_again" at "a"
            wrong "A = -exp(-exp(A_log))"
            right "A = -exp(A_log)"
            seen "GGUF stores -exp(A_log) as ssm_a; loaders that apply it again"
            looks "all decays lie near 1"
            fix "apply the exponential once"
            by [Stage(Mamba2Stage::A, a_twice)];
        "S13c" "a_log_taken_for_a" at "a"
            wrong "A = A_log"
            right "A = -exp(A_log)"
            seen "plausible"
            looks "decays of some heads above 1"
            fix "A = -exp(A_log)"
            by [Stage(Mamba2Stage::A, a_log_for_a)];
        "S16b" "convolution_across_documents" at "xBC_conv"
            wrong "the convolution of a whole row"
            right "of each document, with zeros before it"
            seen "seq_idx passed to the scan and not to causal_conv1d"
            looks "the first K - 1 tokens of every document but the first are wrong"
            fix "pass seq_idx to the convolution too"
            by [Stage(Mamba2Stage::XbcConv, convolved_across)];
        "S16c" "state_across_documents" at "y"
            wrong "the state runs on from document to document"
            right "it begins anew with each"
            seen "seq_idx not passed to the scan"
            looks "the first document is right, later ones begin with what the one before them left"
            fix "a decay of 0 at a document's first token"
            by [Stage(Mamba2Stage::Y, state_across)];
        "S17" "epsilon_of_the_function" at "normed"
            wrong "eps 1e-6, the functional form's default"
            right "the layer's norm_eps, 1e-5"
            seen "rms_norm_ref"
            looks "right where the mean of squares is large, off by up to a part in a few where it is near eps"
            fix "pass eps on"
            by [Stage(Mamba2Stage::Normed, norm_with_small_epsilon)];
    }
}

mod backward {
    use super::*;

    rows! { Mamba2Hook:
        "S34" "gradient_of_a_for_a_log" at "grad.A_log"
            wrong "dA"
            right "dA_log = A dA"
            seen "A kept as the parameter"
            looks "every head off by its own A"
            fix "A = -exp(A_log) in the graph"
            by [Gradients(gradient_of_a)];
    }
}

/// The operator's mistakes, made in the layer.
fn in_operator(
    rows: Vec<&'static Row<SsdHook>>,
    first: Option<&'static str>,
) -> Vec<Row<Mamba2Hook>> {
    let row = |row: &'static Row<SsdHook>| {
        let hooks = row.hooks.iter().map(|hook| Ssd(*hook)).into_vec();
        let mut mistake = row.mistake;
        mistake.first_stage = first.unwrap_or(mistake.first_stage);
        Row {
            mistake,
            hooks: Cow::Owned(hooks),
        }
    };
    // The layer's initial states and documents come in apart from the operator.
    let is_apart = |id: &str| id.starts_with("S18") || id.starts_with("S16");
    let rows = rows.into_iter().filter(|row| !is_apart(row.mistake.id));
    rows.map(row).into_vec()
}

static FORWARD: LazyLock<Vec<Row<Mamba2Hook>>> =
    LazyLock::new(|| in_operator(ssd::forward_mistakes(), None));

static BACKWARD: LazyLock<Vec<Row<Mamba2Hook>>> =
    LazyLock::new(|| in_operator(ssd::backward_mistakes(), Some("grad.A_log")));

/// The mistakes of the forward pass, in the order of the catalogue.
pub(super) fn forward_mistakes() -> Vec<&'static Row<Mamba2Hook>> {
    ORDERED.clone()
}

/// The same, put in order once: every run with a mistake asks for them.
static ORDERED: LazyLock<Vec<&'static Row<Mamba2Hook>>> = LazyLock::new(|| {
    let mut rows: Vec<_> = FORWARD.iter().chain(forward::ROWS).into_vec();
    rows.sort_by_key(|row| row.mistake.id);
    rows
});

/// The mistakes of the backward pass.
pub(super) fn backward_mistakes() -> Vec<&'static Row<Mamba2Hook>> {
    BACKWARD.iter().chain(backward::ROWS).into_vec()
}
