//! Known mistakes in the parts of a language model around its H3 layers, and those of the layers.

use super::super::layer::{LayerHook, forward_mistakes};
use super::hooks::ModelHook::{
    self, Activation, Attend, Config, Layers, Mixers, Norm, Parameters, Residual, Saved, Stages,
    TakesRows,
};
use crate::algebra::{FloatFormat, Matrix, dot};
use crate::attention::softmax;
use crate::error::Error;
use crate::h3::HeadOrder;
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockName, LayerNorm, Model, ModelConfig, ModelName, ModelParameters, ModelStages, Part,
    exact_gelu,
};
use crate::oracle::mistake::{Row, rows};
use crate::ssm::Discretization;
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The layer's mistakes, made in every H3 layer of a model.
pub(super) static IN_LAYERS: LazyLock<Vec<Row<ModelHook>>> = LazyLock::new(|| {
    let row = |row: &'static Row<LayerHook>| Row {
        mistake: row.mistake,
        hooks: Cow::Owned(vec![Layers(row)]),
    };
    forward_mistakes().into_iter().map(row).into_vec()
});

/// `h + r` of a block.
fn sum([hidden, residual]: &[Tensor<f64>; 2]) -> Tensor<f64> {
    let pairs = hidden.data().iter().zip(residual.data());
    Tensor::known(hidden.shape(), pairs.map(|(h, r)| h + r).into_vec())
}

fn residual_summed(stages: &mut ModelStages<f64>) {
    stages
        .blocks
        .iter_mut()
        .for_each(|block| block[1] = sum(block));
}

fn hidden_summed(stages: &mut ModelStages<f64>) {
    stages
        .blocks
        .iter_mut()
        .for_each(|block| block[0] = sum(block));
}

fn residual_rounded(stages: &mut ModelStages<f64>, round: fn(f64) -> f64) -> Result<(), Error> {
    let blocks = stages.blocks.iter_mut();
    blocks.for_each(|block| block[1] = block[1].map(round));
    Ok(())
}

fn last_add_forgotten(stages: &mut ModelStages<f64>, model: &Model<f64>) -> Result<(), Error> {
    if let Some([hidden, _]) = stages.blocks.last() {
        let rows = hidden.data().chunks_exact(model.config().d_model());
        let logits: Vec<Vec<f64>> = rows.map(|x| model.head(x)).collect::<Result<_, _>>()?;
        stages.logits = Tensor::new(stages.logits.shape(), logits.concat())?;
    }
    Ok(())
}

fn unbiased(norm: &LayerNorm<f64>, _last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
    let (center, variance) = norm.moments(x)?;
    let d = x.len() as f64;
    norm.scaled(x, center, variance * d / (d - 1.0))
}

fn epsilon_outside(norm: &LayerNorm<f64>, _last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
    let (center, variance) = norm.moments(x)?;
    let epsilon = norm.epsilon();
    // So that the root of this with epsilon is the deviation plus epsilon.
    norm.scaled(x, center, (variance.sqrt() + epsilon).powi(2) - epsilon)
}

fn no_final_norm(norm: &LayerNorm<f64>, last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
    match last {
        true => Ok(x.to_vec()),
        false => norm.apply(x),
    }
}

/// The norm called norm2 came before the next block's mixer, and norm1 before the MLP.
fn older_norms(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    use BlockName::{Norm1Bias, Norm1Weight, Norm2Bias, Norm2Weight};
    use ModelName::{Block, NormBias, NormWeight};
    let last = p.config().n_layer.saturating_sub(1);
    let from = match name {
        NormWeight => Block(0, Norm1Weight),
        NormBias => Block(0, Norm1Bias),
        Block(i, Norm1Weight) => Block(i, Norm2Weight),
        Block(i, Norm1Bias) => Block(i, Norm2Bias),
        Block(i, Norm2Weight) if i == last => NormWeight,
        Block(i, Norm2Bias) if i == last => NormBias,
        Block(i, Norm2Weight) => Block(i + 1, Norm1Weight),
        Block(i, Norm2Bias) => Block(i + 1, Norm1Bias),
        _ => return None,
    };
    Some(p.get(from).to_vec())
}

