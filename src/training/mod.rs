//! Training as the official code trains: AdamW over groups of parameters, on the gradients of a
//! language model.
//!
//! A training step maps parameters, moments, tokens and targets to the loss, every gradient, and the
//! parameters and moments after the step. With `g` the gradient of one number `p` at step k = 1, 2, ...,
//! `lr` the rate of its group at that step, and `wd` its weight decay:
//!
//! ```text
//! g <- g min(1, c / (norm + 1e-6))            norm over all parameters; where a limit c is given
//! p <- p (1 - lr wd)
//! m <- b1 m + (1 - b1) g
//! v <- b2 v + (1 - b2) g^2
//! p <- p - lr (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
//! ```
//!
//! (`torch.optim.AdamW`, `torch.nn.utils.clip_grad_norm_`; Loshchilov and Hutter 2019.)
//! [`official_groups`] gives the group of a parameter, and explains the effect of weight decay on an SSM;
//! [`Schedule`] gives the rate at each step.
//!
//! The quotient in the last line does not depend on the scale of a gradient: it is as large for rounding
//! noise as for any other gradient. So the biases of keys, whose gradient is zero in exact arithmetic
//! ([`ModelGradients`](crate::model::ModelGradients)), are moved by noise wherever their gradient is computed by
//! a sum: by up to 1e-11 in three steps in f64, and in f32 by a twentieth of what the rate allows. Here they are
//! moved by their weight decay alone.
//!
//! The differences `1 - b` and `1 - b^k` of numbers near 1 are computed without cancellation,
//! so that f32 has them as exactly as the official code, which computes them in f64.

mod adamw;
mod groups;
mod schedule;
mod step;

use crate::internals::internals;

pub use adamw::{AdamW, TrainingState, Update};
pub(crate) use adamw::{
    AsOfficial, Element, OptimizerHooks, StepNumbers, UpdateStage, adamw_moments, adamw_value,
    check_clip, global_norm,
};
pub use groups::{OptimizerOptions, ParameterGroup, official_groups};
pub(crate) use groups::{check_groups, is_marked};
pub use schedule::Schedule;
pub use step::TrainingStep;

internals!(adamw::{clip_factor, complement, correction});
