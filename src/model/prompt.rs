//! Sequences run in parts: a prompt as a whole, then tokens one by one or several at a time.

use super::block::documents_of_ids;
use super::forward::{Model, ModelHooks, ModelStages};
use super::text::prompt_and_steps;
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Plain, join};
use crate::into_vec::IntoVec as _;
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
    /// As [`forward`](Self::forward), or if there are fewer tokens than `prompt`, or `l_max` is below
    /// their number, so that no state passes.
    pub fn forward_from_prompt(
        &self,
        form: &Form,
        prompt: usize,
        ids: &Tensor<usize>,
    ) -> Result<ModelStages<T>, Error> {
        let len = documents_of_ids(ids)?.seq_len();
        self.forward_in_parts(form, ids, &prompt_and_steps(prompt, len)?)
    }

    /// The model over consecutive parts of the sequences `ids` (batch, seq_len), of these lengths, each
    /// from the state that the one before it left: in one way, but for parts of one token, which are
    /// steps.
    ///
    /// # Errors
    ///
    /// If the lengths do not add up to seq_len; as [`forward`](Self::forward); or if `l_max` is below the
    /// number of tokens, so that no state passes between parts.
    pub(crate) fn forward_in_parts(
        &self,
        hooks: &dyn ModelHooks<T>,
        ids: &Tensor<usize>,
        lengths: &[usize],
    ) -> Result<ModelStages<T>, Error> {
        let documents = documents_of_ids(ids)?;
        let (batch, len) = (documents.batch(), documents.seq_len());
        if lengths.iter().sum::<usize>() != len || lengths.is_empty() {
            let expected = format_args!("lengths adding up to seq_len {len}");
            return Err(Error::shape("parts", expected, format_args!("{lengths:?}")));
        }
        if let [_] = lengths {
            return self.forward_by(hooks, (ids, &documents), None);
        }
        let (mut parts, mut at) = (Vec::<ModelStages<T>>::new(), 0);
        for &tokens in lengths {
            let part = ids.tokens(at..at + tokens)?;
            let input = (&part, &documents_of_ids(&part)?);
            let state = parts.last().map(|part| &part.state);
            parts.push(match tokens {
                1 => self.forward_by(&Plain::Recurrence, input, state)?,
                _ => self.forward_by(hooks, input, state)?,
            });
            at += tokens;
        }
        let whole = |pick: &dyn Fn(&ModelStages<T>) -> &Tensor<T>| {
            let parts: Vec<_> = parts.iter().map(pick).into_vec();
            join(&parts, |_| 1)
        };
        let blocks = 0..self.blocks.len();
        let last = parts.last().map(|part| part.state.clone());
        Ok(ModelStages {
            blocks: blocks
                .map(|i| [0, 1].map(|which| whole(&|part| &part.blocks[i][which])))
                .into_vec(),
            logits: whole(&|part| &part.logits),
            state: last.unwrap_or_else(|| self.zero_state(batch)),
        })
    }
}
