//! map

pub mod algebra;
mod error;
pub mod safetensors;
pub use error::Error;
