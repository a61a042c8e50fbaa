//! Operators without a layer around them, of the filters that a layer is made of (chapter 22).

mod h3;
mod striped;

pub use h3::{H3Kernels, H3Operator};
pub use striped::{StripedFilter, StripedOperator, StripedParameters, StripedState};
