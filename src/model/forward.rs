//! The model over sequences, both outputs of every block kept.

use super::attention::KeyValueCache;
use super::block::{Block, Mixer, MixerState, add, documents_of_ids, tokens};
use super::config::ModelConfig;
use super::layer_norm::LayerNorm;
use super::mlp::gelu;
use super::s4d::S4d;
use crate::algebra::{Matrix, Real, RootsOfUnity, dot};
use crate::attention::softmax_attention;
use crate::error::{Error, check_len};
use crate::h3::{Evaluate, Form, Layer, LayerState, Plain};
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A hybrid H3-attention language model (official `src/models/ssm_seq.py`, `SSMLMHeadModel`).
#[derive(Clone, Debug)]
pub struct Model<T: Real> {
    pub(super) config: ModelConfig,
    /// (`vocab_size`, d); the head's weight too.
    pub(super) embeddings: Matrix<T>,
    /// (`max_position_embeddings`, d); no rows if there are no learned positions.
    pub(super) positions: Matrix<T>,
    pub(super) blocks: Vec<Block<T>>,
    pub(super) norm: LayerNorm<T>,
}

/// The state of a model: one for each sequence of a batch, or for each document of packed rows.
#[derive(Clone, Debug)]
pub struct ModelState<T: Real> {
    /// Of every block's mixer.
    pub mixers: Vec<MixerState<T>>,
    /// Number of previous tokens of every sequence.
    pub positions: Vec<usize>,
}

/// The stages of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelStages<T: Real> {
    /// The results of every block, (batch, seq_len, d) each: `hidden`, then `residual`. Zeros at
    /// padding.
    pub blocks: Vec<[Tensor<T>; 2]>,
    /// The scores of every next token (batch, seq_len, `vocab_size`). Zeros at padding.
    pub logits: Tensor<T>,
    /// After the last token of every sequence.
    pub state: ModelState<T>,
}

impl<T: Real> ModelStages<T> {
    /// The stages under their names in files: `block{i}.hidden`, `block{i}.residual`, `logits`.
    #[must_use]
    pub fn named(self) -> Vec<(String, Tensor<T>)> {
        self.named_from(0)
    }

    /// [`named`](Self::named), the first block being of this index.
    pub(crate) fn named_from(self, first: usize) -> Vec<(String, Tensor<T>)> {
        let blocks = self.blocks.into_iter().zip(first..);
        let mut named: Vec<_> = blocks
            .flat_map(|([hidden, residual], i)| {
                [
                    (BlockStage::Hidden.name(i), hidden),
                    (BlockStage::Residual.name(i), residual),
                ]
            })
            .into_vec();
        named.push(("logits".into(), self.logits));
        named
    }
}

/// The output of an H3 layer, and its state.
pub(crate) type Mixed<T> = (Tensor<T>, LayerState<T>);

/// Rows (batch, seq_len, ...) and where documents lie in them.
pub(crate) type Rows<'a, T> = (&'a Tensor<T>, &'a Documents);

/// Hooks into the components of a model: a `Form` for its H3 layers, an error analysis, or a known
/// mistake. The defaults are the reference.
pub(crate) trait ModelHooks<T: Real> {
    /// The H3 layer of a block over documents, each from its state (zeros if there is none): the output,
    /// and the states after them.
    fn h3(
        &self,
        block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Mixed<T>, Error>;

    /// The algorithm of the diagonal models of S4D layers.
    fn models(&self) -> &dyn Evaluate<T>;

    /// The output of an S4D layer, of its models' responses `x` (batch, seq_len, d).
    fn s4d_output(&self, layer: &S4d<T>, x: &Tensor<T>, documents: &Documents) -> Tensor<T> {
        layer.output(self.models(), x, documents)
    }

    /// The ranges of documents as seen by one part of the model.
    fn documents(&self, _part: Part, rows: &Documents) -> Documents {
        rows.clone()
    }

    /// Causal attention of one head over one document, as [`softmax_attention`].
    fn attend(
        &self,
        q: &Matrix<T>,
        k: &Matrix<T>,
        v: &Matrix<T>,
        scale: T,
    ) -> Result<Matrix<T>, Error> {
        softmax_attention(q, k, v, scale)
    }

    /// A LayerNorm of one token; `last` for the one before the head.
    fn norm(&self, norm: &LayerNorm<T>, _last: bool, x: &[T]) -> Result<Vec<T>, Error> {
        norm.apply(x)
    }

    /// The activation of the MLPs.
    fn activation(&self, x: T) -> T {
        gelu(x)
    }

    /// Hook applied to the embedded tokens (batch, seq_len, d) once they are computed.
    fn embedded(&self, computed: Tensor<T>) -> Tensor<T> {
        computed
    }

    /// Hook applied to every value of the residual stream before it is read. It is read more than once,
    /// and so is one number, not a sum whose terms may still be added in another order.
    fn on_residual(&self, x: T) -> T {
        x
    }

    /// Hook applied to the residual and to the hidden values of a block once they are computed. What
    /// it returns stands in their place, also for what is computed from them.
    fn stage(&self, _block: usize, _which: BlockStage, computed: Tensor<T>) -> Tensor<T> {
        computed
    }
}

/// A part of a model that has to know where documents lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Positions,
    H3,
    Attention,
}

