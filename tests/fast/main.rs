//! The fast path computes the functions of the reference, at every level this machine has.

#[path = "../common/mod.rs"]
mod common;
mod convolution;
mod cut;
mod decoding;
mod diagonal;
mod documents;
mod gradients;
mod kernels;
mod layer;
mod learning;
mod model;
#[path = "../oracle/model/support.rs"]
#[allow(dead_code, reason = "a part of it is what the oracle's tests call")]
mod models;
mod operators;
mod projection;
mod schedules;
mod shift;
mod small;
mod ssd;
mod support;
mod tasks;
mod threads;
mod timing;
mod training;
mod weights;
