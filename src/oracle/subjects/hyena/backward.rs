//! The known mistakes of the backward pass.

use super::super::graph::GraphHook::{self, Adjoint, AdjointDocuments, Case, Gradient};
use super::super::graph::{
    circular_back, convolved_back, cotangents_leak_in_filters, one_document,
};
use super::case::HyenaCase;
use crate::oracle::mistake::rows;

rows! { GraphHook<HyenaCase>:
    "Y40" "gradient_convolved" at "grad.input"
        wrong "F^{-1}(F h . F g)"
        right "F^{-1}(conj(F h) . F g)"
        seen "the conjugate of the adjoint left out of a hand-written backward pass"
        looks "gradients move forward in time"
        fix "Conjugate the spectrum of the other factor: the adjoint of a convolution is a correlation."
        by [Adjoint("v.n", convolved_back)];
    "Y41" "gradient_circular" at "grad.input"
        wrong "correlations by FFTs of length L"
        right "correlations by FFTs of length at least 2 L"
        seen "a transform's length taken from the sequence in the backward pass alone"
        looks "gradients of the last tokens are wrong most"
        fix "Pad to 2 L in the backward pass as in the forward pass."
        by [Adjoint("v.n", circular_back)];
    "Y43" "frequency_gradient_of_one_use" at "grad.filter_fn.implicit_filter.1.freq"
        wrong "the gradient of the first sine's freq"
        right "the sum over all sines: it is one parameter"
        seen "a port that unties the shared parameter; checkpoints hold it under several names"
        looks "grad of freq alone is wrong"
        fix "Add the gradients of all uses of freq."
        by [Case(|case| case.wiring.one_frequency = false)];
    "Y44" "features_not_learned" at "grad.filter_fn.pos_emb.z"
        wrong "no gradient of pos_emb.z"
        right "pos_emb.z is a parameter of the official code, with a gradient"
        seen "positional features are constants elsewhere"
        looks "zeros"
        fix "Register pos_emb.z as a parameter."
        by [Gradient("grad.filter_fn.pos_emb.z", |gradient, _| gradient.data_mut().fill(0.0))];
    in the words of cotangents_leak_in_filters at "grad.filter_fn.bias"
        by [AdjointDocuments("short", one_document), AdjointDocuments("v.n", one_document)];
}
