//! The configuration of a language model: everything besides its tensors.

use crate::error::Error;
use crate::h3;

/// The mixer of the blocks without attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SsmMixer {
    /// H3 layers.
    #[default]
    H3,
    /// S4D layers, with which H3's paper compares itself (safari `src/models/sequence/ssm/s4d.py`):
    /// a diagonal model per channel, the exact GELU, a projection ([`S4d`](super::S4d)). On the fast path they
    /// are trained ([`Trainer`](crate::fast::Trainer)), and not run token by token.
    S4d,
}

/// The sizes and choices of a hybrid H3-attention language model (official `SSMLMHeadModel`).
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Number of blocks.
    pub n_layer: usize,
    /// Hidden channels of every MLP; officially `4 d_model`.
    pub d_inner: usize,
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Rows of the table of learned positions; 0 for none, as in all published models.
    pub max_position_embeddings: usize,
    /// The blocks whose mixer is attention, ascending; the others' is an H3 layer.
    pub attn_layer_idx: Vec<usize>,
    /// Attention heads; 0 if there is no attention.
    pub num_heads: usize,
    /// The number that every LayerNorm adds to the variance.
    pub layer_norm_epsilon: f64,
    /// The mixers of the blocks without attention.
    pub ssm: SsmMixer,
    /// The H3 layers, all of one kind; its `d_model` is the model's. S4D layers have its diagonal models.
    pub h3: h3::Config,
}

impl ModelConfig {
    /// d: the number of channels.
    #[must_use]
    pub fn d_model(&self) -> usize {
        self.h3.d_model
    }

    /// True if the mixer of a block is attention.
    #[must_use]
    pub fn is_attention(&self, block: usize) -> bool {
        self.attn_layer_idx.contains(&block)
    }

    /// True if a block has an S4D layer.
    pub(crate) fn has_s4d(&self) -> bool {
        self.ssm == SsmMixer::S4d && self.attn_layer_idx.len() < self.n_layer
    }

    /// Channels of an attention head; 0 if there is no attention.
    #[must_use]
    pub fn attention_head_dim(&self) -> usize {
        self.d_model().checked_div(self.num_heads).unwrap_or(0)
    }

    /// True if `l_max` truncates the kernels of some layer over so many tokens, so that they have no
    /// recurrence.
    pub(crate) fn cuts_kernels(&self, tokens: usize) -> bool {
        let has_h3 = self.attn_layer_idx.len() < self.n_layer;
        has_h3 && self.h3.l_max.is_some_and(|l_max| l_max < tokens)
    }

    /// Refuses sizes that no model has.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.h3.check()?;
        for (what, size) in [
            ("n_layer", self.n_layer),
            ("d_inner", self.d_inner),
            ("vocab_size", self.vocab_size),
        ] {
            if size == 0 {
                return Err(Error::value(what, "0; expected at least 1"));
            }
        }
        if self.has_s4d() {
            self.check_s4d()?;
        }
        let epsilon = self.layer_norm_epsilon;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(Error::value(
                "layer_norm_epsilon",
                format!("{epsilon}; expected a finite number from 0"),
            ));
        }
        if let Some(block) = self.attn_layer_idx.iter().find(|&&i| i >= self.n_layer) {
            return Err(Error::value(
                "attn_layer_idx",
                format!("{block}, but the blocks are 0 to {}", self.n_layer - 1),
            ));
        }
        if !self.attn_layer_idx.is_sorted_by(|a, b| a < b) {
            return Err(Error::value(
                "attn_layer_idx",
                format!(
                    "{:?}; expected each block once, ascending",
                    self.attn_layer_idx
                ),
            ));
        }
        let divides = self.num_heads > 0 && self.d_model().is_multiple_of(self.num_heads);
        if !self.attn_layer_idx.is_empty() && !divides {
            return Err(Error::value(
                "num_heads",
                format!(
                    "{} does not divide d_model = {}",
                    self.num_heads,
                    self.d_model()
                ),
            ));
        }
        Ok(())
    }

    /// Refuses sizes and choices that no S4D layer has: it has a diagonal model per channel, whose kernel is
    /// never cut, and no taps besides the modes.
    fn check_s4d(&self) -> Result<(), Error> {
        let h3 = &self.h3;
        let refused = |what: &str, found: usize, expected: &str| {
            let why = format!("{found}; expected {expected} in a model with S4D layers");
            Err(Error::value(what, why))
        };
        match h3.l_max {
            _ if h3.head_dim != 1 => refused("head_dim", h3.head_dim, "1"),
            _ if !h3.d_state.is_multiple_of(2) => refused("d_state", h3.d_state, "an even number"),
            Some(l_max) => refused("l_max", l_max, "none"),
            None => Ok(()),
        }
    }

    /// Refuses tokens the embedding has no row for, and positions the table has no row for.
    pub(crate) fn check_tokens(
        &self,
        ids: &[usize],
        batch: usize,
        position: usize,
    ) -> Result<(), Error> {
        let mut numbered = ids.iter().enumerate();
        numbered.try_for_each(|(at, &id)| self.check_token(at, id))?;
        let len = ids.len().checked_div(batch).unwrap_or(0);
        self.check_end(position.saturating_add(len))
    }

    /// Refuses a token, element `at` of the ids, that the embedding has no row for.
    pub(crate) fn check_token(&self, at: usize, id: usize) -> Result<(), Error> {
        let vocab = self.vocab_size;
        if id < vocab {
            return Ok(());
        }
        let why = format!("element {at} is {id}, outside the vocabulary of {vocab}");
        Err(Error::value("input_ids", why))
    }

    /// Refuses a sequence of so many tokens that the table of positions ends before.
    pub(crate) fn check_end(&self, end: usize) -> Result<(), Error> {
        if self.max_position_embeddings > 0 && end > self.max_position_embeddings {
            return Err(Error::unsupported(format!(
                "{end} tokens, but the model has learned positions for {}",
                self.max_position_embeddings
            )));
        }
        Ok(())
    }
}
