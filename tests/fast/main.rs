//! The fast path computes the functions of the reference, at every level this machine has.

mod diagonal;
mod layer;
mod projection;
mod shift;
mod support;
