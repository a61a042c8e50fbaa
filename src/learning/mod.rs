#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/24-learning.md")]

mod curve;
mod plot;
mod report;
mod run;
mod score;
mod sequences;
mod settings;
mod tasks;

pub use curve::{Curve, Epoch, Measure};
pub use plot::{plot, write_plot};
pub use report::{json, table};
pub use run::{Run, Saved};
pub use sequences::Sequences;
pub use settings::{Data, MixerChoice, Settings, Task};
