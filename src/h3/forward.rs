//! The forward pass, every stage of it kept.

use super::form::Form;
use super::layer::{Layer, LayerState};
use crate::algebra::{Linear, Matrix, Ring, RootsOfUnity, Scalar};
use crate::attention::masked_attention;
use crate::error::Error;
use crate::ssm::{Diagonal, Response, Shift, StateSpace, toeplitz_matrix};
use crate::tensor::Tensor;

/// What the layer computed, stage by stage, under the names of the files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stages<T: Scalar> {
    /// `W_q u + b_q` (batch, d, seq_len).
    pub q: Tensor<T>,
    /// `W_k u + b_k` (batch, d, seq_len).
    pub k: Tensor<T>,
    /// `W_v u + b_v` (batch, d, seq_len).
    pub v: Tensor<T>,
    /// The shift model of k, with `ssm_k_D k` (batch, d, seq_len).
    pub shift_k: Tensor<T>,
    /// `shift_k v` (batch, d1, d2, H, seq_len).
    pub kv: Tensor<T>,
    /// The diagonal model of kv, with `D kv` (batch, d1, d2, H, seq_len). The attention form never
    /// makes it.
    pub ssm_out: Option<Tensor<T>>,
    /// `sum_d1 q ssm_out` (batch, seq_len, d), channels in the layer's head order.
    pub gated: Tensor<T>,
    /// `W_o gated + b_o` (batch, seq_len, d).
    pub output: Tensor<T>,
    /// The state after the last input. It is the state of the full recurrence also where
    /// `l_max` cuts the kernels, as in the official `forward_state`.
    pub state: LayerState<T>,
}

// By hand, since a derive would not ask for the comparison of complex companions.
impl<T> PartialEq for Stages<T>
where
    T: Scalar + PartialEq,
    T::Complex: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a stage added later cannot be forgotten here.
        let Self {
            q,
            k,
            v,
            shift_k,
            kv,
            ssm_out,
            gated,
            output,
            state,
        } = self;
        [q, k, v, shift_k, kv, gated, output]
            == [
                &other.q,
                &other.k,
                &other.v,
                &other.shift_k,
                &other.kv,
                &other.gated,
                &other.output,
            ]
            && *ssm_out == other.ssm_out
            && *state == other.state
    }
}

/// How the models inside a layer respond: a [`Form`], or an analysis that stands for all of them.
pub(crate) trait Respond<T: Scalar> {
    /// A shift model's response, its kernel cut to `window`.
    fn shift(
        &self,
        ssm: &Shift<T>,
        u: &[T],
        x0: &[T],
        window: usize,
    ) -> Result<Response<Shift<T>>, Error>;

    /// A diagonal model's response, its kernel cut to `window`.
    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        u: &[T],
        x0: &[T::Complex],
        window: usize,
    ) -> Result<Response<Diagonal<T>>, Error>;

    /// What becomes of a number that leaves a projection (`inward`) or enters the last one: a port
    /// may change its precision there.
    fn cross(&self, x: T, _inward: bool) -> T {
        x
    }
}

impl<T> Respond<T> for Form
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    fn shift(
        &self,
        ssm: &Shift<T>,
        u: &[T],
        x0: &[T],
        window: usize,
    ) -> Result<Response<Shift<T>>, Error> {
        self.respond_within(ssm, u, Some(x0), window)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        u: &[T],
        x0: &[T::Complex],
        window: usize,
    ) -> Result<Response<Diagonal<T>>, Error> {
        self.respond_within(ssm, u, Some(x0), window)
    }
}

/// The sizes every stage needs.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) d: usize,
    pub(super) d_h: usize,
    pub(super) heads: usize,
}

impl Sizes {
    /// The row of a (batch, d, seq_len) stage.
    pub(super) fn channel(self, b: usize, channel: usize) -> usize {
        b * self.d + channel
    }

    /// The row of a (batch, d1, d2, H, seq_len) stage.
    pub(super) fn pair(self, b: usize, d1: usize, d2: usize, h: usize) -> usize {
        ((b * self.d_h + d1) * self.d_h + d2) * self.heads + h
    }

    /// All (d1, d2, h).
    pub(super) fn pairs(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { d_h, heads, .. } = self;
        (0..d_h)
            .flat_map(move |d1| (0..d_h).flat_map(move |d2| (0..heads).map(move |h| (d1, d2, h))))
    }
}

