#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/11-gradients.md")]

use super::evaluate::Evaluate;
use super::form::Form;
use super::forward::project;
use super::gradients_form::AdjointForm;
use super::layer::{Layer, LayerState, stack};
use super::stages::Sizes;
use crate::algebra::{Linear, Matrix, Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::ssm::{Adjoint, Diagonal, Gradients, Shift};
use crate::tensor::Tensor;

/// How the models inside a layer are run backwards: by the adjoint of a [`Form`], or wrongly.
pub(crate) trait Backward<T: Scalar> {
    /// A shift model's gradients, its kernel cut to `window`.
    fn shift(
        &self,
        ssm: &Shift<T>,
        u: &[T],
        x0: Option<&[T]>,
        g: &[T],
        g_state: Option<&[T]>,
        window: usize,
    ) -> Result<Gradients<Shift<T>>, Error>;

    /// A diagonal model's gradients, its kernel cut to `window`.
    fn diagonal(
        &self,
        ssm: &Diagonal<T>,
        u: &[T],
        x0: Option<&[T::Complex]>,
        g: &[T],
        g_state: Option<&[T::Complex]>,
        window: usize,
    ) -> Result<Gradients<Diagonal<T>>, Error>;
}

impl<T, F> Backward<T> for F
where
    T: Scalar,
    T::Complex: RootsOfUnity,
    F: AdjointForm,
{
    fn shift(
        &self,
        ssm: &Shift<T>,
        u: &[T],
        x0: Option<&[T]>,
        g: &[T],
        g_state: Option<&[T]>,
        window: usize,
    ) -> Result<Gradients<Shift<T>>, Error> {
        self.gradients_within(ssm, u, x0, g, g_state, window)
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
        self.gradients_within(ssm, u, x0, g, g_state, window)
    }
}

/// The gradients of a layer, each in the shape of what it is a gradient of.
#[derive(Clone, Debug)]
pub struct LayerGradients<T: Scalar> {
    /// With respect to the input (batch, seq_len, d).
    pub input: Tensor<T>,
    /// With respect to the initial state. `position` is the initial state's; it has no gradient.
    pub state: LayerState<T>,
    /// With respect to `q_proj`.
    pub q: Linear<T>,
    /// With respect to `k_proj`.
    pub k: Linear<T>,
    /// With respect to `v_proj`.
    pub v: Linear<T>,
    /// With respect to `output_linear`.
    pub output: Linear<T>,
    /// With respect to every key channel's shift model (d).
    pub shift: Vec<Shift<T>>,
    /// With respect to every head's discrete diagonal model (H).
    pub diagonal: Vec<Diagonal<T>>,
}

// By hand, since a derive would not ask for the comparison of complex companions.
impl<T> PartialEq for LayerGradients<T>
where
    T: Scalar + PartialEq,
    T::Complex: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        let Self {
            input,
            state,
            q,
            k,
            v,
            output,
            shift,
            diagonal,
        } = self;
        *input == other.input
            && *state == other.state
            && [q, k, v, output] == [&other.q, &other.k, &other.v, &other.output]
            && *shift == other.shift
            && *diagonal == other.diagonal
    }
}

impl<T: Ring> Linear<T> {
    fn zeros(d: usize) -> Self {
        Self {
            weight: Matrix::from_fn(d, d, |_, _| T::ZERO),
            bias: vec![T::ZERO; d],
        }
    }

    /// The adjoint of `W u + b`: returns `W^T g`, adds `g u^T` and `g` to the gradient.
    fn adjoint(&self, u: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut of_input = vec![T::ZERO; u.len()];
        for (i, &g) in g.iter().enumerate() {
            gradient.bias[i] = gradient.bias[i] + g;
            let (weight, of_weight) = (self.weight.row(i), gradient.weight.row_mut(i));
            for j in 0..u.len() {
                of_weight[j] = of_weight[j] + g * u[j];
                of_input[j] = of_input[j] + g * weight[j];
            }
        }
        of_input
    }
}

impl<T> Layer<T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// The gradients of [`forward`](Self::forward), by the adjoint of the same form, given the
    /// cotangents `g` of the output (batch, seq_len, d) and `g_state` of the final state (zeros if
    /// `None`; its `position` is not read).
    ///
    /// # Memory
    ///
    /// A constant number of (batch, d, seq_len) stages, and one model's adjoint at a time: `kv`
    /// and `ssm_out`, `d_h` times as large, are recomputed row by row and never stored. With
    /// [`Form::FlashConv`] that is `O(batch d N + m N/T)`, beside the states and the gradients
    /// themselves.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and if `g` or `g_state` has the wrong shape.
    pub fn gradients(
        &self,
        form: &Form,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        g: &Tensor<T>,
        g_state: Option<&LayerState<T>>,
    ) -> Result<LayerGradients<T>, Error> {
        let (_, state) = self.prepare(form, u, state)?;
        self.gradients_by(form, form, u, Some(&state), g, g_state)
    }
}

