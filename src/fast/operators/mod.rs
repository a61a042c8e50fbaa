//! Operators without a layer around them, made of the layer's filters (chapter 22).

mod h3;
mod striped;

pub use h3::{H3Kernels, H3Operator};
pub use striped::{StripedFilter, StripedOperator, StripedParameters, StripedState};
