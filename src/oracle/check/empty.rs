//! Places of an axis at which a port has nothing but zeros.
//!
//! A sum that rounds is almost never zero, let alone a whole row of them. So zeros are seen where the tolerance is
//! wider than the stage: a token that was lost, a head that was never written. What is near the end of the stored type's
//! numbers may underflow to zero in a right port, and does not count.

use super::super::stage::Axis;
use super::evidence::LARGE;
use super::judged::{AT_THE_END, Judged};

/// A place counts if so many of its elements should be something else than zero.
const LEAST: usize = 3;

/// The first place of an axis at which the stage is zero but for less than one rounding, though the right numbers there
/// are of a size that matters in the stage (root mean square).
pub(super) fn empty_place(stage: &Judged<'_>) -> Option<(Axis, usize)> {
    let (golden, found) = (stage.golden.data(), stage.candidate.data());
    let sizes = stage.spec.axes.iter().map(|&(_, len)| len);
    if golden.is_empty() || sizes.product::<usize>() != golden.len() {
        return None;
    }
    let mean_square = golden.iter().map(|x| x * x).sum::<f64>() / golden.len() as f64;
    let told = AT_THE_END * stage.smallest;
    let mut stride = golden.len();
    for &(axis, len) in &stage.spec.axes {
        stride /= len;
        let mut places = vec![Place::default(); len];
        for (at, (right, found)) in golden.iter().zip(found).enumerate() {
            let place = &mut places[at / stride % len];
            place.right += right * right;
            place.found += found * found;
            place.others += usize::from(right.abs() > told);
        }
        let elements = (golden.len() / len) as f64;
        let mut places = places.iter();
        let is_empty = |place: &Place| {
            place.others >= LEAST
                && place.right >= LARGE * LARGE * mean_square * elements
                && place.found <= stage.unit * stage.unit * place.right
        };
        if let Some(at) = places.position(is_empty) {
            return Some((axis, at));
        }
    }
    None
}

/// A stage at one place of an axis: sums of squares, and how many of the right numbers no type rounds to zero.
#[derive(Clone, Copy, Default)]
struct Place {
    right: f64,
    found: f64,
    others: usize,
}