impl<T> Layer<T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// The layer applied to `u` (batch, seq_len, d), in the form asked for, from `state` (zeros if
    /// `None`).
    ///
    /// # Errors
    ///
    /// - If `u` or `state` has the wrong shape, or a chunking does not fit.
    /// - If the kernels are cut (`l_max` below the number of inputs so far) and the form passes a
    ///   state, or a state is passed in: no recurrence of finite window exists for a diagonal
    ///   model.
    pub fn forward(
        &self,
        form: &Form,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        let (sizes, state) = self.prepare(form, u, state)?;
        self.run(form, *form == Form::Attention, u, &state, sizes)
    }
}

impl<T: Scalar> Layer<T> {
    /// The layer with its models responding in any way; `l_max` cuts kernels where that way has
    /// them.
    ///
    /// # Errors
    ///
    /// If `u` or `state` has the wrong shape, or a model's response fails.
    pub(crate) fn forward_by(
        &self,
        respond: &impl Respond<T>,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Stages<T>, Error> {
        let (sizes, state) = self.check_input(u, state)?;
        let state = state
            .cloned()
            .unwrap_or_else(|| self.zero_state(sizes.batch));
        self.run(respond, false, u, &state, sizes)
    }

    fn run(
        &self,
        respond: &impl Respond<T>,
        attention: bool,
        u: &Tensor<T>,
        state: &LayerState<T>,
        sizes: Sizes,
    ) -> Result<Stages<T>, Error> {
        let parts = self.parts();
        let [q, k, v] = [&parts.q, &parts.k, &parts.v]
            .map(|linear| project(linear, u, sizes).map(|x| respond.cross(x, true)));
        let (shift_k, shift_state) = self.shift_keys(respond, &k, state, sizes)?;
        let kv = multiply(&shift_k, &v, sizes);
        let (ssm_out, gated, diagonal_state) = if attention {
            let gated = self.attend(&q, &shift_k, &v, state, sizes)?;
            (None, gated, self.closed_form_states(&kv, state, sizes))
        } else {
            let (ssm_out, states) = self.run_diagonal(respond, &kv, state, sizes)?;
            let gated = self.gate(&q, &ssm_out, sizes);
            (Some(ssm_out), gated, states)
        };
        let mut output = Tensor::filled(u.shape(), T::ZERO);
        for r in 0..sizes.batch * sizes.len {
            let row: Vec<T> = gated
                .row(r)
                .iter()
                .map(|&x| respond.cross(x, false))
                .collect();
            let row = parts.output.apply(&row);
            for (place, y) in output.row_mut(r).iter_mut().zip(row) {
                *place = respond.cross(y, true);
            }
        }
        Ok(Stages {
            q,
            k,
            v,
            shift_k,
            kv,
            ssm_out,
            gated,
            output,
            state: LayerState {
                shift: shift_state,
                diagonal: diagonal_state,
                position: state.position.saturating_add(sizes.len),
            },
        })
    }

    /// The sizes of an input and the state to begin from, if this form can run the layer on them.
    pub(super) fn prepare(
        &self,
        form: &Form,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
    ) -> Result<(Sizes, LayerState<T>), Error> {
        let (sizes, given) = self.check_input(u, state)?;
        let through_state = form.passes_state() || given.is_some();
        let state = given
            .cloned()
            .unwrap_or_else(|| self.zero_state(sizes.batch));
        let who = format!("form {form}");
        self.check_window(&state, sizes.len, through_state, &who)?;
        Ok((sizes, state))
    }

    fn check_input<'a>(
        &self,
        u: &Tensor<T>,
        state: Option<&'a LayerState<T>>,
    ) -> Result<(Sizes, Option<&'a LayerState<T>>), Error> {
        let &[batch, len, d] = u.shape() else {
            return Err(self.wrong_input(u));
        };
        if d != self.d_model() {
            return Err(self.wrong_input(u));
        }
        if let Some(state) = state {
            self.check_state(state, batch)?;
        }
        let sizes = Sizes {
            batch,
            len,
            d,
            d_h: self.head_dim(),
            heads: self.n_heads(),
        };
        Ok((sizes, state))
    }

