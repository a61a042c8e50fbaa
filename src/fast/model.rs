//! The language model in vectorized loops: prompts by blocks of tokens, generation by steps.

use super::attend::AttentionCache;
use super::lanes::{Element, Vector};
use super::layer::{FastLayer, beyond};
use super::layer_state::FastState;
use super::level::Level;
use super::panels::lane_groups;
use super::projection::{Projection, Weights};
use super::rows::{ModelElement, Norm, accumulate, gelu};
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::h3::Parameters;
use crate::model::{BlockName, ModelConfig, ModelName};
use core::ops::Range;

/// Tokens of each sequence worked on at once: bounds the memory a long prompt takes.
const TOKENS_AT_ONCE: usize = 256;

/// A language model prepared for a level. Of every weight it holds one copy, of the embedding too,
/// which is also the head's.
#[derive(Clone, Debug)]
pub struct FastModel<T: ModelElement> {
    config: ModelConfig,
    level: Level,
    embeddings: Weights<T>,
    /// (max_position_embeddings, d)
    positions: Vec<T>,
    blocks: Vec<FastBlock<T>>,
    norm: Norm<T>,
}

#[derive(Clone, Debug)]
struct FastBlock<T: ModelElement> {
    norm1: Norm<T>,
    mixer: FastMixer<T>,
    norm2: Norm<T>,
    fc1: Projection<T>,
    fc2: Projection<T>,
}

#[derive(Clone, Debug)]
enum FastMixer<T: ModelElement> {
    H3(Box<FastLayer<T>>),
    Attention {
        qkv: Projection<T>,
        output: Projection<T>,
    },
}

/// The state of a [`FastModel`]: all it remembers of a batch of sequences.
#[derive(Clone, Debug)]
pub struct FastModelState<T: ModelElement> {
    batch: usize,
    position: usize,
    mixers: Vec<FastMixerState<T>>,
}

#[derive(Clone, Debug)]
enum FastMixerState<T: ModelElement> {
    H3(FastState<T>),
    Attention(AttentionCache<T>),
}

/// The buffers of a model, kept between calls.
#[derive(Clone, Debug)]
pub struct ModelWorkspace<T: Element> {
    layers: Workspace<T>,
    /// The sum of the residual additions so far (rows, d).
    residual: Vec<T>,
    /// A LayerNorm's output, then a part's (rows, d).
    normed: Vec<T>,
    mixed: Vec<T>,
    /// Queries, keys and values (rows, 3 d), or the MLP's hidden channels (rows, d_inner).
    wide: Vec<T>,
}

impl<T: Element> ModelWorkspace<T> {
    /// Buffers for a number of threads; 0 is taken as 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self {
            layers: Workspace::new(threads).sharing_single_rows(),
            residual: Vec::new(),
            normed: Vec::new(),
            mixed: Vec::new(),
            wide: Vec::new(),
        }
    }
}

impl<T: ModelElement> FastModelState<T> {
    /// The number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of tokens that came before.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// The state as if `position` tokens had come before, all alike: for timing steps at any
    /// position, which do not depend on what is remembered.
    #[must_use]
    pub fn at_position(mut self, position: usize) -> Self {
        for mixer in &mut self.mixers {
            if let FastMixerState::Attention(cache) = mixer {
                cache.fill(position, T::from_f64(0.01));
            }
        }
        self.position = position;
        self
    }
}

