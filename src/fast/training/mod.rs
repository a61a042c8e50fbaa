//! Training in vectorized loops: a model forwards and backwards over whole sequences, and AdamW.
//!
//! A batch is cut into parts by its size alone. Each part runs forwards and backwards on one thread, so
//! that what it keeps is bounded by the part; the gradients of the parts are added in their order.

mod adamw;
mod attended;
mod attention;
mod convolve;
mod dropout;
mod kernels;
mod loss;
mod matrices;
mod mixing;
mod pass;
mod rows;
mod s4d;
mod slots;
mod trainer;

use crate::internals::internals;

pub use dropout::Dropout;
pub use trainer::{StepReport, Trainer};

internals!(dropout::Masks);
internals!(s4d::gelu);
