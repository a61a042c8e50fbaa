//! Random layers, inputs and states for verification.

use super::config::HeadOrder;
use super::layer::{Layer, LayerParts, LayerState};
use crate::algebra::{Linear, Matrix, Rng, Sample};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, Shift};
use crate::tensor::Tensor;

/// The sizes of a random layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// H, the number of heads.
    pub n_heads: usize,
    /// `d_h`, channels a head; `d_model = n_heads * head_dim`.
    pub head_dim: usize,
    /// m, taps of every shift model; diagonal models have `m / 2` modes.
    pub d_state: usize,
    /// Kernels are cut to this length.
    pub l_max: Option<usize>,
    /// The order of channels between the heads and the output projection.
    pub head_order: HeadOrder,
}

impl<T: Sample> Layer<T> {
    /// A random layer of these sizes: uniform over the prime field, bounded over floats.
    ///
    /// # Errors
    ///
    /// If a size is zero.
    pub fn sample(shape: LayerShape, rng: &mut Rng) -> Result<Self, Error> {
        let d = shape.n_heads.saturating_mul(shape.head_dim);
        let mut linear = || {
            let weight = Matrix::from_fn(d, d, |_, _| T::sample_dense_entry(d, rng));
            Linear::new(weight, (0..d).map(|_| T::sample(rng)).into_vec())
        };
        let (q, k, v, output) = (linear()?, linear()?, linear()?, linear()?);
        let shift = (0..d).map(|_| Shift::sample(shape.d_state, rng)).into_vec();
        let diagonal = (0..shape.n_heads)
            .map(|_| Diagonal::sample(shape.d_state / 2, rng))
            .into_vec();
        Self::new(LayerParts {
            head_dim: shape.head_dim,
            l_max: shape.l_max,
            head_order: shape.head_order,
            q,
            k,
            v,
            output,
            shift,
            diagonal,
        })
    }

    /// A random input (batch, seq_len, d).
    pub fn sample_input(&self, batch: usize, seq_len: usize, rng: &mut Rng) -> Tensor<T> {
        Tensor::filled([batch, seq_len, self.d_model()], T::ONE).map(|_| T::sample(rng))
    }

    /// A random state, as if `position` inputs had come before.
    pub fn sample_state(&self, batch: usize, position: usize, rng: &mut Rng) -> LayerState<T> {
        let zero = self.zero_state(batch);
        LayerState {
            shift: zero.shift.map(|_| T::sample(rng)),
            diagonal: zero.diagonal.map(|_| T::sample_complex(rng)),
            position,
        }
    }
}
