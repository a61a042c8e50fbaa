//! The forward pass, every stage of it kept.

use super::evaluate::Evaluate;
use super::form::Form;
use super::layer::{Layer, LayerState, stack};
use super::stages::{Progress, Sizes, Stage, Stages};
use crate::algebra::{Matrix, Ring, RootsOfUnity, Scalar};
use crate::attention::masked_attention;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Documents, StateSpace, toeplitz_of_documents};
use crate::tensor::Tensor;

impl<T> Layer<T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// The layer applied to `u` (batch, seq_len, d) in this form, from `state` (zeros if `None`).
    ///
    /// # Errors
    ///
    /// - If `u` or `state` has the wrong shape, or a chunking does not fit.
    /// - If the kernels are truncated (`l_max` below the number of inputs so far) and the form passes a
    ///   state, or a state is passed in: no recurrence of finite window exists for a diagonal
    ///   model.
    pub fn forward(
        &self,
        form: &Form,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        self.forward_documents(form, u, &documents_of(u), state)
    }

    /// The same over rows of documents. Each document starts from its own state (zeros if `state`
    /// is `None`) and leaves one: the first axis of the states counts documents. Stages are zero at
    /// padding, and the input is not read there. Kernels are as long as the longest document.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and if the documents are not those of `u`.
    pub fn forward_documents(
        &self,
        form: &Form,
        u: &Tensor<T>,
        documents: &Documents,
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        let (sizes, state) = self.prepare(form, u, documents, state)?;
        let attention = *form == Form::Attention;
        self.run(form, attention, (u, documents), &state, sizes)
    }
}

impl<T: Scalar> Layer<T> {
    /// The layer with any algorithm for its parts; `l_max` truncates kernels if that algorithm has
    /// them.
    ///
    /// # Errors
    ///
    /// If `u` or `state` has the wrong shape, or a part fails.
    pub(crate) fn forward_by(
        &self,
        by: &dyn Evaluate<T>,
        (u, documents): (&Tensor<T>, &Documents),
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        self.checked_run(by, false, (u, documents), state)
    }

    /// The same with the diagonal models in the quadratic form of every head.
    ///
    /// # Errors
    ///
    /// As [`forward_by`](Self::forward_by).
    pub(crate) fn attention_by(
        &self,
        by: &dyn Evaluate<T>,
        (u, documents): (&Tensor<T>, &Documents),
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        self.checked_run(by, true, (u, documents), state)
    }

    fn checked_run(
        &self,
        by: &dyn Evaluate<T>,
        attention: bool,
        (u, documents): (&Tensor<T>, &Documents),
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        let (sizes, state) = self.check_input(u, documents, state)?;
        let state = state
            .cloned()
            .unwrap_or_else(|| self.zero_state(documents.count()));
        self.run(by, attention, (u, documents), &state, sizes)
    }

    fn run(
        &self,
        by: &dyn Evaluate<T>,
        attention: bool,
        (u, documents): (&Tensor<T>, &Documents),
        state: &LayerState<T>,
        sizes: Sizes,
    ) -> Result<Stages<T>, Error> {
        let longest = documents.longest();
        let (parts, window) = (self.parts(), self.window(longest));
        let mut so_far = Progress {
            layer: self,
            input: u,
            documents,
            initial: state,
            stages: Stages::from_state(state),
            sizes,
        };
        let projected = |stage, linear, so_far: &Progress<'_, T>| match by.known(stage) {
            Some(known) => Ok(known),
            None => {
                let projected = by.project(linear, u, documents);
                let projected = by_channel(&projected, sizes).map(|x| by.at_projection(x, true));
                by.stage(stage, projected, so_far)
            }
        };
        so_far.stages.q = projected(Stage::Q, &parts.q, &so_far)?;
        so_far.stages.k = projected(Stage::K, &parts.k, &so_far)?;
        so_far.stages.v = projected(Stage::V, &parts.v, &so_far)?;

