//! The whole operator: projections, short filters, the recursion in every channel.

use super::filter::{Filter, ShortFilter};
use super::operator::{Step, recursive_with};
use crate::algebra::{Linear, Ring};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::causal_convolution;
use crate::tensor::Tensor;

/// A Hyena operator over d channels, of any order (safari, `HyenaOperator`, one head and one block,
/// no activation, no dropout).
///
/// Of the `(order + 1) d` channels behind the first projection and the short filters, channel
/// `p d + c` is channel c of the p-th signal: gates `x_order, ..., x_1` first (the official code's
/// `x[0], x[1], ...`), then `v`. So for order 2 they are q, k, v.
#[derive(Clone, Debug, PartialEq)]
pub struct HyenaLayer<T> {
    order: usize,
    in_proj: Linear<T>,
    short: Vec<ShortFilter<T>>,
    long: Vec<Filter<T>>,
    out_proj: Linear<T>,
}

impl<T: Ring> HyenaLayer<T> {
    /// The operator with `in_proj` (d to `(order + 1) d` channels), a short filter for each of
    /// these, the long filters (order, d) of every step in every channel, and `out_proj` (d to d).
    ///
    /// The official operator has no filter in its first step: there
    /// [`Filter::identity`](Filter::identity).
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or d or the order is zero.
    pub fn new(
        in_proj: Linear<T>,
        short: Vec<ShortFilter<T>>,
        long: Vec<Filter<T>>,
        out_proj: Linear<T>,
    ) -> Result<Self, Error> {
        let d = out_proj.weight().rows();
        check_len("inputs of out_proj", out_proj.weight().cols(), d)?;
        check_len("inputs of in_proj", in_proj.weight().cols(), d)?;
        if d == 0 || long.is_empty() || !long.len().is_multiple_of(d) {
            return Err(Error::shape(
                "long filters",
                format_args!("order times d_model = {d} of them, each at least 1"),
                long.len(),
            ));
        }
        let order = long.len() / d;
        let channels = in_proj.weight().rows();
        check_len("outputs of in_proj", channels, (order + 1) * d)?;
        check_len("short filters", short.len(), channels)?;
        Ok(Self {
            order,
            in_proj,
            short,
            long,
            out_proj,
        })
    }

    /// The steps of channel `c` and its `v`, for one sequence.
    fn channel(&self, projected: &[Vec<T>], c: usize) -> (Vec<Step<T>>, Vec<T>) {
        let d = self.out_proj.weight().rows();
        let signal = |p: usize| {
            let signal: Vec<T> = projected.iter().map(|row| row[p * d + c]).into_vec();
            self.short[p * d + c].apply(&signal)
        };
        let steps = (0..self.order).map(|n| Step {
            filter: self.long[n * d + c].clone(),
            gate: signal(self.order - 1 - n),
        });
        (steps.into_vec(), signal(self.order))
    }

    /// The output (batch, seq_len, d) for an input of that shape.
    ///
    /// # Errors
    ///
    /// If `u` has another number of axes or channels.
    pub fn forward(&self, u: &Tensor<T>) -> Result<Tensor<T>, Error> {
        self.forward_with(u, |f, u| Ok(causal_convolution(f, u)))
    }

    /// [`forward`](Self::forward) by another causal convolution.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward); what `convolve` returns.
    pub fn forward_with(
        &self,
        u: &Tensor<T>,
        convolve: impl Fn(&[T], &[T]) -> Result<Vec<T>, Error>,
    ) -> Result<Tensor<T>, Error> {
        let d = self.out_proj.weight().rows();
        let &[batch, len, _] = u.shape() else {
            return Err(Error::shape("input", "three axes", u.shape().len()));
        };
        u.check_shape("input", &[batch, len, d])?;
        let mut output = Vec::with_capacity(u.data().len());
        for b in 0..batch {
            let rows = (0..len).map(|i| self.in_proj.apply(u.row(b * len + i)));
            let projected: Vec<Vec<T>> = rows.into_vec();
            let mut channels = Vec::with_capacity(d);
            for c in 0..d {
                let (steps, v) = self.channel(&projected, c);
                channels.push(recursive_with(&steps, &v, &convolve)?);
            }
            for i in 0..len {
                let token: Vec<T> = channels.iter().map(|channel| channel[i]).into_vec();
                output.extend(self.out_proj.apply(&token));
            }
        }
        Tensor::new(u.shape(), output)
    }
}
