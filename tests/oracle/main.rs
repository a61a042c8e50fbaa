//! The reference against the official code, and what the oracle says of ports, right and wrong; the
//! files it reads and writes.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod float_formats;
mod interop;
mod mamba;
mod model;
mod mutants;
mod operators;
mod precision_seen;
mod reruns;
mod safetensors;
mod sampled_heads;
mod scales;
mod served;
mod verdicts;
