#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
pub mod mutants;

pub use case::{Case, FORMAT, named_stages};
