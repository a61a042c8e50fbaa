//! The layer one token at a time.

use super::layer::{Layer, LayerState};
use crate::algebra::{RootsOfUnity, Scalar};
use crate::error::{Error, check_len};
use crate::ssm::StateSpace;

/// The layer as an object that takes one token of every sequence of a batch at a time (the
/// official `step()`, and right for every head dimension).
///
/// It remembers only its state, whose size does not grow. Save it with
/// [`state`](LayerStream::state), continue with [`resume`](LayerStream::resume), branch with
/// `clone`.
#[derive(Clone, Debug)]
pub struct LayerStream<'a, T: Scalar> {
    layer: &'a Layer<T>,
    batch: usize,
    state: LayerState<T>,
}

impl<'a, T> LayerStream<'a, T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// A stream over a batch, from the zero state.
    #[must_use]
    pub fn new(layer: &'a Layer<T>, batch: usize) -> Self {
        Self {
            layer,
            batch,
            state: layer.zero_state(batch),
        }
    }

    /// A stream that continues from a saved state.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn resume(layer: &'a Layer<T>, state: LayerState<T>) -> Result<Self, Error> {
        let batch = state.shift.shape().first().copied().unwrap_or(0);
        layer.check_state(&state, batch)?;
        Ok(Self {
            layer,
            batch,
            state,
        })
    }

    /// The state after the last token.
    #[must_use]
    pub fn state(&self) -> &LayerState<T> {
        &self.state
    }

    /// Takes the next token of every sequence, `u` (batch, d) row-major, and returns the layer's
    /// outputs (batch, d).
    ///
    /// # Errors
    ///
    /// If `u` has the wrong length, or the layer's `l_max` is reached: beyond it the layer is not
    /// the function of any recurrence. The state is then as it was.
    pub fn step(&mut self, u: &[T]) -> Result<Vec<T>, Error> {
        let (d, d_h) = (self.layer.d_model(), self.layer.head_dim());
        check_len("token", u.len(), self.batch * d)?;
        let position = self.layer.check_window(&self.state, 1, true, "a stream")?;
        let parts = self.layer.parts();
        let heads = self.layer.n_heads();
        let mut output = Vec::with_capacity(u.len());
        for b in 0..self.batch {
            let u = &u[b * d..(b + 1) * d];
            let (q, mut k, v) = (parts.q.apply(u), parts.k.apply(u), parts.v.apply(u));
            for (c, shift) in parts.shift.iter().enumerate() {
                k[c] = shift.step(self.state.shift.row_mut(b * d + c), k[c]);
            }
            let mut gated = vec![T::ZERO; d];
            for d1 in 0..d_h {
                for d2 in 0..d_h {
                    for (h, ssm) in parts.diagonal.iter().enumerate() {
                        let x = ((b * d_h + d1) * d_h + d2) * heads + h;
                        let kv = k[h * d_h + d1] * v[h * d_h + d2];
                        let y = ssm.step(self.state.diagonal.row_mut(x), kv);
                        let place = &mut gated[self.layer.gated_channel(h, d2)];
                        *place = *place + q[h * d_h + d1] * y;
                    }
                }
            }
            output.extend(parts.output.apply(&gated));
        }
        self.state.position = position;
        Ok(output)
    }
}
