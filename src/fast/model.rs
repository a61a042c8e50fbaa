//! The language model in vectorized loops: prompts by blocks of tokens, generation by steps.

use super::attend::AttentionCache;
use super::lanes::{Element, Vector};
use super::layer::{FastLayer, beyond};
use super::layer_state::FastState;
use super::level::Level;
use super::panels::lane_groups;
use super::pieces::{Piece, Plan, Span, check_documents, rows_of, spans, whole};
use super::projection::Projection;
use super::rows::{ModelElement, Norm, accumulate, gelu};
use super::weight_format::{MATRICES, WeightFormat};
use super::weights::Weights;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::h3::Parameters;
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName};
use crate::ssm::Documents;

/// Tokens of a sequence worked on at once: bounds the memory a long prompt takes.
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

/// The state of a [`FastModel`] for a batch of sequences.
#[derive(Clone, Debug)]
pub struct FastModelState<T: ModelElement> {
    /// The number of tokens that came before, for every sequence.
    positions: Vec<usize>,
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
    plan: Plan,
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
            layers: Workspace::new(threads),
            plan: Plan::default(),
            residual: Vec::new(),
            normed: Vec::new(),
            mixed: Vec::new(),
            wide: Vec::new(),
        }
    }

    /// As [`Workspace::sharing_all`].
    #[must_use]
    pub fn sharing_all(mut self) -> Self {
        self.layers = self.layers.sharing_all();
        self
    }
}

impl<T: ModelElement> FastModelState<T> {
    /// The number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.positions.len()
    }

    /// The number of tokens that came before, in the longest of the sequences.
    #[must_use]
    pub fn position(&self) -> usize {
        self.positions.iter().copied().max().unwrap_or(0)
    }

    /// The number of tokens that came before in each sequence.
    #[must_use]
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// The state of the H3 layer in a block; `None` for a block of attention.
    #[must_use]
    pub fn layer_state(&self, block: usize) -> Option<&FastState<T>> {
        match self.mixers.get(block)? {
            FastMixerState::H3(state) => Some(state),
            FastMixerState::Attention(_) => None,
        }
    }

    /// The state as if `position` identical tokens had come before: for timing steps at any
    /// position, since the time does not depend on the state's values.
    #[must_use]
    pub fn at_position(mut self, position: usize) -> Self {
        for mixer in &mut self.mixers {
            if let FastMixerState::Attention(cache) = mixer {
                cache.fill(position, T::from_f64(0.01));
            }
        }
        self.positions.fill(position);
        self
    }
}

impl<T: ModelElement> FastModel<T> {
    /// The model of these official parameters, prepared for a level. `value_of` is asked for each
    /// once, row-major, and what it gave is dropped before the next: besides the model itself no more
    /// than one parameter is in memory.
    ///
    /// # Errors
    ///
    /// If the configuration is impossible, a parameter is not as long as its shape says, a
    /// discretization has no value, or `value_of` fails.
    pub fn new(
        level: Level,
        config: &ModelConfig,
        value_of: impl FnMut(ModelName) -> Result<Vec<f64>, Error>,
    ) -> Result<Self, Error> {
        Self::with_weights(level, None, config, value_of)
    }

