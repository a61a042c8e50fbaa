#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/04-fourier.md")]

#[cfg(feature = "internals")]
pub mod adjoint;
#[cfg(not(feature = "internals"))]
pub(crate) mod adjoint;
pub mod block;
pub mod convolution;
pub mod dft;
pub mod fft;
pub mod real;
mod twiddles;
