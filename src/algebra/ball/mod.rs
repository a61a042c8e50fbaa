#![doc = include_str!("../../../docs/02-certified-digits.md")]

mod bound;
mod constants;
mod decide;
mod disc;
mod eft;
mod elementary;
mod expansion;
mod interval;
mod logarithm;
mod phi;
mod reduction;
mod traits;
mod trigonometric;

pub use disc::{Disc, DiscN};
pub use interval::{Ball, BallN};
