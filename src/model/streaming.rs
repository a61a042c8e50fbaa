//! The model one token at a time.

use super::attention::{KeyValueCache, MultiHeadAttention};
use super::block::{Mixer, MixerState, add};
use super::forward::{Model, ModelState};
use super::mlp::gelu;
use crate::algebra::{Real, RootsOfUnity};
use crate::error::{Error, check_len};
use crate::h3::LayerStream;

/// A model as an object that takes one token of every sequence of a batch at a time (the official
/// `inference_params` path).
///
/// Its H3 layers remember a state of one size, its attention layers the keys and values of every
/// token: the first cost the same for every token, the second more for each.
#[derive(Clone, Debug)]
pub struct ModelStream<'a, T: Real> {
    model: &'a Model<T>,
    batch: usize,
    mixers: Vec<MixerStream<'a, T>>,
    position: usize,
}

#[derive(Clone, Debug)]
enum MixerStream<'a, T: Real> {
    H3(LayerStream<'a, T>),
    Attention(&'a MultiHeadAttention<T>, KeyValueCache<T>),
}

/// What one step gives beside the logits: every block's `hidden` and `residual`, (batch, d) each.
pub type StepStages<T> = Vec<[Vec<T>; 2]>;

impl<'a, T> ModelStream<'a, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// A stream over a batch, before any token.
    ///
    /// # Errors
    ///
    /// Never for a model that was made; a state that is none of its is passed on.
    pub fn new(model: &'a Model<T>, batch: usize) -> Result<Self, Error> {
        Self::resume(model, batch, model.zero_state(batch))
    }

    /// A stream that goes on from a state: one that was saved, or what a whole prompt left
    /// ([`Model::forward`]).
    ///
    /// # Errors
    ///
    /// If it is not a state of this model and batch.
    pub fn resume(model: &'a Model<T>, batch: usize, state: ModelState<T>) -> Result<Self, Error> {
        check_len("mixer states", state.mixers.len(), model.blocks.len())?;
        let (d, position) = (model.config.d_model(), state.position);
        let mixers = model.blocks.iter().zip(state.mixers);
        let mixers = mixers
            .map(|(block, mixer)| match (&block.mixer, mixer) {
                (Mixer::H3(layer), MixerState::H3(state)) => {
                    layer.check_state(&state, batch)?;
                    check_len("position of an H3 layer's state", state.position, position)?;
                    Ok(MixerStream::H3(LayerStream::resume(layer, state)?))
                }
                (Mixer::Attention(attention), MixerState::Attention(cache)) => {
                    cache.check(batch, position, d)?;
                    Ok(MixerStream::Attention(attention, cache))
                }
                _ => Err(Error::value("state", "is of another kind of mixer")),
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            model,
            batch,
            mixers,
            position,
        })
    }

    /// How many tokens it has taken.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The state after the last token.
    #[must_use]
    pub fn state(&self) -> ModelState<T> {
        let mixers = self.mixers.iter().map(|mixer| match mixer {
            MixerStream::H3(stream) => MixerState::H3(stream.state().clone()),
            MixerStream::Attention(_, cache) => MixerState::Attention(cache.clone()),
        });
        ModelState {
            mixers: mixers.collect(),
            position: self.position,
        }
    }

    /// Takes the next token of every sequence, `ids` (batch), and returns the logits of the one
    /// after it (batch, `vocab_size`) row-major.
    ///
    /// # Errors
    ///
    /// If there is not one token a sequence, one is outside the vocabulary, or `l_max` is reached.
    pub fn step(&mut self, ids: &[usize]) -> Result<Vec<T>, Error> {
        Ok(self.step_stages(ids)?.0)
    }

    /// [`step`](Self::step), with what every block returns.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn step_stages(&mut self, ids: &[usize]) -> Result<(Vec<T>, StepStages<T>), Error> {
        check_len("input_ids of a step", ids.len(), self.batch)?;
        let d = self.model.config.d_model();
        let mut hidden = self.model.embed(ids, self.batch, self.position)?;
        let mut residual: Option<Vec<T>> = None;
        let mut stages = Vec::with_capacity(self.mixers.len());
        for (block, mixer) in self.model.blocks.iter().zip(&mut self.mixers) {
            let before = match residual {
                None => hidden,
                Some(residual) => add(&hidden, &residual),
            };
            let u = each(&before, d, |x| block.norm1.apply(x))?;
            let mixed = match mixer {
                MixerStream::H3(stream) => stream.step(&u)?,
                MixerStream::Attention(attention, cache) => attention.step(&u, cache)?,
            };
            let between = add(&mixed, &before);
            let u = each(&between, d, |x| block.norm2.apply(x))?;
            hidden = each(&u, d, |x| Ok(block.mlp.apply(x, gelu)))?;
            stages.push([hidden.clone(), between.clone()]);
            residual = Some(between);
        }
        let last = match residual {
            None => hidden,
            Some(residual) => add(&hidden, &residual),
        };
        self.position += 1;
        Ok((each(&last, d, |x| self.model.head(x))?, stages))
    }
}

/// Every token (d) of a batch replaced by its image, one after another.
fn each<T: Real>(
    x: &[T],
    d: usize,
    f: impl Fn(&[T]) -> Result<Vec<T>, Error>,
) -> Result<Vec<T>, Error> {
    let rows: Vec<Vec<T>> = x.chunks_exact(d).map(f).collect::<Result<_, Error>>()?;
    Ok(rows.concat())
}
