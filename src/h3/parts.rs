//! A sequence run in parts: a prompt at once, then tokens one by one or several at a time.

use super::evaluate::Evaluate;
use super::forward::documents_of;
use super::layer::{Layer, LayerState, stack};
use super::plain::Plain;
use super::stages::Stages;
use crate::algebra::{Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::tensor::Tensor;

/// A run in parts: the stages of the whole, and the state after every part.
pub(crate) type Parts<T> = (Stages<T>, Vec<LayerState<T>>);

impl<T> Layer<T>
where
    T: Scalar,
    T::Complex: RootsOfUnity,
{
    /// The layer over consecutive parts of `u` in a form: the stages of the whole, and the state after
    /// every part.
    #[cfg(feature = "internals")]
    pub fn in_parts(
        &self,
        form: &super::form::Form,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        lengths: &[usize],
    ) -> Result<(Stages<T>, Vec<LayerState<T>>), Error> {
        self.forward_in_parts(form, u, state, lengths)
    }

    /// The layer over consecutive parts of `u` (batch, seq_len, d), each from the state that the one
    /// before it left: in one way, but for parts of one token, which are steps.
    ///
    /// # Errors
    ///
    /// If the lengths do not add up to that of `u`, `u` or `state` has the wrong shape, a part fails, or
    /// `l_max` is below the number of inputs, so that no state passes between parts.
    pub(crate) fn forward_in_parts(
        &self,
        by: &dyn Evaluate<T>,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        lengths: &[usize],
    ) -> Result<Parts<T>, Error> {
        let (sizes, state) = self.check_input(u, &documents_of(u), state)?;
        let total: usize = lengths.iter().sum();
        if total != sizes.len {
            let expected = format_args!("lengths adding up to seq_len {}", sizes.len);
            return Err(Error::shape("parts", expected, format_args!("{lengths:?}")));
        }
        let mut state = state
            .cloned()
            .unwrap_or_else(|| self.zero_state(sizes.batch));
        self.check_window(&state, sizes.len, lengths.len() > 1, "a run in parts")?;
        let (mut parts, mut states, mut at) = (Vec::new(), Vec::new(), 0);
        for &len in lengths {
            let tokens = u.tokens(at..at + len)?;
            let whole = (&tokens, &documents_of(&tokens));
            let stages = match len {
                1 => self.forward_by(&Plain::Recurrence, whole, Some(&state))?,
                _ => self.forward_by(by, whole, Some(&state))?,
            };
            state = stages.state.clone();
            states.push(state.clone());
            parts.push(stages);
            at += len;
        }
        let (models, window) = (self.parts(), self.window(sizes.len));
        let over_time = |of: fn(&Stages<T>) -> &Tensor<T>| {
            let parts: Vec<_> = parts.iter().map(of).collect();
            join(&parts, |shape| shape.len() - 1)
        };
        let by_token = |of: fn(&Stages<T>) -> &Tensor<T>| {
            let parts: Vec<_> = parts.iter().map(of).collect();
            join(&parts, |_| 1)
        };
        let pairs: Option<Vec<_>> = parts.iter().map(|part| part.ssm_out.as_ref()).collect();
        let whole = Stages {
            q: over_time(|stages| &stages.q),
            k: over_time(|stages| &stages.k),
            v: over_time(|stages| &stages.v),
            shift_kernel: stack(&models.shift, window, &|ssm, len| by.shift_kernel(ssm, len)),
            shift_k: over_time(|stages| &stages.shift_k),
            kv: over_time(|stages| &stages.kv),
            ssm_kernel: stack(&models.diagonal, window, &|ssm, len| {
                by.ssm_kernel(ssm, len)
            }),
            ssm_out: pairs.map(|parts| join(&parts, |shape| shape.len() - 1)),
            gated: by_token(|stages| &stages.gated),
            output: by_token(|stages| &stages.output),
            state,
        };
        Ok((whole, states))
    }
}

/// Arrays that differ in the length of one axis, one after another along it.
pub fn join<T: Ring>(parts: &[&Tensor<T>], axis: fn(&[usize]) -> usize) -> Tensor<T> {
    let Some(first) = parts.first() else {
        return Tensor::filled([0], T::ZERO);
    };
    let mut shape = first.shape().to_vec();
    let axis = axis(&shape);
    shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut data = Vec::with_capacity(shape.iter().product());
    for o in 0..outer {
        for part in parts {
            let len = part.shape()[axis] * inner;
            data.extend_from_slice(&part.data()[o * len..(o + 1) * len]);
        }
    }
    Tensor::known(shape, data)
}
