//! Known mistakes of losses and gradients of language models.

use super::hooks::ModelHook::{self, Embedded, Gradient, LossWeights, NormBack, Slope, Tied};
use crate::algebra::Matrix;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{LayerNorm, ModelName, NormGradient, Targets, exact_gelu_slope};
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;

/// The factor of the embedded tokens that a dropout of a tenth leaves.
const DROPOUT_SCALE: f64 = 1.0 / 0.9;

/// A weight for every counted place, given its row and its target.
fn weights(targets: &Targets, weight: impl Fn(usize, usize) -> f64) -> Result<Tensor<f64>, Error> {
    let len = targets.shape().get(1).copied().unwrap_or(1).max(1);
    let places = targets.data().iter().enumerate();
    let of = places.map(|(at, target)| target.map_or(0.0, |id| weight(at / len, id)));
    Tensor::new(targets.shape(), of.into_vec())
}

fn over_all(targets: &Targets) -> Result<Tensor<f64>, Error> {
    let all = targets.data().len() as f64;
    weights(targets, |_, _| 1.0 / all)
}

fn without_word_0(targets: &Targets) -> Result<Tensor<f64>, Error> {
    let counted = targets.data().iter().flatten();
    let counted = counted.filter(|id| **id != 0).count().max(1) as f64;
    weights(targets, |_, id| if id == 0 { 0.0 } else { 1.0 / counted })
}

fn by_sequence(targets: &Targets) -> Result<Tensor<f64>, Error> {
    let len = targets.shape().get(1).copied().unwrap_or(1).max(1);
    let rows = targets.data().chunks(len);
    let counted: Vec<usize> = rows.map(|row| row.iter().flatten().count()).into_vec();
    let rows = counted.iter().filter(|n| **n > 0).count() as f64;
    weights(targets, |row, _| 1.0 / (rows * counted[row] as f64))
}

fn sum(targets: &Targets) -> Result<Tensor<f64>, Error> {
    weights(targets, |_, _| 1.0)
}

fn without_means(norm: &LayerNorm<f64>, x: &[f64], g: &[f64]) -> Result<NormGradient<f64>, Error> {
    let right = norm.adjoint(x, g)?;
    let (_, variance) = norm.moments(x)?;
    let deviation = norm.deviation(variance);
    let pairs = g.iter().zip(norm.weight());
    Ok(NormGradient {
        input: pairs.map(|(g, w)| g * w / deviation).into_vec(),
        ..right
    })
}

fn without_variance(
    norm: &LayerNorm<f64>,
    x: &[f64],
    g: &[f64],
) -> Result<NormGradient<f64>, Error> {
    let plain = without_means(norm, x, g)?;
    let mean = plain.input.iter().sum::<f64>() / x.len() as f64;
    Ok(NormGradient {
        input: plain.input.iter().map(|e| e - mean).into_vec(),
        ..plain
    })
}

fn head_only(head: &Matrix<f64>, _lookup: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
    Ok(head.clone())
}

fn lookup_only(_head: &Matrix<f64>, lookup: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
    Ok(lookup.clone())
}

fn scaled_lookup(head: &Matrix<f64>, lookup: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
    head.plus(&lookup.map(|x| DROPOUT_SCALE * x))
}

fn scaled_positions(name: ModelName, gradient: &mut [f64]) {
    if name == ModelName::Positions {
        gradient.iter_mut().for_each(|x| *x *= DROPOUT_SCALE);
    }
}

fn no_positions(name: ModelName, gradient: &mut [f64]) {
    if name == ModelName::Positions {
        gradient.fill(0.0);
    }
}

