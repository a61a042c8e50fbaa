//! Causal softmax attention of one head over one sequence, forward and backward: all weights of a head at once,
//! which for the lengths that are trained on is little memory.

use super::dropout::Masks;
use super::matrices::{Sums, Times, place};
use super::rows::sum_of_lanes;
use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel, Level};
use crate::fast::panels::lane_groups;
use crate::fast::rows::{Exponential, ModelElement};

/// The sizes of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadSizes {
    pub(super) len: usize,
    pub(super) head_dim: usize,
}

impl HeadSizes {
    /// Vectors of a row of weights.
    fn tokens<T: Element>(self) -> usize {
        lane_groups::<T>(self.len)
    }

    /// Vectors of a row of channels.
    fn channels<T: Element>(self) -> usize {
        lane_groups::<T>(self.head_dim)
    }

    /// Vectors of all weights.
    pub(super) fn weights<T: Element>(self) -> usize {
        self.len * self.tokens::<T>()
    }
}

/// One head's part of rows that hold several: `channels` neighbouring numbers of each, from `first` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Vectors a row.
    pub(super) row: usize,
    pub(super) first: usize,
    pub(super) channels: usize,
}

impl Part {
    /// The vectors of the part, if it has whole ones: the first.
    fn whole<T: Element>(self) -> Option<usize> {
        let width = T::Lanes::WIDTH;
        let is_whole = self.first.is_multiple_of(width) && self.channels.is_multiple_of(width);
        is_whole.then_some(self.first / width)
    }

    /// The places of vector `v` of the part in a row: vector and lane.
    fn places<T: Element>(self, v: usize) -> impl Iterator<Item = (usize, usize)> {
        let width = T::Lanes::WIDTH;
        let numbers = self.first + v * width..self.first + self.channels.min((v + 1) * width);
        numbers.map(move |i| (i / width, i % width))
    }

    /// Vector `v` of the part of a row, zeros beyond it.
    fn take<T: Element>(self, row: &[T::Lanes], v: usize) -> T::Lanes {
        if let Some(first) = self.whole::<T>() {
            return row[first + v];
        }
        let mut taken = T::Lanes::ZERO;
        let to = taken.lanes_mut().iter_mut();
        for (to, (vector, lane)) in to.zip(self.places::<T>(v)) {
            *to = row[vector].lanes()[lane];
        }
        taken
    }

    /// Puts vector `v` of the part back into a row.
    fn put<T: Element>(self, lanes: T::Lanes, v: usize, row: &mut [T::Lanes]) {
        if let Some(first) = self.whole::<T>() {
            row[first + v] = lanes;
            return;
        }
        for (x, (vector, lane)) in lanes.lanes().iter().zip(self.places::<T>(v)) {
            row[vector].lanes_mut()[lane] = *x;
        }
    }

    /// The part as rows of its own.
    fn rows<T: Element>(self, from: &[T::Lanes], to: &mut Vec<T::Lanes>) {
        let vectors = lane_groups::<T>(self.channels);
        to.clear();
        for row in from.chunks_exact(self.row) {
            to.extend((0..vectors).map(|v| self.take::<T>(row, v)));
        }
    }

    /// The part as a matrix in panels, its rows filled up to whole vectors.
    fn matrix<T: Element>(self, from: &[T::Lanes], to: &mut Vec<T::Lanes>) {
        let vectors = lane_groups::<T>(self.channels);
        let rows = (from.len() / self.row).next_multiple_of(T::Lanes::WIDTH);
        to.clear();
        to.resize(rows * vectors, T::Lanes::ZERO);
        for (r, row) in from.chunks_exact(self.row).enumerate() {
            for v in 0..vectors {
                to[place(rows, vectors, r, v)] = self.take::<T>(row, v);
            }
        }
    }

    /// The part as a matrix in panels, transposed.
    fn transposed<T: Element>(self, from: &[T::Lanes], to: &mut Vec<T::Lanes>) {
        let (width, rows) = (T::Lanes::WIDTH, from.len() / self.row);
        let (channels, vectors) = (self.channels.next_multiple_of(width), rows.div_ceil(width));
        to.clear();
        to.resize(channels * vectors, T::Lanes::ZERO);
        for (r, row) in from.chunks_exact(self.row).enumerate() {
            for v in 0..channels / width {
                for (lane, x) in self.take::<T>(row, v).lanes().iter().enumerate() {
                    let at = place(channels, vectors, v * width + lane, r / width);
                    to[at].lanes_mut()[r % width] = *x;
                }
            }
        }
    }