/// The rows of a parameter that projects to queries, keys and values, as long as they are wide.
fn qkv(p: &ModelParameters<f64>, name: ModelName) -> Option<(Vec<f64>, usize)> {
    use BlockName::{QkvBias, QkvWeight};
    let ModelName::Block(_, QkvWeight | QkvBias) = name else {
        return None;
    };
    let values = p.get(name).to_vec();
    let width = values.len() / (3 * p.config().d_model());
    Some((values, width))
}

fn qkv_by_head(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let (values, width) = qkv(p, name)?;
    let (d, d_h) = (p.config().d_model(), p.config().attention_head_dim());
    let rows = (0..3 * d).map(|row| {
        let (which, h, c) = (row / d, row % d / d_h, row % d_h);
        let read = h * 3 * d_h + which * d_h + c;
        &values[read * width..(read + 1) * width]
    });
    Some(rows.into_vec().concat())
}

/// The queries times a factor.
fn scaled_queries(p: &ModelParameters<f64>, name: ModelName, factor: f64) -> Option<Vec<f64>> {
    let (mut values, width) = qkv(p, name)?;
    let queries = values.iter_mut().take(p.config().d_model() * width);
    queries.for_each(|x| *x *= factor);
    Some(values)
}

fn no_scale(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    scaled_queries(p, name, (p.config().attention_head_dim() as f64).sqrt())
}

fn scale_by_model(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let config = p.config();
    let share = config.attention_head_dim() as f64 / config.d_model() as f64;
    scaled_queries(p, name, share.sqrt())
}

/// Attention of token `i` to the tokens up to `last(i)`.
fn masked(
    q: &Matrix<f64>,
    k: &Matrix<f64>,
    v: &Matrix<f64>,
    scale: f64,
    last: fn(usize) -> usize,
) -> Result<Matrix<f64>, Error> {
    let mut weights = Vec::new();
    for i in 0..q.rows() {
        let seen = last(i).min(k.rows().saturating_sub(1)) + 1;
        let scores = (0..seen).map(|j| scale * dot(q.row(i), k.row(j)));
        let mut of_token = softmax(&scores.into_vec())?;
        of_token.resize(k.rows(), 0.0);
        weights.extend(of_token);
    }
    Matrix::new(q.rows(), k.rows(), weights)?.times(v)
}

/// The block whose mixer every block has where attention stands `step` blocks further; each its own
/// if there is no such block, or its mixer is attention too.
fn moved_attention(config: &ModelConfig, step: isize) -> Vec<usize> {
    let mut mixers: Vec<usize> = (0..config.n_layer).into_vec();
    for &from in &config.attn_layer_idx {
        match from.checked_add_signed(step) {
            Some(to) if to < config.n_layer && !config.is_attention(to) => mixers.swap(from, to),
            _ => return (0..config.n_layer).into_vec(),
        }
    }
    mixers
}

fn no_positions(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    (name == ModelName::Positions).then(|| vec![0.0; p.get(name).len()])
}

/// Positions counted from 1; what stands beyond the table is its first row.
fn positions_from_one(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    (name == ModelName::Positions).then(|| {
        let mut rows = p.get(name).to_vec();
        let each = p.config().d_model().min(rows.len());
        rows.rotate_left(each);
        rows
    })
}

/// Every LayerNorm's weight plus one.
fn weight_plus_one(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    use BlockName::{Norm1Weight, Norm2Weight};
    use ModelName::{Block, NormWeight};
    let is_weight = matches!(name, NormWeight | Block(_, Norm1Weight | Norm2Weight));
    is_weight.then(|| p.get(name).iter().map(|x| x + 1.0).into_vec())
}

