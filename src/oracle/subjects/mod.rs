//! What is particular to each kind of subject.

pub(crate) mod dense;
pub(crate) mod layer;
pub(crate) mod mamba2;
pub(crate) mod model;
mod round_to_16_bits;
pub(crate) mod ssd;
mod worst_response;
mod wrong_convolution;
mod wrong_model;
