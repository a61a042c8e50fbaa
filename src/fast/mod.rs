#![doc = include_str!("../../docs/10-fast-path.md")]

mod diagonal;
mod lanes;
mod level;
mod panels;
mod threads;

pub use diagonal::{DiagonalParameters, DiagonalSsm, DiagonalState};
pub use lanes::{Element, Lanes};
pub use level::Level;
pub use panels::Panels;
pub use threads::Workspace;
