//! The known mistakes of the way back.

use super::super::graph::GraphHook::{self, Adjoint, Gradient};
use super::super::graph::{circular_back, convolved_back};
use super::case::StripedHyenaCase;
use crate::oracle::mistake::rows;
use crate::tensor::Tensor;

/// The imaginary part of every pair with the other sign.
fn conjugate(gradient: &mut Tensor<f64>, _: &StripedHyenaCase) {
    if gradient.shape().len() == 4 {
        for pair in gradient.data_mut().chunks_exact_mut(2) {
            pair[1] = -pair[1];
        }
    }
}

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
}
