#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod gradients;

pub use case::{Case, FORMAT, named_stages};
