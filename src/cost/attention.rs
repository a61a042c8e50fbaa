//! Operations of attention in each form, and of Hyena.

use super::convolution::Convolution;
use super::structure::Structure;
use super::{ADD, DIVIDE, FUNCTION, MULTIPLY, TERM, triangle};
use crate::algebra::OperationCount;
use crate::error::Error;

/// The sizes of one head. For linear attention `key_dim` is that of the features; computing the
/// features is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// N.
    pub seq_len: usize,
    /// `d_k`, or `d_phi`.
    pub key_dim: usize,
    /// `d_v`.
    pub value_dim: usize,
}

impl AttentionShape {
    fn sizes(self) -> [u64; 3] {
        [self.seq_len, self.key_dim, self.value_dim].map(|size| size as u64)
    }
}

/// [`softmax_attention`](crate::attention::softmax_attention): all `N^2` scores and all of the
/// weighted sums, as matrix products; for each pair `j <= i` a scaling, a difference, an exponential,
/// a sum and a division.
#[must_use]
pub fn softmax_attention(shape: AttentionShape) -> OperationCount {
    let [n, d_k, d_v] = shape.sizes();
    let weight = TERM + ADD + FUNCTION + DIVIDE;
    n * n * (d_k + d_v) * TERM + triangle(n) * weight
}

/// [`masked_attention`](crate::attention::masked_attention): all scores, the mask, the sums.
#[must_use]
pub fn masked_attention(shape: AttentionShape) -> OperationCount {
    let [n, d_k, d_v] = shape.sizes();
    n * n * ((d_k + d_v) * TERM + MULTIPLY)
}

/// [`linear_attention_quadratic`](crate::attention::linear_attention_quadratic): pairs `j <= i`
/// alone.
#[must_use]
pub fn linear_attention_quadratic(shape: AttentionShape) -> OperationCount {
    let [n, d_phi, d_v] = shape.sizes();
    triangle(n) * ((d_phi + d_v) * TERM + ADD) + n * d_v * DIVIDE
}

/// [`linear_attention_recurrent`](crate::attention::linear_attention_recurrent): `S` and `z`
/// updated, both read.
#[must_use]
pub fn linear_attention_recurrent(shape: AttentionShape) -> OperationCount {
    let [n, d_phi, d_v] = shape.sizes();
    n * (d_phi * ADD + d_phi * (2 * d_v + 1) * TERM + d_v * DIVIDE)
}

/// [`linear_attention_ssm`](crate::attention::linear_attention_ssm): a model of one state, four
/// terms a step, for each of `d_phi (d_v + 1)` inputs, each a product; both read for each output.
#[must_use]
pub fn linear_attention_ssm(shape: AttentionShape) -> OperationCount {
    let [n, d_phi, d_v] = shape.sizes();
    let model = MULTIPLY + Structure::Dense(1).step();
    n * (d_phi * (d_v + 1) * model + 2 * d_phi * d_v * TERM + d_v * DIVIDE)
}

/// One channel of [`hyena`](crate::attention::hyena::recursive_with): for every step a convolution
/// with a kernel as long as the signal, the feedthrough, the gate.
///
/// # Errors
///
/// As [`Convolution::operations`].
pub fn hyena(order: usize, convolution: Convolution, n: usize) -> Result<OperationCount, Error> {
    let filter = convolution.operations(n)? + n as u64 * TERM;
    Ok(order as u64 * (filter + n as u64 * MULTIPLY))
}

/// One channel's [`matrix`](crate::attention::hyena::matrix): for every factor two products of
/// dense matrices. It is for understanding, not for computing.
#[must_use]
pub fn hyena_matrix(order: usize, n: usize) -> OperationCount {
    let n = n as u64;
    order as u64 * (n * ADD + 2 * n * n * n * TERM)
}
