//! M21 to M33, M79 and M80: what is multiplied with what, heads, projections, sequences.

use super::super::hooks::LayerHook::{self, Modes, Parameters, Reads, Stage};
use super::super::stage_run::StageRun;
use super::sequences_exchanged;
use crate::h3::{
    HeadOrder, Modes as Decoded, Name, Parameters as Loaded, Progress, Sizes, Stage as At,
};
use crate::into_vec::IntoVec as _;
use crate::model::exact_gelu;
use crate::model::gelu;
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;
use num_complex::Complex;

/// `q kv`, what the diagonal models read where the gate comes first.
fn gated_product(run: &Progress<'_, f64>) -> Tensor<f64> {
    let (q, sizes) = (&run.stages.q, run.sizes);
    let mut product = run.stages.kv.clone();
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs() {
            let q = q.row(sizes.channel(b, h * sizes.d_h + d1));
            let row = product.row_mut(sizes.pair(b, d1, d2, h));
            row.iter_mut().zip(q).for_each(|(kv, q)| *kv *= q);
        }
    }
    product
}

/// `sum_d1 ssm_out`.
fn ungated(_: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    run.gated_by(&run.stages().q.map(|_| 1.0))
}

fn other_head_order(p: &mut Loaded<f64>) {
    let order = &mut p.config_mut().head_order;
    *order = match order {
        HeadOrder::D2H => HeadOrder::HD2,
        HeadOrder::HD2 => HeadOrder::D2H,
    };
}

/// Channel `j H + h` of a (batch, d, seq_len) stage where channel `h d_h + j` should stand.
fn split_with_heads_fast(x: &Tensor<f64>, sizes: Sizes) -> Tensor<f64> {
    let mut split = x.clone();
    for b in 0..sizes.batch {
        for h in 0..sizes.heads {
            for j in 0..sizes.d_h {
                let from = x.row(sizes.channel(b, j * sizes.heads + h));
                let row = sizes.channel(b, h * sizes.d_h + j);
                split.row_mut(row).copy_from_slice(from);
            }
        }
    }
    split
}

fn products_of_split_heads(_: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let split = |stage| split_with_heads_fast(stage, run.so_far.sizes);
    run.product(&split(&run.stages().shift_k), &split(&run.stages().v))
}

fn gate_of_split_heads(_: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    run.gated_by(&split_with_heads_fast(&run.stages().q, run.so_far.sizes))
}

/// Summed over d2, d1 kept: the gate of `ssm_out` with both exchanged.
fn contracted_wrongly(_: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let (y, sizes) = (run.ssm_out(), run.so_far.sizes);
    let mut exchanged = y.clone();
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs() {
            let row = exchanged.row_mut(sizes.pair(b, d2, d1, h));
            row.copy_from_slice(y.row(sizes.pair(b, d1, d2, h)));
        }
    }
    run.gated_with(&run.stages().q, &exchanged)
}

fn diagonal_pairs(mut kv: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let sizes = run.so_far.sizes;
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs().filter(|(d1, d2, _)| d1 != d2) {
            kv.row_mut(sizes.pair(b, d1, d2, h)).fill(0.0);
        }
    }
    kv
}

/// Head `h` with model `floor(h n_ssm / H)`.
fn shared_in_blocks(modes: &mut Decoded<f64>, p: &Loaded<f64>) {
    let (heads, n_ssm) = (p.config().n_heads(), modes.n_ssm);
    let each = p.config().n_modes();
    let by_head = |of_models: &[Complex<f64>]| -> Vec<Complex<f64>> {
        let model = |h: usize| &of_models[h * n_ssm / heads * each..][..each];
        (0..heads).flat_map(model).copied().into_vec()
    };
    modes.lambda = by_head(&modes.lambda);
    modes.b = by_head(&modes.b);
    modes.n_ssm = heads;
}

fn zero(p: &mut Loaded<f64>, names: &[Name]) {
    for &name in names {
        p.get_mut(name).fill(0.0);
    }
}

fn exchange(p: &mut Loaded<f64>, pairs: &[(Name, Name)]) {
    for &(one, other) in pairs {
        p.swap(one, other);
    }
}

/// Two skips of different shapes cannot be exchanged.
fn exchange_skips(p: &mut Loaded<f64>) {
    if p.config().head_dim == 1 {
        p.swap(Name::ShiftD, Name::D);
    }
}

fn transposed(p: &mut Loaded<f64>) {
    let d = p.config().d_model;
    for name in [
        Name::QWeight,
        Name::KWeight,
        Name::VWeight,
        Name::OutputWeight,
    ] {
        let stored = p.get(name).to_vec();
        for (i, x) in p.get_mut(name).iter_mut().enumerate() {
            *x = stored[i % d * d + i / d];
        }
    }
}

