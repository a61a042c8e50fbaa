//! The tokens a model is run on, and their division into sequences and parts.

use super::block::documents_of_ids;
use super::forward::{Model, ModelHooks, ModelStages, Rows};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// Rows of token ids (batch, seq_len), the ranges of documents in them, and the parts in which
/// whole sequences are run.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    ids: Tensor<usize>,
    documents: Documents,
    /// The lengths of the parts.
    parts: Vec<usize>,
}

impl Text {
    /// Every row one sequence, run at once.
    ///
    /// # Errors
    ///
    /// If `ids` has other than two axes, or holds no token.
    pub fn new(ids: Tensor<usize>) -> Result<Self, Error> {
        let documents = documents_of_ids(&ids)?;
        Self::of_documents(ids, documents)
    }

    /// Rows of documents, packed or padded. `ids` is not read at padding.
    ///
    /// # Errors
    ///
    /// If the documents are not those of rows like `ids`, or there is no token.
    pub fn of_documents(ids: Tensor<usize>, documents: Documents) -> Result<Self, Error> {
        let (batch, len) = (documents.batch(), documents.seq_len());
        ids.check_shape("input_ids", &[batch, len])?;
        if documents.longest() == 0 {
            return Err(Error::value(
                "input_ids",
                format!("no token: {batch} sequences of {len}; expected at least one of each"),
            ));
        }
        Ok(Self {
            ids,
            documents,
            parts: vec![len],
        })
    }

    /// The text with the first `prompt` tokens of each sequence processed at once, and the others
    /// one at a time. A model's results are the same.
    ///
    /// # Errors
    ///
    /// If there are fewer tokens, or the rows hold documents that are not whole sequences: those are run
    /// at once.
    pub fn with_prompt(self, prompt: usize) -> Result<Self, Error> {
        let parts = prompt_and_steps(prompt, self.documents.seq_len())?;
        self.in_parts(parts)
    }

    /// The text run in parts of these lengths, each from the state that the one before it left.
    ///
    /// # Errors
    ///
    /// If they do not add up to seq_len, or as [`with_prompt`](Self::with_prompt).
    pub(crate) fn in_parts(self, parts: Vec<usize>) -> Result<Self, Error> {
        if parts.len() > 1 && !self.documents.is_whole() {
            return Err(Error::unsupported(
                "a run in parts is not possible over packed or padded documents, which are run at once",
            ));
        }
        Ok(Self { parts, ..self })
    }

    /// The ids (batch, seq_len).
    #[must_use]
    pub fn ids(&self) -> &Tensor<usize> {
        &self.ids
    }

    /// The ranges of documents in the rows.
    #[must_use]
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The ids of every document.
    pub fn sequences(&self) -> impl Iterator<Item = &[usize]> {
        let len = self.documents.seq_len();
        let documents = self.documents.iter();
        documents.map(move |(b, tokens)| &self.ids.data()[b * len..][tokens])
    }

    /// For every place of the rows the token that follows it in its document.
    #[must_use]
    pub fn next_tokens(&self) -> Vec<Option<usize>> {
        let (ids, len) = (self.ids.data(), self.documents.seq_len());
        let mut next = vec![None; ids.len()];
        for (b, tokens) in self.documents.iter() {
            for r in tokens.skip(1).map(|i| b * len + i) {
                next[r - 1] = Some(ids[r]);
            }
        }
        next
    }

    /// True if it is run at once, not in parts.
    pub(crate) fn is_run_at_once(&self) -> bool {
        self.parts.len() <= 1
    }

    pub(crate) fn rows(&self) -> Rows<'_, usize> {
        (&self.ids, &self.documents)
    }
}

/// The lengths of parts: the first `prompt` of so many tokens, and single ones.
pub(super) fn prompt_and_steps(prompt: usize, tokens: usize) -> Result<Vec<usize>, Error> {
    let Some(steps) = tokens.checked_sub(prompt) else {
        let why = format!("{prompt} tokens, but there are {tokens}");
        return Err(Error::value("prompt", why));
    };
    let whole = (prompt > 0 || steps == 0).then_some(prompt);
    Ok(whole
        .into_iter()
        .chain(core::iter::repeat_n(1, steps))
        .into_vec())
}

impl<T> Model<T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// The model over a text as it says: rows of documents at once, whole sequences in its parts.
    ///
    /// # Errors
    ///
    /// As [`Model::forward_documents`].
    pub(crate) fn forward_text(
        &self,
        hooks: &dyn ModelHooks<T>,
        text: &Text,
    ) -> Result<ModelStages<T>, Error> {
        match text.documents.is_whole() {
            true => self.forward_in_parts(hooks, &text.ids, &text.parts),
            false => self.forward_by(hooks, text.rows(), None),
        }
    }
}