rows! { ModelHook:
    "T01a" "loss_over_all" at "loss"
        wrong "the sum of the counted losses over all positions"
        right "over the number of the counted ones"
        seen "plausible (a mean of F.cross_entropy(reduction='none'), which is 0 at -100)"
        looks "loss and every gradient smaller by one factor, the share of positions that count"
        fix "divide by the number of targets that are not -100"
        by [LossWeights(over_all)];
    "T01b" "loss_without_word_0" at "loss"
        wrong "targets of word 0 not counted"
        right "every target counted but -100"
        seen "plausible (ignore_index=0, a pad token's id)"
        looks "loss off; no gradient from the positions of one word; the others larger by one factor"
        fix "ignore_index=-100; every word of the vocabulary can be a target"
        by [LossWeights(without_word_0)];
    "T01c" "mean_by_sequence" at "loss"
        wrong "the mean over sequences of each one's mean"
        right "the mean over all counted positions"
        seen "huggingface/transformers#34191 (means of unequal micro-batches averaged)"
        looks "right where every sequence counts as many positions"
        fix "sum over all sequences, divide once"
        by [LossWeights(by_sequence)];
    "T01d" "loss_summed" at "loss"
        wrong "the sum of the losses"
        right "their mean over the counted positions"
        seen "plausible (reduction='sum')"
        looks "loss and every gradient larger by the number of counted positions"
        fix "divide by the number of targets that are not -100"
        by [LossWeights(sum)];
    "T02a" "tied_head_only" at "grad.backbone.embeddings.word_embeddings.weight"
        wrong "the embedding's gradient from the head alone"
        right "the sum of both uses, head and lookup"
        seen "plausible (the lookup's gradient overwritten, or of another tensor)"
        looks "one parameter wrong: all words' rows have what the head gives, none what its tokens give"
        fix "one parameter, one gradient: add the gradients of both uses"
        by [Tied(head_only)];
    "T02b" "tied_lookup_only" at "grad.backbone.embeddings.word_embeddings.weight"
        wrong "the embedding's gradient from the lookup alone"
        right "the sum of both uses, head and lookup"
        seen "plausible (an untied copy in the head)"
        looks "one parameter wrong: rows of words that do not occur are zero"
        fix "one parameter, one gradient: add the gradients of both uses"
        by [Tied(lookup_only)];
    "T03a" "norm_back_without_means" at "grad.block1.hidden"
        wrong "x receives e / deviation from a LayerNorm"
        right "(e - mean(e) - xhat mean(e xhat)) / deviation"
        seen "plausible (mean and deviation taken for constants)"
        looks "grad.logits right, everything before the last LayerNorm wrong"
        fix "the mean and the deviation depend on x: add their gradients"
        by [NormBack(without_means)];
    "T03b" "norm_back_without_variance" at "grad.block1.hidden"
        wrong "x receives (e - mean(e)) / deviation from a LayerNorm"
        right "(e - mean(e) - xhat mean(e xhat)) / deviation"
        seen "plausible (the deviation taken for a constant)"
        looks "grad.logits right, everything before the last LayerNorm wrong"
        fix "the deviation depends on x: add its gradient"
        by [NormBack(without_variance)];
    "T04" "erf_slope" at "grad.block1.residual"
        wrong "the slope of x Phi(x) behind the tanh approximation"
        right "the slope of the approximation itself"
        seen "plausible (a kernel forwards, a formula backwards)"
        looks "fc1's gradients and all before them off by less than a hundredth, fc2's right"
        fix "use the slope of the function of the forward pass: F.gelu(x, approximate='tanh')"
        by [Slope(exact_gelu_slope)];
    "T05" "dropout_left_on" at "block0.residual"
        wrong "embedded tokens scaled by 1/(1 - 0.1), as what a dropout keeps"
        right "no dropout"
        seen "plausible (model.train() where model.eval() is compared)"
        looks "loss and all gradients off, differently at every run"
        fix "set every dropout to 0"
        by [Embedded(|x| DROPOUT_SCALE * x), Tied(scaled_lookup), Gradient(scaled_positions)];
    "T06" "no_position_gradient" at "grad.backbone.embeddings.position_embeddings.weight"
        wrong "learned positions without a gradient"
        right "each position receives the sum over the sequences"
        seen "plausible (position_embeddings as a buffer)"
        looks "one gradient zero, the others right"
        fix "register position_embeddings as a parameter"
        by [Gradient(no_positions)];
}
