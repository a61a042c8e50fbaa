//! SSD, the operator of Mamba-2.

mod form;
mod ssd;

pub(crate) use form::respond_in;
pub(crate) use ssd::{
    Back, GroupOf, Place, Respond, Ssd, by_recurrence, clear_padding, group_of, skip, skip_gradient,
};