        let kernels = stack(&parts.shift, window, &|ssm, len| by.shift_kernel(ssm, len));
        so_far.stages.shift_kernel = by.stage(Stage::ShiftKernel, kernels, &so_far)?;
        let read = by.model_input(Stage::ShiftK, &so_far);
        let keys = read.as_ref().unwrap_or(&so_far.stages.k);
        let kernels = &so_far.stages.shift_kernel;
        let (shift_k, shift_state) = self.shift_keys(by, keys, kernels, state, documents, sizes)?;
        so_far.stages.shift_k = by.stage(Stage::ShiftK, shift_k, &so_far)?;
        let kv = multiply(&so_far.stages.shift_k, &so_far.stages.v, sizes);
        so_far.stages.kv = by.stage(Stage::Kv, kv, &so_far)?;

        let kernels = stack(&parts.diagonal, window, &|ssm, len| by.ssm_kernel(ssm, len));
        so_far.stages.ssm_kernel = by.stage(Stage::SsmKernel, kernels, &so_far)?;
        let diagonal_state = if attention {
            so_far.stages.gated = self.attend(&so_far.stages, state, documents, sizes)?;
            self.closed_form_states(&so_far.stages.kv, state, documents, sizes)
        } else {
            let read = by.model_input(Stage::SsmOut, &so_far);
            let kv = read.as_ref().unwrap_or(&so_far.stages.kv);
            let kernels = &so_far.stages.ssm_kernel;
            let (ssm_out, after) = self.run_diagonal(by, kv, kernels, state, documents, sizes)?;
            let ssm_out = by.stage(Stage::SsmOut, ssm_out, &so_far)?;
            let gated = self.gate(&so_far.stages.q, &ssm_out, sizes);
            so_far.stages.ssm_out = Some(ssm_out);
            so_far.stages.gated = by.stage(Stage::Gated, gated, &so_far)?;
            after
        };