/// Every LayerNorm's bias zero.
fn no_norm_bias(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    use BlockName::{Norm1Bias, Norm2Bias};
    use ModelName::{Block, NormBias};
    let is_bias = matches!(name, NormBias | Block(_, Norm1Bias | Norm2Bias));
    is_bias.then(|| vec![0.0; p.get(name).len()])
}

/// By the root of the mean square, without the mean.
fn not_centered(norm: &LayerNorm<f64>, _last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
    let (center, variance) = norm.moments(x)?;
    norm.scaled(x, 0.0, variance + center * center)
}

fn no_attention_bias(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let is_bias = matches!(
        name,
        ModelName::Block(_, BlockName::QkvBias | BlockName::OutBias)
    );
    is_bias.then(|| vec![0.0; p.get(name).len()])
}

fn no_mlp_bias(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let is_bias = matches!(
        name,
        ModelName::Block(_, BlockName::Fc1Bias | BlockName::Fc2Bias)
    );
    is_bias.then(|| vec![0.0; p.get(name).len()])
}

fn bf16(x: f64) -> f64 {
    FloatFormat::BF16.round(x)
}

fn f16(x: f64) -> f64 {
    FloatFormat::F16.round(x)
}

fn other_head_order(config: &mut ModelConfig) {
    config.h3.head_order = match config.h3.head_order {
        HeadOrder::D2H => HeadOrder::HD2,
        HeadOrder::HD2 => HeadOrder::D2H,
    };
}

fn other_discretization(config: &mut ModelConfig) {
    config.h3.disc = match config.h3.disc {
        Discretization::Bilinear => Discretization::ZeroOrderHold,
        Discretization::ZeroOrderHold => Discretization::Bilinear,
    };
}