    /// Puts rows of its own back.
    fn put_rows<T: Element>(self, from: &[T::Lanes], to: &mut [T::Lanes]) {
        let vectors = lane_groups::<T>(self.channels);
        let rows = from.chunks_exact(vectors);
        for (from, row) in rows.zip(to.chunks_exact_mut(self.row)) {
            for (v, lanes) in from.iter().enumerate() {
                self.put::<T>(*lanes, v, row);
            }
        }
    }

    /// Puts a matrix in panels back.
    fn put_matrix<T: Element>(self, from: &[T::Lanes], to: &mut [T::Lanes]) {
        let vectors = lane_groups::<T>(self.channels);
        let rows = (to.len() / self.row).next_multiple_of(T::Lanes::WIDTH);
        for (r, row) in to.chunks_exact_mut(self.row).enumerate() {
            for v in 0..vectors {
                self.put::<T>(from[place(rows, vectors, r, v)], v, row);
            }
        }
    }
}

/// The buffers of one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadBuffers<T: Element> {
    rows: Vec<T::Lanes>,
    matrix: Vec<T::Lanes>,
    of_rows: Vec<T::Lanes>,
    of_weights: Vec<T::Lanes>,
    result: Vec<T::Lanes>,
}

/// The queries, keys and values of one sequence, a head's part of each, and its weights.
pub(super) struct Head<'a, T: Element> {
    pub(super) level: Level,
    pub(super) sizes: HeadSizes,
    /// (len, all channels of queries, keys and values)
    pub(super) qkv: &'a [T::Lanes],
    /// Of queries, keys and values.
    pub(super) parts: [Part; 3],
    /// Of the result.
    pub(super) context: Part,
}

impl<T: ModelElement> Head<'_, T> {
    fn scale(&self) -> T {
        T::from_f64(1.0 / (self.sizes.head_dim as f64).sqrt())
    }

    fn times(
        &self,
        x: &[T::Lanes],
        inputs: usize,
        weight: &[T::Lanes],
        outputs: usize,
        y: &mut Vec<T::Lanes>,
    ) {
        y.clear();
        y.resize(self.sizes.len * outputs, T::Lanes::ZERO);
        self.level.run(Times::<T> {
            x,
            inputs,
            weight,
            outputs,
            bias: &[],
            add: false,
            y,
        });
    }

    /// Attention of the sequence, into its part of `context`. Leaves in `weights` the weights, and in
    /// `applied` those with dropout, by factors of numbers from `first` on.
    pub(super) fn forward(
        &self,
        masks: Option<(Masks, u64)>,
        (weights, applied): (&mut [T::Lanes], &mut [T::Lanes]),
        context: &mut [T::Lanes],
        buffers: &mut HeadBuffers<T>,
    ) {
        let HeadSizes { len, .. } = self.sizes;
        let (tokens, channels) = (self.sizes.tokens::<T>(), self.sizes.channels::<T>());
        let [q, k, v] = self.parts;
        let HeadBuffers {
            rows,
            matrix,
            of_weights: scores,
            result,
            ..
        } = buffers;
        q.rows::<T>(self.qkv, rows);
        k.transposed::<T>(self.qkv, matrix);
        self.times(rows, channels, matrix, tokens, scores);
        self.level.run(CausalSoftmax::<T> {
            tokens,
            scale: self.scale(),
            scores,
            weights,
        });
        applied.copy_from_slice(weights);
        if let Some((masks, first)) = masks {
            let mut factors = vec![T::Lanes::ZERO; tokens];
            for (i, applied) in applied.chunks_exact_mut(tokens).enumerate() {
                masks.factors::<T>(first + (i * len) as u64, len, &mut factors);
                for (x, factor) in applied.iter_mut().zip(&factors) {
                    *x = x.times(*factor);
                }
            }
        }
        v.matrix::<T>(self.qkv, matrix);
        self.times(applied, tokens, matrix, channels, result);
        self.context.put_rows::<T>(result, context);
    }

    /// Backwards: from the cotangents of the context to those of queries, keys and values.
    pub(super) fn backward(
        &self,
        (weights, applied): (&[T::Lanes], &[T::Lanes]),
        of_context: &[T::Lanes],
        of_qkv: &mut [T::Lanes],
        buffers: &mut HeadBuffers<T>,
    ) {
        let (tokens, channels) = (self.sizes.tokens::<T>(), self.sizes.channels::<T>());
        let [q, k, v] = self.parts;
        let HeadBuffers {
            rows,
            matrix,
            of_rows,
            of_weights,
            result,
        } = buffers;
        self.context.rows::<T>(of_context, of_rows);
        v.transposed::<T>(self.qkv, matrix);
        self.times(of_rows, channels, matrix, tokens, of_weights);
        self.level.run(SoftmaxBack::<T> {
            tokens,
            scale: self.scale(),
            weights,
            applied,
            g: of_weights,
        });
        k.matrix::<T>(self.qkv, matrix);
        self.times(of_weights, tokens, matrix, channels, result);
        q.put_rows::<T>(result, of_qkv);
        q.rows::<T>(self.qkv, rows);
        let products = [(&of_weights[..], &rows[..], k), (applied, &of_rows[..], v)];
        for (g, u, part) in products {
            result.clear();
            result.resize(tokens * T::Lanes::WIDTH * channels, T::Lanes::ZERO);
            self.level.run(Sums::<T> {
                g,
                outputs: tokens,
                u,
                inputs: channels,
                sums: result,
            });
            part.put_matrix::<T>(result, of_qkv);
        }
    }
}

