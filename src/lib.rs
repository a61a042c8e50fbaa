//! map

pub mod algebra;
mod error;
pub mod fourier;
pub use error::Error;
