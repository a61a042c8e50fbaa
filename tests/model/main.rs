//! The language model: against the official one, its forms against each other, the fast path,
//! the names of older checkpoints, sampling, the commands.

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod fast;
mod golden;
mod names;
mod official;
mod refusals;
mod sampling;
mod support;
