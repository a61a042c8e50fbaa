//! One block: its mixer between two residual additions.

use super::attention::{KeyValueCache, MultiHeadAttention};
use super::layer_norm::LayerNorm;
use super::mlp::Mlp;
use crate::algebra::Real;
use crate::error::Error;
use crate::h3::{Layer, LayerState};
use crate::tensor::Tensor;

/// What mixes tokens in a block.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mixer<T: Real> {
    /// An H3 layer.
    H3(Box<Layer<T>>),
    /// Multi-head attention.
    Attention(MultiHeadAttention<T>),
}

/// What a mixer remembers between two tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MixerState<T: Real> {
    /// The states of an H3 layer: of one size, however many tokens there were.
    H3(LayerState<T>),
    /// Keys and values of every token.
    Attention(KeyValueCache<T>),
}

/// A pre-norm block (flash-attention `modules/block.py`, `Block` with `prenorm=True`):
/// `r <- r + h`, `h <- mixer(norm1(r))`, `r <- r + h`, `h <- mlp(norm2(r))`. It returns both `h`, what the next
/// block adds first, and `r`.
#[derive(Clone, Debug)]
pub struct Block<T: Real> {
    /// The LayerNorm before the mixer.
    pub norm1: LayerNorm<T>,
    /// The mixer.
    pub mixer: Mixer<T>,
    /// The LayerNorm before the MLP.
    pub norm2: LayerNorm<T>,
    /// The MLP.
    pub mlp: Mlp<T>,
}

/// `a + b`, element by element, of arrays known to have one length.
pub(super) fn add<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    debug_assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

/// Every row of `x` replaced by its image, of this width.
pub(super) fn rows<T: Real>(
    x: &Tensor<T>,
    width: usize,
    mut f: impl FnMut(&[T]) -> Result<Vec<T>, Error>,
) -> Result<Tensor<T>, Error> {
    let mut shape = x.shape().to_vec();
    let axis = shape.pop().unwrap_or(1);
    let mut data = Vec::new();
    for row in x.data().chunks_exact(axis.max(1)) {
        data.extend(f(row)?);
    }
    shape.push(width);
    Tensor::new(shape, data)
}
