//! Computations as data: operators whose stages, error scales, gradients and mistakes are written
//! once, for every kind.

mod backward;
mod filters;
mod forward;
mod hooks;
mod inputs;
mod numbers;
mod ops;
mod subject;
mod wrong;

pub(crate) use hooks::{GraphHook, Moment};
pub(crate) use inputs::{Inputs, sizes};
pub(crate) use numbers::Numbers;
pub(crate) use ops::{Convolve, Graph, Id, Modes, Op};
pub(crate) use subject::GraphCase;
pub(crate) use wrong::{
    circular, circular_back, convolved_back, fill, late, reverse_rows, without_present, wrapped,
};
