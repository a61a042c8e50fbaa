//! Cotangents of the stages within a layer, as separate stages.

use crate::algebra::Scalar;
use crate::error::Error;
use crate::h3::{Backward, Sizes, Stage};
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Named;
use crate::oracle::upstream::Upstream;
use crate::ssm::{Diagonal, Gradients, PackedGradients, Shift};
use crate::tensor::Tensor;
use core::ops::Range;
use std::cell::RefCell;

/// The stages whose cotangents are stages, in the order of the backward pass.
pub(super) const STAGES: [Stage; 7] = [
    Stage::Gated,
    Stage::Q,
    Stage::SsmOut,
    Stage::Kv,
    Stage::ShiftK,
    Stage::K,
    Stage::V,
];

/// The name in files of a stage's cotangent.
pub(super) fn name(stage: Stage) -> String {
    format!("grad.{}", stage.name())
}

/// A backward pass that keeps the cotangents within the layer, and continues from a port's where it has some.
pub(super) struct Cotangents<'a, T> {
    by: &'a dyn Backward<T>,
    upstream: Option<&'a Upstream>,
    /// The scalar of a port's number, given its rounding.
    scalar: &'a dyn Fn(f64, f64) -> T,
    kept: RefCell<Vec<(Stage, Tensor<T>)>>,
}

impl<'a, T: Scalar> Cotangents<'a, T> {
    pub(super) fn new(
        by: &'a dyn Backward<T>,
        upstream: Option<&'a Upstream>,
        scalar: &'a dyn Fn(f64, f64) -> T,
        sizes: Sizes,
    ) -> Self {
        let Sizes {
            batch,
            len,
            d,
            d_h,
            heads,
        } = sizes;
        let shape = |stage: Stage| match stage {
            Stage::Gated => vec![batch, len, d],
            Stage::SsmOut | Stage::Kv => vec![batch, d_h, d_h, heads, len],
            _ => vec![batch, d, len],
        };
        let empty = |stage: Stage| (stage, Tensor::filled(shape(stage), T::ZERO));
        Self {
            by,
            upstream,
            scalar,
            kept: RefCell::new(STAGES.into_iter().map(empty).into_vec()),
        }
    }

    /// The cotangents that were computed.
    pub(super) fn computed(self) -> Named<T> {
        let kept = self.kept.into_inner().into_iter();
        kept.map(|(stage, x)| (name(stage), x)).into_vec()
    }
}

impl<T: Scalar> Backward<T> for Cotangents<'_, T> {
    fn shift(
        &self,
        ssm: &Shift<T>,
        u: &[T],
        x0: Option<&[T]>,
        g: &[T],
        g_state: Option<&[T]>,
        window: usize,
    ) -> Result<Gradients<Shift<T>>, Error> {
        self.by.shift(ssm, u, x0, g, g_state, window)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        u: &[T],
        x0: Option<&[T::Complex]>,
        g: &[T],
        g_state: Option<&[T::Complex]>,
        window: usize,
    ) -> Result<Gradients<Diagonal<T>>, Error> {
        self.by.diagonal(ssm, u, x0, g, g_state, window)
    }

    fn shift_row(
        &self,
        ssm: &Shift<T>,
        signals: (&[T], &[T]),
        documents: &[Range<usize>],
        states: [&[&[T]]; 2],
        window: usize,
    ) -> Result<PackedGradients<Shift<T>>, Error> {
        self.by.shift_row(ssm, signals, documents, states, window)
    }

    fn diagonal_row(
        &self,
        ssm: &Diagonal<T>,
        signals: (&[T], &[T]),
        documents: &[Range<usize>],
        states: [&[&[T::Complex]]; 2],
        window: usize,
    ) -> Result<PackedGradients<Diagonal<T>>, Error> {
        self.by
            .diagonal_row(ssm, signals, documents, states, window)
    }

    fn cotangent(&self, stage: Stage, row: usize, computed: &mut [T]) {
        self.by.cotangent(stage, row, computed);
        let mut kept = self.kept.borrow_mut();
        let Some((_, place)) = kept.iter_mut().find(|(known, _)| *known == stage) else {
            return;
        };
        place.row_mut(row).copy_from_slice(computed);
        let own = self.upstream.and_then(|own| own.get(&name(stage)));
        if let Some(own) = own.filter(|own| own.values.shape() == place.shape()) {
            for (place, &x) in computed.iter_mut().zip(own.values.row(row)) {
                if !x.is_nan() {
                    *place = (self.scalar)(x, own.rounding);
                }
            }
        }
    }
}
