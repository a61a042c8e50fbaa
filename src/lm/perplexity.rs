//! The perplexity of a text, by the reference or the fast path.

use super::backend::{Backend, not_computed_in};
use super::stages::{each_token, stages};
use crate::error::Error;
use crate::model::{self, Perplexity, Text};
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;

/// The perplexity of a text, computed in F32 or F64: of every token but the first of each of its documents. The reference
/// takes the parts of the text, the fast path all tokens at once.
///
/// # Errors
///
/// If no document has two tokens or the model cannot run over the text, or if `dtype` is another.
pub fn perplexity(
    case: &ModelFile,
    text: &Text,
    backend: Backend,
    dtype: Dtype,
) -> Result<Perplexity, Error> {
    Perplexity::check(text)?;
    let Backend::Fast {
        level,
        threads,
        weights,
    } = backend
    else {
        let stages = stages(case, text, dtype)?;
        let last = stages.last();
        let (_, logits) = last.ok_or_else(|| Error::missing("stage logits"))?;
        return model::perplexity(logits.data(), text);
    };
    let (mut found, next) = (Perplexity::default(), text.next_tokens());
    let mut take = |at: usize, logits: &[f64]| match next[at] {
        Some(id) => found.count(logits, id),
        None => Ok(()),
    };
    match dtype {
        Dtype::F32 => each_token::<f32>(case, text, (level, weights), threads, &mut take)?,
        Dtype::F64 => each_token::<f64>(case, text, (level, weights), threads, &mut take)?,
        other => return Err(not_computed_in(other)),
    }
    Ok(found)
}
