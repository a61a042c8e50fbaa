#![cfg_attr(not(doctest), doc = include_str!("../../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../../chapters.md"))]
#![doc = include_str!("../../../docs/02-certified-digits.md")]

pub(super) mod bound;
mod constants;
mod decide;
mod disc;
pub(super) mod eft;
mod elementary;
mod expansion;
#[cfg(feature = "internals")]
pub mod internals;
mod interval;
mod logarithm;
mod phi;
mod reduction;
mod sums;
mod traits;
mod trigonometric;

pub use disc::{Disc, DiscN};
pub use interval::{Ball, BallN};
