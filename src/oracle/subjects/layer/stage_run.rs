//! A wrong layer in the middle of a run.

use super::super::wrong_model::{Boundaries, ModelHook, WrongModel};
use crate::h3::{Evaluate, Parameters, Progress, Stage, Stages, multiply};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, Shift};
use crate::tensor::Tensor;
use core::ops::Range;
use num_complex::Complex;
use std::borrow::Cow;

/// A wrong layer in the middle of a run: what a hook on a stage can see, and the reference's own
/// steps for it to take again.
pub(crate) struct StageRun<'a> {
    pub(super) so_far: &'a Progress<'a, f64>,
    pub(super) parameters: &'a Parameters<f64>,
    /// The diagonal models as this run computes them.
    pub(super) diagonal: WrongModel<'a, Diagonal<f64>>,
    /// The run itself, for steps of it to be taken again.
    pub(super) by: &'a dyn Evaluate<f64>,
    pub(super) boundaries: Boundaries,
    /// The number that some mistakes have, such as that of padding tokens.
    pub(super) number: usize,
    /// The heads of the parameters that are run, if not all are.
    pub(super) heads: Option<&'a [usize]>,
}

impl StageRun<'_> {
    /// The number of tokens before the last chunk of so many, if there is more than one chunk.
    pub(super) fn last_boundary(&self, len: usize) -> Option<usize> {
        self.boundaries.last(len).filter(|_| self.passes_states())
    }

    /// As many tokens before the end of so many as the run's number says, or before the first one.
    pub(super) fn before_end(&self, len: usize) -> Option<usize> {
        let tokens = len.saturating_sub(self.number);
        self.passes_states().then_some(tokens)
    }

    /// True if the models are run through their states: no kernel is truncated.
    pub(super) fn passes_states(&self) -> bool {
        let longest = self.so_far.documents.longest();
        self.so_far.layer.window(longest) == longest
    }

    /// The stages computed before.
    pub(super) fn stages(&self) -> &Stages<f64> {
        &self.so_far.stages
    }

    /// `ssm_out`, where the gate is computed.
    pub(super) fn ssm_out(&self) -> &Tensor<f64> {
        // Only attention has none, and no mistake runs on attention.
        let stages = self.stages();
        stages.ssm_out.as_ref().unwrap_or(&stages.kv)
    }

    /// A channel of a (batch, d, seq_len) stage.
    pub(super) fn channel(&self, stage: &Tensor<f64>, b: usize, channel: usize) -> Vec<f64> {
        stage.row(self.so_far.sizes.channel(b, channel)).to_vec()
    }

    /// The head of the parameters that is head `h` of this run.
    pub(super) fn head(&self, h: usize) -> usize {
        self.heads.map_or(h, |heads| heads[h])
    }

    /// The channel of the parameters that is this one of the run.
    pub(super) fn channel_of_all(&self, channel: usize) -> usize {
        let d_h = self.so_far.sizes.d_h;
        self.head(channel / d_h) * d_h + channel % d_h
    }

    /// A channel of the layer's input over time.
    pub(super) fn input_channel(&self, b: usize, channel: usize) -> Vec<f64> {
        let (len, channel) = (self.so_far.sizes.len, self.channel_of_all(channel));
        let tokens = (b * len)..(b + 1) * len;
        tokens
            .map(|token| self.so_far.input.row(token)[channel])
            .into_vec()
    }

    /// The outer product of two (batch, d, seq_len) stages, head by head.
    pub(super) fn product(&self, keys: &Tensor<f64>, values: &Tensor<f64>) -> Tensor<f64> {
        multiply(keys, values, self.so_far.sizes)
    }

    /// `ssm_out` gated by another stage than `q`.
    pub(super) fn gated_by(&self, stage: &Tensor<f64>) -> Tensor<f64> {
        self.gated_with(stage, self.ssm_out())
    }

    /// The gate applied to any arrays of the shapes of `q` and `ssm_out`.
    pub(super) fn gated_with(&self, q: &Tensor<f64>, ssm_out: &Tensor<f64>) -> Tensor<f64> {
        self.so_far.layer.gate(q, ssm_out, self.so_far.sizes)
    }

    /// `gated + sum_d1 x`, with `x` of the shape of `ssm_out`.
    pub(super) fn plus_ungated(&self, mut gated: Tensor<f64>, x: &Tensor<f64>) -> Tensor<f64> {
        let sum = self.gated_with(&self.stages().q.map(|_| 1.0), x);
        let pairs = gated.data_mut().iter_mut().zip(sum.data());
        pairs.for_each(|(gated, x)| *gated += x);
        gated
    }

    /// The signal that the models of a stage read in this run.
    pub(super) fn model_input(&self, stage: Stage) -> Cow<'_, Tensor<f64>> {
        let stages = &self.so_far.stages;
        match (self.by.model_input(stage, self.so_far), stage) {
            (Some(read), _) => Cow::Owned(read),
            (None, Stage::ShiftK) => Cow::Borrowed(&stages.k),
            (None, _) => Cow::Borrowed(&stages.kv),
        }
    }

    /// The contribution of the carried states to `ssm_out`, in its shape, if it is kept separate.
    pub(super) fn carried(&self) -> Tensor<f64> {
        let (stages, sizes) = (&self.so_far.stages, self.so_far.sizes);
        let kv = self.model_input(Stage::SsmOut);
        let whole = self
            .diagonal
            .without(|hook| matches!(hook, ModelHook::ReadApart));
        let mut carried = kv.map(|_| 0.0);
        for (n, (b, tokens)) in self.so_far.documents.iter().enumerate() {
            for (d1, d2, h) in sizes.pairs() {
                let row = sizes.pair(b, d1, d2, h);
                let ssm = &self.so_far.layer.parts().diagonal[h];
                let kernel = stages.ssm_kernel.row(h);
                let kernel = &kernel[..kernel.len().min(tokens.len())];
                let u = &kv.row(row)[tokens.clone()];
                let x0 = self.so_far.initial.diagonal.row(sizes.pair(n, d1, d2, h));
                let by = |hooks: &WrongModel<'_, _>| hooks.respond(ssm, kernel, u, x0);
                // Never refused: the run itself has asked for as much.
                if let (Ok(whole), Ok(apart)) = (by(&whole), by(&self.diagonal)) {
                    let pairs = whole.output.iter().zip(&apart.output);
                    let places = carried.row_mut(row)[tokens.clone()].iter_mut().zip(pairs);
                    places.for_each(|(place, (whole, apart))| *place = whole - apart);
                }
            }
        }
        carried
    }

    /// The state of the shift model of a row after inputs, as this run leaves it.
    pub(super) fn keys_after(
        &self,
        ssm: &Shift<f64>,
        row: usize,
        inputs: &[f64],
        x0: &[f64],
    ) -> Vec<f64> {
        let kernels = &self.so_far.stages.shift_kernel;
        let kernel = &kernels.row(row % self.so_far.sizes.d)[..inputs.len()];
        let response = self.by.shift(ssm, kernel, inputs, x0);
        // Never refused: the run itself has asked for more.
        response.map_or_else(|_| x0.to_vec(), |response| response.state)
    }

    /// The state of the diagonal model of a head after inputs, as this run leaves it.
    pub(super) fn modes_after(
        &self,
        ssm: &Diagonal<f64>,
        head: usize,
        inputs: &[f64],
        x0: &[Complex<f64>],
    ) -> Vec<Complex<f64>> {
        let kernel = &self.so_far.stages.ssm_kernel.row(head)[..inputs.len()];
        let response = self.by.diagonal(ssm, kernel, inputs, x0);
        // As above.
        response.map_or_else(|_| x0.to_vec(), |response| response.state)
    }

    /// The shift models' states after some first tokens of every document, from document `first` on:
    /// as many as are made of its length; unchanged where that is `None`.
    pub(super) fn keys_at(
        &self,
        x: Tensor<f64>,
        tokens: impl Fn(usize) -> Option<usize>,
        first: usize,
    ) -> Tensor<f64> {
        let (keys, after) = (self.model_input(Stage::ShiftK), x.clone());
        self.keys(x, first, |run, ssm, at, x0| {
            let inputs = at.of(&keys);
            match tokens(inputs.len()) {
                Some(tokens) => run.keys_after(ssm, at.signal, &inputs[..tokens], x0),
                None => after.row(at.state).to_vec(),
            }
        })
    }

    /// The diagonal models' states, likewise.
    pub(super) fn modes_at(
        &self,
        x: Tensor<Complex<f64>>,
        tokens: impl Fn(usize) -> Option<usize>,
        first: usize,
    ) -> Tensor<Complex<f64>> {
        let (kv, after) = (self.model_input(Stage::SsmOut), x.clone());
        self.modes(x, first, |run, ssm, at, x0| {
            let inputs = at.of(&kv);
            match tokens(inputs.len()) {
                Some(tokens) => run.modes_after(ssm, at.head, &inputs[..tokens], x0),
                None => after.row(at.state).to_vec(),
            }
        })
    }

    /// The shift models' states replaced from document `first` on: by what is made of the model, its
    /// place and the state before the first input.
    pub(super) fn keys(
        &self,
        mut x: Tensor<f64>,
        first: usize,
        state: impl Fn(&Self, &Shift<f64>, &Place, &[f64]) -> Vec<f64>,
    ) -> Tensor<f64> {
        let (sizes, models) = (self.so_far.sizes, &self.so_far.layer.parts().shift);
        for (n, (b, tokens)) in self.so_far.documents.iter().enumerate().skip(first) {
            for (c, ssm) in models.iter().enumerate() {
                let at = Place {
                    sequence: b,
                    tokens: tokens.clone(),
                    signal: sizes.channel(b, c),
                    state: sizes.channel(n, c),
                    head: c / sizes.d_h,
                    value: c % sizes.d_h,
                };
                let state = state(self, ssm, &at, self.so_far.initial.shift.row(at.state));
                x.row_mut(at.state).copy_from_slice(&state);
            }
        }
        x
    }

    /// The diagonal models' states, likewise.
    pub(super) fn modes(
        &self,
        mut x: Tensor<Complex<f64>>,
        first: usize,
        state: impl Fn(&Self, &Diagonal<f64>, &Place, &[Complex<f64>]) -> Vec<Complex<f64>>,
    ) -> Tensor<Complex<f64>> {
        let (sizes, models) = (self.so_far.sizes, &self.so_far.layer.parts().diagonal);
        for (n, (b, tokens)) in self.so_far.documents.iter().enumerate().skip(first) {
            for (d1, d2, h) in sizes.pairs() {
                let at = Place {
                    sequence: b,
                    tokens: tokens.clone(),
                    signal: sizes.pair(b, d1, d2, h),
                    state: sizes.pair(n, d1, d2, h),
                    head: h,
                    value: d2,
                };
                let x0 = self.so_far.initial.diagonal.row(at.state);
                let state = state(self, &models[h], &at, x0);
                x.row_mut(at.state).copy_from_slice(&state);
            }
        }
        x
    }
}

/// One model over one document.
pub(crate) struct Place {
    /// The document's row of the batch, and its tokens.
    pub(super) sequence: usize,
    pub(super) tokens: Range<usize>,
    /// The model's row in a stage over time, and in the states.
    pub(super) signal: usize,
    pub(super) state: usize,
    /// The head and the channel of its value; of a shift model, of its key.
    pub(super) head: usize,
    pub(super) value: usize,
}

impl Place {
    /// A stage over time, in the document.
    pub(super) fn of<'t>(&self, stage: &'t Tensor<f64>) -> &'t [f64] {
        &stage.row(self.signal)[self.tokens.clone()]
    }
}
