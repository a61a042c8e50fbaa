//! The fast path computes the functions of the reference, at every level this machine has.

mod convolution;
mod cut;
mod diagonal;
mod gradients;
mod layer;
mod projection;
mod shift;
mod small;
mod support;
