#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/03-state-space-models.md")]

mod adjoint;
mod adjoint_dense;
mod adjoint_diagonal;
mod adjoint_discretization;
mod adjoint_scan;
mod adjoint_shift;
mod convolution;
mod dense;
mod diagonal;
mod discretization;
mod documents;
pub mod hippo;
mod packed;
mod prefixes;
mod recurrence;
mod sample;
mod scan;
mod shift;
mod state_space;
mod toeplitz;
mod varying;

use crate::internals::internals;

pub use adjoint::{Adjoint, Gradients, recurrence_adjoint};
pub use convolution::{causal_convolution, convolution};
pub use dense::Dense;
pub use diagonal::{Diagonal, DiagonalPower};
pub use discretization::{Discretization, bilinear, zero_order_hold};
pub use documents::{Documents, Padding};
pub use recurrence::{Stream, recurrence};
pub use scan::scan;
pub use shift::{Shift, ShiftPower};
pub use state_space::{Response, StateSpace, Transition};
pub use toeplitz::{toeplitz, toeplitz_matrix};
pub use varying::{
    Varying, VaryingGradients, VaryingResponse, VaryingStream, varying_quadratic,
    varying_recurrence, varying_recurrence_adjoint, varying_scan,
};

// The adjoints' pieces.
internals!(adjoint::causal_convolution_adjoint);
internals!(adjoint_scan::scan_adjoint);
internals!(packed::{PackedGradients, PackedResponse});
internals!(adjoint_discretization::{ModeGradient, bilinear_adjoint, zero_order_hold_adjoint});

pub(crate) use adjoint::{check_cotangents, convolution_adjoint_with, recurrence_adjoint_with};
pub(crate) use adjoint_scan::scan_adjoint_packed;
pub(crate) use convolution::finish_convolution;
pub(crate) use documents::moved;
pub(crate) use packed::{check_packed_cotangents, check_states, each_document, each_document_back};
pub(crate) use scan::scan_packed;
pub(crate) use state_space::{add_states, initial_state};
pub(crate) use toeplitz::toeplitz_of_documents;
