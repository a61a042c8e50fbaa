//! The claims of the crate, tested on random models:
//!
//! - every form against every other, exactly over the prime field, and within derived bounds in floats;
//! - forms that only add and multiply, bit for bit, on layers in which nothing rounds;
//! - documents, padded rows and schedules against each sequence alone;
//! - operators of the Hyena family, exactly, in every form;
//! - the fast path against certified values;
//! - the four sets of FlashConv's matrices, each against the recurrence that it is meant to compute.
//!
//! Each function returns counts and deviations as plain data; `hippos verify` prints them. The same seed gives
//! the same trials on every machine.

mod exact;
mod fast_layer;
mod fast_path;
mod forms;
mod matrix_sets;
mod models;
mod operators;
mod served;
mod trials;

use crate::internals::internals;

pub use exact::{ExactFormat, ExactReport, exact};
pub use fast_layer::fast_stages;
pub use fast_path::{FastPathReport, LevelReport, TypeReport, fast_path};
pub use forms::{FormPair, FormsReport, forms};
pub use matrix_sets::{ChunkCount, MatrixSetReport, matrix_sets};
pub use operators::{OperatorReport, operators};
pub use served::{ServedReport, served};

internals!(forms::pairs_of);
