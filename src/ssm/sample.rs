//! Random models for verification, bounded over floats and uniform over the prime field.

use super::dense::Dense;
use super::diagonal::Diagonal;
use super::shift::Shift;
use crate::algebra::{Matrix, Rng, Sample};
use crate::into_vec::IntoVec as _;

fn vector<T: Sample>(m: usize, rng: &mut Rng) -> Vec<T> {
    (0..m).map(|_| T::sample(rng)).into_vec()
}

impl<T: Sample> Dense<T> {
    /// A random model of state dimension `m`.
    pub fn sample(m: usize, rng: &mut Rng) -> Self {
        let a = Matrix::from_fn(m, m, |_, _| T::sample_dense_entry(m, rng));
        Self::from_parts(a, vector(m, rng), vector(m, rng), T::sample(rng))
    }
}

impl<T: Sample> Diagonal<T> {
    /// A random model with `m` stored complex modes.
    pub fn sample(m: usize, rng: &mut Rng) -> Self {
        let a = (0..m).map(|_| T::sample_pole(rng)).into_vec();
        let b = (0..m).map(|_| T::sample_complex(rng)).into_vec();
        let c = (0..m).map(|_| T::sample_complex(rng)).into_vec();
        Self::from_parts(a, b, c, T::sample(rng))
    }
}

impl<T: Sample> Shift<T> {
    /// A random model with a window of `m`, its input taps random too.
    pub fn sample(m: usize, rng: &mut Rng) -> Self {
        Self::from_parts(vector(m, rng), vector(m, rng), T::sample(rng))
    }
}
