//! The language model: against the official one, its forms against each other, the fast path,
//! sampling, golden cases and the command line.

#[path = "../common/mod.rs"]
mod common;
mod official;
mod support;
