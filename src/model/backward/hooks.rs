//! The steps of the backward pass that can be computed in another way: by an adjoint of a form, or with a
//! known mistake.

use super::super::forward::{BlockStage, ModelHooks, Rows};
use super::super::layer_norm::LayerNorm;
use super::attention::softmax_attention_adjoint;
use super::layer_norm::NormGradient;
use super::loss::{Targets, cross_entropy, weights_of_counted};
use super::mlp::gelu_slope;
use crate::algebra::{Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Backward, Form, Layer, LayerGradients, Plain};
use crate::tensor::Tensor;

/// A tensor whose cotangent the backward pass keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cotangent {
    /// `grad.logits`
    Logits,
    /// `grad.block{i}.hidden` or `grad.block{i}.residual`
    Block(usize, BlockStage),
}

impl Cotangent {
    /// The name in files.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Logits => "grad.logits".into(),
            Self::Block(i, which) => format!("grad.{}", which.name(i)),
        }
    }
}

/// Hooks into the backward pass of a model. The defaults are the reference.
pub(crate) trait ModelBackward<T: Real>: ModelHooks<T> {
    /// The gradients of the H3 layer of a block over documents, each from a state of zeros, given the
    /// cotangent `g` of its output.
    fn h3_back(
        &self,
        block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        g: &Tensor<T>,
    ) -> Result<LayerGradients<T>, Error>;

    /// The adjoint of the diagonal models of S4D layers.
    fn models_back(&self) -> &dyn Backward<T>;

    /// The adjoint of the attention of one head over one document, as [`softmax_attention_adjoint`].
    fn attend_back(
        &self,
        qkv: [&Matrix<T>; 3],
        scale: T,
        g: &Matrix<T>,
    ) -> Result<[Matrix<T>; 3], Error> {
        softmax_attention_adjoint(qkv, scale, g)
    }

    /// The gradient of the biases of the keys (d), given the sum of the keys' cotangents.
    ///
    /// It is zero, exactly: such a bias adds `q . b` to all scores of a token, which its softmax does not
    /// see. The sum is rounding noise, and AdamW divides noise by its own size.
    fn key_biases(&self, sum: &[T]) -> Vec<T> {
        vec![T::ZERO; sum.len()]
    }

    /// The adjoint of a LayerNorm at one token; `last` for the one before the head.
    fn norm_back(
        &self,
        norm: &LayerNorm<T>,
        _last: bool,
        x: &[T],
        g: &[T],
    ) -> Result<NormGradient<T>, Error> {
        norm.adjoint(x, g)
    }

    /// The slope of the MLPs' activation.
    fn slope(&self, x: T) -> T {
        gelu_slope(x)
    }

    /// Hook applied to the logits before the loss is taken of them.
    fn logits(&self, computed: Tensor<T>) -> Tensor<T> {
        computed
    }

    /// The weight of every place in the loss (batch, seq_len).
    fn weights(&self, targets: &Targets) -> Result<Tensor<T>, Error> {
        weights_of_counted(targets)
    }

    /// The loss of one token, and its derivative by its logits.
    fn token_loss(&self, logits: &[T], target: usize) -> Result<(T, Vec<T>), Error> {
        cross_entropy(logits, target)
    }

    /// The gradient of the embedding, given those of its two uses: by the head, and by looking tokens up.
    fn tied(&self, head: &Matrix<T>, lookup: &Matrix<T>) -> Result<Matrix<T>, Error> {
        head.plus(lookup)
    }

    /// Hook applied to a cotangent once it is complete. What it returns stands in its place, also for
    /// what is computed from it.
    fn cotangent(&self, _of: Cotangent, computed: Tensor<T>) -> Tensor<T> {
        computed
    }
}

impl<T> ModelBackward<T> for Form
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3_back(
        &self,
        _block: usize,
        layer: &Layer<T>,
        (u, documents): Rows<'_, T>,
        g: &Tensor<T>,
    ) -> Result<LayerGradients<T>, Error> {
        layer.gradients_of_documents(self, u, documents, None, g, None)
    }

    fn models_back(&self) -> &dyn Backward<T> {
        self
    }
}

impl<T> ModelBackward<T> for Plain
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3_back(
        &self,
        _block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        g: &Tensor<T>,
    ) -> Result<LayerGradients<T>, Error> {
        layer.gradients_by(self, self, u, None, g, None)
    }

    fn models_back(&self) -> &dyn Backward<T> {
        self
    }
}