/// `weights` of token i: the softmax of its scores with the tokens up to i.
struct CausalSoftmax<'a, T: Element> {
    /// Vectors a row.
    tokens: usize,
    scale: T,
    scores: &'a [T::Lanes],
    weights: &'a mut [T::Lanes],
}

impl<T: ModelElement> Kernel for CausalSoftmax<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let width = T::Lanes::WIDTH;
        let scale = T::Lanes::splat(self.scale);
        let rows = self.scores.chunks_exact(self.tokens);
        let rows = rows.zip(self.weights.chunks_exact_mut(self.tokens));
        for (i, (scores, weights)) in rows.enumerate() {
            let mut top = f64::NEG_INFINITY;
            for x in scores.iter().flat_map(|x| x.lanes()).take(i + 1) {
                let x = x.to_f64();
                top = if x > top { x } else { top };
            }
            let top = T::Lanes::splat(T::from_f64(top));
            let mut sum = T::Lanes::ZERO;
            for (vector, (score, weight)) in scores.iter().zip(weights.iter_mut()).enumerate() {
                let below = score.minus(top).times(scale);
                let [mut e] = T::Lanes::lanewise::<S, 1, 1>([below], &Exponential);
                let seen = (i + 1).saturating_sub(vector * width).min(width);
                for x in &mut e.lanes_mut()[seen..] {
                    *x = T::ZERO;
                }
                sum = sum.plus(e);
                *weight = e;
            }
            let inverse = T::quotient(T::ONE, sum_of_lanes::<T>(sum));
            for weight in weights {
                *weight = weight.times(T::Lanes::splat(inverse));
            }
        }
    }
}

/// From the cotangents of the weights applied to those of the scores: with `p` the weights, `a` those
/// applied and `g` their cotangents, `a g - p sum(a g)`, by the scale.
struct SoftmaxBack<'a, T: Element> {
    tokens: usize,
    scale: T,
    weights: &'a [T::Lanes],
    applied: &'a [T::Lanes],
    g: &'a mut [T::Lanes],
}

impl<T: ModelElement> Kernel for SoftmaxBack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let scale = T::Lanes::splat(self.scale);
        let rows = self.g.chunks_exact_mut(self.tokens);
        let rows = rows.zip(self.weights.chunks_exact(self.tokens));
        for ((g, p), a) in rows.zip(self.applied.chunks_exact(self.tokens)) {
            let mut sum = T::Lanes::ZERO;
            for v in 0..g.len() {
                g[v] = g[v].times(a[v]);
                sum = sum.plus(g[v]);
            }
            let sum = T::Lanes::splat(sum_of_lanes::<T>(sum));
            for v in 0..g.len() {
                g[v] = p[v].fnma::<S>(sum, g[v]).times(scale);
            }
        }
    }
}