impl<T: Scalar> Layer<T> {
    /// The gradients with the models evaluated in any way, and their adjoints too.
    ///
    /// # Errors
    ///
    /// If `u`, `state` or a cotangent has the wrong shape, or a model's response or adjoint fails.
    pub(crate) fn gradients_by(
        &self,
        forward: &impl Evaluate<T>,
        back: &impl Backward<T>,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        g: &Tensor<T>,
        g_state: Option<&LayerState<T>>,
    ) -> Result<LayerGradients<T>, Error> {
        let (sizes, state) = self.check_input(u, state)?;
        let state = state
            .cloned()
            .unwrap_or_else(|| self.zero_state(sizes.batch));
        g.check_shape("cotangent of the output", u.shape())?;
        let g_state = match g_state {
            Some(g_state) => {
                self.check_state(g_state, sizes.batch)?;
                g_state.clone()
            }
            None => self.zero_state(sizes.batch),
        };
        let parts = self.parts();
        let q = project(&parts.q, u, sizes);
        let k = project(&parts.k, u, sizes);
        let v = project(&parts.v, u, sizes);
        let window = self.window(sizes.len);
        let kernels = stack(&parts.shift, window, |ssm, len| {
            forward.shift_kernel(ssm, len)
        });
        let (shift_k, _) = self.shift_keys(forward, &k, &kernels, &state, sizes)?;

        let mut sum = LayerGradients {
            input: Tensor::filled(u.shape(), T::ZERO),
            state: state.clone(),
            q: Linear::zeros(sizes.d),
            k: Linear::zeros(sizes.d),
            v: Linear::zeros(sizes.d),
            output: Linear::zeros(sizes.d),
            shift: parts.shift.iter().map(Adjoint::zero_gradient).collect(),
            diagonal: parts.diagonal.iter().map(Adjoint::zero_gradient).collect(),
        };
        let of_gated = self.output_adjoint(g);
        let heads = Heads {
            q: &q,
            shift_k: &shift_k,
            v: &v,
            of_gated: &of_gated,
        };
        let head_gradients =
            self.heads_adjoint((forward, back), &heads, &state, &g_state, &mut sum, sizes)?;
        for r in 0..sizes.batch * sizes.len {
            let gated = head_gradients.gated.row(r);
            parts.output.adjoint(gated, g.row(r), &mut sum.output);
        }
        let of_k = self.shift_adjoint(
            back,
            &k,
            &head_gradients.shift_k,
            &state,
            &g_state,
            &mut sum,
            sizes,
        )?;
        for (projection, g, gradient) in [
            (&parts.q, &head_gradients.q, &mut sum.q),
            (&parts.k, &of_k, &mut sum.k),
            (&parts.v, &head_gradients.v, &mut sum.v),
        ] {
            project_adjoint(projection, u, g, gradient, &mut sum.input, sizes);
        }
        Ok(sum)
    }

    /// `W_o^T g`, the cotangent of `gated` (batch, seq_len, d).
    fn output_adjoint(&self, g: &Tensor<T>) -> Tensor<T> {
        let transposed = self.parts().output.weight.transpose();
        let mut of_gated = Tensor::filled(g.shape(), T::ZERO);
        for r in 0..g.data().len() / self.d_model() {
            for (i, place) in of_gated.row_mut(r).iter_mut().enumerate() {
                *place = crate::algebra::dot(transposed.row(i), g.row(r));
            }
        }
        of_gated
    }

