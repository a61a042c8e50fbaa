//! One block: its mixer between two residual additions.

use super::attention::{KeyValueCache, MultiHeadAttention};
use super::layer_norm::LayerNorm;
use super::mlp::Mlp;
use super::s4d::S4d;
use crate::algebra::Real;
use crate::error::{Error, check_len};
use crate::h3::{Layer, LayerState};
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The mixer of a block, which combines tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mixer<T: Real> {
    /// An H3 layer.
    H3(Box<Layer<T>>),
    /// An S4D layer.
    S4d(S4d<T>),
    /// Multi-head attention.
    Attention(MultiHeadAttention<T>),
}

/// The state of a mixer between two tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MixerState<T: Real> {
    /// The states of an H3 layer, whose size does not depend on the number of tokens.
    H3(LayerState<T>),
    /// The states of an S4D layer's models, (sequences, d, m/2).
    S4d(Tensor<T::Complex>),
    /// Keys and values of every token.
    Attention(KeyValueCache<T>),
}

impl<T: Real> MixerState<T> {
    pub(super) fn h3(&self) -> Option<&LayerState<T>> {
        match self {
            Self::H3(state) => Some(state),
            Self::S4d(_) | Self::Attention(_) => None,
        }
    }

    pub(super) fn s4d(&self) -> Option<&Tensor<T::Complex>> {
        match self {
            Self::S4d(state) => Some(state),
            Self::H3(_) | Self::Attention(_) => None,
        }
    }

    pub(super) fn cache(&self) -> Option<&KeyValueCache<T>> {
        match self {
            Self::H3(_) | Self::S4d(_) => None,
            Self::Attention(cache) => Some(cache),
        }
    }
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
    a.iter().zip(b).map(|(&a, &b)| a + b).into_vec()
}

/// Rows of ids (batch, seq_len) that are whole.
pub(crate) fn documents_of_ids(ids: &Tensor<usize>) -> Result<Documents, Error> {
    match ids.shape() {
        &[batch, len] => Ok(Documents::whole(batch, len)),
        other => Err(Error::shape(
            "input_ids",
            "shape (batch, seq_len)",
            format_args!("{other:?}"),
        )),
    }
}

/// Every token of `x` (batch, seq_len, channels) replaced by its image, of this width; padding by
/// zeros.
pub(super) fn tokens<T: Real>(
    x: &Tensor<T>,
    documents: &Documents,
    width: usize,
    mut f: impl FnMut(&[T]) -> Result<Vec<T>, Error>,
) -> Result<Tensor<T>, Error> {
    let (batch, len) = (documents.batch(), documents.seq_len());
    let mut images = Tensor::filled([batch, len, width], T::ZERO);
    for (b, tokens) in documents.iter() {
        for r in tokens.map(|i| b * len + i) {
            let image = f(x.row(r))?;
            check_len("channels of a token", image.len(), width)?;
            images.row_mut(r).copy_from_slice(&image);
        }
    }
    Ok(images)
}
