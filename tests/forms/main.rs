//! What a user comes for: recurrence = convolution = FlashConv, and every other equality of forms,
//! with `==` over a prime field; the transforms beneath them, their gradients, and the laws and origins
//! of what they compute.

mod attention;
#[path = "../common/mod.rs"]
mod common;
mod discretization;
mod documents;
mod dual;
mod fourier;
mod gradients;
mod laws;
mod layer_forms;
mod layer_pieces;
mod m_xy;
mod model_pieces;
mod origins;
mod parts;
mod s4d;
mod ssm_forms;
mod teeth;
mod varying;
