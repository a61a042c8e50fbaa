//! The fast path computes the functions of the reference, at every level this machine has.

#[path = "../common/mod.rs"]
mod common;
mod convolution;
mod cut;
mod decoding;
mod diagonal;
mod gradients;
mod layer;
mod model;
#[path = "../oracle/model/support.rs"]
#[expect(
    dead_code,
    reason = "the tests of the model compile this module too, and use the rest of it"
)]
mod models;
mod projection;
mod shift;
mod small;
mod support;