        let gated = by.all_gated(&so_far.stages.gated);
        let gated = gated.map(|x| by.at_projection(x, false));
        let mut output = by.project(&parts.output, &gated, documents);
        output = output.map(|y| by.at_projection(y, true));
        documents.clear_padding(&mut output);
        so_far.stages.output = by.stage(Stage::Output, output, &so_far)?;
        so_far.stages.state = LayerState {
            shift: by.stage(Stage::FinalStateK, shift_state, &so_far)?,
            diagonal: by.final_state(diagonal_state, &so_far),
            position: state.position.saturating_add(longest),
        };
        Ok(so_far.stages)
    }

    /// The sizes of an input and the state to begin from, if this form can run the layer on them.
    pub(super) fn prepare(
        &self,
        form: &Form,
        u: &Tensor<T>,
        documents: &Documents,
        state: Option<&LayerState<T>>,
    ) -> Result<(Sizes, LayerState<T>), Error> {
        let (sizes, given) = self.check_input(u, documents, state)?;
        let through_state = form.passes_state() || given.is_some();
        let state = given
            .cloned()
            .unwrap_or_else(|| self.zero_state(documents.count()));
        let who = format!("form {form}");
        self.check_window(&state, documents.longest(), through_state, &who)?;
        Ok((sizes, state))
    }

    pub(crate) fn check_input<'a>(
        &self,
        u: &Tensor<T>,
        documents: &Documents,
        state: Option<&'a LayerState<T>>,
    ) -> Result<(Sizes, Option<&'a LayerState<T>>), Error> {
        let &[batch, len, d] = u.shape() else {
            return Err(self.wrong_input(u));
        };
        if d != self.input_channels() {
            return Err(self.wrong_input(u));
        }
        if (documents.batch(), documents.seq_len()) != (batch, len) {
            return Err(Error::shape(
                "documents",
                format_args!("{batch} rows of {len} tokens, as the input"),
                format_args!("{} of {}", documents.batch(), documents.seq_len()),
            ));
        }
        if let Some(state) = state {
            self.check_state(state, documents.count())?;
        }
        let sizes = Sizes {
            batch,
            len,
            d: self.d_model(),
            d_h: self.head_dim(),
            heads: self.n_heads(),
        };
        Ok((sizes, state))
    }

    fn wrong_input(&self, u: &Tensor<T>) -> Error {
        Error::shape(
            "input",
            format_args!(
                "shape (batch, seq_len, d_model = {})",
                self.input_channels()
            ),
            format_args!("{:?}", u.shape()),
        )
    }

    /// Refuses to take `len` inputs through a state beyond `l_max`, and gives the number of inputs
    /// after them.
    pub(crate) fn check_window(
        &self,
        state: &LayerState<T>,
        len: usize,
        through_state: bool,
        who: &str,
    ) -> Result<usize, Error> {
        let end = state.position.checked_add(len);
        let end =
            end.ok_or_else(|| Error::value("position of the state", "too large to count on from"))?;
        match self.parts().l_max {
            Some(l_max) if through_state && end > l_max => Err(Error::unsupported(format!(
                "{who} passes a state, and l_max = {l_max} is below the {end} inputs: a diagonal \
                 model has no recurrence of finite window; use form convolution, fft or attention \
                 on the whole sequence"
            ))),
            _ => Ok(end),
        }
    }

    /// The shift models over keys (batch, d, seq_len), given their kernels: outputs and final
    /// states.
    pub(crate) fn shift_keys(
        &self,
        by: &dyn Evaluate<T>,
        k: &Tensor<T>,
        kernels: &Tensor<T>,
        state: &LayerState<T>,
        documents: &Documents,
        sizes: Sizes,
    ) -> Result<(Tensor<T>, Tensor<T>), Error> {
        let mut shift_k = Tensor::filled(k.shape(), T::ZERO);
        let mut after = state.shift.clone();
        for b in 0..sizes.batch {
            for (channel, shift) in self.parts().shift.iter().enumerate() {
                let rows = || documents.numbers(b).map(|n| sizes.channel(n, channel));
                let x0: Vec<_> = rows().map(|r| state.shift.row(r)).into_vec();
                let (r, kernel) = (sizes.channel(b, channel), kernels.row(channel));
                let response = by.shift_row(shift, kernel, k.row(r), documents.row(b), &x0)?;
                shift_k.row_mut(r).copy_from_slice(&response.output);
                for (r, state) in rows().zip(&response.states) {
                    after.row_mut(r).copy_from_slice(state);
                }
            }
        }
        Ok((shift_k, after))
    }

    /// The diagonal models over kv (batch, d1, d2, H, seq_len), given their kernels: outputs and
    /// final states.
    pub(crate) fn run_diagonal(
        &self,
        by: &dyn Evaluate<T>,
        kv: &Tensor<T>,
        kernels: &Tensor<T>,
        state: &LayerState<T>,
        documents: &Documents,
        sizes: Sizes,
    ) -> Result<(Tensor<T>, Tensor<T::Complex>), Error> {
        let mut ssm_out = Tensor::filled(kv.shape(), T::ZERO);
        let mut after = state.diagonal.clone();
        for b in 0..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let rows = || documents.numbers(b).map(|n| sizes.pair(n, d1, d2, h));
                let x0: Vec<_> = rows().map(|r| state.diagonal.row(r)).into_vec();
                let (r, kernel) = (sizes.pair(b, d1, d2, h), kernels.row(h));
                let ssm = &self.parts().diagonal[h];
                let response = by.diagonal_row(ssm, kernel, kv.row(r), documents.row(b), &x0)?;
                ssm_out.row_mut(r).copy_from_slice(&response.output);
                for (r, state) in rows().zip(&response.states) {
                    after.row_mut(r).copy_from_slice(state);
                }
            }
        }
        Ok((ssm_out, after))
    }

    /// `gated[h, d2] = sum_d1 q[h d_h + d1] ssm_out[d1, d2, h]`.
    pub(crate) fn gate(&self, q: &Tensor<T>, ssm_out: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
        let mut gated = Tensor::filled([sizes.batch, sizes.len, sizes.d], T::ZERO);
        for b in 0..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let q = q.row(sizes.channel(b, h * sizes.d_h + d1));
                let y = ssm_out.row(sizes.pair(b, d1, d2, h));
                let channel = self.gated_channel(h, d2);
                for (i, (&q, &y)) in q.iter().zip(y).enumerate() {
                    let place = &mut gated.row_mut(b * sizes.len + i)[channel];
                    *place = *place + q * y;
                }
            }
        }
        gated
    }

    /// `((Q Kt^T) o T_f) V` head by head, plus what the incoming states add. The mask is 0 between
    /// documents.
    fn attend(
        &self,
        stages: &Stages<T>,
        state: &LayerState<T>,
        documents: &Documents,
        sizes: Sizes,
    ) -> Result<Tensor<T>, Error> {
        let Sizes { len, d_h, .. } = sizes;
        let Stages { q, shift_k, v, .. } = stages;
        let mut gated = Tensor::filled([sizes.batch, len, sizes.d], T::ZERO);
        for b in 0..sizes.batch {
            for (h, ssm) in self.parts().diagonal.iter().enumerate() {
                // The head's channels as a seq_len x d_h matrix.
                let head = |x: &Tensor<T>| {
                    Matrix::from_fn(len, d_h, |i, c| x.row(sizes.channel(b, h * d_h + c))[i])
                };
                let (kernel, row) = (stages.ssm_kernel.row(h), documents.row(b));
                let mask = toeplitz_of_documents(kernel, ssm.feedthrough(), row, len);
                let o = masked_attention(&head(q), &head(shift_k), &head(v), &mask)?;
                for d2 in 0..d_h {
                    let mut column: Vec<T> = (0..len).map(|i| o.row(i)[d2]).into_vec();
                    for d1 in 0..d_h {
                        let q = q.row(sizes.channel(b, h * d_h + d1));
                        for (n, tokens) in documents.numbers(b).zip(row) {
                            let x0 = state.diagonal.row(sizes.pair(n, d1, d2, h));
                            let from_state = ssm.state_to_output(x0, tokens.len());
                            let read = from_state.into_iter().zip(&q[tokens.clone()]);
                            for (y, (s, &q)) in column[tokens.clone()].iter_mut().zip(read) {
                                *y = *y + q * s;
                            }
                        }
                    }
                    let channel = self.gated_channel(h, d2);
                    for (i, y) in column.into_iter().enumerate() {
                        gated.row_mut(b * len + i)[channel] = y;
                    }
                }
            }
        }
        Ok(gated)
    }

    /// The diagonal models' final states where the form itself makes none.
    fn closed_form_states(
        &self,
        kv: &Tensor<T>,
        state: &LayerState<T>,
        documents: &Documents,
        sizes: Sizes,
    ) -> Tensor<T::Complex> {
        let mut after = state.diagonal.clone();
        for (n, (b, tokens)) in documents.iter().enumerate() {
            for (d1, d2, h) in sizes.pairs() {
                let (r, of_state) = (sizes.pair(b, d1, d2, h), sizes.pair(n, d1, d2, h));
                let ssm = &self.parts().diagonal[h];
                let carried = ssm.advance(state.diagonal.row(of_state), tokens.len());
                let left = ssm.input_to_state(&kv.row(r)[tokens.clone()]);
                after
                    .row_mut(of_state)
                    .copy_from_slice(&crate::ssm::add_states(&carried, &left));
            }
        }
        after
    }
}

