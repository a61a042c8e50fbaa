//! Computations as data: operators whose stages, error scales, gradients and mistakes are written
//! once, for every kind.

mod backward;
mod document_mistakes;
mod filters;
mod forward;
mod functions;
mod hooks;
mod inputs;
mod numbers;
mod ops;
mod subject;
mod wrong;

pub(crate) use document_mistakes::{
    cotangents_leak_in_filters, documents_end_early, documents_end_late, documents_leak,
    short_filter_leaks,
};
pub(crate) use filters::{ByForm, Filters, taps_model};
pub(crate) use functions::Source;
pub(crate) use hooks::{GraphHook, Moment};
pub(crate) use inputs::Inputs;
pub(crate) use numbers::Numbers;
pub(crate) use ops::{Convolve, Function, Graph, Id, Modes, Op};
pub(crate) use subject::{GraphCase, Operator};
pub(crate) use wrong::{
    circular, circular_back, convolved_back, fill, from_the_beginning, late, one_document,
    one_token_early, one_token_late, reverse_rows, to_the_end, without_present, wrapped,
};