    /// As [`new`](Self::new), the weights of matrices stored in a format, or as `T` holds them.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or if the format has no value for a weight.
    pub fn with_weights(
        level: Level,
        format: Option<WeightFormat>,
        config: &ModelConfig,
        mut value_of: impl FnMut(ModelName) -> Result<Vec<f64>, Error>,
    ) -> Result<Self, Error> {
        config.check()?;
        if config.has_s4d() {
            return Err(Error::unsupported(
                "a model with S4D layers, which the fast path trains and does not run; expected blocks of H3 \
                 and attention (the reference runs S4D layers too)",
            ));
        }
        let mut checked = |name: ModelName| {
            let value = value_of(name)?;
            let size = name.shape(config).iter().product();
            check_len(&name.official(), value.len(), size)?;
            if let Some(format) = format.filter(|_| is_matrix(name)) {
                format.check(&name.official(), value.iter().copied())?;
            }
            Ok::<_, Error>(value)
        };
        let (d, vocab) = (config.d_model(), config.vocab_size);
        let embeddings = {
            let table = checked(ModelName::Embeddings)?;
            Weights::pack(
                level,
                format,
                (lane_groups::<T>(vocab), d),
                |vector, lane, input| match vector * T::Lanes::WIDTH + lane {
                    id if id < vocab => table[id * d + input],
                    _ => 0.0,
                },
                |_, _| T::ZERO,
            )
        };
        let positions = if config.max_position_embeddings > 0 {
            let table = checked(ModelName::Positions)?;
            table.into_iter().map(T::from_f64).into_vec()
        } else {
            Vec::new()
        };
        let blocks = (0..config.n_layer)
            .map(|i| {
                let block = block((level, format), config, i, &mut checked);
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
            positions: vec![0; batch],
            mixers: mixers.into_vec(),
        }
    }

    /// Takes the next tokens of every sequence, `ids` (batch, tokens) row-major, and gives the logits
    /// after the last of them (batch, vocab_size).
    ///
    /// More than `l_max` tokens must be given whole: their H3 layers are convolutions with truncated kernels,
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
        let (batch, len) = sequences(ids, state)?;
        self.last_of_spans(ids, whole(batch, len), state, workspace)
    }

    /// Takes documents as the next tokens of a sequence each, `ids` (rows, seq_len) row-major, and gives the
    /// logits after the last token of every document (documents, vocab_size).
    ///
    /// `state` has a sequence for every document; in that of [`zero_state`](Self::zero_state) they begin,
    /// learned positions with them. A document sees nothing of another, and its logits and state are, bit for
    /// bit, those of [`last_logits`](Self::last_logits) over it alone. Padding is not read: its ids may be
    /// anything.
    ///
    /// # Errors
    ///
    /// As [`last_logits`](Self::last_logits), for every document.
    pub fn last_logits_of_documents(
        &self,
        ids: &[usize],
        documents: &Documents,
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
    ) -> Result<Vec<T>, Error> {
        check_documents(documents, ("input_ids", ids.len(), 1), state.batch())?;
        self.last_of_spans(ids, spans(documents), state, workspace)
    }

