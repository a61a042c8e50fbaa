//! What is particular to each kind of subject.

pub(crate) mod dense;
pub(crate) mod layer;
pub(crate) mod model;
mod random;
mod worst_response;
mod wrong_convolution;
mod wrong_model;
