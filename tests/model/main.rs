//! The language model: against the official one, its forms against each other, the fast path,
//! the names of older checkpoints, sampling, the commands.

mod certified;
mod commands;
#[path = "../common/mod.rs"]
mod common;
mod fast;
mod golden;
mod initial;
mod likelihood;
mod mistakes;
mod names;
mod official;
mod plain;
mod refusals;
mod sampling;
mod sizes;
mod states;
mod support;
mod tolerance;
