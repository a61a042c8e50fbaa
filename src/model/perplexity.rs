//! Perplexity: how well a model predicts a text.

use super::text::Text;
use crate::error::Error;

/// The mean negative log-likelihood of tokens given those before them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Perplexity {
    /// Tokens predicted.
    pub tokens: usize,
    /// The sum of their `-ln p`.
    pub negative_log_likelihood: f64,
}

impl Perplexity {
    /// Refuses a text without a token to predict.
    ///
    /// # Errors
    ///
    /// If no sequence has two tokens.
    pub fn check(text: &Text) -> Result<(), Error> {
        let longest = text.documents().longest();
        if longest >= 2 {
            return Ok(());
        }
        Err(Error::value(
            "input_ids",
            format!(
                "{longest} tokens in the longest sequence; expected at least 2, the second to be predicted"
            ),
        ))
    }

    /// The mean of `-ln p`, in nats; 0 for no token.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.negative_log_likelihood / self.tokens.max(1) as f64
    }

    /// `exp` of the mean of `-ln p`; 1 for no token.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.mean().exp()
    }

    /// Counts one token: `-ln softmax(logits)[id]`, over the whole padded vocabulary, as a
    /// cross-entropy loss does.
    ///
    /// # Errors
    ///
    /// If there is no such token, or a logit is not finite.
    pub fn count(&mut self, logits: &[f64], id: usize) -> Result<(), Error> {
        let of_token = logits
            .get(id)
            .ok_or_else(|| Error::value("input_ids", format!("{id} has no logit")))?;
        if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
            return Err(Error::value(
                "logits",
                format!("token {at} has {}; expected finite numbers", logits[at]),
            ));
        }
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - top).exp()).sum();
        self.negative_log_likelihood += sum.ln() + top - of_token;
        self.tokens += 1;
        Ok(())
    }
}

/// The perplexity of a text, given the `logits` (batch, seq_len, vocab_size), row-major, after each
/// token. It is over every token of a document but the first. Logits at padding and after a
/// document's last token are not read.
///
/// # Errors
///
/// If no document has two tokens, so that there is no token to predict, or the lengths disagree.
pub fn perplexity(logits: &[f64], text: &Text) -> Result<Perplexity, Error> {
    Perplexity::check(text)?;
    let places = text.ids().data().len();
    let vocab = logits.len().checked_div(places).unwrap_or(0);
    if vocab == 0 || vocab * places != logits.len() {
        return Err(Error::shape(
            "logits",
            format_args!("the same number for each of {places} tokens"),
            logits.len(),
        ));
    }
    let mut found = Perplexity::default();
    for (logits, next) in logits.chunks_exact(vocab).zip(text.next_tokens()) {
        if let Some(id) = next {
            found.count(logits, id)?;
        }
    }
    Ok(found)
}