    fn last_of_spans(
        &self,
        ids: &[usize],
        spans: impl Iterator<Item = Span> + Clone,
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
    ) -> Result<Vec<T>, Error> {
        let (d, vocab) = (self.config.d_model(), self.config.vocab_size);
        let mut all = vec![T::ZERO; state.batch() * vocab];
        let (mut rows, mut logits) = (Vec::new(), Vec::new());
        self.run(ids, spans, state, workspace, |set, from, workspace| {
            let last = || set.iter().filter(|piece| piece.last);
            rows.clear();
            for piece in last() {
                let end = piece.in_set().end * d;
                rows.extend_from_slice(&from[end - d..end]);
            }
            self.head(&rows, &mut logits, workspace);
            for (piece, logits) in last().zip(logits.chunks_exact(vocab)) {
                all[piece.sequence * vocab..][..vocab].copy_from_slice(logits);
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Takes the next tokens of every sequence, `ids` (batch, tokens) row-major, and gives the logits
    /// after each of them, some tokens of one sequence at a time: `each(first, logits)` with `logits`
    /// (some tokens, vocab_size) row-major, those of the elements of `ids` from `first` on.
    ///
    /// # Errors
    ///
    /// As [`last_logits`](Self::last_logits), and if `each` fails.
    pub fn all_logits(
        &self,
        ids: &[usize],
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        each: impl FnMut(usize, &[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (batch, len) = sequences(ids, state)?;
        self.all_of_spans(ids, whole(batch, len), state, workspace, each)
    }

    /// As [`all_logits`](Self::all_logits), of documents as
    /// [`last_logits_of_documents`](Self::last_logits_of_documents) takes them. Padding has no logits.
    ///
    /// # Errors
    ///
    /// As [`all_logits`](Self::all_logits), for every document.
    pub fn all_logits_of_documents(
        &self,
        ids: &[usize],
        documents: &Documents,
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        each: impl FnMut(usize, &[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_documents(documents, ("input_ids", ids.len(), 1), state.batch())?;
        self.all_of_spans(ids, spans(documents), state, workspace, each)
    }

    fn all_of_spans(
        &self,
        ids: &[usize],
        spans: impl Iterator<Item = Span> + Clone,
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        mut each: impl FnMut(usize, &[T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (d, mut logits) = (self.config.d_model(), Vec::new());
        self.run(ids, spans, state, workspace, |set, rows, workspace| {
            for piece in set {
                let rows = &rows[piece.at * d..piece.in_set().end * d];
                // Logits of a whole sequence would take far more memory than what they come from.
                for (part, rows) in rows.chunks(TOKENS_AT_ONCE * d).enumerate() {
                    self.head(rows, &mut logits, workspace);
                    each(piece.first + part * TOKENS_AT_ONCE, &logits)?;
                }
            }
            Ok(())
        })
    }

    /// Runs the blocks over the next tokens, a set of pieces at a time, and hands what enters the last
    /// LayerNorm to `finish(set, rows of the set, workspace)`.
    fn run(
        &self,
        ids: &[usize],
        spans: impl Iterator<Item = Span> + Clone,
        state: &mut FastModelState<T>,
        workspace: &mut ModelWorkspace<T>,
        mut finish: impl FnMut(&[Piece], &[T], &mut ModelWorkspace<T>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_len("mixer states", state.mixers.len(), self.blocks.len())?;
        let l_max = self.config.h3.l_max.filter(|_| self.has_h3());
        let l_max = l_max.unwrap_or(usize::MAX);
        for Span { sequence, rows } in spans.clone() {
            if rows.is_empty() {
                let what = format!("input_ids of sequence {sequence}");
                return Err(Error::value(what, "no token"));
            }
            let (position, len) = (state.positions[sequence], rows.len());
            self.config.check_tokens(&ids[rows], 1, position)?;
            let end = position.saturating_add(len);
            if end > l_max && position > 0 {
                return Err(beyond("the fast path from a state", l_max, end));
            }
        }
        let mut plan = core::mem::take(&mut workspace.plan);
        // Cut kernels are convolved with the whole sequence.
        plan.lay_out(spans, TOKENS_AT_ONCE, |span| {
            state.positions[span.sequence].saturating_add(span.rows.len()) > l_max
        });
        let done = plan.sets().try_for_each(|set| {
            self.embed(set, ids, &state.positions, &mut workspace.residual);
            for (block, state) in self.blocks.iter().zip(&mut state.mixers) {
                self.run_block(block, set, state, workspace)?;
            }
            for piece in set {
                state.positions[piece.sequence] += piece.len;
            }
            let rows = core::mem::take(&mut workspace.residual);
            let done = finish(set, &rows, workspace);
            workspace.residual = rows;
            done
        });
        workspace.plan = plan;
        done
    }

    fn has_h3(&self) -> bool {
        let mut mixers = self.blocks.iter().map(|block| &block.mixer);
        mixers.any(|mixer| matches!(mixer, FastMixer::H3(_)))
    }

    fn embed(&self, set: &[Piece], ids: &[usize], positions: &[usize], rows: &mut Vec<T>) {
        let d = self.config.d_model();
        rows.resize(rows_of(set) * d, T::ZERO);
        for piece in set {
            let position = positions[piece.sequence];
            let to = &mut rows[piece.at * d..piece.in_set().end * d];
            for (t, (row, &id)) in to.chunks_exact_mut(d).zip(&ids[piece.rows()]).enumerate() {
                self.embeddings.read_output(id, row);
                if let Some(table) = self
                    .positions
                    .get((position + t) * d..(position + t + 1) * d)
                {
                    accumulate(row, table);
                }
            }
        }
    }

    /// One block: adds its mixer's and its MLP's output to the residual.
    fn run_block(
        &self,
        block: &FastBlock<T>,
        set: &[Piece],
        state: &mut FastMixerState<T>,
        workspace: &mut ModelWorkspace<T>,
    ) -> Result<(), Error> {
        let ModelWorkspace {
            layers,
            plan: _,
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
                let spans = set.iter().map(|piece| Span {
                    sequence: piece.sequence,
                    rows: piece.in_set(),
                });
                layer.run_spans(normed, mixed, spans, state, layers)?;
            }
            (FastMixer::Attention { qkv, output }, FastMixerState::Attention(cache)) => {
                wide.resize(3 * residual.len(), T::ZERO);
                qkv.apply(normed, wide, layers)?;
                cache.attend(self.level, set, wide, normed, layers);
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

/// True for the weights of matrices, which a format is for.
fn is_matrix(name: ModelName) -> bool {
    use BlockName::{Fc1Weight, Fc2Weight, H3, OutWeight, QkvWeight};
    match name {
        ModelName::Embeddings => true,
        ModelName::Block(_, H3(name)) => MATRICES.contains(&name),
        ModelName::Block(_, name) => [QkvWeight, OutWeight, Fc1Weight, Fc2Weight].contains(&name),
        _ => false,
    }
}

/// The two sizes of tokens (batch, tokens) for a state.
fn sequences<T: ModelElement>(
    ids: &[usize],
    state: &FastModelState<T>,
) -> Result<(usize, usize), Error> {
    let batch = state.batch();
    let len = ids.len().checked_div(batch).unwrap_or(0);
    check_len("input_ids", ids.len(), batch * len)?;
    if len == 0 {
        return Err(Error::value("input_ids", "no token"));
    }
    Ok((batch, len))
}

fn block<T: ModelElement>(
    (level, format): (Level, Option<WeightFormat>),
    config: &ModelConfig,
    i: usize,
    value_of: &mut impl FnMut(ModelName) -> Result<Vec<f64>, Error>,
) -> Result<FastBlock<T>, Error> {
    let (d, inner) = (config.d_model(), config.d_inner);
    let mut get = |name| value_of(ModelName::Block(i, name));
    let projection = |inputs, weight: Vec<f64>, bias: Vec<f64>| {
        Projection::from_f64(level, format, inputs, &weight, &bias)
    };
    let mixer = if config.is_attention(i) {
        FastMixer::Attention {
            qkv: projection(d, get(BlockName::QkvWeight)?, get(BlockName::QkvBias)?)?,
            output: projection(d, get(BlockName::OutWeight)?, get(BlockName::OutBias)?)?,
        }
    } else {
        let parameters = Parameters::new(config.h3.clone(), |name| get(BlockName::H3(name)))?;
        FastMixer::H3(Box::new(FastLayer::with_weights(
            level,
            format,
            &parameters,
        )?))
    };
    let epsilon = config.layer_norm_epsilon;
    let mut norm = |weight, bias| Ok::<_, Error>(Norm::new(&get(weight)?, &get(bias)?, epsilon));
    Ok(FastBlock {
        norm1: norm(BlockName::Norm1Weight, BlockName::Norm1Bias)?,
        mixer,
        norm2: norm(BlockName::Norm2Weight, BlockName::Norm2Bias)?,
        fc1: projection(d, get(BlockName::Fc1Weight)?, get(BlockName::Fc1Bias)?)?,
        fc2: projection(inner, get(BlockName::Fc2Weight)?, get(BlockName::Fc2Bias)?)?,
    })
}
