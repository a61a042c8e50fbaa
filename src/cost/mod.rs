#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/16-cost.md")]

mod attention;
mod convolution;
mod layer;
mod model;
mod operators;
mod structure;
mod varying;

pub use attention::{
    AttentionShape, hyena, hyena_matrix, linear_attention_quadratic, linear_attention_recurrent,
    linear_attention_ssm, masked_attention, softmax_attention,
};
pub use convolution::Convolution;
pub use layer::h3_layer;
pub use model::model;
pub use operators::{gated_convolution, h3_operator, striped};
pub use structure::Structure;
pub use varying::{SsdShape, ssd};

use crate::algebra::OperationCount;

/// A multiplication with an addition: a term of a dot product, which begins with zero.
const TERM: OperationCount = OperationCount::new(1, 1);
const MULTIPLY: OperationCount = OperationCount::MULTIPLICATION;
const ADD: OperationCount = OperationCount::ADDITION;
const DIVIDE: OperationCount = OperationCount::DIVISION;
const FUNCTION: OperationCount = OperationCount::FUNCTION;
/// A product and a sum of complex numbers, and a complex number times a real one.
const COMPLEX_PRODUCT: OperationCount = OperationCount::new(4, 2);
const COMPLEX_SUM: OperationCount = OperationCount::new(0, 2);
const SCALE: OperationCount = OperationCount::new(2, 0);

/// `1 + 2 + ... + n`: the pairs `j <= i`.
fn triangle(n: u64) -> u64 {
    n * (n + 1) / 2
}