rows! { ModelHook:
    "L01" "residual_summed" at "block0.residual"
        wrong "block{i}.residual the sum with the MLP's output"
        right "without it, the next block adding first"
        seen "plausible"
        looks "hidden right, residual off by hidden, logits right"
        fix "pass on hidden and residual unsummed: r <- r + h comes first in a block"
        by [Saved(residual_summed)];
    "L02" "hidden_summed" at "block0.hidden"
        wrong "block{i}.hidden the sum r + h"
        right "the MLP's output alone"
        seen "plausible"
        looks "residual right, hidden off by residual, logits right"
        fix "pass on hidden and residual unsummed: r <- r + h comes first in a block"
        by [Saved(hidden_summed)];
    "L03" "last_add_forgotten" at "logits"
        wrong "logits = E LN(h)"
        right "E LN(r + h)"
        seen "plausible"
        looks "every block right, logits wrong"
        fix "add hidden to residual once more before the last LayerNorm"
        by [Stages(last_add_forgotten)];
    "L04" "unbiased_variance" at "block0.residual"
        wrong "the variance over d - 1"
        right "over d channels in every LayerNorm"
        seen "plausible (torch.var is unbiased unless told otherwise)"
        looks "everything off by half of 1/d"
        fix "divide by d (torch.var needs unbiased=False)"
        by [Norm(unbiased)];
    "L05a" "epsilon_1e5" at "block0.residual"
        wrong "epsilon 1e-5"
        right "the file's"
        seen "plausible (the defaults of frameworks and configurations differ)"
        looks "largest where a token's channels are alike, so in the first LayerNorm"
        fix "set layer_norm_epsilon from the checkpoint's configuration"
        by [Config(|config| config.layer_norm_epsilon = 1e-5)];
    "L05b" "epsilon_1e6" at "block0.residual"
        wrong "epsilon 1e-6"
        right "the file's"
        seen "plausible (the defaults of frameworks and configurations differ)"
        looks "largest where a token's channels are alike, so in the first LayerNorm"
        fix "set layer_norm_epsilon from the checkpoint's configuration"
        by [Config(|config| config.layer_norm_epsilon = 1e-6)];
    "L05c" "epsilon_1e12" at "block0.residual"
        wrong "epsilon 1e-12"
        right "the file's"
        seen "plausible (the defaults of frameworks and configurations differ)"
        looks "largest where a token's channels are alike, so in the first LayerNorm"
        fix "set layer_norm_epsilon from the checkpoint's configuration"
        by [Config(|config| config.layer_norm_epsilon = 1e-12)];
    "L05d" "epsilon_outside" at "block0.residual"
        wrong "sqrt(var) + epsilon"
        right "sqrt(var + epsilon)"
        seen "plausible"
        looks "largest where a token's channels are alike, so in the first LayerNorm"
        fix "add epsilon to the variance"
        by [Norm(epsilon_outside)];
    "L05e" "epsilon_1e3" at "block0.residual"
        wrong "epsilon 1e-3"
        right "the file's"
        seen "plausible (the default of Keras)"
        looks "largest where a token's channels are alike, so in the first LayerNorm"
        fix "set layer_norm_epsilon from the checkpoint's configuration"
        by [Config(|config| config.layer_norm_epsilon = 1e-3)];
    "L06" "no_final_norm" at "logits"
        wrong "logits = E (r + h)"
        right "E LN(r + h)"
        seen "plausible"
        looks "every block right, logits wrong"
        fix "apply backbone.ln_f before the head"
        by [Norm(no_final_norm)];
    "L07" "older_norms" at "block0.residual"
        wrong "norm1, norm2 of a block after its mixer and MLP"
        right "before them"
        seen "the official load_state_dict renames those of older checkpoints"
        looks "wrong from the first block on"
        fix "rename the LayerNorms of older checkpoints as the official load_state_dict does"
        by [Parameters(older_norms)];
    "L08a" "erf_gelu" at "block0.hidden"
        wrong "x/2 (1 + erf(x / sqrt(2)))"
        right "its tanh approximation"
        seen "plausible (PyTorch's default)"
        looks "block0.residual right, hidden off by less than half a thousandth"
        fix "F.gelu(x, approximate='tanh')"
        by [Activation(exact_gelu)];
    "L08b" "sigmoid_gelu" at "block0.hidden"
        wrong "x sigmoid(1.702 x)"
        right "the tanh approximation"
        seen "plausible"
        looks "block0.residual right, hidden off by some hundredths"
        fix "F.gelu(x, approximate='tanh')"
        by [Activation(|x| x / (1.0 + (-1.702 * x).exp()))];
    "L08c" "relu_mlp" at "block0.hidden"
        wrong "max(x, 0)"
        right "gelu(x) by the tanh approximation"
        seen "plausible (a default of several frameworks)"
        looks "block0.residual right, hidden wrong"
        fix "F.gelu(x, approximate='tanh')"
        by [Activation(|x| x.max(0.0))];
    "L08d" "silu_mlp" at "block0.hidden"
        wrong "x sigmoid(x)"
        right "gelu(x) by the tanh approximation"
        seen "plausible (what later language models have)"
        looks "block0.residual right, hidden off by a tenth"
        fix "F.gelu(x, approximate='tanh')"
        by [Activation(|x| x / (1.0 + (-x).exp()))];
    "L08e" "linear_mlp" at "block0.hidden"
        wrong "x"
        right "gelu(x)"
        seen "plausible"
        looks "block0.residual right, hidden wrong"
        fix "apply the activation between fc1 and fc2"
        by [Activation(|x| x)];
    "L09" "qkv_by_head" at "block0.residual"
        wrong "rows of Wqkv as (h three d)"
        right "(three h d)"
        seen "plausible"
        looks "wrong from the first block with attention on"
        fix "all queries come first, then all keys, then all values"
        by [Parameters(qkv_by_head)];
    "L10a" "no_scale" at "block0.residual"
        wrong "softmax(q k^T)"
        right "softmax(q k^T / sqrt(d_h))"
        seen "plausible"
        looks "the first token right: it attends to itself alone"
        fix "divide the scores by sqrt(head channels)"
        by [Parameters(no_scale)];
    "L10b" "scale_by_model" at "block0.residual"
        wrong "softmax(q k^T / sqrt(d))"
        right "softmax(q k^T / sqrt(d_h))"
        seen "plausible"
        looks "the first token right: it attends to itself alone"
        fix "divide by the root of a head's channels, not of the model's"
        by [Parameters(scale_by_model)];
    "L11" "no_mask" at "block0.residual"
        wrong "attention to all tokens"
        right "to none later"
        seen "plausible"
        looks "the last token right, the first most wrong"
        fix "mask the scores above the diagonal before the softmax"
        by [Attend(|q, k, v, scale| masked(q, k, v, scale, |_| usize::MAX))];
    "L11b" "mask_one_late" at "block0.residual"
        wrong "attention to the token after it too"
        right "to none later"
        seen "plausible (triu with diagonal=2)"
        looks "the last token right, all before it wrong"
        fix "mask from the first diagonal above on"
        by [Attend(|q, k, v, scale| masked(q, k, v, scale, |i| i + 1))];
    "L11c" "mask_one_early" at "block0.residual"
        wrong "attention to earlier tokens alone, of the first to itself"
        right "to itself too"
        seen "plausible (tril with diagonal=-1)"
        looks "the first token right, the second a copy of its value"
        fix "the diagonal stays"
        by [Attend(|q, k, v, scale| masked(q, k, v, scale, |i| i.saturating_sub(1)))];
    "L12a" "attention_early" at "block0.residual"
        wrong "attention one block before attn_layer_idx"
        right "at it"
        seen "plausible"
        looks "wrong from the block before the first attention on"
        fix "blocks are counted from 0"
        by [Mixers(|config| moved_attention(config, -1))];
    "L12b" "attention_late" at "block0.residual"
        wrong "attention one block after attn_layer_idx"
        right "at it"
        seen "plausible"
        looks "wrong from the first block with attention on"
        fix "blocks are counted from 0"
        by [Mixers(|config| moved_attention(config, 1))];
    "L13" "no_positions" at "block0.residual"
        wrong "the embedding alone"
        right "the embedding plus the position's"
        seen "plausible"
        looks "wrong from the first block on"
        fix "add backbone.embeddings.position_embeddings"
        by [Parameters(no_positions)];
    "L14" "head_order" at "block0.residual"
        wrong "gated channels of every H3 layer in the other of (d2 h) and (h d2)"
        right "the file's"
        seen "the official code: its CPU path and step() against its fused kernel"
        looks "wrong from the first block with an H3 layer on"
        fix "see head_order: the official forward pass lays out (d2 h)"
        by [Config(other_head_order)];
    "L15" "discretization" at "block0.residual"
        wrong "the other of bilinear and zero-order hold"
        right "the file's in every H3 or S4D layer"
        seen "state-spaces/s4#92 (users take zoh for granted)"
        looks "wrong from the first block with an H3 layer on, by little at small dt"
        fix "see disc"
        by [Config(other_discretization)];
    "L16a" "norm_weight_plus_one" at "block0.residual"
        wrong "(1 + weight) (x - mean)/deviation + bias in every LayerNorm"
        right "weight (x - mean)/deviation + bias"
        seen "linkedin/Liger-Kernel#74, pytorch/executorch#19901 (Gemma's convention, and its converse)"
        looks "everything about twice as large after the first LayerNorm"
        fix "the stored weight is the factor itself"
        by [Parameters(weight_plus_one)];
    "L16b" "norm_not_centered" at "block0.residual"
        wrong "x / sqrt(mean(x^2) + epsilon): RMSNorm"
        right "(x - mean) / sqrt(var + epsilon)"
        seen "plausible (an option of Mamba's models, which descend from this code)"
        looks "wrong from the first block on, most for tokens whose mean is large"
        fix "LayerNorm takes the mean off first"
        by [Norm(not_centered)];
    "L16c" "norm_without_bias" at "block0.residual"
        wrong "LayerNorms without bias"
        right "with it"
        seen "plausible (as L16b: RMSNorm has none)"
        looks "wrong from the first block on, alike for all tokens"
        fix "load norm1.bias, norm2.bias and ln_f.bias"
        by [Parameters(no_norm_bias)];
    "L17a" "residual_bf16" at "block0.residual"
        wrong "the residual stream rounded to bfloat16"
        right "in float32 (residual_in_fp32)"
        seen "vllm-project/vllm-omni#6878 (the residual rounded in one path and not in the other)"
        looks "off by up to 2^-9 of residual, whatever the precision of the rest"
        fix "keep residual in float32"
        rounding BF16
        by [Residual(bf16), Stages(|stages, _| residual_rounded(stages, bf16))];
    "L17b" "residual_f16" at "block0.residual"
        wrong "the residual stream rounded to float16"
        right "in float32 (residual_in_fp32)"
        seen "plausible (as L17a)"
        looks "off by up to 2^-12 of residual, whatever the precision of the rest"
        fix "keep residual in float32"
        rounding F16
        by [Residual(f16), Stages(|stages, _| residual_rounded(stages, f16))];
    "L18" "positions_from_one" at "block0.residual"
        wrong "row i + 1 of position_embeddings for token i"
        right "row i"
        seen "plausible (models whose first rows are for padding)"
        looks "wrong from the first block on, in models with learned positions"
        fix "positions are counted from 0"
        by [Parameters(positions_from_one)];
    "L19a" "no_attention_bias" at "block0.residual"
        wrong "Wqkv and out_proj without bias"
        right "with it"
        seen "plausible (many models have none)"
        looks "wrong from the first block with attention on"
        fix "load Wqkv.bias and out_proj.bias"
        by [Parameters(no_attention_bias)];
    "L19b" "no_mlp_bias" at "block0.hidden"
        wrong "fc1 and fc2 without bias"
        right "with it"
        seen "plausible (many models have none)"
        looks "block0.residual right, hidden wrong"
        fix "load fc1.bias and fc2.bias"
        by [Parameters(no_mlp_bias)];
    "L20a" "attention_across_documents" at "block0.residual"
        wrong "attention to all tokens of a row before a token"
        right "to those of its own document"
        seen "plausible (flash_attn_func where flash_attn_varlen_func is needed; attention without a padding mask)"
        looks "right in a row's first document, wrong after; all wrong beside padding on the left"
        fix "mask attention by document: cu_seqlens, or the padding mask"
        by [TakesRows(Part::Attention)];
    "L20b" "positions_across_documents" at "block0.residual"
        wrong "positions counted from the beginning of the row"
        right "from that of each document"
        seen "plausible (position_ids as arange over the row)"
        looks "right in a row's first document, wrong after; all wrong beside padding on the left"
        fix "restart positions in every document, at the first token that is not padding"
        by [TakesRows(Part::Positions)];
    "L20c" "documents_ignored" at "block0.residual"
        wrong "every row taken for one sequence"
        right "documents apart, padding left out"
        seen "plausible (cu_seqlens or a mask that is accepted and not read)"
        looks "right in a row's first document, wrong after; all wrong beside padding on the left"
        fix "pass cu_seqlens or lengths to positions, H3 layers and attention"
        by [TakesRows(Part::Attention), TakesRows(Part::Positions), TakesRows(Part::H3)];
    "L20d" "layers_across_documents" at "block0.residual"
        wrong "H3 layers run through a row from its beginning, boundaries and padding in it"
        right "each document from zero states"
        seen "huggingface/transformers#46588, state-spaces/mamba#1027 (padding stepped through, states not reset)"
        looks "right in a row's first document, wrong after; all wrong beside padding on the left"
        fix "reset both states at boundaries; leave padding out, or begin after it"
        by [TakesRows(Part::H3)];
}
