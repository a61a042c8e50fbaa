//! Attention over cached keys and values.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::pieces::Piece;
use super::rows::{Exponential, ModelElement};
use super::share::share;
use super::workspace::Workspace;
use crate::into_vec::IntoVec as _;

/// The keys and values of one head of one sequence, laid out for [`Attend`].
#[derive(Clone, Debug)]
struct HeadCache<T: Element> {
    /// [group of positions][channel]: a position a lane.
    keys: Vec<T::Lanes>,
    /// [position][group of channels]: a channel a lane.
    values: Vec<T::Lanes>,
}

/// The keys and values of a batch of sequences.
#[derive(Clone, Debug)]
pub(super) struct AttentionCache<T: Element> {
    head_dim: usize,
    num_heads: usize,
    /// [sequence][head]
    heads: Vec<HeadCache<T>>,
}

impl<T: ModelElement> AttentionCache<T> {
    /// The cache before any token, with room for `expected` tokens (it grows beyond).
    pub(super) fn new(batch: usize, num_heads: usize, head_dim: usize, expected: usize) -> Self {
        let groups = expected.div_ceil(T::Lanes::WIDTH);
        let vectors = head_dim.div_ceil(T::Lanes::WIDTH);
        let head = || HeadCache {
            keys: Vec::with_capacity(groups * head_dim),
            values: Vec::with_capacity(expected * vectors),
        };
        Self {
            head_dim,
            num_heads,
            heads: (0..batch * num_heads).map(|_| head()).into_vec(),
        }
    }

    /// Attention of the next tokens of some sequences: `qkv` (rows of the set, 3 d) row-major to
    /// `context` (rows of the set, d), each token seeing those of its own sequence before it and itself.
    pub(super) fn attend(
        &mut self,
        level: Level,
        set: &[Piece],
        qkv: &[T],
        context: &mut [T],
        workspace: &mut Workspace<T>,
    ) {
        let (d_h, heads) = (self.head_dim, self.num_heads);
        let d = d_h * heads;
        let vectors = d_h.div_ceil(T::Lanes::WIDTH);
        // Every head is one item; what it gives is laid out head by head, and put in place after.
        let mut by_head = vec![T::ZERO; context.len()];
        let seen = set.iter().map(|piece| {
            let before = self.heads[piece.sequence * heads].len(vectors);
            (before + piece.len) * piece.len
        });
        let operations = 2 * d * seen.sum::<usize>() / T::Lanes::WIDTH;
        let threads = workspace.threads_for(operations);
        // Pieces are in the order of their sequences.
        let caches = self.heads.chunks_exact_mut(heads).enumerate();
        let with_pieces = caches.filter_map(|(sequence, caches)| {
            let found = set.binary_search_by_key(&sequence, |piece| piece.sequence);
            Some((&set[found.ok()?], caches))
        });
        let mut rest = &mut by_head[..];
        let items = with_pieces.flat_map(|(piece, caches)| {
            let (own, others) = core::mem::take(&mut rest).split_at_mut(piece.len * d);
            rest = others;
            let heads = caches.iter_mut().zip(own.chunks_exact_mut(piece.len * d_h));
            heads.enumerate().map(move |(head, own)| (piece, head, own))
        });
        share(items, threads, |scratch, (piece, head, (cache, out))| {
            let before = cache.len(vectors);
            for (t, out) in out.chunks_exact_mut(d_h).enumerate() {
                let row = &qkv[(piece.at + t) * 3 * d..][..3 * d];
                let part = |which: usize| &row[which * d + head * d_h..][..d_h];
                cache.push(before + t, part(1), part(2));
                level.run(Attend {
                    cache,
                    len: before + t + 1,
                    q: part(0),
                    out,
                    scores: &mut scratch.signals,
                });
            }
        });
        for piece in set {
            let (from, to) = (piece.at * d..piece.in_set().end * d, piece.at);
            for (head, from) in by_head[from].chunks_exact(piece.len * d_h).enumerate() {
                for (t, from) in from.chunks_exact(d_h).enumerate() {
                    let to = (to + t) * d + head * d_h;
                    context[to..to + d_h].copy_from_slice(from);
                }
            }
        }
    }

    /// Fills the cache up to `len` tokens with one number: for timing, which does not depend on it.
    pub(super) fn fill(&mut self, len: usize, value: T) {
        let groups = len.div_ceil(T::Lanes::WIDTH);
        let vectors = self.head_dim.div_ceil(T::Lanes::WIDTH);
        for head in &mut self.heads {
            head.keys = vec![T::Lanes::splat(value); groups * self.head_dim];
            head.values = vec![T::Lanes::splat(value); len * vectors];
        }
    }
}

