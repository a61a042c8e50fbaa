//! A prompt as a whole, the rest token by token.

use super::forward::{Model, ModelStages};
use super::streaming::ModelStream;
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::tensor::Tensor;

impl<T> Model<T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// The model over the sequences `ids` (batch, seq_len): the first `prompt` tokens of each as a whole,
    /// the others one at a time. None at once is the step form, all at once
    /// [`forward`](Self::forward); the logits are the same.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward) and [`ModelStream::step`], or if there are fewer tokens than
    /// `prompt`.
    pub fn forward_from_prompt(
        &self,
        form: &Form,
        prompt: usize,
        ids: &Tensor<usize>,
    ) -> Result<ModelStages<T>, Error> {
        let &[batch, len] = ids.shape() else {
            return self.forward(form, ids);
        };
        if prompt > len {
            let why = format!("{prompt} tokens, but there are {len}");
            return Err(Error::value("prompt", why));
        }
        if prompt == len {
            return self.forward(form, ids);
        }
        let mut parts = Vec::new();
        let state = if prompt > 0 {
            let first = (0..batch).flat_map(|b| &ids.data()[b * len..][..prompt]);
            let first = Tensor::new([batch, prompt], first.copied().collect())?;
            let stages = self.forward(form, &first)?;
            let state = stages.state.clone();
            parts.push(stages);
            state
        } else {
            self.zero_state(batch)
        };
        let mut stream = ModelStream::resume(self, batch, state)?;
        for i in prompt..len {
            let token: Vec<usize> = (0..batch).map(|b| ids.data()[b * len + i]).collect();
            let (logits, blocks) = stream.step_stages(&token)?;
            let one = |x: Vec<T>| {
                let width = x.len().checked_div(batch).unwrap_or(0);
                Tensor::new([batch, 1, width], x)
            };
            let blocks = blocks
                .into_iter()
                .map(|[hidden, residual]| Ok([one(hidden)?, one(residual)?]));
            parts.push(ModelStages {
                blocks: blocks.collect::<Result<_, Error>>()?,
                logits: one(logits)?,
                state: self.zero_state(0),
            });
        }
        let whole = |pick: &dyn Fn(&ModelStages<T>) -> &Tensor<T>| joined(&parts, batch, pick);
        Ok(ModelStages {
            blocks: (0..self.blocks.len())
                .map(|i| {
                    Ok([
                        whole(&|part| &part.blocks[i][0])?,
                        whole(&|part| &part.blocks[i][1])?,
                    ])
                })
                .collect::<Result<_, Error>>()?,
            logits: whole(&|part| &part.logits)?,
            state: stream.state(),
        })
    }
}

/// One stage (batch, tokens, width) of consecutive parts, put together along the tokens.
fn joined<T: Real>(
    parts: &[ModelStages<T>],
    batch: usize,
    pick: impl Fn(&ModelStages<T>) -> &Tensor<T>,
) -> Result<Tensor<T>, Error> {
    let (mut len, mut width) = (0, 0);
    for part in parts {
        let shape = pick(part).shape();
        len += shape[1];
        width = shape[2];
    }
    let mut data = Vec::with_capacity(batch * len * width);
    for b in 0..batch {
        for part in parts {
            let stage = pick(part);
            let size = stage.shape()[1] * width;
            data.extend_from_slice(&stage.data()[b * size..][..size]);
        }
    }
    Tensor::new([batch, len, width], data)
}
