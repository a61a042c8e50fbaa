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

pub use continuous::Continuous;
pub use fout::{fout, fout_integers, fout_weight};
pub use lagt::{lagt, laguerre};
pub use legendre::{legendre, legendre_of_affine};
pub use legs::{LegsHistory, legs, legs_extension, legs_integers};
pub use legt::{legt, legt_integers, legt_window, lmu};
pub use measure::Measure;
pub use s4d::Diagonalized;
pub use split::{NormalPlusLowRank, low_rank};
