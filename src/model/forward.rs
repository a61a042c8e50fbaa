//! The model over whole sequences, both outputs of every block kept.

use super::attention::KeyValueCache;
use super::block::{Block, Mixer, MixerState, add, rows};
use super::config::ModelConfig;
use super::layer_norm::LayerNorm;
use super::mlp::gelu;
use crate::algebra::{Matrix, Real, RootsOfUnity, dot};
use crate::attention::softmax_attention;
use crate::error::Error;
use crate::h3::{Form, Layer, LayerState, Plain, documents_of};
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

/// What a model remembers of a batch of sequences.
#[derive(Clone, Debug)]
pub struct ModelState<T: Real> {
    /// Of every block's mixer.
    pub mixers: Vec<MixerState<T>>,
    /// How many tokens came before.
    pub position: usize,
}

/// What a model computed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelStages<T: Real> {
    /// What every block returns, (batch, seq_len, d) each: `hidden`, then `residual`.
    pub blocks: Vec<[Tensor<T>; 2]>,
    /// The scores of every next token (batch, seq_len, `vocab_size`).
    pub logits: Tensor<T>,
    /// After the last token.
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
            .collect();
        named.push(("logits".into(), self.logits));
        named
    }
}

/// What an H3 layer returns, and remembers.
pub(crate) type Mixed<T> = (Tensor<T>, LayerState<T>);

/// Hooks into the components of a model: a `Form` for its H3 layers, an error analysis, or a known
/// mistake. The defaults are the reference.
pub(crate) trait ModelHooks<T: Real> {
    /// The H3 layer of a block over whole sequences: its output, and the state after them.
    fn h3(&self, block: usize, layer: &Layer<T>, u: &Tensor<T>) -> Result<Mixed<T>, Error>;

    /// Causal attention of one head, as [`softmax_attention`].
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

/// What a block returns.
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
    fn h3(&self, _block: usize, layer: &Layer<T>, u: &Tensor<T>) -> Result<Mixed<T>, Error> {
        let stages = layer.forward(self, u, None)?;
        Ok((stages.output, stages.state))
    }
}

