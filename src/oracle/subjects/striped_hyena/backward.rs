//! The known mistakes of the backward pass.

use super::super::graph::GraphHook::{self, Adjoint, AdjointDocuments, Case, Gradient};
use super::super::graph::{
    circular_back, convolved_back, cotangents_leak_in_filters, fill, one_document,
};
use super::case::StripedHyenaCase;
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;

/// The imaginary part of every pair with the other sign, where there are pairs.
fn negate_imaginary(x: &mut Tensor<f64>) {
    if x.shape().len() == 4 {
        for pair in x.data_mut().chunks_exact_mut(2) {
            pair[1] = -pair[1];
        }
    }
}

fn conjugate(gradient: &mut Tensor<f64>, _: &StripedHyenaCase) {
    negate_imaginary(gradient);
}

/// The cotangents of states.
const COTANGENTS: [&str; 3] = ["g.state.fir", "g.state.iir", "g.state.fir_inner"];

rows! { GraphHook<StripedHyenaCase>:
    "Y40" "gradient_convolved" at "grad.input"
        wrong "F^{-1}(F h . F g)"
        right "F^{-1}(conj(F h) . F g)"
        seen "the conjugate of the adjoint left out of a hand-written backward pass"
        looks "gradients move forward in time"
        fix "Conjugate the spectrum of the other factor: the adjoint of a convolution is a correlation."
        by [Adjoint("filtered", convolved_back)];
    "Y41" "gradient_circular" at "grad.input"
        wrong "correlations by FFTs of length L"
        right "correlations by FFTs of length at least 2 L"
        seen "a transform's length taken from the sequence in the backward pass alone"
        looks "gradients of the last tokens are wrong most"
        fix "Pad to 2 L in the backward pass as in the forward pass."
        by [Adjoint("filtered", circular_back)];
    "Y45" "gradients_of_modes_conjugated" at "grad.filter.poles"
        wrong "(d/dre, -d/dim)"
        right "(d/dre, d/dim)"
        seen "the holomorphic derivative taken for the gradient of a pair of real numbers"
        looks "the imaginary parts have the other sign"
        fix "Store the derivatives with respect to real and imaginary part, as view_as_real does."
        by [
            Gradient("grad.filter.poles", conjugate),
            Gradient("grad.filter.residues", conjugate),
        ];
    in the words of cotangents_leak_in_filters at "grad.filter.D"
        by [AdjointDocuments("short", one_document), AdjointDocuments("filtered", one_document), AdjointDocuments("state.iir", one_document)];
    "Y47a" "cotangents_of_states_dropped" at "grad.input"
        wrong "the cotangents of states are not read"
        right "states are results, whose cotangents add to those of the output"
        seen "plausible (a state returned for caching alone, detached)"
        looks "right without cotangents of states; with them as if there were none"
        fix "Start gradients from the states too."
        by [Case(|case| {
            for name in COTANGENTS {
                fill(case.inputs.get_mut(name), 0.0);
            }
        })];
    "Y47b" "cotangents_of_states_exchanged" at "grad.input"
        wrong "the cotangents of states are those of another sequence or document"
        right "each is of its own"
        seen "plausible (states sorted by length, their cotangents not)"
        looks "everything right without cotangents of states; with them all gradients wrong"
        fix "Keep states and their cotangents in one order."
        by [Case(|case| {
            for name in COTANGENTS {
                if let Some(g) = case.inputs.get_mut(name) {
                    let each = g.data().len() / g.shape()[0].max(1);
                    g.data_mut().rotate_left(each);
                }
            }
        })];
    "Y47c" "cotangents_of_states_conjugated" at "grad.input"
        wrong "the loss takes Re(g z) of a complex state"
        right "the loss takes Re(conj(g) z): the cotangent holds the derivatives by real and imaginary part"
        seen "the holomorphic derivative taken for the gradient of a pair of real numbers"
        looks "right where the cotangents of states are real"
        fix "Pair real part with real part, and imaginary with imaginary."
        by [Case(|case| {
            if let Some(g) = case.inputs.get_mut(COTANGENTS[1]) {
                negate_imaginary(g);
            }
        })];
}
