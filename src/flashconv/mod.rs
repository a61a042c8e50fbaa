#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/06-flashconv.md")]

mod adjoint;
mod chunks;
mod conventions;
mod fused;
mod state_passing;
mod varying;

pub use adjoint::{flashconv_adjoint, flashconv_adjoint_from};
pub use chunks::Chunking;
pub use conventions::{Convention, MatrixSet};
pub use fused::ChunkConvolution;
pub use state_passing::{chunk_states, flashconv};
pub use varying::pass_varying_states;

pub(crate) use adjoint::flashconv_adjoint_packed;
pub(crate) use fused::block_factors;
pub(crate) use state_passing::{
    Blocks, delayed, early_rows, flashconv_packed, pass_states, pass_states_packed,
};
pub(crate) use varying::{VaryingBlocks, pass_varying_states_by};
