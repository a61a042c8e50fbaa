#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/10-fast-path.md")]

mod attend;
mod blocks;
mod convolution;
mod cut;
mod decoding;
mod diagonal;
mod diagonal_adjoint;
mod diagonal_outputs;
mod elementwise;
mod experience;
mod few_rows;
mod heads_adjoint;
mod lanes;
mod layer;
mod layer_adjoint;
mod layer_parameters;
mod layer_state;
mod level;
mod model;
mod operators;
mod panels;
mod pieces;
mod projection;
mod projection_adjoint;
mod rows;
mod scratch;
mod share;
mod shift;
mod shift_adjoint;
mod ssd;
mod state_layout;
mod tile;
mod training;
mod transform;
mod weight_format;
mod weights;
mod workspace;

use crate::internals::internals;

pub use lanes::{Element, Lanes};
pub use layer::FastLayer;
pub use layer_adjoint::{FastAdjoint, FastGradientSums, FastLayerGradients};
pub use layer_state::{FastState, SavedStates};
pub use level::Level;
pub use model::{FastModel, FastModelState, ModelWorkspace};
pub use rows::ModelElement;
pub use training::{Dropout, StepReport, Trainer};
pub use weight_format::WeightFormat;
pub use workspace::Workspace;

// The kernels one by one.
internals!(convolution::LongConvolution);
internals!(diagonal::{DiagonalParameters, DiagonalSsm, DiagonalState, Plan});
internals!(diagonal_outputs::DiagonalOutputs);
internals!(experience::{Experience, TRIALS});
internals!(lanes::Vector);
internals!(operators::{H3Kernels, H3Operator, StripedFilter, StripedOperator, StripedParameters, StripedState});
internals!(panels::Panels);
internals!(projection::Projection);
internals!(shift::{ShiftParameters, ShiftSsm, ShiftState});
internals!(ssd::{Ssd, SsdInputs, SsdState});
internals!(training::{Masks, gelu});
