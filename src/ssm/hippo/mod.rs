#![cfg_attr(not(doctest), doc = include_str!("../../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../../docs/14-hippo.md")]

mod continuous;
mod fout;
mod lagt;
mod legendre;
mod legs;
mod legt;
mod measure;
mod s4d;
mod split;

use crate::internals::internals;

pub use continuous::Continuous;
pub use fout::{fout, fout_integers};
pub use lagt::lagt;
pub use legs::{LegsHistory, legs, legs_extension, legs_integers};
pub use legt::{legt, legt_integers, lmu};
pub use measure::Measure;
pub use s4d::Diagonalized;
pub use split::NormalPlusLowRank;

// The bases that the states are coefficients of.
internals!(fout::fout_weight);
internals!(lagt::laguerre);
internals!(legendre::{legendre, legendre_of_affine});
