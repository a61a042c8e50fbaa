//! The code that is specific to each kind of subject.

pub(crate) mod convolution;
pub(crate) mod dense;
pub(crate) mod graph;
pub(crate) mod h3_operator;
pub(crate) mod hyena;
pub(crate) mod layer;
pub(crate) mod mamba2;
pub(crate) mod model;
mod round_to_16_bits;
pub(crate) mod ssd;
pub(crate) mod striped_hyena;
pub(crate) mod training;
mod worst_response;
mod wrong_convolution;
mod wrong_model;
