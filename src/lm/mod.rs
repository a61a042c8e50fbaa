//! A language model of a case file, run unmodified: every stage, its perplexity on a text, generated tokens,
//! and the time one more token takes.
//!
//! The functions are not generic: a program that calls them compiles no model. Models in scalars of one's own are
//! in [`model`](crate::model) and [`fast`](crate::fast).

mod backend;
mod generate;
mod perplexity;
mod stages;
mod timing;

use crate::internals::internals;

pub use backend::Backend;
pub use generate::{Generated, Generation, generate};
pub use perplexity::perplexity;
pub use stages::{fast_logits, stages};
pub use timing::{StepTimes, step_times};

internals!(timing::median);
