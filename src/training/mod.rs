//! Training as the official code trains: AdamW over groups of parameters, on the gradients of a
//! language model.
//!
//! A training step is a computation like any other: from parameters, moments, tokens and targets to
//! the loss, every gradient, and parameters and moments after it. With `g` the gradient of one number
//! `p` at step k = 1, 2, ..., `lr` its group's rate at that step, `wd` its weight decay:
//!
//! ```text
//! g <- g min(1, c / (norm + 1e-6))            norm over all parameters; where a limit c is given
//! p <- p (1 - lr wd)
//! m <- b1 m + (1 - b1) g
//! v <- b2 v + (1 - b2) g^2
//! p <- p - lr (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
//! ```
//!
//! (`torch.optim.AdamW`, `torch.nn.utils.clip_grad_norm_`; Loshchilov and Hutter 2019.) Which group a
//! parameter is in, and what weight decay does to an SSM, is told at [`official_groups`]; how the rate
//! moves, at [`Schedule`].
//!
//! The quotient of the last line does not see how large gradients are: of a gradient that is rounding
//! noise it is as large as of any other. So the biases of keys, whose gradient is zero in exact arithmetic
//! ([`ModelGradients`](crate::model::ModelGradients)), are moved by noise wherever their gradient is summed
//! up: by up to 1e-11 in three steps in f64, in f32 by a twentieth of what the rate allows. Here they are
//! moved by their weight decay alone.
//!
//! Numbers that are near 1 subtracted from it, `1 - b` and `1 - b^k`, are computed without cancellation,
//! so that f32 has them as exactly as the official code, which computes them in f64.

mod adamw;
mod groups;
mod schedule;
mod step;

pub use adamw::{AdamW, TrainingState, Update};
pub(crate) use adamw::{
    AsOfficial, Element, OptimizerHooks, StepNumbers, UpdateStage, adamw_moments, adamw_value,
    check_clip, clip_factor, global_norm,
};
pub use groups::{OptimizerOptions, ParameterGroup, official_groups};
pub(crate) use groups::{check_groups, is_marked};
pub use schedule::Schedule;
pub use step::TrainingStep;