    /// Every pair (d1, d2) of every head, forward and back at once: with `y` its `ssm_out`,
    ///
    /// ```text
    /// gated = sum_d1 q y     q: sum_d2 g y     y: g q     kv: by the model's adjoint
    /// kv = shift_k v         shift_k: sum_d2 (kv's) v     v: sum_d1 (kv's) shift_k
    /// ```
    fn heads_adjoint(
        &self,
        (forward, back): (&impl Evaluate<T>, &impl Backward<T>),
        heads: &Heads<'_, T>,
        state: &LayerState<T>,
        g_state: &LayerState<T>,
        sum: &mut LayerGradients<T>,
        sizes: Sizes,
    ) -> Result<HeadGradients<T>, Error> {
        let zeros = || Tensor::filled(heads.q.shape(), T::ZERO);
        let mut out = HeadGradients {
            gated: Tensor::filled(heads.of_gated.shape(), T::ZERO),
            q: zeros(),
            shift_k: zeros(),
            v: zeros(),
        };
        let window = self.window(sizes.len);
        let kernels = stack(&self.parts().diagonal, window, |ssm, len| {
            forward.ssm_kernel(ssm, len)
        });
        for b in 0..sizes.batch {
            for (d1, d2, h) in sizes.pairs() {
                let ssm = &self.parts().diagonal[h];
                let key = sizes.channel(b, h * sizes.d_h + d1);
                let value = sizes.channel(b, h * sizes.d_h + d2);
                let pair = sizes.pair(b, d1, d2, h);
                let channel = self.gated_channel(h, d2);
                let x0 = state.diagonal.row(pair);
                let (q, k, v) = (heads.q.row(key), heads.shift_k.row(key), heads.v.row(value));

                let kv: Vec<T> = k.iter().zip(v).map(|(&k, &v)| k * v).collect();
                let y = forward.diagonal(ssm, kernels.row(h), &kv, x0)?.output;
                let mut g = Vec::with_capacity(sizes.len);
                for (i, &y) in y.iter().enumerate() {
                    let token = b * sizes.len + i;
                    let of_gated = heads.of_gated.row(token)[channel];
                    let gated = &mut out.gated.row_mut(token)[channel];
                    *gated = *gated + q[i] * y;
                    let of_q = &mut out.q.row_mut(key)[i];
                    *of_q = *of_q + of_gated * y;
                    g.push(of_gated * q[i]);
                }

                let g_final = Some(g_state.diagonal.row(pair));
                let gradients = back.diagonal(ssm, &kv, Some(x0), &g, g_final, window)?;
                sum.diagonal[h].add_gradient(&gradients.model);
                sum.state
                    .diagonal
                    .row_mut(pair)
                    .copy_from_slice(&gradients.state);
                for (i, &g) in gradients.input.iter().enumerate() {
                    let of_k = &mut out.shift_k.row_mut(key)[i];
                    *of_k = *of_k + g * v[i];
                    let of_v = &mut out.v.row_mut(value)[i];
                    *of_v = *of_v + g * k[i];
                }
            }
        }
        Ok(out)
    }

    /// Back through the shift models: the cotangent of k (batch, d, seq_len).
    #[expect(clippy::too_many_arguments, reason = "both sides of one stage")]
    fn shift_adjoint(
        &self,
        back: &impl Backward<T>,
        k: &Tensor<T>,
        g: &Tensor<T>,
        state: &LayerState<T>,
        g_state: &LayerState<T>,
        sum: &mut LayerGradients<T>,
        sizes: Sizes,
    ) -> Result<Tensor<T>, Error> {
        let mut of_k = Tensor::filled(k.shape(), T::ZERO);
        let window = self.window(sizes.len);
        for b in 0..sizes.batch {
            for (channel, shift) in self.parts().shift.iter().enumerate() {
                let r = sizes.channel(b, channel);
                let (x0, g_final) = (Some(state.shift.row(r)), Some(g_state.shift.row(r)));
                let gradients = back.shift(shift, k.row(r), x0, g.row(r), g_final, window)?;
                sum.shift[channel].add_gradient(&gradients.model);
                sum.state.shift.row_mut(r).copy_from_slice(&gradients.state);
                of_k.row_mut(r).copy_from_slice(&gradients.input);
            }
        }
        Ok(of_k)
    }
}

/// What the heads are computed from, forward and backward.
struct Heads<'a, T> {
    q: &'a Tensor<T>,
    shift_k: &'a Tensor<T>,
    v: &'a Tensor<T>,
    of_gated: &'a Tensor<T>,
}

/// What the heads give: the stage `gated`, and the cotangents of what they are computed from.
struct HeadGradients<T> {
    gated: Tensor<T>,
    q: Tensor<T>,
    shift_k: Tensor<T>,
    v: Tensor<T>,
}

/// Back through a projection of every token, from a (batch, d, seq_len) cotangent.
fn project_adjoint<T: Ring>(
    projection: &Linear<T>,
    u: &Tensor<T>,
    g: &Tensor<T>,
    gradient: &mut Linear<T>,
    of_input: &mut Tensor<T>,
    sizes: Sizes,
) {
    for b in 0..sizes.batch {
        for i in 0..sizes.len {
            let token = b * sizes.len + i;
            let column: Vec<T> = (0..sizes.d)
                .map(|channel| g.row(sizes.channel(b, channel))[i])
                .collect();
            let received = projection.adjoint(u.row(token), &column, gradient);
            for (place, x) in of_input.row_mut(token).iter_mut().zip(received) {
                *place = *place + x;
            }
        }
    }
}
