//! A wrong layer in the middle of a run.

use crate::error::Error;
use crate::h3::{Form, Parameters, Progress, Stage, multiply};
use crate::ssm::{Diagonal, Shift};
use crate::tensor::Tensor;
use num_complex::Complex;

/// A wrong layer in the middle of a run: what a hook on a stage can see, and the reference's own
/// steps for it to take again.
pub(crate) struct StageRun<'a> {
    pub(super) so_far: &'a Progress<'a, f64>,
    pub(super) parameters: &'a Parameters<f64>,
    /// The chunk length, if the layer is run chunk by chunk.
    pub(super) chunk_len: Option<usize>,
}

impl StageRun<'_> {
    /// The number of tokens before the last chunk, if there is more than one chunk.
    pub(super) fn last_boundary(&self) -> Option<usize> {
        let (len, chunk_len) = (self.so_far.sizes.len, self.chunk_len?);
        let window = self.so_far.layer.window(len);
        let boundary = (len.div_ceil(chunk_len).saturating_sub(1)) * chunk_len;
        (boundary > 0 && window == len).then_some(boundary)
    }

    /// A stage computed before: one of (batch, d, seq_len), or `kv`.
    pub(super) fn of(&self, stage: Stage) -> &Tensor<f64> {
        let stages = &self.so_far.stages;
        match stage {
            Stage::Q => &stages.q,
            Stage::K => &stages.k,
            Stage::V => &stages.v,
            Stage::Kv => &stages.kv,
            _ => &stages.shift_k,
        }
    }

    /// `ssm_out`, where the gate is computed.
    pub(super) fn ssm_out(&self) -> &Tensor<f64> {
        let stages = &self.so_far.stages;
        stages.ssm_out.as_ref().unwrap_or(&stages.kv)
    }

    /// A channel of a (batch, d, seq_len) stage.
    pub(super) fn channel(&self, stage: Stage, b: usize, channel: usize) -> Vec<f64> {
        self.of(stage)
            .row(self.so_far.sizes.channel(b, channel))
            .to_vec()
    }

    /// A channel of the layer's input over time.
    pub(super) fn input_channel(&self, b: usize, channel: usize) -> Vec<f64> {
        let len = self.so_far.sizes.len;
        let tokens = (b * len)..(b + 1) * len;
        tokens
            .map(|token| self.so_far.input.row(token)[channel])
            .collect()
    }

    /// The outer product of two (batch, d, seq_len) stages, head by head.
    pub(super) fn product(&self, keys: Stage, values: Stage) -> Tensor<f64> {
        multiply(self.of(keys), self.of(values), self.so_far.sizes)
    }

    /// `ssm_out` gated by another stage than `q`.
    pub(super) fn gated_by(&self, stage: Stage) -> Tensor<f64> {
        self.gated_with(self.of(stage), self.ssm_out())
    }

    /// The gate applied to any arrays of the shapes of `q` and `ssm_out`.
    pub(super) fn gated_with(&self, q: &Tensor<f64>, ssm_out: &Tensor<f64>) -> Tensor<f64> {
        self.so_far.layer.gate(q, ssm_out, self.so_far.sizes)
    }

    /// `gated + sum_d1 x`, with `x` of the shape of `ssm_out`.
    pub(super) fn plus_ungated(&self, mut gated: Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
        let sum = self.gated_with(&self.of(Stage::Q).map(|_| 1.0), x);
        let pairs = gated.data_mut().iter_mut().zip(sum.data());
        pairs.for_each(|(gated, x)| *gated += x);
        gated
    }

    /// What the diagonal models make of this run's `kv` in a form of the reference.
    pub(super) fn ssm_out_by(&self, form: &Form) -> Result<Tensor<f64>, Error> {
        let Progress {
            layer,
            initial,
            stages,
            sizes,
            ..
        } = self.so_far;
        let kernels = layer.ssm_kernel(sizes.len);
        let (right, _) = layer.run_diagonal(form, &stages.kv, &kernels, initial, *sizes)?;
        Ok(right)
    }

    /// The shift models' states replaced from sequence `first` on: by what is made of the model, its
    /// row in a (batch, d, seq_len) stage and the state before the first input.
    pub(super) fn keys(
        &self,
        mut x: Tensor<f64>,
        first: usize,
        state: impl Fn(&Self, &Shift<f64>, usize, &[f64]) -> Vec<f64>,
    ) -> Tensor<f64> {
        let Progress {
            layer,
            initial,
            sizes,
            ..
        } = self.so_far;
        for b in first..sizes.batch {
            for (c, ssm) in layer.parts().shift.iter().enumerate() {
                let row = sizes.channel(b, c);
                let state = state(self, ssm, row, initial.shift.row(row));
                x.row_mut(row).copy_from_slice(&state);
            }
        }
        x
    }

    /// The diagonal models' states replaced from sequence `first` on: by what is made of the model,
    /// of `[b, d1, d2, h]` and of the state before the first input.
    pub(super) fn modes(
        &self,
        mut x: Tensor<Complex<f64>>,
        first: usize,
        state: impl Fn(&Self, &Diagonal<f64>, [usize; 4], &[Complex<f64>]) -> Vec<Complex<f64>>,
    ) -> Tensor<Complex<f64>> {
        let Progress {
            layer,
            initial,
            sizes,
            ..
        } = self.so_far;
        for b in first..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let row = sizes.pair(b, d1, d2, h);
                let ssm = &layer.parts().diagonal[h];
                let state = state(self, ssm, [b, d1, d2, h], initial.diagonal.row(row));
                x.row_mut(row).copy_from_slice(&state);
            }
        }
        x
    }
}
