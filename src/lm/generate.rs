//! The next tokens of a batch of prompts.

use super::backend::{Backend, fast_model, not_computed_in};
use super::stages::batch_and_len;
use crate::algebra::{Real, Rng, RootsOfUnity};
use crate::error::Error;
use crate::fast::{FastModel, FastModelState, Level, ModelElement, ModelWorkspace};
use crate::h3::Form;
use crate::model::{Model, ModelStream, Sampling};
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;
use crate::tensor::Tensor;
use std::time::Instant;

/// The tokens asked for.
#[derive(Clone, Debug)]
pub struct Generation<'a> {
    /// The prompts (batch, prompt tokens).
    pub prompt: &'a Tensor<usize>,
    /// How many tokens follow each prompt, at least 1.
    pub tokens: usize,
    /// Only tokens below this are chosen; the vocabulary at most.
    pub vocabulary: usize,
    /// How each token is chosen from its logits.
    pub sampling: Sampling,
    /// The seed of the random numbers; the same seed gives the same tokens.
    pub seed: u64,
}

/// Generated tokens, and the time they took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Generated {
    /// Prompts and tokens (batch, prompt tokens + tokens).
    pub ids: Tensor<usize>,
    /// Seconds in which the weights were read.
    pub read_seconds: f64,
    /// Seconds until the logits of the first token were there, without reading.
    pub prompt_seconds: f64,
    /// Seconds for all later tokens.
    pub tokens_seconds: f64,
}

/// Continues prompts token by token, in F32 or F64.
///
/// # Errors
///
/// If the model cannot be built or run over so many tokens, the sampling means nothing, `vocabulary` is 0 or beyond
/// the model's, or `dtype` is another.
pub fn generate(
    case: &ModelFile,
    asked: &Generation<'_>,
    backend: Backend,
    dtype: Dtype,
) -> Result<Generated, Error> {
    let rows = case.config().vocab_size;
    if !(1..=rows).contains(&asked.vocabulary) {
        return Err(Error::value(
            "vocabulary",
            format!("{}; expected a number from 1 to {rows}", asked.vocabulary),
        ));
    }
    match (backend, dtype) {
        (Backend::Fast { level, threads }, Dtype::F32) => asked.fast::<f32>(case, level, threads),
        (Backend::Fast { level, threads }, Dtype::F64) => asked.fast::<f64>(case, level, threads),
        (Backend::Reference, Dtype::F32) => asked.reference::<f32>(case),
        (Backend::Reference, Dtype::F64) => asked.reference::<f64>(case),
        (_, other) => Err(not_computed_in(other)),
    }
}

/// A model that takes tokens (batch, some) and returns the logits after the last of them, (batch, vocabulary).
trait Continues {
    fn take(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error>;
}

struct Fast<T: ModelElement> {
    model: FastModel<T>,
    state: FastModelState<T>,
    workspace: ModelWorkspace<T>,
}

impl<T: ModelElement> Continues for Fast<T> {
    fn take(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error> {
        let Self {
            model,
            state,
            workspace,
        } = self;
        let logits = model.last_logits(ids, state, workspace)?;
        Ok(logits.into_iter().map(Real::to_f64).collect())
    }
}

struct Reference<'a, T: Real> {
    model: &'a Model<T>,
    batch: usize,
    /// The stream after the prompt.
    stream: Option<ModelStream<'a, T>>,
}

impl<T> Continues for Reference<'_, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn take(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error> {
        let logits = match &mut self.stream {
            Some(stream) => stream.step(ids)?,
            None => {
                let len = ids.len() / self.batch;
                let prompt = Tensor::new([self.batch, len], ids.to_vec())?;
                let stages = self.model.forward(&Form::Fft, &prompt)?;
                let state = stages.state;
                self.stream = Some(ModelStream::resume(self.model, self.batch, state)?);
                let vocab = self.model.config().vocab_size;
                let rows = stages.logits.data().chunks_exact(len * vocab);
                rows.flat_map(|rows| rows[(len - 1) * vocab..].to_vec())
                    .collect()
            }
        };
        Ok(logits.into_iter().map(Real::to_f64).collect())
    }
}

impl Generation<'_> {
    fn fast<T: ModelElement>(
        &self,
        case: &ModelFile,
        level: Level,
        threads: usize,
    ) -> Result<Generated, Error> {
        let begun = Instant::now();
        let model: FastModel<T> = fast_model(case, level)?;
        let (batch, prompt_len) = batch_and_len(self.prompt)?;
        let state = model.zero_state(batch, prompt_len + self.tokens);
        let workspace = ModelWorkspace::new(threads);
        let mut fast = Fast {
            model,
            state,
            workspace,
        };
        self.run(&mut fast, begun)
    }

    fn reference<T>(&self, case: &ModelFile) -> Result<Generated, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let begun = Instant::now();
        let model = case.parameters()?.build::<T>()?;
        let mut reference = Reference {
            model: &model,
            batch: batch_and_len(self.prompt)?.0,
            stream: None,
        };
        self.run(&mut reference, begun)
    }

    fn run(&self, model: &mut dyn Continues, begun: Instant) -> Result<Generated, Error> {
        let (batch, prompt_len) = batch_and_len(self.prompt)?;
        let prompts = self.prompt.data().chunks_exact(prompt_len);
        let mut sequences: Vec<Vec<usize>> = prompts.map(<[usize]>::to_vec).collect();
        let mut rng = Rng::new(self.seed);
        let read = begun.elapsed().as_secs_f64();
        let mut next = self.prompt.data().to_vec();
        let mut after_prompt = read;
        for step in 0..self.tokens {
            let logits = model.take(&next)?;
            if step == 0 {
                after_prompt = begun.elapsed().as_secs_f64();
            }
            next.clear();
            let rows = logits.chunks_exact(logits.len() / batch);
            for (row, sequence) in rows.zip(&mut sequences) {
                let id = self.sampling.choose(&row[..self.vocabulary], &mut rng)?;
                sequence.push(id);
                next.push(id);
            }
        }
        let end = begun.elapsed().as_secs_f64();
        Ok(Generated {
            ids: Tensor::new([batch, prompt_len + self.tokens], sequences.concat())?,
            read_seconds: read,
            prompt_seconds: after_prompt - read,
            tokens_seconds: end - after_prompt,
        })
    }
}
