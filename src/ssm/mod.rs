#![doc = include_str!("../../docs/03-state-space-models.md")]

mod convolution;
mod dense;
mod diagonal;
mod discretization;
mod recurrence;
mod sample;
mod scan;
mod shift;
mod state_space;
mod toeplitz;

pub use convolution::{causal_convolution, convolution};
pub use dense::Dense;
pub use diagonal::{Diagonal, DiagonalPower};
pub use discretization::{Discretization, bilinear, zero_order_hold};
pub use recurrence::{Stream, recurrence};
pub use scan::scan;
pub use shift::{Shift, ShiftPower};
pub use state_space::{Response, StateSpace, Transition};
pub use toeplitz::{toeplitz, toeplitz_matrix};

pub(crate) use convolution::finish_convolution;
pub(crate) use state_space::{add_states, initial_state};
