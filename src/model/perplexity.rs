//! How well a model foretells a text.

use crate::error::Error;

/// The mean negative log-likelihood of tokens given those before them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Perplexity {
    /// Tokens foretold.
    pub tokens: usize,
    /// The sum of their `-ln p`.
    pub negative_log_likelihood: f64,
}

impl Perplexity {
    /// Refuses sequences in which there is nothing to foretell.
    ///
    /// # Errors
    ///
    /// If `seq_len` is below 2.
    pub fn check_len(seq_len: usize) -> Result<(), Error> {
        if seq_len >= 2 {
            return Ok(());
        }
        Err(Error::value(
            "input_ids",
            format!("{seq_len} tokens a sequence; expected at least 2, the second to be foretold"),
        ))
    }

    /// `exp` of the mean of `-ln p`; 1 for no token.
    #[must_use]
    pub fn value(&self) -> f64 {
        (self.negative_log_likelihood / self.tokens.max(1) as f64).exp()
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

/// The perplexity of sequences of one length `seq_len`, of which `logits` holds what follows each
/// token: `logits` is (batch, `seq_len`, `vocab_size`), `ids` (batch, `seq_len`), both row-major.
///
/// # Errors
///
/// If a sequence is shorter than two tokens, so that there is nothing to foretell, or the lengths
/// disagree.
pub fn perplexity(logits: &[f64], ids: &[usize], seq_len: usize) -> Result<Perplexity, Error> {
    Perplexity::check_len(seq_len)?;
    let vocab = logits.len().checked_div(ids.len()).unwrap_or(0);
    if vocab == 0 || vocab * ids.len() != logits.len() || !ids.len().is_multiple_of(seq_len) {
        return Err(Error::shape(
            "logits",
            format_args!("the same number for each of {} tokens", ids.len()),
            logits.len(),
        ));
    }
    let mut found = Perplexity::default();
    for (at, logits) in logits.chunks_exact(vocab).enumerate() {
        if at % seq_len + 1 < seq_len {
            found.count(logits, ids[at + 1])?;
        }
    }
    Ok(found)
}
