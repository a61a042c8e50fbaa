//! The Fourier transforms: exact over the field of 2^61 - 1, bounded over floats.

mod accuracy;
mod block;
mod convolution;
mod double_double;
mod real;
mod roots;
mod support;
mod transforms;
