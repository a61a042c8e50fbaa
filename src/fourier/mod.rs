#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/04-fourier.md")]

pub mod adjoint;
pub mod block;
pub mod convolution;
pub mod dft;
pub mod fft;
pub mod real;
mod twiddles;