/// The results of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockStage {
    Hidden,
    Residual,
}

impl BlockStage {
    /// The name in files, of the block of this index.
    pub(crate) fn name(self, block: usize) -> String {
        match self {
            Self::Hidden => format!("block{block}.hidden"),
            Self::Residual => format!("block{block}.residual"),
        }
    }
}

impl<T> ModelHooks<T> for Form
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3(
        &self,
        _block: usize,
        layer: &Layer<T>,
        (u, documents): Rows<'_, T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Mixed<T>, Error> {
        let stages = layer.forward_documents(self, u, documents, state)?;
        Ok((stages.output, stages.state))
    }

    fn models(&self) -> &dyn Evaluate<T> {
        self
    }
}

impl<T> ModelHooks<T> for Plain
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3(
        &self,
        _block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Mixed<T>, Error> {
        if let Some(state) = state {
            layer.check_window(state, u.1.longest(), true, "a run in parts")?;
        }
        let stages = layer.forward_by(self, u, state)?;
        Ok((stages.output, stages.state))
    }

    fn models(&self) -> &dyn Evaluate<T> {
        self
    }
}

impl<T: Real> Model<T> {
    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block<T>] {
        &self.blocks
    }

    /// The state before any token, for a batch.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> ModelState<T> {
        let mixers = self.blocks.iter().map(|block| match &block.mixer {
            Mixer::H3(layer) => MixerState::H3(layer.zero_state(batch)),
            Mixer::S4d(layer) => MixerState::S4d(layer.zero_state(batch)),
            Mixer::Attention(_) => MixerState::Attention(KeyValueCache::new(batch)),
        });
        ModelState {
            mixers: mixers.into_vec(),
            positions: vec![0; batch],
        }
    }

    /// Refuses a state that is not one of this model and so many sequences.
    pub(crate) fn check_state(&self, state: &ModelState<T>, sequences: usize) -> Result<(), Error> {
        check_len("sequences of the state", state.positions.len(), sequences)?;
        check_len("mixer states", state.mixers.len(), self.blocks.len())?;
        let longest = state.positions.iter().copied().max().unwrap_or(0);
        let mut mixers = self.blocks.iter().zip(&state.mixers);
        mixers.try_for_each(|(block, mixer)| match (&block.mixer, mixer) {
            (Mixer::H3(layer), MixerState::H3(state)) => {
                layer.check_state(state, sequences)?;
                check_len("position of an H3 layer's state", state.position, longest)
            }
            (Mixer::S4d(layer), MixerState::S4d(state)) => layer.check_state(state, sequences),
            (Mixer::Attention(_), MixerState::Attention(cache)) => {
                cache.check(&state.positions, self.config.d_model())
            }
            _ => Err(Error::value("state", "is of another kind of mixer")),
        })
    }

    /// The model over the sequences `ids` (batch, seq_len) from their beginning, with its H3 layers
    /// in this form.
    ///
    /// # Errors
    ///
    /// If `ids` has other than two axes or a token outside the vocabulary; and as
    /// [`Layer::forward`].
    pub fn forward(&self, form: &Form, ids: &Tensor<usize>) -> Result<ModelStages<T>, Error>
    where
        T::Complex: RootsOfUnity,
    {
        self.forward_by(form, (ids, &documents_of_ids(ids)?), None)
    }

    /// The same over rows of documents. Each document starts from its own state (without previous
    /// tokens if `state` is `None`) and leaves one: positions, H3 states and attention are those of
    /// the document alone. Stages are zero at padding, and `ids` is not read there.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and if the documents are not those of `ids`, or the state is not one
    /// of this model and of as many sequences.
    pub fn forward_documents(
        &self,
        form: &Form,
        ids: &Tensor<usize>,
        documents: &Documents,
        state: Option<&ModelState<T>>,
    ) -> Result<ModelStages<T>, Error>
    where
        T::Complex: RootsOfUnity,
    {
        self.forward_by(form, (ids, documents), state)
    }

    /// [`forward_documents`](Self::forward_documents) through hooks.
    pub(crate) fn forward_by(
        &self,
        hooks: &dyn ModelHooks<T>,
        (ids, documents): Rows<'_, usize>,
        state: Option<&ModelState<T>>,
    ) -> Result<ModelStages<T>, Error> {
        let shape = [documents.batch(), documents.seq_len()];
        ids.check_shape("input_ids", &shape)?;
        if let Some(state) = state {
            self.check_state(state, documents.count())?;
        }
        let counted = hooks.documents(Part::Positions, documents);
        let embedded = hooks.embedded(self.embed((ids, documents), &counted, state)?);
        self.run(hooks, documents, state, 0, embedded)
    }

    /// [`forward_by`](Self::forward_by) from the middle: `sum` (batch, seq_len, d) is the sum of the embedded
    /// tokens and what the first `parts_before` of mixer, MLP, mixer, ... returned. The stages begin
    /// with those of the block it is in.
    pub(crate) fn forward_after(
        &self,
        hooks: &dyn ModelHooks<T>,
        documents: &Documents,
        parts_before: usize,
        sum: Tensor<T>,
    ) -> Result<ModelStages<T>, Error> {
        self.run(hooks, documents, None, parts_before, sum)
    }

    fn run(
        &self,
        hooks: &dyn ModelHooks<T>,
        documents: &Documents,
        state: Option<&ModelState<T>>,
        parts_before: usize,
        mut sum: Tensor<T>,
    ) -> Result<ModelStages<T>, Error> {
        let (first, d) = (parts_before / 2, self.config.d_model());
        let mut blocks = Vec::with_capacity(self.blocks.len());
        let mut mixers = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            let in_block = |e: Error| Error::value(format!("block {i}"), e.to_string());
            if i > first || parts_before.is_multiple_of(2) {
                let before = sum.map(|x| hooks.on_residual(x));
                let norm = |x: &[T]| hooks.norm(&block.norm1, false, x);
                let u = tokens(&before, documents, d, norm).map_err(in_block)?;
                let state = state.and_then(|state| state.mixers.get(i));
                let mixed = mix(hooks, i, &block.mixer, (&u, documents), state);
                let (mixed, after) = mixed.map_err(in_block)?;
                mixers.push(after);
                sum = add_tensors(&mixed, &before);
            }
            let residual = hooks.stage(i, BlockStage::Residual, sum);
            let between = residual.map(|x| hooks.on_residual(x));
            let norm = |x: &[T]| hooks.norm(&block.norm2, false, x);
            let u = tokens(&between, documents, d, norm).map_err(in_block)?;
            let mlp = |x: &[T]| Ok(block.mlp.apply(x, |x| hooks.activation(x)));
            let hidden = tokens(&u, documents, d, mlp)?;
            let hidden = hooks.stage(i, BlockStage::Hidden, hidden);
            sum = add_tensors(&hidden, &between);
            blocks.push([hidden, residual]);
        }
        let last = sum.map(|x| hooks.on_residual(x));
        let logits = tokens(&last, documents, self.embeddings.rows(), |x| {
            Ok(self.scores(&hooks.norm(&self.norm, true, x)?))
        })?;
        let lengths = documents.iter().map(|(_, tokens)| tokens.len());
        let positions = lengths.enumerate().map(|(n, len)| before(state, n) + len);
        Ok(ModelStages {
            blocks,
            logits,
            state: ModelState {
                mixers,
                positions: positions.into_vec(),
            },
        })
    }

    /// The embedded tokens (batch, seq_len, d) of documents that continue from a state, positions being
    /// counted in the documents `counted`; zeros at padding.
    pub(crate) fn embed(
        &self,
        (ids, documents): Rows<'_, usize>,
        counted: &Documents,
        state: Option<&ModelState<T>>,
    ) -> Result<Tensor<T>, Error> {
        let (batch, len) = (documents.batch(), documents.seq_len());
        let positions = self.positions_of(counted, state)?;
        let mut embedded = Tensor::filled([batch, len, self.config.d_model()], T::ZERO);
        for (b, tokens) in documents.iter() {
            for r in tokens.map(|i| b * len + i) {
                let id = ids.data()[r];
                self.config.check_token(r, id)?;
                let word = self.embeddings.row(id);
                let row = match self.positions.rows() {
                    0 => word.to_vec(),
                    _ => add(word, self.positions.row(positions[r])),
                };
                embedded.row_mut(r).copy_from_slice(&row);
            }
        }
        Ok(embedded)
    }

    /// The position of every place of the rows in its document, which continues from a state; 0 at padding.
    pub(super) fn positions_of(
        &self,
        documents: &Documents,
        state: Option<&ModelState<T>>,
    ) -> Result<Vec<usize>, Error> {
        let len = documents.seq_len();
        let mut positions = vec![0; documents.batch() * len];
        for (n, (b, tokens)) in documents.iter().enumerate() {
            let first = before(state, n);
            self.config.check_end(first.saturating_add(tokens.len()))?;
            for (position, i) in (first..).zip(tokens) {
                positions[b * len + i] = position;
            }
        }
        Ok(positions)
    }

    /// The last LayerNorm and the head of one token: its logits.
    pub(crate) fn head(&self, x: &[T]) -> Result<Vec<T>, Error> {
        Ok(self.scores(&self.norm.apply(x)?))
    }

    /// The head alone.
    fn scores(&self, x: &[T]) -> Vec<T> {
        let words = 0..self.embeddings.rows();
        words.map(|id| dot(self.embeddings.row(id), x)).into_vec()
    }
}

