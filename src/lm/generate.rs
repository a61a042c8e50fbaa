//! The next tokens of a batch of prompts.

use super::backend::{Backend, fast_model, not_computed_in};
use crate::algebra::{Real, Rng, RootsOfUnity};
use crate::error::Error;
use crate::fast::{FastModel, FastModelState, Level, ModelElement, ModelWorkspace, WeightFormat};
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::model::{Model, ModelStream, Sampling, Text};
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;
use std::time::Instant;

/// The tokens to generate.
#[derive(Clone, Debug)]
pub struct Generation<'a> {
    /// The prompts, each a document of the text: of equal or different lengths, in separate rows or
    /// not.
    pub prompts: &'a Text,
    /// Number of tokens generated after each prompt, at least 1.
    pub tokens: usize,
    /// Only tokens below this are chosen; the vocabulary at most.
    pub vocabulary: usize,
    /// The choice of each token from its logits.
    pub sampling: Sampling,
    /// The seed of the random numbers; the same seed gives the same tokens.
    pub seed: u64,
}

/// Generated tokens, and the time they took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Generated {
    /// Every prompt with its tokens.
    pub sequences: Vec<Vec<usize>>,
    /// Seconds in which the weights were read.
    pub read_seconds: f64,
    /// Seconds until the logits of the first token, without reading.
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
        (
            Backend::Fast {
                level,
                threads,
                weights,
            },
            Dtype::F32,
        ) => asked.fast::<f32>(case, (level, weights), threads),
        (
            Backend::Fast {
                level,
                threads,
                weights,
            },
            Dtype::F64,
        ) => asked.fast::<f64>(case, (level, weights), threads),
        (Backend::Reference, Dtype::F32) => asked.reference::<f32>(case),
        (Backend::Reference, Dtype::F64) => asked.reference::<f64>(case),
        (_, other) => Err(not_computed_in(other)),
    }
}

/// A model that takes prompts, then the next token of each, and returns the logits after the last ones,
/// (prompts, vocabulary).
trait Continues {
    fn prompts(&mut self, text: &Text) -> Result<Vec<f64>, Error>;

    fn next(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error>;
}

struct Fast<T: ModelElement> {
    model: FastModel<T>,
    state: FastModelState<T>,
    workspace: ModelWorkspace<T>,
}

impl<T: ModelElement> Continues for Fast<T> {
    fn prompts(&mut self, text: &Text) -> Result<Vec<f64>, Error> {
        let (ids, documents) = text.rows();
        let (state, workspace) = (&mut self.state, &mut self.workspace);
        let logits =
            self.model
                .last_logits_of_documents(ids.data(), documents, state, workspace)?;
        Ok(logits.into_iter().map(Real::to_f64).into_vec())
    }

    fn next(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error> {
        let (state, workspace) = (&mut self.state, &mut self.workspace);
        let logits = self.model.last_logits(ids, state, workspace)?;
        Ok(logits.into_iter().map(Real::to_f64).into_vec())
    }
}

struct Reference<'a, T: Real> {
    model: &'a Model<T>,
    stream: ModelStream<'a, T>,
}

impl<T> Continues for Reference<'_, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn prompts(&mut self, text: &Text) -> Result<Vec<f64>, Error> {
        let (ids, documents) = text.rows();
        let stages = self
            .model
            .forward_documents(&Form::Fft, ids, documents, None)?;
        let last = documents
            .iter()
            .map(|(b, tokens)| b * documents.seq_len() + tokens.end - 1);
        let rows = last.flat_map(|r| stages.logits.row(r));
        let logits = rows.map(|&x| x.to_f64()).into_vec();
        self.stream = ModelStream::resume(self.model, stages.state)?;
        Ok(logits)
    }

    fn next(&mut self, ids: &[usize]) -> Result<Vec<f64>, Error> {
        let logits = self.stream.step(ids)?.logits;
        Ok(logits.data().iter().map(|&x| x.to_f64()).into_vec())
    }
}

impl Generation<'_> {
    fn fast<T: ModelElement>(
        &self,
        case: &ModelFile,
        (level, weights): (Level, Option<WeightFormat>),
        threads: usize,
    ) -> Result<Generated, Error> {
        let begun = Instant::now();
        let model: FastModel<T> = fast_model(case, level, weights)?;
        let documents = self.prompts.documents();
        let longest = documents.longest() + self.tokens;
        let mut fast = Fast {
            state: model.zero_state(documents.count(), longest),
            model,
            workspace: ModelWorkspace::new(threads),
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
            stream: ModelStream::new(&model, 0),
        };
        self.run(&mut reference, begun)
    }

    fn run(&self, model: &mut dyn Continues, begun: Instant) -> Result<Generated, Error> {
        let mut sequences: Vec<Vec<usize>> =
            self.prompts.sequences().map(<[usize]>::to_vec).into_vec();
        let mut rng = Rng::new(self.seed);
        let read = begun.elapsed().as_secs_f64();
        let mut logits = model.prompts(self.prompts)?;
        let after_prompt = begun.elapsed().as_secs_f64();
        for step in 0..self.tokens {
            let mut next = Vec::with_capacity(sequences.len());
            let rows = logits.chunks_exact(logits.len() / sequences.len());
            for (row, sequence) in rows.zip(&mut sequences) {
                let id = self.sampling.choose(&row[..self.vocabulary], &mut rng)?;
                sequence.push(id);
                next.push(id);
            }
            if step + 1 < self.tokens {
                logits = model.next(&next)?;
            }
        }
        let end = begun.elapsed().as_secs_f64();
        Ok(Generated {
            sequences,
            read_seconds: read,
            prompt_seconds: after_prompt - read,
            tokens_seconds: end - after_prompt,
        })
    }
}
