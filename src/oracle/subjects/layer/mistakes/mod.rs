//! The catalogue of a layer's mistakes: one row each, in words and by its hooks in the reference.

mod backward;
mod diagonal;
mod fft;
mod shift;
mod state;
mod wiring;

use super::hooks::LayerHook;
use crate::algebra::FloatFormat;
use crate::oracle::mistake::Row;

/// The mistakes of the forward pass, in the order of the catalogue.
pub(crate) fn forward_mistakes() -> Vec<&'static Row<LayerHook>> {
    let groups = [
        fft::ROWS,
        shift::ROWS,
        wiring::ROWS,
        diagonal::ROWS,
        state::ROWS,
    ];
    groups.into_iter().flatten().collect()
}

/// The mistakes on the way back, in the order of the catalogue.
pub(super) fn backward_mistakes() -> Vec<&'static Row<LayerHook>> {
    backward::ROWS.iter().collect()
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
