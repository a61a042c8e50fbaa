//! The reference against the official code, and what the oracle says of ports, right and wrong; the
//! files it reads and writes.

mod analysis;
#[path = "../common/mod.rs"]
mod common;
mod errors;
mod float_formats;
mod interop;
mod mamba;
mod model;
mod model_case;
mod mutants;
mod operators;
mod pieces;
mod precision_seen;
mod reruns;
mod safetensors;
mod sampled_heads;
mod scales;
mod served;
mod verdicts;
