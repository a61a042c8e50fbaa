//! Every kernel at every level once, in sizes an interpreter gets through: what Miri is run on.
//! Sizes that are no whole vectors, no whole blocks and no single part.

use crate::{convolution, diagonal, gradients, layer, projection, shift};
use hungry_hippos::fast::{Element, Level};

fn one_projection<T: Element>(level: Level) {
    projection::check::<T>(level, 3, 5, 7, 1);
}

fn one_shift<T: Element>(level: Level) {
    shift::check::<T>(level, (1, 2, 5, 11), 2);
}

fn one_diagonal<T: Element>(level: Level) {
    diagonal::Trial::<T>::new(1, 3, 2, 18, 3).check(level);
}

fn one_convolution<T: Element>(level: Level) {
    let prepared = convolution::Prepared::whole(9);
    convolution::check::<T>(level, (1, 2, 9, 9), prepared, 4);
}

fn one_layer<T: Element>(level: Level) {
    let (p, u, state) = layer::trial(layer::config(2, 2, 4), 1, 9, 6);
    layer::check::<T>(level, &p, &u, &state, &[4, 5]);
}

fn one_gradient<T: Element>(level: Level) {
    let t = gradients::sample(layer::config(2, 1, 4), 1, 5, 7);
    gradients::check::<T>(level, &t, &gradients::expected(&t));
}

macro_rules! at_every_level {
    ($($test:ident: $once:ident,)*) => {$(
        #[test]
        fn $test() {
            for level in Level::all() {
                $once::<f32>(level);
                $once::<f64>(level);
            }
        }
    )*};
}

at_every_level! {
    projections: one_projection,
    shifts: one_shift,
    diagonals: one_diagonal,
    convolutions: one_convolution,
    layers: one_layer,
    backwards: one_gradient,
}
