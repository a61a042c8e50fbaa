//! An attention between its projections, over some whole sequences, forward and backward.

use super::attention::{Head, HeadBuffers, HeadSizes, Part};
use super::dropout::Masks;
use crate::fast::lanes::{Element, Vector};
use crate::fast::level::Level;
use crate::fast::panels::lane_groups;
use crate::fast::rows::ModelElement;
use crate::model::ModelConfig;
use core::ops::Range;

/// The results of an attention over some sequences: (rows, channels) each, as vectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Attended<T: Element> {
    /// Queries, keys and values side by side.
    pub(super) qkv: Vec<T::Lanes>,
    /// [sequence][head]
    weights: Vec<T::Lanes>,
    /// With dropout.
    applied: Vec<T::Lanes>,
    pub(super) context: Vec<T::Lanes>,
}

/// The sizes of an attention over sequences of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    level: Level,
    heads: usize,
    sizes: HeadSizes,
    d_model: usize,
    /// Vectors of a row of the context.
    narrow: usize,
    /// Vectors of a row of queries, keys and values.
    pub(super) wide: usize,
}

impl Attention {
    pub(super) fn new<T: Element>(level: Level, config: &ModelConfig, len: usize) -> Self {
        let d_model = config.d_model();
        Self {
            level,
            heads: config.num_heads,
            sizes: HeadSizes {
                len,
                head_dim: config.attention_head_dim(),
            },
            d_model,
            narrow: lane_groups::<T>(d_model),
            wide: lane_groups::<T>(3 * d_model),
        }
    }

    /// Every head of `count` sequences, in order: which one it is, and where the sequence's queries, keys
    /// and values, its context, and the head's weights stand.
    fn heads<T: Element>(
        self,
        count: usize,
    ) -> impl Iterator<Item = (usize, [Range<usize>; 3])> + use<T> {
        let (len, weights) = (self.sizes.len, self.sizes.weights::<T>());
        (0..count * self.heads).map(move |i| {
            let (sequence, head) = (i / self.heads, i % self.heads);
            let rows = |of: usize| sequence * len * of..(sequence + 1) * len * of;
            let weights = i * weights..(i + 1) * weights;
            (head, [rows(self.wide), rows(self.narrow), weights])
        })
    }

    /// One head, on the queries, keys and values of one sequence.
    fn head<T: Element>(self, head: usize, qkv: &[T::Lanes]) -> Head<'_, T> {
        let channels = self.sizes.head_dim;
        let part = |row: usize, first: usize| Part {
            row,
            first: first + head * channels,
            channels,
        };
        Head {
            level: self.level,
            sizes: self.sizes,
            qkv,
            parts: [0, 1, 2].map(|which| part(self.wide, which * self.d_model)),
            context: part(self.narrow, 0),
        }
    }

    /// From queries, keys and values to the context; with dropout by masks, of sequences from one of the
    /// batch on.
    pub(super) fn forward<T: ModelElement>(
        self,
        masks: Option<(Masks, usize)>,
        attended: &mut Attended<T>,
        buffers: &mut HeadBuffers<T>,
    ) {
        let Attended {
            qkv,
            weights,
            applied,
            context,
        } = attended;
        let len = self.sizes.len;
        let count = qkv.len() / (len * self.wide);
        let size = count * self.heads * self.sizes.weights::<T>();
        weights.resize(size, T::Lanes::ZERO);
        applied.resize(size, T::Lanes::ZERO);
        context.clear();
        context.resize(count * len * self.narrow, T::Lanes::ZERO);
        for (i, (head, [at, to, of])) in self.heads::<T>(count).enumerate() {
            let masks = masks.map(|(masks, first)| {
                let number = (first * self.heads + i) as u64;
                (masks, number * (len * len) as u64)
            });
            self.head::<T>(head, &qkv[at]).forward(
                masks,
                (&mut weights[of.clone()], &mut applied[of]),
                &mut context[to],
                buffers,
            );
        }
    }

    /// From the cotangents of the context to those of queries, keys and values.
    pub(super) fn backward<T: ModelElement>(
        self,
        attended: &Attended<T>,
        of_context: &[T::Lanes],
        of_qkv: &mut Vec<T::Lanes>,
        buffers: &mut HeadBuffers<T>,
    ) {
        let Attended {
            qkv,
            weights,
            applied,
            ..
        } = attended;
        of_qkv.clear();
        of_qkv.resize(qkv.len(), T::Lanes::ZERO);
        let count = qkv.len() / (self.sizes.len * self.wide);
        for (head, [at, from, of]) in self.heads::<T>(count) {
            self.head::<T>(head, &qkv[at.clone()]).backward(
                (&weights[of.clone()], &applied[of]),
                &of_context[from],
                &mut of_qkv[at],
                buffers,
            );
        }
    }

    /// Clears the gradient of the biases of keys. It is zero but for rounding, since a softmax does not see what
    /// all its scores share, and AdamW makes as large a step of noise as of any gradient.
    pub(super) fn clear_keys<T: Element>(self, of_bias: &mut [T::Lanes]) {
        for i in self.d_model..2 * self.d_model {
            of_bias[i / T::Lanes::WIDTH].lanes_mut()[i % T::Lanes::WIDTH] = T::ZERO;
        }
    }
}
