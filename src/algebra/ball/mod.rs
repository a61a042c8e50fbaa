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
mod interval;
mod logarithm;
mod phi;
mod reduction;
mod sums;
mod traits;
mod trigonometric;

pub use disc::{Disc, DiscN};
pub use interval::{Ball, BallN};

#[cfg(test)]
#[path = "../../../tests/common"]
mod common {
    pub(crate) mod exact;
    pub(crate) mod functions;
}

#[cfg(test)]
mod internals;
