//! The choice of algorithm for a layer's parts.

use super::form::ModelForm;
use super::stages::{Progress, Stage};
use crate::algebra::{Linear, Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, Documents, PackedResponse, Response, Shift, StateSpace, each_document};
use crate::tensor::Tensor;
use core::ops::Range;
use std::borrow::Cow;

/// The algorithm for a layer's parts: a [`Form`](super::Form), an error analysis that covers all
/// forms, or a known mistake. The layer itself is written once, in
/// [`Layer::forward_by`](super::Layer::forward_by).
pub(crate) trait Evaluate<T: Scalar> {
    /// The shift model's kernel `f_0, ..., f_{len - 1}`.
    fn shift_kernel(&self, ssm: &Shift<T>, len: usize) -> Vec<T> {
        ssm.kernel(len)
    }

    /// The diagonal model's kernel `f_0, ..., f_{len - 1}`.
    fn ssm_kernel(&self, ssm: &Diagonal<T>, len: usize) -> Vec<T> {
        ssm.kernel(len)
    }

    /// A shift model's response to `u` from the state `x0`, given its kernel, which `l_max` may
    /// have cut.
    fn shift(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T],
    ) -> Result<Response<Shift<T>>, Error>;

    /// A diagonal model's response, likewise.
    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T::Complex],
    ) -> Result<Response<Diagonal<T>>, Error>;

    /// A shift model's response to a row of documents, each from its own state: by
    /// [`shift`](Self::shift), one after another.
    fn shift_row(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T]],
    ) -> Result<PackedResponse<Shift<T>>, Error> {
        each_document(ssm, u.len(), documents, x0, &|tokens, x0| {
            let kernel = &kernel[..kernel.len().min(tokens.len())];
            self.shift(ssm, kernel, &u[tokens], x0)
        })
    }

    /// A diagonal model's, likewise.
    fn diagonal_row(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T::Complex]],
    ) -> Result<PackedResponse<Diagonal<T>>, Error> {
        each_document(ssm, u.len(), documents, x0, &|tokens, x0| {
            let kernel = &kernel[..kernel.len().min(tokens.len())];
            self.diagonal(ssm, kernel, &u[tokens], x0)
        })
    }

    /// A projection `W x + b` of every token of `x` (batch, seq_len, d); zero at padding, where `x` is not
    /// read.
    fn project(&self, linear: &Linear<T>, x: &Tensor<T>, documents: &Documents) -> Tensor<T> {
        project(linear, x, documents)
    }

    /// A projection of the input ([`Stage::Q`], [`Stage::K`] or [`Stage::V`]) that stands without being
    /// computed.
    fn known(&self, _stage: Stage) -> Option<Tensor<T>> {
        None
    }

    /// Hook applied to every value that crosses between the projections and the models (`inward`:
    /// out of a projection); a port may change precision there.
    fn at_projection(&self, x: T, _inward: bool) -> T {
        x
    }

    /// All channels of `gated`, of which a layer of some heads ([`Layer::of_heads`](super::Layer::of_heads))
    /// computes its own.
    fn all_gated<'t>(&self, gated: &'t Tensor<T>) -> Cow<'t, Tensor<T>> {
        Cow::Borrowed(gated)
    }

    /// The inputs of the models of a stage ([`Stage::ShiftK`] or [`Stage::SsmOut`]): `None` for
    /// those of the layer, `k` and `kv`.
    fn model_input(&self, _stage: Stage, _so_far: &Progress<'_, T>) -> Option<Tensor<T>> {
        None
    }

    /// Hook applied to every stage once it is computed. What it returns stands in the stage's
    /// place, also for the stages computed from it.
    fn stage(
        &self,
        _stage: Stage,
        computed: Tensor<T>,
        _so_far: &Progress<'_, T>,
    ) -> Result<Tensor<T>, Error> {
        Ok(computed)
    }

    /// The same of the diagonal models' final states (batch, d1, d2, H, m/2).
    fn final_state(
        &self,
        computed: Tensor<T::Complex>,
        _so_far: &Progress<'_, T>,
    ) -> Tensor<T::Complex> {
        computed
    }
}

impl<T, F> Evaluate<T> for F
where
    T: Scalar,
    T::Complex: RootsOfUnity,
    F: ModelForm,
{
    fn shift(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T],
    ) -> Result<Response<Shift<T>>, Error> {
        self.respond_by_kernel(ssm, kernel, u, Some(x0))
    }

    fn shift_row(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T]],
    ) -> Result<PackedResponse<Shift<T>>, Error> {
        self.respond_to_row(ssm, kernel, u, documents, x0)
    }

    fn diagonal_row(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T::Complex]],
    ) -> Result<PackedResponse<Diagonal<T>>, Error> {
        self.respond_to_row(ssm, kernel, u, documents, x0)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T::Complex],
    ) -> Result<Response<Diagonal<T>>, Error> {
        self.respond_by_kernel(ssm, kernel, u, Some(x0))
    }
}

/// `W x + b` of every token of `x` (batch, seq_len, d); zero at padding, where `x` is not read.
pub(super) fn project<T: Ring>(
    linear: &Linear<T>,
    x: &Tensor<T>,
    documents: &Documents,
) -> Tensor<T> {
    let (outputs, mut shape) = (linear.bias().len(), x.shape().to_vec());
    shape.splice(shape.len().saturating_sub(1).., [outputs]);
    let mut projected = Tensor::filled(shape, T::ZERO);
    let tokens: Vec<usize> = documents.tokens().into_vec();
    let rows: Vec<&[T]> = tokens.iter().map(|&token| x.row(token)).into_vec();
    let y = linear.apply_to_rows(&rows);
    for (token, y) in tokens.into_iter().zip(y.chunks_exact(outputs)) {
        projected.row_mut(token).copy_from_slice(y);
    }
    projected
}