/// `x / (1 + e^{-x})`.
fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

rows! { LayerHook:
    "M21" "qv_roles_swapped" at "kv"
        wrong "out = v SSM(k' q)"
        right "out = q SSM(k' v)"
        seen "seen in independent ports"
        looks "q, k, v right; kv holds k' q"
        fix "the product of key and value enters the SSM; the query gates its output"
        by [Stage(At::Kv, |_, run| run.product(&run.stages().shift_k, &run.stages().q)), Stage(At::Gated, |_, run| run.gated_by(&run.stages().v))];
    "M22" "gate_before_ssm" at "ssm_out"
        wrong "out = SSM(q k' v)"
        right "out = q SSM(k' v)"
        seen "seen in an independent port"
        looks "kv right, ssm_out wrong"
        fix "multiply with q after the diagonal SSM"
        by [Reads(At::SsmOut, gated_product), Stage(At::Gated, ungated)];
    "M23" "no_final_gate" at "gated"
        wrong "gated = sum_d1 SSM(k' v)"
        right "gated = sum_d1 q SSM(k' v)"
        seen "seen in an independent port"
        looks "gated does not depend on q"
        fix "multiply the SSM's output with q"
        by [Stage(At::Gated, ungated)];
    "M24" "head_out_perm" at "gated"
        wrong "gated's channels in the other of the orders d2 H + h and h d_h + d2"
        right "the order the file names (head_order)"
        seen "the official code: its CPU path and step() against its fused kernel"
        looks "gated is a pure permutation of the right one"
        fix "set the rearrange before output_linear to the order the weights were trained with"
        by [Parameters(other_head_order), LayerHook::AcrossHeads];
    "M25" "head_split_perm" at "kv"
        wrong "channel c = j H + h when q, k', v are split into heads"
        right "c = h d_h + j"
        seen "plausible"
        looks "q, k, v right; kv mixes channels of different heads"
        fix "heads are the slow axis: rearrange '(h d1) -> h d1'"
        by [Stage(At::Kv, products_of_split_heads), Stage(At::Gated, gate_of_split_heads),
            LayerHook::AcrossHeads];
    "M27" "contract_wrong_index" at "gated"
        wrong "o[d1] = sum_d2 q[d2] y[d1,d2]"
        right "o[d2] = sum_d1 q[d1] y[d1,d2]"
        seen "plausible"
        looks "ssm_out right, gated wrong where head_dim > 1"
        fix "sum over the key's index d1, keep the value's index d2"
        by [Stage(At::Gated, contracted_wrongly)];
    "M28" "elementwise_not_outer" at "kv"
        wrong "kv[d1,d2] = k'[d1] v[d1] for d1 = d2 only"
        right "the outer product, all d1, d2"
        seen "plausible (any port written for head_dim 1)"
        looks "off-diagonal pairs of kv missing"
        fix "with head_dim > 1 every key channel of a head meets every value channel"
        by [Stage(At::Kv, diagonal_pairs)];
    "M30a" "no_bias" at "q"
        wrong "W u in all four projections"
        right "W u + b"
        seen "seen in independent ports"
        looks "q, k, v off by a constant a channel"
        fix "all four projections have a bias"
        by [Parameters(|p| zero(p, &[Name::QBias, Name::KBias, Name::VBias, Name::OutputBias]))];
    "M30b" "no_bias_qkv" at "q"
        wrong "W u for q, k and v"
        right "W u + b"
        seen "seen in independent ports"
        looks "q, k, v off by a constant a channel"
        fix "q_proj, k_proj and v_proj have a bias"
        by [Parameters(|p| zero(p, &[Name::QBias, Name::KBias, Name::VBias]))];
    "M30c" "no_bias_output" at "output"
        wrong "W_o gated"
        right "W_o gated + b_o"
        seen "seen in independent ports"
        looks "gated right, output off by a constant a channel"
        fix "output_linear has a bias"
        by [Parameters(|p| zero(p, &[Name::OutputBias]))];
    "M31" "no_out_proj" at "output"
        wrong "output = gated"
        right "W_o gated + b_o"
        seen "seen in independent ports"
        looks "output equals gated"
        fix "apply output_linear"
        by [Stage(At::Output, |_, run| run.so_far.stages.gated.clone())];
    "M32a" "gelu_shift" at "shift_k"
        wrong "shift_k = gelu(K_sh * k + D k)"
        right "no activation anywhere in the layer"
        seen "the official fftconv_func has gelu=True by default; the layer passes False"
        looks "shift_k bounded below by -0.17"
        fix "pass gelu=False"
        by [Stage(At::ShiftK, |y, _| y.map(exact_gelu))];
    "M32b" "gelu_long" at "ssm_out"
        wrong "ssm_out = gelu(K * kv + D kv)"
        right "no activation anywhere in the layer"
        seen "the official fftconv_func has gelu=True by default; the layer passes False"
        looks "ssm_out bounded below by -0.17"
        fix "pass gelu=False"
        by [Stage(At::SsmOut, |y, _| y.map(exact_gelu))];
    "M32c" "gelu_tanh_shift" at "shift_k"
        wrong "shift_k = gelu(K_sh * k + D k), gelu by its tanh approximation"
        right "no activation anywhere in the layer"
        seen "as M32a; the tanh form is the default of JAX"
        looks "shift_k bounded below by -0.17"
        fix "no activation after the shift model"
        by [Stage(At::ShiftK, |y, _| y.map(gelu))];
    "M32d" "gelu_tanh_long" at "ssm_out"
        wrong "ssm_out = gelu(K * kv + D kv), gelu by its tanh approximation"
        right "no activation anywhere in the layer"
        seen "as M32b; the tanh form is the default of JAX"
        looks "ssm_out bounded below by -0.17"
        fix "no activation after the diagonal SSM"
        by [Stage(At::SsmOut, |y, _| y.map(gelu))];
    "M32e" "silu_shift" at "shift_k"
        wrong "shift_k = silu(K_sh * k + D k)"
        right "no activation anywhere in the layer"
        seen "seen in an independent port"
        looks "shift_k bounded below by -0.28"
        fix "no activation after the shift model"
        by [Stage(At::ShiftK, |y, _| y.map(silu))];
    "M32f" "silu_long" at "ssm_out"
        wrong "ssm_out = silu(K * kv + D kv)"
        right "no activation anywhere in the layer"
        seen "plausible (as M32e)"
        looks "ssm_out bounded below by -0.28"
        fix "no activation after the diagonal SSM"
        by [Stage(At::SsmOut, |y, _| y.map(silu))];
    "M33a" "weight_transpose" at "q"
        wrong "W^T u + b in all four projections"
        right "W u + b"
        seen "plausible (JAX and Keras store weights in x out)"
        looks "q, k, v wrong from the start"
        fix "PyTorch stores a Linear's weight as (out, in): transpose it on loading"
        by [Parameters(transposed)];
    "M33b" "map_swap_qk" at "q"
        wrong "q_proj and k_proj exchanged"
        right "each under its name"
        seen "HazyResearch/H3#10 (names mapped wrongly)"
        looks "q holds k, k holds q"
        fix "check the map of parameter names"
        by [Parameters(|p| exchange(p, &[(Name::QWeight, Name::KWeight), (Name::QBias, Name::KBias)]))];
    "M33c" "map_swap_qv" at "q"
        wrong "q_proj and v_proj exchanged"
        right "each under its name"
        seen "HazyResearch/H3#10 (names mapped wrongly)"
        looks "q holds v, v holds q"
        fix "check the map of parameter names"
        by [Parameters(|p| exchange(p, &[(Name::QWeight, Name::VWeight), (Name::QBias, Name::VBias)]))];
    "M33d" "map_swap_kv" at "k"
        wrong "k_proj and v_proj exchanged"
        right "each under its name"
        seen "HazyResearch/H3#10 (names mapped wrongly)"
        looks "k holds v, v holds k"
        fix "check the map of parameter names"
        by [Parameters(|p| exchange(p, &[(Name::KWeight, Name::VWeight), (Name::KBias, Name::VBias)]))];
    "M33e" "map_swap_d" at "shift_k"
        wrong "ssm_k_D and D exchanged (head_dim 1, where they have one shape)"
        right "each under its name"
        seen "HazyResearch/H3#10 (names mapped wrongly)"
        looks "kernels right; both skips wrong"
        fix "ssm_k_D belongs to the shift model, D to the diagonal one"
        by [Parameters(exchange_skips)];
    "M79" "shared_in_blocks" at "ssm_kernel"
        wrong "head h uses model floor(h n_ssm / H): repeat_interleave"
        right "model h mod n_ssm: repeat"
        seen "plausible (jxiw/M1#4 asks whether the order of repetition matters)"
        looks "right for n_ssm 1 and n_ssm H; between them some heads with another's kernel"
        fix "models are repeated in turn: repeat(A, 't n -> (v t) n')"
        by [Modes(shared_in_blocks)];
    "M80" "sequences_exchanged" at "ssm_out"
        wrong "ssm_out of sequence b from kv of sequence b + 1"
        right "from its own kv"
        seen "plausible (a wrong batch stride; NVIDIA/TensorRT-LLM#13151: states read by position, written by slot)"
        looks "right with a batch of one; the sequences' outputs exchanged from ssm_out on"
        fix "check the batch stride of the kernel; test with a batch above 1"
        by [Stage(At::SsmOut, |y, _| sequences_exchanged(&y))];
}
