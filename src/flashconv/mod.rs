#![doc = include_str!("../../docs/06-flashconv.md")]

mod chunks;
mod conventions;
mod fused;
mod state_passing;

pub use chunks::Chunking;
pub use conventions::{Convention, MatrixSet};
pub use fused::ChunkConvolution;
pub use state_passing::{chunk_states, flashconv};

pub(crate) use fused::block_factors;