impl<T> ModelHooks<T> for Plain
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3(&self, _block: usize, layer: &Layer<T>, u: &Tensor<T>) -> Result<Mixed<T>, Error> {
        let stages = layer.forward_by(self, (u, &documents_of(u)), None)?;
        Ok((stages.output, stages.state))
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
            Mixer::Attention(_) => MixerState::Attention(KeyValueCache::new(batch)),
        });
        ModelState {
            mixers: mixers.collect(),
            position: 0,
        }
    }

    /// The model over the sequences `ids` (batch, seq_len) from their beginning, its H3 layers in the
    /// form asked for.
    ///
    /// # Errors
    ///
    /// If `ids` has other than two axes or a token outside the vocabulary; and as
    /// [`Layer::forward`].
    pub fn forward(&self, form: &Form, ids: &Tensor<usize>) -> Result<ModelStages<T>, Error>
    where
        T::Complex: RootsOfUnity,
    {
        self.forward_by(form, ids)
    }

    /// [`forward`](Self::forward) through hooks.
    pub(crate) fn forward_by(
        &self,
        hooks: &impl ModelHooks<T>,
        ids: &Tensor<usize>,
    ) -> Result<ModelStages<T>, Error> {
        let &[batch, len] = ids.shape() else {
            return Err(Error::shape(
                "input_ids",
                "shape (batch, seq_len)",
                format_args!("{:?}", ids.shape()),
            ));
        };
        let embedded = self.embed(ids.data(), batch, 0)?;
        self.forward_after(
            hooks,
            0,
            Tensor::new([batch, len, self.config.d_model()], embedded)?,
        )
    }

    /// [`forward_by`](Self::forward_by) from the middle: `sum` (batch, seq_len, d) is the sum of the embedded
    /// tokens and what the first `parts_before` of mixer, MLP, mixer, ... returned. The stages begin
    /// with those of the block it is in.
    pub(crate) fn forward_after(
        &self,
        hooks: &impl ModelHooks<T>,
        parts_before: usize,
        mut sum: Tensor<T>,
    ) -> Result<ModelStages<T>, Error> {
        let (first, d) = (parts_before / 2, self.config.d_model());
        let position = sum.shape()[1];
        let mut blocks = Vec::with_capacity(self.blocks.len());
        let mut mixers = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate().skip(first) {
            let in_block = |e: Error| Error::value(format!("block {i}"), e.to_string());
            if i > first || parts_before.is_multiple_of(2) {
                let before = sum.map(|x| hooks.on_residual(x));
                let u =
                    rows(&before, d, |x| hooks.norm(&block.norm1, false, x)).map_err(in_block)?;
                let mixed = match &block.mixer {
                    Mixer::H3(layer) => {
                        let (output, state) = hooks.h3(i, layer, &u).map_err(in_block)?;
                        mixers.push(MixerState::H3(state));
                        output
                    }
                    Mixer::Attention(attention) => {
                        let by_head = |q: &_, k: &_, v: &_, scale| hooks.attend(q, k, v, scale);
                        let (output, cache) =
                            attention.forward_by(&u, by_head).map_err(in_block)?;
                        mixers.push(MixerState::Attention(cache));
                        output
                    }
                };
                sum = add_tensors(&mixed, &before);
            }
            let residual = hooks.stage(i, BlockStage::Residual, sum);
            let between = residual.map(|x| hooks.on_residual(x));
            let u = rows(&between, d, |x| hooks.norm(&block.norm2, false, x)).map_err(in_block)?;
            let hidden = rows(&u, d, |x| Ok(block.mlp.apply(x, |x| hooks.activation(x))))?;
            let hidden = hooks.stage(i, BlockStage::Hidden, hidden);
            sum = add_tensors(&hidden, &between);
            blocks.push([hidden, residual]);
        }
        let last = sum.map(|x| hooks.on_residual(x));
        let logits = rows(&last, self.embeddings.rows(), |x| {
            Ok(self.scores(&hooks.norm(&self.norm, true, x)?))
        })?;
        Ok(ModelStages {
            blocks,
            logits,
            state: ModelState { mixers, position },
        })
    }

    /// The embeddings of the next tokens of every sequence, `ids` (batch, tokens) row-major, the first
    /// of them at `position`.
    pub(crate) fn embed(
        &self,
        ids: &[usize],
        batch: usize,
        position: usize,
    ) -> Result<Vec<T>, Error> {
        self.config.check_tokens(ids, batch, position)?;
        let len = ids.len().checked_div(batch).unwrap_or(0);
        let mut embedded = Vec::with_capacity(ids.len() * self.config.d_model());
        for (at, &id) in ids.iter().enumerate() {
            let word = self.embeddings.row(id);
            if self.positions.rows() > 0 {
                let at = position + at % len;
                embedded.extend(add(word, self.positions.row(at)));
            } else {
                embedded.extend_from_slice(word);
            }
        }
        Ok(embedded)
    }

    /// The last LayerNorm and the head of one token: its logits.
    pub(crate) fn head(&self, x: &[T]) -> Result<Vec<T>, Error> {
        Ok(self.scores(&self.norm.apply(x)?))
    }

    /// The head alone.
    fn scores(&self, x: &[T]) -> Vec<T> {
        let words = 0..self.embeddings.rows();
        words.map(|id| dot(self.embeddings.row(id), x)).collect()
    }
}

/// `a + b`, of one shape.
fn add_tensors<T: Real>(a: &Tensor<T>, b: &Tensor<T>) -> Tensor<T> {
    Tensor::known(a.shape(), add(a.data(), b.data()))
}

impl<T: Real> ModelState<T> {
    /// The state of an H3 block's layer, if that is what it is.
    #[must_use]
    pub fn h3(&self, block: usize) -> Option<&LayerState<T>> {
        match self.mixers.get(block)? {
            MixerState::H3(state) => Some(state),
            MixerState::Attention(_) => None,
        }
    }
}
