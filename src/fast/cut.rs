//! The models of a layer whose kernels end at `l_max`.

use super::convolution::LongConvolution;
use super::diagonal::DiagonalSsm;
use super::lanes::{Element, Vector};
use super::level::Level;
use super::shift::ShiftSsm;
use super::transform::{Gated, Pair};
use super::workspace::Workspace;
use crate::error::Error;

/// The models with their kernels truncated to a window: outputs from the zero state, and no state of their own,
/// since none of finite size gives a diagonal model a finite window.
#[derive(Clone, Debug)]
pub(super) struct Cut<T: Element> {
    /// If the window is shorter than the filters.
    shift: Option<ShiftSsm<T>>,
    diagonal: LongConvolution<T>,
}

impl<T: Element> Cut<T> {
    /// The models of a layer, cut to `window` taps.
    pub(super) fn new(
        level: Level,
        shift: &ShiftSsm<T>,
        diagonal: &DiagonalSsm<T>,
        window: usize,
    ) -> Result<Self, Error> {
        let workspace = &mut Workspace::new(1);
        let kernels = diagonal.impulse_response(window, workspace)?;
        let models = diagonal.models();
        let mut convolution = LongConvolution::with_taps(level, models, usize::MAX, window);
        convolution.set_kernels(&kernels, workspace)?;
        let cut = (window < shift.taps()).then(|| shift.cut(window));
        Ok(Self {
            shift: cut.transpose()?,
            diagonal: convolution,
        })
    }

    /// A group of shift models: `y`, if the window truncates their kernels.
    pub(super) fn shift(
        &self,
        group: usize,
        u: &[T::Lanes],
        y: &mut [T::Lanes],
        (state, window): (&mut Vec<T::Lanes>, &mut Vec<T::Lanes>),
    ) {
        if let Some(shift) = &self.shift {
            state.clear();
            state.resize(shift.taps(), T::Lanes::ZERO);
            shift.run_group(group, u, state, y, window);
        }
    }

    /// A group of diagonal models.
    pub(super) fn diagonal(
        &self,
        group: usize,
        u: &[T::Lanes],
        y: &mut [T::Lanes],
        (points, tail): (&mut Vec<Pair<T::Lanes>>, &mut Vec<T::Lanes>),
    ) {
        let u = Gated {
            signal: u,
            gate: None,
        };
        self.diagonal.run_group(group, u, (y, None), points, tail);
    }
}