/// An input (batch, seq_len, d) whose rows are whole; of other shapes, nothing that fits them.
pub fn documents_of<T: Copy>(u: &Tensor<T>) -> Documents {
    match u.shape() {
        &[batch, len, _] => Documents::whole(batch, len),
        _ => Documents::whole(0, 0),
    }
}

/// An array (batch, seq_len, d) as (batch, d, seq_len).
pub(super) fn by_channel<T: Ring>(x: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
    let mut channels = Tensor::filled([sizes.batch, sizes.d, sizes.len], T::ZERO);
    for (token, x) in x.data().chunks_exact(sizes.d.max(1)).enumerate() {
        let (b, i) = (token / sizes.len, token % sizes.len);
        for (channel, &x) in x.iter().enumerate() {
            channels.row_mut(sizes.channel(b, channel))[i] = x;
        }
    }
    channels
}

/// `kv[d1, d2, h] = shift_k[h d_h + d1] v[h d_h + d2]`.
pub(crate) fn multiply<T: Ring>(shift_k: &Tensor<T>, v: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
    let Sizes { d_h, heads, .. } = sizes;
    let mut kv = Tensor::filled([sizes.batch, d_h, d_h, heads, sizes.len], T::ZERO);
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs() {
            let k = shift_k.row(sizes.channel(b, h * d_h + d1));
            let v = v.row(sizes.channel(b, h * d_h + d2));
            let row = kv.row_mut(sizes.pair(b, d1, d2, h));
            for ((kv, &k), &v) in row.iter_mut().zip(k).zip(v) {
                *kv = k * v;
            }
        }
    }
    kv
}
