#![doc = include_str!("../../docs/10-fast-path.md")]

mod attend;
mod blocks;
mod convolution;
mod diagonal;
mod elementwise;
mod lanes;
mod layer;
mod level;
mod model;
mod panels;
mod projection;
mod rows;
mod shift;
mod threads;
mod transform;

pub use convolution::LongConvolution;
pub use diagonal::{DiagonalParameters, DiagonalSsm, DiagonalState, Plan};
pub use lanes::{Element, Lanes};
pub use layer::{FastLayer, FastState};
pub use level::Level;
pub use model::{FastModel, FastModelState, ModelWorkspace};
pub use panels::Panels;
pub use projection::Projection;
pub use rows::Functions;
pub use shift::{ShiftParameters, ShiftSsm, ShiftState};
pub use threads::Workspace;
