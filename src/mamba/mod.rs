//! SSD and the Mamba-2 layer around it.

mod backward;
mod form;
mod functions;
mod layer;
mod parameters;
mod ssd;

pub(crate) use backward::Mamba2Back;
pub(crate) use form::respond_in;
pub(crate) use functions::{clamp, silu, softplus};
pub(crate) use layer::{Mamba2Evaluate, Mamba2Pass, Mamba2Stage, Mamba2Stages, Mamba2States};
pub(crate) use parameters::{GatedNorm, Mamba2Config, Mamba2Name, Mamba2Parameters};
pub(crate) use ssd::{
    Back, GroupOf, Place, Respond, Ssd, by_recurrence, group_of, skip, skip_gradient,
};
