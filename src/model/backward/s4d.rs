//! An S4D layer, backwards.

use super::super::mlp::exact_gelu;
use super::super::s4d::{S4d, channel, put_channel};
use super::mlp::exact_gelu_slope;
use crate::algebra::{Real, Ring};
use crate::error::Error;
use crate::h3::{Backward, Evaluate, Linear};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Adjoint, Diagonal, Documents};
use crate::tensor::Tensor;

/// The gradients of an S4D layer.
#[derive(Clone, Debug)]
pub(super) struct S4dGradient<T: Real> {
    pub(super) input: Tensor<T>,
    /// Of every channel's discrete model.
    pub(super) models: Vec<Diagonal<T>>,
    pub(super) output: Linear<T>,
}

impl<T: Real> S4d<T> {
    /// The adjoint of [`forward`](Self::forward) from a state of zeros: gradients given the cotangent `g`
    /// (batch, seq_len, d) of the output. With `x` the models' responses, which are computed again,
    ///
    /// ```text
    /// W: g gelu(x)^T      x: W^T g * gelu'(x)      u: by the models' adjoint
    /// ```
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or a model's response or adjoint fails.
    pub(super) fn adjoint(
        &self,
        (forward, back): (&dyn Evaluate<T>, &dyn Backward<T>),
        (u, documents): (&Tensor<T>, &Documents),
        g: &Tensor<T>,
    ) -> Result<S4dGradient<T>, Error> {
        g.check_shape("cotangent of the output", u.shape())?;
        let (filtered, states) = self.filter(forward, (u, documents), None)?;
        let d = self.models.len();
        let mut output = Linear::zeros(d, d);
        let mut of_filtered = Tensor::filled(u.shape(), T::ZERO);
        for token in documents.tokens() {
            let x = filtered.row(token);
            let active: Vec<T> = x.iter().map(|&x| exact_gelu(x)).into_vec();
            let of_active = self.output.adjoint(&active, g.row(token), &mut output);
            let places = of_filtered.row_mut(token).iter_mut().zip(x).zip(of_active);
            places.for_each(|((to, &x), g)| *to = g * exact_gelu_slope(x));
        }
        let mut input = Tensor::filled(u.shape(), T::ZERO);
        let mut models: Vec<_> = self.models.iter().map(Adjoint::zero_gradient).into_vec();
        let zeros = states.map(|_| T::Complex::ZERO);
        for (c, (model, gradient)) in self.models.iter().zip(&mut models).enumerate() {
            for b in 0..documents.batch() {
                let zeros = documents.numbers(b).map(|n| zeros.row(n * d + c));
                let zeros: Vec<_> = zeros.into_vec();
                let (u, g) = (channel(u, b, c), channel(&of_filtered, b, c));
                let (row, window) = (documents.row(b), documents.longest());
                let of_row = back.diagonal_row(model, (&u, &g), row, [&zeros; 2], window)?;
                gradient.add_gradient(&of_row.model);
                put_channel(&mut input, b, c, &of_row.input);
            }
        }
        Ok(S4dGradient {
            input,
            models,
            output,
        })
    }
}
