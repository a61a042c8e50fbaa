//! Every kernel at every level once, in sizes an interpreter gets through: what Miri is run on.

use crate::{convolution, diagonal, gradients, layer, projection, shift};
use hungry_hippos::fast::{Element, Level};

/// Sizes that are no whole vectors, no whole blocks and no single part.
fn once<T: Element>(level: Level) {
    projection::check::<T>(level, 3, 5, 7, 1);
    shift::check::<T>(level, (1, 2, 5, 11), 2);
    // A window long enough to go through a transform is measured elsewhere; so are long sequences.
    diagonal::Trial::<T>::new(2, 3, 2, 18, 3).check(level);
    for (taps, steps) in [(9, 9), (3, 40)] {
        let prepared = convolution::Prepared { steps, taps };
        convolution::check::<T>(level, (1, 2, taps, steps), prepared, 4);
    }
    let (p, u, state) = layer::trial(layer::config(2, 2, 4), 1, 9, 6);
    layer::check::<T>(level, &p, &u, &state, &[4, 5]);
    let t = gradients::sample(layer::config(2, 2, 4), 1, 9, 7);
    gradients::check::<T>(level, &t, &gradients::expected(&t));
}

#[test]
fn every_kernel_in_f64() {
    Level::all().into_iter().for_each(once::<f64>);
}

#[test]
fn every_kernel_in_f32() {
    Level::all().into_iter().for_each(once::<f32>);
}
