//! A layer with each stage computed from a port's own stages.

use super::case::LayerCase;
use super::run::owned;
use crate::algebra::{Linear, Real, Scalar};
use crate::error::Error;
use crate::h3::{Evaluate, Layer, LayerState, Progress, Sizes, Stage, Stages};
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Named;
use crate::oracle::upstream::{Replaced, Upstream, UpstreamStage};
use crate::ssm::{Diagonal, Documents, PackedResponse, Response, Shift};
use crate::tensor::Tensor;
use core::ops::Range;
use std::borrow::Cow;

/// A way to evaluate a layer in which a port's stages take the place of those computed.
pub(super) struct FromUpstream<'a, T> {
    pub(super) by: &'a dyn Evaluate<T>,
    pub(super) replaced: Replaced<'a, T>,
    /// True if the port's projections of the input stand and are not computed beside.
    pub(super) projections_known: bool,
}

impl<T: Scalar> Evaluate<T> for FromUpstream<'_, T> {
    fn shift_kernel(&self, ssm: &Shift<T>, len: usize) -> Vec<T> {
        self.by.shift_kernel(ssm, len)
    }

    fn ssm_kernel(&self, ssm: &Diagonal<T>, len: usize) -> Vec<T> {
        self.by.ssm_kernel(ssm, len)
    }

    fn shift(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T],
    ) -> Result<Response<Shift<T>>, Error> {
        self.by.shift(ssm, kernel, u, x0)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        x0: &[T::Complex],
    ) -> Result<Response<Diagonal<T>>, Error> {
        self.by.diagonal(ssm, kernel, u, x0)
    }

    fn shift_row(
        &self,
        ssm: &Shift<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T]],
    ) -> Result<PackedResponse<Shift<T>>, Error> {
        self.by.shift_row(ssm, kernel, u, documents, x0)
    }

    fn diagonal_row(
        &self,
        ssm: &Diagonal<T>,
        kernel: &[T],
        u: &[T],
        documents: &[Range<usize>],
        x0: &[&[T::Complex]],
    ) -> Result<PackedResponse<Diagonal<T>>, Error> {
        self.by.diagonal_row(ssm, kernel, u, documents, x0)
    }

    fn project(&self, linear: &Linear<T>, x: &Tensor<T>, documents: &Documents) -> Tensor<T> {
        self.by.project(linear, x, documents)
    }

    fn known(&self, stage: Stage) -> Option<Tensor<T>> {
        let known = || self.replaced.whole(stage.name());
        self.projections_known.then(known).flatten()
    }

    fn at_projection(&self, x: T, inward: bool) -> T {
        self.by.at_projection(x, inward)
    }

    fn all_gated<'t>(&self, gated: &'t Tensor<T>) -> Cow<'t, Tensor<T>> {
        self.by.all_gated(gated)
    }

    fn model_input(&self, stage: Stage, so_far: &Progress<'_, T>) -> Option<Tensor<T>> {
        self.by.model_input(stage, so_far)
    }

    fn stage(
        &self,
        stage: Stage,
        computed: Tensor<T>,
        so_far: &Progress<'_, T>,
    ) -> Result<Tensor<T>, Error> {
        let computed = self.by.stage(stage, computed, so_far)?;
        Ok(self.replaced.stage(stage.name(), computed))
    }

    fn final_state(
        &self,
        computed: Tensor<T::Complex>,
        so_far: &Progress<'_, T>,
    ) -> Tensor<T::Complex> {
        self.by.final_state(computed, so_far)
    }
}

/// The stages of a layer's forward pass, states between chunks among them, in any way: those
/// computed from the keys and pairs that the run went on from.
pub(super) fn local_stages<T: Real>(
    case: &LayerCase,
    layer: &Layer<T>,
    by: &dyn Evaluate<T>,
    (input, documents): (&Tensor<T>, &Documents),
    state: Option<LayerState<T>>,
) -> Result<Named<T>, Error> {
    let initial = state.unwrap_or_else(|| layer.zero_state(documents.count()));
    let stages = layer.forward_by(by, (input, documents), Some(&initial))?;
    let between = case.states_between(layer, Some(&initial), |tokens, state| {
        let &[batch, _, _] = input.shape() else {
            return Err(Error::shape("input", "three axes", input.shape().len()));
        };
        let so_far = Progress {
            layer,
            input: &input.tokens(0..tokens.end)?,
            documents: &Documents::whole(batch, tokens.end),
            initial: &initial,
            stages: beginning(&stages, tokens.end)?,
            sizes: Sizes {
                batch,
                len: tokens.end,
                d: layer.d_model(),
                d_h: layer.head_dim(),
                heads: layer.n_heads(),
            },
        };
        let sizes = Sizes {
            len: tokens.len(),
            ..so_far.sizes
        };
        let part = Documents::whole(batch, tokens.len());
        let last = |x: &Tensor<T>| x.columns(tokens.clone());
        let first = |x: &Tensor<T>| x.columns(0..tokens.len());
        let keys = by.model_input(Stage::ShiftK, &so_far);
        let keys = last(keys.as_ref().unwrap_or(&so_far.stages.k));
        let kernels = first(&so_far.stages.shift_kernel);
        let (_, shift) = layer.shift_keys(by, &keys, &kernels, state, &part, sizes)?;
        let pairs = by.model_input(Stage::SsmOut, &so_far);
        let pairs = last(pairs.as_ref().unwrap_or(&so_far.stages.kv));
        let kernels = first(&so_far.stages.ssm_kernel);
        let (_, diagonal) = layer.run_diagonal(by, &pairs, &kernels, state, &part, sizes)?;
        let position = state.position.saturating_add(tokens.len());
        let saved = LayerState {
            shift: by.stage(Stage::FinalStateK, shift.clone(), &so_far)?,
            diagonal: by.final_state(diagonal.clone(), &so_far),
            position,
        };
        let next = LayerState {
            shift,
            diagonal,
            position,
        };
        Ok([saved, next])
    })?;
    let mut named = owned(stages);
    named.extend(between);
    Ok(named)
}

/// The stages of the first tokens.
fn beginning<T: Scalar>(stages: &Stages<T>, tokens: usize) -> Result<Stages<T>, Error> {
    let first = |x: &Tensor<T>| x.columns(0..tokens);
    let mut cut = stages.clone();
    cut.q = first(&stages.q);
    cut.k = first(&stages.k);
    cut.v = first(&stages.v);
    cut.shift_kernel = first(&stages.shift_kernel);
    cut.shift_k = first(&stages.shift_k);
    cut.kv = first(&stages.kv);
    cut.ssm_kernel = first(&stages.ssm_kernel);
    cut.ssm_out = stages.ssm_out.as_ref().map(first);
    cut.gated = stages.gated.tokens(0..tokens)?;
    cut.output = stages.output.tokens(0..tokens)?;
    Ok(cut)
}

/// The first tokens of a port's stages of which states are made; kernels as long as that.
pub(super) fn first_tokens(own: &Upstream, tokens: usize) -> Upstream {
    let of_states = [
        Stage::K,
        Stage::V,
        Stage::ShiftKernel,
        Stage::ShiftK,
        Stage::Kv,
        Stage::SsmKernel,
    ];
    let found = of_states
        .into_iter()
        .filter_map(|stage| own.get(stage.name()));
    let cut = found.map(|stage| UpstreamStage {
        name: stage.name.clone(),
        values: stage.values.columns(0..tokens),
        rounding: stage.rounding,
    });
    Upstream::new(cut.into_vec())
}