impl<T: ModelElement> FastModel<T> {
    /// The model of these official parameters, prepared for a level. `value_of` is asked for each
    /// once, row-major, and what it gave is dropped before the next: beside the model itself no more
    /// than one parameter is in memory.
    ///
    /// # Errors
    ///
    /// If the configuration is impossible, a parameter is not as long as its shape says, a
    /// discretization has no value, or `value_of` fails.
    pub fn new(
        level: Level,
        config: &ModelConfig,
        mut value_of: impl FnMut(ModelName) -> Result<Vec<f64>, Error>,
    ) -> Result<Self, Error> {
        config.check()?;
        let mut checked = |name: ModelName| {
            let value = value_of(name)?;
            let size = name.shape(config).iter().product();
            check_len(&name.official(), value.len(), size)?;
            Ok::<_, Error>(value)
        };
        let (d, vocab) = (config.d_model(), config.vocab_size);
        let embeddings = {
            let table = checked(ModelName::Embeddings)?;
            Weights::pack(
                level,
                lane_groups::<T>(vocab),
                d,
                |vector, lane, input| match vector * T::Lanes::WIDTH + lane {
                    id if id < vocab => T::from_f64(table[id * d + input]),
                    _ => T::ZERO,
                },
                |_, _| T::ZERO,
            )
        };
        let positions = if config.max_position_embeddings > 0 {
            let table = checked(ModelName::Positions)?;
            table.into_iter().map(T::from_f64).collect()
        } else {
            Vec::new()
        };
        let blocks = (0..config.n_layer)
            .map(|i| {
                let block = block(level, config, i, &mut checked);
                block.map_err(|e| Error::value(format!("block {i}"), e.to_string()))
            })
            .collect::<Result<_, Error>>()?;
        let norm = Norm::new(
            &checked(ModelName::NormWeight)?,
            &checked(ModelName::NormBias)?,
            config.layer_norm_epsilon,
        );
        Ok(Self {
            config: config.clone(),
            level,
            embeddings,
            positions,
            blocks,
            norm,
        })
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The state before any token, for a batch, with room for the keys and values of `expected` tokens
    /// (more may come).
    #[must_use]
    pub fn zero_state(&self, batch: usize, expected: usize) -> FastModelState<T> {
        let (heads, d_h) = (self.config.num_heads, self.config.attention_head_dim());
        let mixers = self.blocks.iter().map(|block| match &block.mixer {
            FastMixer::H3(layer) => FastMixerState::H3(layer.zero_state(batch)),
            FastMixer::Attention { .. } => {
                FastMixerState::Attention(AttentionCache::new(batch, heads, d_h, expected))
            }
        });
        FastModelState {
            batch,
            position: 0,
            mixers: mixers.collect(),
        }
    }

    /// Takes the next tokens of every sequence, `ids` (batch, tokens) row-major, and gives the logits
    /// after the last of them (batch, vocab_size).
    ///
    /// More than `l_max` tokens have to come whole: their H3 layers are convolutions with cut kernels,
    /// and memory grows with the sequence.
    ///
    /// # Errors
    ///
    /// If there is no token, one is outside the vocabulary, the state is another model's, or it is not the
    /// first and `l_max` is exceeded.
    pub fn last_logits(
        &self,
        ids: &[usize],
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
    ) -> Result<Vec<T>, Error> {
        let (mut logits, batch) = (Vec::new(), state.batch);
        self.run(
            ids,
            state,
            workspace,
            |model, _, rows, tokens, workspace| {
                let last = of_tokens(rows, batch, tokens, tokens - 1..tokens);
                model.head(&last, &mut logits, workspace);
                Ok(())
            },
        )?;
        Ok(logits)
    }

    /// Takes the next tokens of every sequence, `ids` (batch, tokens) row-major, and gives the logits
    /// after each of them, some tokens at a time: `each(first, logits)` with `logits`
    /// (batch, some tokens, vocab_size) row-major, those of the tokens from `first` on.
    ///
    /// # Errors
    ///
    /// As [`last_logits`](Self::last_logits), and if `each` fails.
    pub fn all_logits(
        &self,
        ids: &[usize],
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        mut each: impl FnMut(usize, &[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut logits = Vec::new();
        self.run(ids, state, workspace, |model, first, rows, _, workspace| {
            model.head(rows, &mut logits, workspace);
            each(first, &logits)
        })
    }

    /// Runs the blocks over the next tokens, some of them at a time, and hands what enters the last
    /// LayerNorm to `finish(model, first token, rows, tokens, workspace)`.
    fn run(
        &self,
        ids: &[usize],
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        mut finish: impl FnMut(&Self, usize, &[T], usize, &mut ModelWorkspace<T>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_len("mixer states", state.mixers.len(), self.blocks.len())?;
        let batch = state.batch;
        let len = ids.len().checked_div(batch).unwrap_or(0);
        check_len("input_ids", ids.len(), batch * len)?;
        if len == 0 {
            return Err(Error::value("input_ids", "no token"));
        }
        self.config.check_tokens(ids, batch, state.position)?;
        let end = state.position.saturating_add(len);
        let cuts = |l_max: &usize| self.has_h3() && end > *l_max;
        let at_once = match self.config.h3.l_max.filter(cuts) {
            None => TOKENS_AT_ONCE,
            // Cut kernels are convolved with the whole sequence.
            Some(_) if state.position == 0 => len,
            Some(l_max) => return Err(beyond("the fast path from a state", l_max, end)),
        };
        for first in (0..len).step_by(at_once) {
            let tokens = at_once.min(len - first);
            let token = |b: usize, t: usize| ids[b * len + first + t];
            self.embed(
                batch,
                tokens,
                state.position,
                token,
                &mut workspace.residual,
            );
            for (block, state) in self.blocks.iter().zip(&mut state.mixers) {
                self.run_block(block, state, workspace)?;
            }
            state.position += tokens;
            let rows = core::mem::take(&mut workspace.residual);
            if tokens <= TOKENS_AT_ONCE {
                finish(self, first, &rows, tokens, workspace)?;
            } else {
                // Logits of a whole sequence would take far more memory than what they come from.
                for part in (0..tokens).step_by(TOKENS_AT_ONCE) {
                    let some = part..tokens.min(part + TOKENS_AT_ONCE);
                    let count = some.len();
                    let rows = of_tokens(&rows, batch, tokens, some);
                    finish(self, part, &rows, count, workspace)?;
                }
            }
            workspace.residual = rows;
        }
        Ok(())
    }

    fn has_h3(&self) -> bool {
        let mut mixers = self.blocks.iter().map(|block| &block.mixer);
        mixers.any(|mixer| matches!(mixer, FastMixer::H3(_)))
    }

    fn embed(
        &self,
        batch: usize,
        tokens: usize,
        position: usize,
        token: impl Fn(usize, usize) -> usize,
        rows: &mut Vec<T>,
    ) {
        let d = self.config.d_model();
        rows.resize(batch * tokens * d, T::ZERO);
        for (r, row) in rows.chunks_exact_mut(d).enumerate() {
            let (b, t) = (r / tokens, r % tokens);
            self.embeddings.read_output(token(b, t), row);
            if let Some(table) = self
                .positions
                .get((position + t) * d..(position + t + 1) * d)
            {
                accumulate(row, table);
            }
        }
    }

    /// One block: adds its mixer's and its MLP's output to the residual.
    fn run_block(
        &self,
        block: &FastBlock<T>,
        state: &mut FastMixerState<T>,
        workspace: &mut ModelWorkspace<T>,
    ) -> Result<(), Error> {
        let ModelWorkspace {
            layers,
            residual,
            normed,
            mixed,
            wide,
        } = workspace;
        let rows = residual.len() / self.config.d_model();
        normed.resize(residual.len(), T::ZERO);
        mixed.resize(residual.len(), T::ZERO);
        block.norm1.apply(self.level, residual, normed);
        match (&block.mixer, state) {
            (FastMixer::H3(layer), FastMixerState::H3(state)) => {
                layer.run(normed, mixed, state, layers)?;
            }
            (FastMixer::Attention { qkv, output }, FastMixerState::Attention(cache)) => {
                wide.resize(3 * residual.len(), T::ZERO);
                qkv.apply(normed, wide, layers)?;
                cache.attend(self.level, wide, normed, &mut layers.threads);
                output.apply(normed, mixed, layers)?;
            }
            _ => return Err(Error::value("state", "is of another kind of mixer")),
        }
        accumulate(residual, mixed);
        block.norm2.apply(self.level, residual, normed);
        wide.resize(rows * self.config.d_inner, T::ZERO);
        block.fc1.apply(normed, wide, layers)?;
        gelu(self.level, wide, layers);
        block.fc2.apply(wide, mixed, layers)?;
        accumulate(residual, mixed);
        Ok(())
    }

    /// The last LayerNorm and the head of every row.
    fn head(&self, rows: &[T], logits: &mut Vec<T>, workspace: &mut ModelWorkspace<T>) {
        let (d, vocab) = (self.config.d_model(), self.config.vocab_size);
        workspace.normed.resize(rows.len(), T::ZERO);
        self.norm.apply(self.level, rows, &mut workspace.normed);
        logits.resize(rows.len() / d * vocab, T::ZERO);
        self.embeddings
            .project_rows(&workspace.normed, vocab, logits, &mut workspace.layers);
    }
}

/// Some tokens of every sequence of `rows` (batch, tokens, d).
fn of_tokens<T: Copy>(rows: &[T], batch: usize, tokens: usize, some: Range<usize>) -> Vec<T> {
    let d = rows.len() / (batch * tokens);
    let sequences = rows.chunks_exact(tokens * d);
    let some = sequences.flat_map(|rows| &rows[some.start * d..some.end * d]);
    some.copied().collect()
}

fn block<T: ModelElement>(
    level: Level,
    config: &ModelConfig,
    i: usize,
    value_of: &mut impl FnMut(ModelName) -> Result<Vec<f64>, Error>,
) -> Result<FastBlock<T>, Error> {
    let (d, inner) = (config.d_model(), config.d_inner);
    let mut get = |name| value_of(ModelName::Block(i, name));
    let mixer = if config.is_attention(i) {
        FastMixer::Attention {
            qkv: projection(
                level,
                d,
                &get(BlockName::QkvWeight)?,
                &get(BlockName::QkvBias)?,
            )?,
            output: projection(
                level,
                d,
                &get(BlockName::OutWeight)?,
                &get(BlockName::OutBias)?,
            )?,
        }
    } else {
        let parameters = Parameters::new(config.h3.clone(), |name| get(BlockName::H3(name)))?;
        FastMixer::H3(Box::new(FastLayer::new(level, &parameters)?))
    };
    let epsilon = config.layer_norm_epsilon;
    let mut norm = |weight, bias| Ok::<_, Error>(Norm::new(&get(weight)?, &get(bias)?, epsilon));
    Ok(FastBlock {
        norm1: norm(BlockName::Norm1Weight, BlockName::Norm1Bias)?,
        mixer,
        norm2: norm(BlockName::Norm2Weight, BlockName::Norm2Bias)?,
        fc1: projection(
            level,
            d,
            &get(BlockName::Fc1Weight)?,
            &get(BlockName::Fc1Bias)?,
        )?,
        fc2: projection(
            level,
            inner,
            &get(BlockName::Fc2Weight)?,
            &get(BlockName::Fc2Bias)?,
        )?,
    })
}

fn projection<T: ModelElement>(
    level: Level,
    inputs: usize,
    weight: &[f64],
    bias: &[f64],
) -> Result<Projection<T>, Error> {
    let rounded = |x: &[f64]| -> Vec<T> { x.iter().map(|&x| T::from_f64(x)).collect() };
    Projection::new(level, inputs, &rounded(weight), &rounded(bias))
}