impl<T: ModelElement> HeadCache<T> {
    /// The tokens in it, of `vectors` vectors of channels each.
    fn len(&self, vectors: usize) -> usize {
        self.values.len() / vectors
    }

    /// Takes the key and value (d_h) of the token at `position`, the next one.
    fn push(&mut self, position: usize, key: &[T], value: &[T]) {
        let (group, lane) = (position / T::Lanes::WIDTH, position % T::Lanes::WIDTH);
        self.keys.resize((group + 1) * key.len(), T::Lanes::ZERO);
        for (lanes, &k) in self.keys[group * key.len()..].iter_mut().zip(key) {
            lanes.lanes_mut()[lane] = k;
        }
        self.values
            .extend(value.chunks(T::Lanes::WIDTH).map(T::Lanes::load));
    }
}

/// One query against the first `len` keys and values of its head.
struct Attend<'a, T: Element> {
    cache: &'a HeadCache<T>,
    len: usize,
    q: &'a [T],
    out: &'a mut [T],
    scores: &'a mut Vec<T::Lanes>,
}

impl<T: ModelElement> Kernel for Attend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            cache,
            len,
            q,
            out,
            scores,
        } = self;
        let (width, d_h) = (T::Lanes::WIDTH, q.len());
        let scale = T::Lanes::splat(T::from_f64(1.0 / (d_h as f64).sqrt()));
        scores.clear();
        let mut top = f64::NEG_INFINITY;
        for (group, keys) in cache.keys.chunks_exact(d_h).enumerate() {
            // Two sums, so that one multiply-add need not wait for the last.
            let mut sums = [T::Lanes::ZERO; 2];
            for (keys, q) in keys.chunks(2).zip(q.chunks(2)) {
                for i in 0..keys.len() {
                    sums[i] = keys[i].fma::<S>(T::Lanes::splat(q[i]), sums[i]);
                }
            }
            let score = sums[0].plus(sums[1]).times(scale);
            let filled = width.min(len - group * width);
            for x in &score.lanes()[..filled] {
                let x = x.to_f64();
                top = if x > top { x } else { top };
            }
            scores.push(score);
        }
        let top = T::Lanes::splat(T::from_f64(top));
        let mut total = T::Lanes::ZERO;
        for (group, score) in scores.iter_mut().enumerate() {
            let [mut weight] = T::Lanes::lanewise::<S, 1, 1>([score.minus(top)], &Exponential);
            let filled = width.min(len - group * width);
            for x in &mut weight.lanes_mut()[filled..] {
                *x = T::ZERO;
            }
            total = total.plus(weight);
            *score = weight;
        }
        let total = total.lanes().iter().fold(0.0, |sum, x| sum + x.to_f64());
        let inverse = T::Lanes::splat(T::from_f64(1.0 / total));
        let vectors = d_h.div_ceil(width);
        let mut first = 0;
        while first < vectors {
            let part = &mut out[first * width..];
            first += match vectors - first {
                4.. => weigh::<T, S, 4>(cache, scores, len, vectors, first, inverse, part),
                2.. => weigh::<T, S, 2>(cache, scores, len, vectors, first, inverse, part),
                _ => weigh::<T, S, 1>(cache, scores, len, vectors, first, inverse, part),
            };
        }
    }
}

/// `sum_j weight_j value_j` over `V` vectors of channels from `first` on; gives `V`.
#[inline(always)]
fn weigh<T: ModelElement, S: Isa, const V: usize>(
    cache: &HeadCache<T>,
    weights: &[T::Lanes],
    len: usize,
    vectors: usize,
    first: usize,
    inverse: T::Lanes,
    out: &mut [T],
) -> usize {
    let mut sums = [T::Lanes::ZERO; V];
    let mut position = 0;
    for weights in weights {
        for &weight in weights.lanes().iter().take(len - position) {
            let values = &cache.values[position * vectors + first..][..V];
            let weight = T::Lanes::splat(weight);
            for v in 0..V {
                sums[v] = values[v].fma::<S>(weight, sums[v]);
            }
            position += 1;
        }
    }
    for (v, sum) in sums.into_iter().enumerate() {
        if let Some(out) = out.get_mut(v * T::Lanes::WIDTH..) {
            sum.times(inverse).store(out);
        }
    }
    V
}