    fn wrong_input(&self, u: &Tensor<T>) -> Error {
        Error::shape(
            "input",
            format_args!("shape (batch, seq_len, d_model = {})", self.d_model()),
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

    pub(super) fn shift_keys(
        &self,
        respond: &impl Respond<T>,
        k: &Tensor<T>,
        state: &LayerState<T>,
        sizes: Sizes,
    ) -> Result<(Tensor<T>, Tensor<T>), Error> {
        let mut shift_k = Tensor::filled(k.shape(), T::ZERO);
        let mut after = state.shift.clone();
        let window = self.window(sizes.len);
        for b in 0..sizes.batch {
            for (channel, shift) in self.parts().shift.iter().enumerate() {
                let r = sizes.channel(b, channel);
                let x0 = state.shift.row(r);
                let response = respond.shift(shift, k.row(r), x0, window)?;
                shift_k.row_mut(r).copy_from_slice(&response.output);
                after.row_mut(r).copy_from_slice(&response.state);
            }
        }
        Ok((shift_k, after))
    }

    fn run_diagonal(
        &self,
        respond: &impl Respond<T>,
        kv: &Tensor<T>,
        state: &LayerState<T>,
        sizes: Sizes,
    ) -> Result<(Tensor<T>, Tensor<T::Complex>), Error> {
        let mut ssm_out = Tensor::filled(kv.shape(), T::ZERO);
        let mut after = state.diagonal.clone();
        let window = self.window(sizes.len);
        for b in 0..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let r = sizes.pair(b, d1, d2, h);
                let x0 = state.diagonal.row(r);
                let ssm = &self.parts().diagonal[h];
                let response = respond.diagonal(ssm, kv.row(r), x0, window)?;
                ssm_out.row_mut(r).copy_from_slice(&response.output);
                after.row_mut(r).copy_from_slice(&response.state);
            }
        }
        Ok((ssm_out, after))
    }

    /// `gated[h, d2] = sum_d1 q[h d_h + d1] ssm_out[d1, d2, h]`.
    fn gate(&self, q: &Tensor<T>, ssm_out: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
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

    /// `((Q Kt^T) o T_f) V` head by head, plus what the incoming states add.
    fn attend(
        &self,
        q: &Tensor<T>,
        shift_k: &Tensor<T>,
        v: &Tensor<T>,
        state: &LayerState<T>,
        sizes: Sizes,
    ) -> Result<Tensor<T>, Error> {
        let Sizes { len, d_h, .. } = sizes;
        let mut gated = Tensor::filled([sizes.batch, len, sizes.d], T::ZERO);
        for b in 0..sizes.batch {
            for (h, ssm) in self.parts().diagonal.iter().enumerate() {
                // The head's channels as a seq_len x d_h matrix.
                let head = |x: &Tensor<T>| {
                    Matrix::from_fn(len, d_h, |i, c| x.row(sizes.channel(b, h * d_h + c))[i])
                };
                let mask = toeplitz_matrix(&ssm.kernel(self.window(len)), ssm.feedthrough(), len);
                let o = masked_attention(&head(q), &head(shift_k), &head(v), &mask)?;
                for d2 in 0..d_h {
                    let mut column: Vec<T> = (0..len).map(|i| o.row(i)[d2]).collect();
                    for d1 in 0..d_h {
                        let x0 = state.diagonal.row(sizes.pair(b, d1, d2, h));
                        let q = q.row(sizes.channel(b, h * d_h + d1));
                        let from_state = ssm.state_to_output(x0, len);
                        for ((y, s), &q) in column.iter_mut().zip(from_state).zip(q) {
                            *y = *y + q * s;
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
        sizes: Sizes,
    ) -> Tensor<T::Complex> {
        let mut after = state.diagonal.clone();
        for b in 0..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let r = sizes.pair(b, d1, d2, h);
                let ssm = &self.parts().diagonal[h];
                let carried = ssm.advance(state.diagonal.row(r), sizes.len);
                let left = ssm.input_to_state(kv.row(r));
                after
                    .row_mut(r)
                    .copy_from_slice(&crate::ssm::add_states(&carried, &left));
            }
        }
        after
    }
}

/// `W u + b` of every token, (batch, d, seq_len).
pub(super) fn project<T: Ring>(linear: &Linear<T>, u: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
    let mut projected = Tensor::filled([sizes.batch, sizes.d, sizes.len], T::ZERO);
    for b in 0..sizes.batch {
        for i in 0..sizes.len {
            let column = linear.apply(u.row(b * sizes.len + i));
            for (channel, value) in column.into_iter().enumerate() {
                projected.row_mut(sizes.channel(b, channel))[i] = value;
            }
        }
    }
    projected
}

/// `kv[d1, d2, h] = shift_k[h d_h + d1] v[h d_h + d2]`.
fn multiply<T: Ring>(shift_k: &Tensor<T>, v: &Tensor<T>, sizes: Sizes) -> Tensor<T> {
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
