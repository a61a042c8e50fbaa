#![cfg_attr(not(doctest), doc = include_str!("../../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../../chapters.md"))]
#![doc = include_str!("../../../docs/15-hyena.md")]

mod filter;
mod implicit;
mod layer;
mod operator;

pub use filter::{Filter, ShortFilter};
pub use implicit::{DecayWindow, ImplicitFilter, positional_features};
pub use layer::HyenaLayer;
pub use operator::{Step, matrix, recursive, recursive_with};
