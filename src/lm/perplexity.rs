//! The perplexity of a text, by the reference or the fast path.

use super::backend::{Backend, fast_model, not_computed_in};
use super::stages::{batch_and_len, precision_of, reference_run};
use crate::error::Error;
use crate::fast::{FastModel, Level, ModelElement, ModelWorkspace};
use crate::model::{self, Perplexity};
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;
use crate::tensor::Tensor;

/// The perplexity of the tokens `ids` (batch, seq_len), computed in F32 or F64. The reference takes the first `prompt`
/// tokens of each sequence as a whole and the others one at a time; the fast path takes all as a whole.
///
/// # Errors
///
/// If a sequence is shorter than two tokens or the model cannot run over it, or if `dtype` is another.
pub fn perplexity(
    case: &ModelFile,
    ids: &Tensor<usize>,
    prompt: usize,
    backend: Backend,
    dtype: Dtype,
) -> Result<Perplexity, Error> {
    Perplexity::check_len(batch_and_len(ids)?.1)?;
    match (backend, dtype) {
        (Backend::Fast { level, threads }, Dtype::F32) => fast::<f32>(case, ids, level, threads),
        (Backend::Fast { level, threads }, Dtype::F64) => fast::<f64>(case, ids, level, threads),
        (Backend::Reference, dtype) => {
            let (case, form) = reference_run(case, ids, prompt)?;
            let stages = case.run(&form, precision_of(dtype)?, false)?;
            let (_, logits) = stages
                .last()
                .ok_or_else(|| Error::missing("stage logits"))?;
            model::perplexity(logits.data(), ids.data(), ids.shape()[1])
        }
        (_, other) => Err(not_computed_in(other)),
    }
}

fn fast<T: ModelElement>(
    case: &ModelFile,
    ids: &Tensor<usize>,
    level: Level,
    threads: usize,
) -> Result<Perplexity, Error> {
    let model: FastModel<T> = fast_model(case, level)?;
    let (batch, len) = batch_and_len(ids)?;
    let vocab = case.config().vocab_size;
    let mut found = Perplexity::default();
    let mut row = Vec::with_capacity(vocab);
    let mut state = model.zero_state(batch, len);
    let mut workspace = ModelWorkspace::new(threads);
    model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
        for (at, logits) in (first..).zip(logits.chunks_exact(vocab)) {
            // The last token of a sequence has no next one.
            if at % len + 1 < len {
                row.clear();
                row.extend(logits.iter().map(|&x| x.to_f64()));
                found.count(&row, ids.data()[at + 1])?;
            }
        }
        Ok(())
    })?;
    Ok(found)
}
