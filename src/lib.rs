//! map

pub mod algebra;
pub mod attention;
mod error;
pub mod fast;
pub mod flashconv;
pub mod fourier;
pub mod h3;
pub mod oracle;
pub mod safetensors;
pub mod ssm;
mod tensor;

pub use error::Error;
pub use tensor::Tensor;
