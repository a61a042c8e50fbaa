//! The known mistakes of the backward pass.

use super::super::graph::GraphHook::{self, Adjoint, AdjointDocuments};
use super::super::graph::{
    circular_back, convolved_back, cotangents_leak_in_filters, one_document,
};
use super::case::H3OperatorCase;
use crate::oracle::mistake::rows;

rows! { GraphHook<H3OperatorCase>:
    "Y40" "gradient_convolved" at "grad.ssm_kernel"
        wrong "F^{-1}(F f . F g)"
        right "F^{-1}(conj(F f) . F g)"
        seen "the conjugate of the adjoint left out of a hand-written backward pass"
        looks "gradients move forward in time"
        fix "Conjugate the spectrum of the other factor: the adjoint of a convolution is a correlation."
        by [Adjoint("ssm_out", convolved_back)];
    "Y40b" "gradient_of_the_shift_convolved" at "grad.k"
        wrong "F^{-1}(F s . F g)"
        right "F^{-1}(conj(F s) . F g)"
        seen "as Y40, in the shift"
        looks "grad.k and grad.shift_kernel alone are wrong"
        fix "Conjugate the spectrum of the other factor."
        by [Adjoint("shift_k", convolved_back)];
    "Y41" "gradient_circular" at "grad.ssm_kernel"
        wrong "correlations by FFTs of length L"
        right "correlations by FFTs of length at least 2 L"
        seen "a transform's length taken from the sequence in the backward pass alone"
        looks "gradients of the last tokens are wrong most"
        fix "Pad to 2 L in the backward pass as in the forward pass."
        by [Adjoint("ssm_out", circular_back)];
    in the words of cotangents_leak_in_filters at "grad.k"
        by [AdjointDocuments("shift_k", one_document), AdjointDocuments("ssm_out", one_document)];
}