/// The mixer of a block over documents: its output, and its state after them.
fn mix<T: Real>(
    hooks: &dyn ModelHooks<T>,
    block: usize,
    mixer: &Mixer<T>,
    u: Rows<'_, T>,
    before: Option<&MixerState<T>>,
) -> Result<(Tensor<T>, MixerState<T>), Error> {
    let (u, rows) = u;
    match mixer {
        Mixer::H3(layer) => {
            let documents = hooks.documents(Part::H3, rows);
            let before = before.and_then(MixerState::h3);
            let (output, after) = hooks.h3(block, layer, (u, &documents), before)?;
            Ok((output, MixerState::H3(after)))
        }
        Mixer::S4d(layer) => {
            let documents = hooks.documents(Part::H3, rows);
            let before = before.and_then(MixerState::s4d);
            let (x, after) = layer.filter(hooks.models(), (u, &documents), before)?;
            let output = hooks.s4d_output(layer, &x, &documents);
            Ok((output, MixerState::S4d(after)))
        }
        Mixer::Attention(attention) => {
            let documents = hooks.documents(Part::Attention, rows);
            let empty = KeyValueCache::new(documents.count());
            let before = before.and_then(MixerState::cache).unwrap_or(&empty);
            let by_head = |q: &_, k: &_, v: &_, scale| hooks.attend(q, k, v, scale);
            let (output, after) = attention.forward_by((u, &documents), before, by_head)?;
            Ok((output, MixerState::Attention(after)))
        }
    }
}

/// Number of previous tokens of a document.
fn before<T: Real>(state: Option<&ModelState<T>>, document: usize) -> usize {
    let positions = state.map_or(&[][..], |state| &state.positions);
    positions.get(document).copied().unwrap_or(0)
}

/// `a + b`, of one shape.
fn add_tensors<T: Real>(a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    Tensor::known(a.shape(), add(a.data(), b.data()))
}

impl<T: Real> ModelState<T> {
    /// The state of an H3 block's layer, if that is what it is.
    #[must_use]
    pub fn h3(&self, block: usize) -> Option<&LayerState<T>> {
        self.mixers.get(block)?.h3()
    }
}
