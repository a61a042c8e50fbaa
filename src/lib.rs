//! map

pub mod algebra;
mod error;
pub use error::Error;
