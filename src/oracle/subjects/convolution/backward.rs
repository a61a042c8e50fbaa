//! The known mistakes of the backward pass.

use super::super::graph::GraphHook::{self, Adjoint, AdjointDocuments, Gradient};
use super::super::graph::{
    circular_back, convolved_back, cotangents_leak_in_filters, one_document,
};
use super::case::ConvolutionCase;
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;

/// Subtracts the contribution of the last sequence.
fn of_one_sequence_less(gradient: &mut Tensor<f64>, case: &ConvolutionCase) {
    let [batch, channels, len] = case.sizes();
    let inputs = &case.inputs;
    let (Some(u), Some(g)) = (inputs.get("u"), inputs.cotangent()) else {
        return;
    };
    let gate = |name: &str, at: usize| inputs.get(name).map_or(1.0, |gate| gate.data()[at]);
    for (c, sum) in gradient.data_mut().iter_mut().enumerate() {
        let first = ((batch - 1) * channels + c) * len;
        for at in first..first + len {
            *sum -= g.data()[at] * gate("postgate", at) * u.data()[at] * gate("pregate", at);
        }
    }
}

rows! { GraphHook<ConvolutionCase>:
    "Y40" "gradient_convolved" at "grad.u"
        wrong "F^{-1}(F k . F g)"
        right "F^{-1}(conj(F k) . F g)"
        seen "the conjugate of the adjoint left out of a hand-written backward pass"
        looks "the first token's gradient holds its own cotangent alone, the last one's all of them"
        fix "Conjugate the spectrum of the other factor: the adjoint of a convolution is a correlation."
        by [Adjoint("y", convolved_back)];
    "Y41" "gradient_circular" at "grad.u"
        wrong "correlations by FFTs of length L"
        right "correlations by FFTs of length at least 2 L"
        seen "a transform's length taken from the sequence in the backward pass alone"
        looks "gradients of the last tokens are wrong most"
        fix "Pad to 2 L in the backward pass as in the forward pass."
        by [Adjoint("y", circular_back)];
    "Y42" "gradient_of_D_misses_a_sequence" at "grad.D"
        wrong "sum over all sequences but the last"
        right "sum_{b,t} g p over all sequences and tokens"
        seen "a reduction over blocks of a grid that ends one block early"
        looks "grad.D alone is wrong"
        fix "Reduce over every sequence of the batch."
        by [Gradient("grad.D", of_one_sequence_less)];
    in the words of cotangents_leak_in_filters at "grad.k"
        by [AdjointDocuments("y", one_document)];
}
