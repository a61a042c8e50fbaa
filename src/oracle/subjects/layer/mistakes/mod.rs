//! The catalogue of a layer's mistakes: one row each, in words and by its hooks in the reference.

mod backward;
mod diagonal;
mod documents;
mod fft;
mod given;
mod handover;
mod padding;
mod saved;
mod shift;
mod state;
mod wiring;

use super::hooks::LayerHook;
use crate::algebra::FloatFormat;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Row;
use crate::ssm::{StateSpace, add_states};
use crate::tensor::Tensor;
use std::sync::LazyLock;

/// The mistakes of the forward pass, in the order of the catalogue.
pub(crate) fn forward_mistakes() -> Vec<&'static Row<LayerHook>> {
    FORWARD.clone()
}

/// The same, put in order once: every run with a mistake asks for them.
static FORWARD: LazyLock<Vec<&'static Row<LayerHook>>> = LazyLock::new(|| {
    let groups = [
        fft::ROWS,
        shift::ROWS,
        wiring::ROWS,
        diagonal::ROWS,
        state::ROWS,
        given::ROWS,
        saved::ROWS,
        padding::ROWS,
        handover::ROWS,
        documents::ROWS,
    ];
    let mut rows: Vec<_> = groups.into_iter().flatten().into_vec();
    rows.sort_by_key(|row| row.mistake.place());
    rows
});

/// The mistakes of the backward pass, in the order of the catalogue.
pub(super) fn backward_mistakes() -> Vec<&'static Row<LayerHook>> {
    backward::ROWS.iter().into_vec()
}

/// Complex numbers stored as pairs, conjugated.
fn conjugate(pairs: &mut [f64]) {
    pairs
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|im| *im = -*im);
}

/// The bfloat16 nearest to `x`.
fn bf16(x: f64) -> f64 {
    FloatFormat::BF16.round(x)
}

/// The state that inputs leave.
fn left_by<S: StateSpace>(ssm: &S, x0: &[S::Element], u: &[S::Scalar]) -> Vec<S::Element> {
    add_states(&ssm.advance(x0, u.len()), &ssm.input_to_state(u))
}

/// The last entries of a signal, as many as there are in `before` and newest first, and where it is
/// shorter those of `before` behind them.
fn window(signal: &[f64], before: &[f64]) -> Vec<f64> {
    let newest = signal.iter().rev().chain(before);
    newest.take(before.len()).copied().into_vec()
}

/// A tensor with its sequences, along the first axis, each in the place of the one before it.
fn sequences_exchanged<T: Copy>(x: &Tensor<T>) -> Tensor<T> {
    let mut data = x.data().to_vec();
    let each = data.len() / x.shape()[0].max(1);
    data.rotate_left(each);
    Tensor::known(x.shape(), data)
}
