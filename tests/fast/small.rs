//! Every kernel at every level once, in sizes an interpreter gets through: what Miri is run on.
//! Sizes that are no whole vectors, no whole blocks and no single part.

use crate::{convolution, diagonal, gradients, layer, projection, shift};
use hungry_hippos::fast::{Element, Level};

fn every_level(once: [fn(Level); 2]) {
    for level in Level::all() {
        once.iter().for_each(|once| once(level));
    }
}

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

#[test]
fn projections() {
    every_level([one_projection::<f32>, one_projection::<f64>]);
}

#[test]
fn shifts() {
    every_level([one_shift::<f32>, one_shift::<f64>]);
}

#[test]
fn diagonals() {
    every_level([one_diagonal::<f32>, one_diagonal::<f64>]);
}

#[test]
fn convolutions() {
    every_level([one_convolution::<f32>, one_convolution::<f64>]);
}

#[test]
fn layers() {
    every_level([one_layer::<f32>, one_layer::<f64>]);
}

#[test]
fn backwards() {
    every_level([one_gradient::<f32>, one_gradient::<f64>]);
}
