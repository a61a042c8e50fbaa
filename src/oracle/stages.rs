//! The stages of a case under their names in files.

use super::case::{Case, flat_diagonal_state};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Layer, LayerState, Stages};
use crate::tensor::Tensor;

/// The stages as they stand in files: name and array, the diagonal states as
/// (batch d1 d2, H, m/2, 2).
#[must_use]
pub fn named_stages<T: Real>(
    layer: &Layer<T>,
    stages: &Stages<T>,
) -> Vec<(&'static str, Tensor<T>)> {
    let len = stages.output.shape()[1];
    let mut named = vec![
        ("q", stages.q.clone()),
        ("k", stages.k.clone()),
        ("v", stages.v.clone()),
        ("shift_kernel", layer.shift_kernel(len)),
        ("shift_k", stages.shift_k.clone()),
        ("kv", stages.kv.clone()),
        ("ssm_kernel", layer.ssm_kernel(len)),
        ("gated", stages.gated.clone()),
        ("output", stages.output.clone()),
        ("final_state_k", stages.state.shift.clone()),
        (
            "final_state",
            flat_diagonal_state::<T>(&stages.state.diagonal),
        ),
    ];
    if let Some(ssm_out) = &stages.ssm_out {
        named.insert(7, ("ssm_out", ssm_out.clone()));
    }
    named
}

impl Case {
    /// Every stage of the layer in one form, in the scalars of a precision, under its name in files;
    /// with `gradients`, every gradient too.
    ///
    /// # Errors
    ///
    /// As [`Layer::forward`] and, with gradients, [`gradients`](Case::gradients).
    pub fn stages<T>(&self, form: &Form, gradients: bool) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let (layer, input, state) = self.in_precision::<T>()?;
        let stages = layer.forward(form, &input, state.as_ref())?;
        let mut named: Vec<_> = named_stages(&layer, &stages)
            .into_iter()
            .map(|(name, stage)| (name.to_string(), stage))
            .collect();
        if let Some(chunk_len) = self.chunk_len() {
            let run = |u: &Tensor<T>, state: &LayerState<T>| {
                layer.forward(&Form::Recurrence, u, Some(state))
            };
            named.extend(chunk_states(
                &layer,
                &input,
                state.as_ref(),
                chunk_len,
                run,
            )?);
        }
        if gradients {
            named.extend(self.gradients(form)?);
        }
        Ok(named)
    }
}

/// The states after every chunk, the last one included: `chunk_states_k` (chunks, batch, d, m) and
/// `chunk_states` (chunks, batch d1 d2, H, m/2, 2). What FlashConv passes on.
pub(crate) fn chunk_states<T: Real>(
    layer: &Layer<T>,
    input: &Tensor<T>,
    state: Option<&LayerState<T>>,
    chunk_len: usize,
    run: impl Fn(&Tensor<T>, &LayerState<T>) -> Result<Stages<T>, Error>,
) -> Result<[(String, Tensor<T>); 2], Error> {
    let &[batch, len, d] = input.shape() else {
        return Err(Error::shape("input", "three axes", input.shape().len()));
    };
    let mut state = state.cloned().unwrap_or_else(|| layer.zero_state(batch));
    let (mut shift, mut diagonal) = (Vec::new(), Vec::new());
    let mut chunks = 0;
    for from in (0..len).step_by(chunk_len) {
        let to = from.saturating_add(chunk_len).min(len);
        let tokens =
            (0..batch).flat_map(|b| &input.data()[(b * len + from) * d..(b * len + to) * d]);
        let tokens = Tensor::new([batch, to - from, d], tokens.copied().collect())?;
        state = run(&tokens, &state)?.state;
        shift.extend_from_slice(state.shift.data());
        diagonal.extend(flat_diagonal_state::<T>(&state.diagonal).into_data());
        chunks += 1;
    }
    let with_chunks = |shape: &[usize]| [&[chunks], shape].concat();
    let shift_shape = with_chunks(state.shift.shape());
    let diagonal_shape = with_chunks(flat_diagonal_state::<T>(&state.diagonal).shape());
    Ok([
        ("chunk_states_k".into(), Tensor::new(shift_shape, shift)?),
        (
            "chunk_states".into(),
            Tensor::new(diagonal_shape, diagonal)?,
        ),
    ])
}
