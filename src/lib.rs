//! map

pub mod algebra;
mod error;
pub mod fourier;
pub mod safetensors;

pub use error::Error;
