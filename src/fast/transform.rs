//! The transform behind the long convolution, with lanes across channels.
//!
//! Polynomials are multiplied modulo `x^n - i`. With both factors real and shorter than `n`, the
//! product `P + x^n Q` becomes `P + i Q`: its real part is the causal convolution itself. So `n`
//! need only hold the signal, not its padding; the input's imaginary part is the zero half, and
//! the output's the half nobody asked for, and neither is computed. If the signal is one part of a
//! longer one, that half is what this part adds to the next.
//!
//! Modulo `x^n - c` a polynomial splits into four, modulo `x^(n/4) - s`, `+ s`, `- i s` and
//! `+ i s` with `s^4 = c`: every element of a node meets the same two constants. Nodes are
//! visited depth first, so that what fits a cache stays in it, and nothing is ever permuted: the
//! inverse undoes the nodes in reverse.

use super::lanes::{Arithmetic, Element, LaneMap, Vector};
use super::level::Isa;
use crate::into_vec::IntoVec as _;
use core::f64::consts::TAU;

/// A complex number in every lane: [re, im].
pub(super) type Pair<L> = [L; 2];

/// A real signal and what is multiplied with it, if anything.
#[derive(Clone, Copy)]
pub(super) struct Gated<'a, L> {
    pub(super) signal: &'a [L],
    /// As long as the signal.
    pub(super) gate: Option<&'a [L]>,
}

/// One node of the tree: where it begins, a quarter of its size, and its constants.
#[derive(Clone, Copy, Debug)]
struct Node<T> {
    start: usize,
    quarter: usize,
    /// `s`: re, im; `s^2`: re, im.
    constants: [T; 4],
}

/// Points of a block: 512 KB, which a second-level cache holds next to the spectrum that streams past.
const BLOCK: usize = 4096;

/// A transform of `n = radix 4^k` points.
#[derive(Clone, Debug)]
pub(super) struct Transform<T> {
    n: usize,
    radix: usize,
    /// The first step's constants: `t[k][j]`, the `j`-th power of the `k`-th root, re and im.
    roots: Vec<[T; 2]>,
    /// Nodes larger than a block.
    above: Vec<Node<T>>,
    /// Points of a block: of a subtree, or everything if that is not more than two.
    block: usize,
    /// The nodes of every block, block after block, by their places in it.
    within: Vec<Node<T>>,
}

/// A size and what a convolution with a known spectrum costs in it.
#[derive(Clone, Copy)]
pub(super) struct Size {
    radix: usize,
    pub(super) points: usize,
    /// Of a convolution of one signal no longer than that.
    pub(super) operations: usize,
}

impl Size {
    /// The smallest size of this radix of at least `len` points.
    fn of_radix(radix: usize, len: usize) -> Self {
        let (mut points, mut passes) = (radix, 0);
        while points < len {
            points *= 4;
            passes += 1;
        }
        // A point: the first step has `radix - 1` terms in two parts, the last `radix`; a
        // pass has 6 operations forward and 8 back; the product of spectra 4.
        let operations = points * (4 * radix - 2 + 14 * passes + 4);
        Self {
            radix,
            points,
            operations,
        }
    }

    /// The cheapest size of at least `len` points.
    pub(super) fn for_len(len: usize) -> Self {
        Self::cheapest(
            (4..=8).map(|radix| Self::of_radix(radix, len)),
            Self::of_radix(3, len),
            len,
        )
    }

    /// The cheapest size for signals of `len` steps and kernels of `taps`: parts of the signal are as
    /// long as the transform, and no shorter than the kernel, so that a part reaches into the next
    /// alone.
    pub(super) fn for_parts(len: usize, taps: usize) -> Self {
        // Beyond so many kernels the number of parts makes no difference to the choice.
        let len = len.min(taps.max(1).saturating_mul(64));
        let whole = Self::for_len(len);
        let sizes = (3..=8).flat_map(|radix| {
            let size = Self::of_radix(radix, taps).points;
            (0..)
                .map(move |k| Self::of_radix(radix, size << (2 * k)))
                .take_while(|size| size.points < whole.points)
        });
        Self::cheapest(sizes, whole, len)
    }

    /// The cheapest for a signal of `len` steps, the first of equals.
    fn cheapest(sizes: impl Iterator<Item = Self>, first: Self, len: usize) -> Self {
        sizes.fold(first, |best, size| {
            if size.cost(len) < best.cost(len) {
                size
            } else {
                best
            }
        })
    }

    /// Operations for a signal of `len` steps, counted dearer where points come from memory, as
    /// measured (chapter 10).
    fn cost(self, len: usize) -> f64 {
        let parts = len.div_ceil(self.points);
        // What reaches into the next part is the other half of the last step.
        let tail = if parts > 1 {
            2 * self.radix * self.points
        } else {
            0
        };
        let memory = if self.points > 2 * BLOCK { 1.3 } else { 1.0 };
        memory * parts as f64 * (self.operations + tail) as f64
    }
}

/// Cosine and sine of a fraction of a turn.
fn turn(fraction: f64) -> (f64, f64) {
    let reduced = fraction - fraction.round();
    // Exact values on the axes; elsewhere the library's.
    match reduced * 4.0 {
        0.0 => (1.0, 0.0),
        1.0 => (0.0, 1.0),
        -1.0 => (0.0, -1.0),
        2.0 | -2.0 => (-1.0, 0.0),
        _ => {
            let (sin, cos) = (TAU * reduced).sin_cos();
            (cos, sin)
        }
    }
}

impl<T: Element> Transform<T> {
    /// The transform of a size.
    pub(super) fn new(size: &Size) -> Self {
        let Size {
            radix, points: n, ..
        } = *size;
        let constant = |fraction: f64| {
            let (cos, sin) = turn(fraction);
            [T::from_f64(cos), T::from_f64(sin)]
        };
        // The root is modulo x^n - i: a quarter of a turn. All fractions are exact for radix 2
        // and 4, and rounded once otherwise.
        let child = |k: usize| (0.25 + k as f64) / radix as f64;
        let roots = (0..radix)
            .flat_map(|k| (0..radix).map(move |j| (k, j)))
            .map(|(k, j)| constant(child(k) * j as f64))
            .into_vec();
        let block = if n <= 2 * BLOCK { n } else { BLOCK };
        let (mut above, mut within) = (Vec::new(), Vec::new());
        let mut open: Vec<(usize, usize, f64)> = (0..radix)
            .rev()
            .map(|k| (k * (n / radix), n / radix, child(k)))
            .into_vec();
        while let Some((start, size, fraction)) = open.pop() {
            if size < 4 {
                continue;
            }
            let (s, s2) = (fraction / 4.0, fraction / 2.0);
            let ([a, b], [c, d]) = (constant(s), constant(s2));
            let quarter = size / 4;
            let larger = size > block;
            let nodes = if larger { &mut above } else { &mut within };
            nodes.push(Node {
                start: if larger { start } else { start % block },
                quarter,
                constants: [a, b, c, d],
            });
            // s, -s, i s, -i s
            for (k, turned) in [0.0, 0.5, 0.25, 0.75].into_iter().enumerate().rev() {
                open.push((start + k * quarter, quarter, s + turned));
            }
        }
        Self {
            n,
            radix,
            roots,
            above,
            block,
            within,
        }
    }

    /// Its points, and the longest signal it takes.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// The nodes of a block.
    fn nodes(&self, block: usize) -> &[Node<T>] {
        let each = self.within.len() / (self.n / self.block);
        &self.within[block * each..][..each]
    }

    /// The spectrum of the real signal `u` of at most `n` steps, times `scale`, in `n` points `x`; `more` is
    /// added to its first step.
    #[inline(always)]
    pub(super) fn spectrum<S: Isa>(
        &self,
        u: &[T::Lanes],
        more: T::Lanes,
        scale: T,
        x: &mut [Pair<T::Lanes>],
    ) {
        let u = Gated {
            signal: u,
            gate: None,
        };
        self.begin::<S>(u, more, scale, x);
        for (i, x) in x.chunks_exact_mut(self.block).enumerate() {
            split::<T, S>(self.nodes(i), x);
        }
    }

    /// The convolution of the signal `u` of at most `n` steps with the kernel of this spectrum over `n`:
    /// as many steps as `y` has room for. The next part of a longer signal needs what reaches beyond the
    /// first `n` steps: `tail`, as long as that is, is added to `y` and replaced by it. The signal's gate is
    /// multiplied with it as it is read, `gate` with `y` as it is written.
    ///
    /// A block is taken to its spectrum and back before the next one is begun. So of a transform that
    /// leaves the cache, only the few levels above the blocks bring every point from memory.
    #[inline(always)]
    pub(super) fn convolve<S: Isa>(
        &self,
        u: Gated<'_, T::Lanes>,
        spectrum: &[Pair<T::Lanes>],
        x: &mut [Pair<T::Lanes>],
        (y, gate): (&mut [T::Lanes], Option<&[T::Lanes]>),
        tail: &mut [T::Lanes],
    ) {
        self.begin::<S>(u, T::Lanes::ZERO, T::ONE, x);
        let blocks = x.chunks_exact_mut(self.block);
        for (i, (x, f)) in blocks.zip(spectrum.chunks_exact(self.block)).enumerate() {
            split::<T, S>(self.nodes(i), x);
            pointwise::<T, S>(x, f);
            join::<T, S>(self.nodes(i), x);
        }
        join::<T, S>(&self.above, x);
        match self.radix {
            3 => self.last::<S, 3>(x, y, gate, tail),
            4 => self.last::<S, 4>(x, y, gate, tail),
            5 => self.last::<S, 5>(x, y, gate, tail),
            6 => self.last::<S, 6>(x, y, gate, tail),
            7 => self.last::<S, 7>(x, y, gate, tail),
            _ => self.last::<S, 8>(x, y, gate, tail),
        }
    }

    /// The levels above the blocks.
    #[inline(always)]
    fn begin<S: Isa>(
        &self,
        u: Gated<'_, T::Lanes>,
        more: T::Lanes,
        scale: T,
        x: &mut [Pair<T::Lanes>],
    ) {
        match self.radix {
            3 => self.first::<S, 3>(u, scale, x),
            4 => self.first::<S, 4>(u, scale, x),
            5 => self.first::<S, 5>(u, scale, x),
            6 => self.first::<S, 6>(u, scale, x),
            7 => self.first::<S, 7>(u, scale, x),
            _ => self.first::<S, 8>(u, scale, x),
        }
        // The first step has the factor 1 in every part.
        for part in x.chunks_exact_mut(self.n / self.radix) {
            part[0][0] = part[0][0].plus(more.times(T::Lanes::splat(scale)));
        }
        split::<T, S>(&self.above, x);
    }

    /// The first step, from a real signal: output `k` is `sum_j t[k][j] u_j`, of the signal times its gate
    /// or, without one, times `scale`.
    #[inline(always)]
    fn first<S: Isa, const R: usize>(
        &self,
        u: Gated<'_, T::Lanes>,
        scale: T,
        x: &mut [Pair<T::Lanes>],
    ) {
        let part = self.n / R;
        let Some(roots) = self.roots.as_chunks::<R>().0.first_chunk::<R>() else {
            return;
        };
        let (cos, sin) = (Sums::<T, R>::new(roots, 0), Sums::<T, R>::new(roots, 1));
        let gate = u.gate.unwrap_or_default();
        let mut i = 0;
        loop {
            // Most signals reach into every part; the end of the last one is zeros.
            let mut a = [T::Lanes::ZERO; R];
            for j in 0..R {
                let at = j * part + i;
                if let Some(&u) = u.signal.get(at) {
                    a[j] = u.times(match gate.get(at) {
                        Some(&gate) => gate,
                        None => T::Lanes::splat(scale),
                    });
                }
            }
            let re = T::Lanes::lanewise::<S, R, R>(a, &cos);
            let im = T::Lanes::lanewise::<S, R, R>(a, &sin);
            for k in 0..R {
                x[k * part + i] = [re[k], im[k]];
            }
            i = next(i, part);
            if i == 0 {
                return;
            }
        }
    }

    /// The last step of the inverse: the real part of `sum_k conj(t[k][j]) x_k`, and for the tail its
    /// imaginary part.
    #[inline(always)]
    fn last<S: Isa, const R: usize>(
        &self,
        x: &[Pair<T::Lanes>],
        y: &mut [T::Lanes],
        gate: Option<&[T::Lanes]>,
        tail: &mut [T::Lanes],
    ) {
        let gate = gate.unwrap_or_default();
        let part = self.n / R;
        let Some(roots) = self.roots.as_chunks::<R>().0.first_chunk::<R>() else {
            return;
        };
        let cos = Sums::<T, R>::new(roots, 0).transposed();
        let sin = Sums::<T, R>::new(roots, 1).transposed();
        let mut i = 0;
        loop {
            let (mut re, mut im) = ([T::Lanes::ZERO; R], [T::Lanes::ZERO; R]);
            for k in 0..R {
                [re[k], im[k]] = x[k * part + i];
            }
            let from_re = T::Lanes::lanewise::<S, R, R>(re, &cos);
            let from_im = T::Lanes::lanewise::<S, R, R>(im, &sin);
            let mut sums = [T::Lanes::ZERO; R];
            for j in 0..R {
                sums[j] = from_re[j].plus(from_im[j]);
            }
            if i < tail.len() {
                let from_re = T::Lanes::lanewise::<S, R, R>(re, &sin);
                let from_im = T::Lanes::lanewise::<S, R, R>(im, &cos);
                for j in 0..R {
                    if let Some(tail) = tail.get_mut(j * part + i) {
                        sums[j] = sums[j].plus(*tail);
                        *tail = from_im[j].minus(from_re[j]);
                    }
                }
            }
            for j in 0..R {
                let at = j * part + i;
                if let Some(y) = y.get_mut(at) {
                    *y = match gate.get(at) {
                        Some(&gate) => gate.times(sums[j]),
                        None => sums[j],
                    };
                }
            }
            i = next(i, part);
            if i == 0 {
                return;
            }
        }
    }
}

/// Nodes into their fours, from the root down.
#[inline(always)]
fn split<T: Element, S: Isa>(nodes: &[Node<T>], x: &mut [Pair<T::Lanes>]) {
    for node in nodes {
        let x = &mut x[node.start..][..4 * node.quarter];
        fours::<T, S>(node.quarter, x, &Split(node.constants));
    }
}

/// And back.
#[inline(always)]
fn join<T: Element, S: Isa>(nodes: &[Node<T>], x: &mut [Pair<T::Lanes>]) {
    for node in nodes.iter().rev() {
        let x = &mut x[node.start..][..4 * node.quarter];
        fours::<T, S>(node.quarter, x, &Join(node.constants));
    }
}

/// The round after round `i` of a power of two of them, 0 after the last.
///
/// A count that wraps is not one the compiler can reason about, and it must not: it would run
/// neighbouring rounds side by side, gathering every lane by itself, instead of the lanes of one.
#[inline(always)]
fn next(i: usize, count: usize) -> usize {
    debug_assert!(count.is_power_of_two(), "{count} rounds");
    (i + 1) & (count - 1)
}

/// `sum_j t[k][j] x_j` for every `k`.
struct Sums<T, const R: usize>([[T; R]; R]);

impl<T: Element, const R: usize> Sums<T, R> {
    /// One part, real (0) or imaginary (1), of a matrix of roots.
    #[inline(always)]
    fn new(roots: &[[[T; 2]; R]; R], part: usize) -> Self {
        let mut t = [[T::ZERO; R]; R];
        for k in 0..R {
            for j in 0..R {
                t[k][j] = roots[k][j][part];
            }
        }
        Self(t)
    }

    #[inline(always)]
    fn transposed(&self) -> Self {
        let mut t = [[T::ZERO; R]; R];
        for k in 0..R {
            for j in 0..R {
                t[j][k] = self.0[k][j];
            }
        }
        Self(t)
    }
}

impl<T: Element, const R: usize> LaneMap<T, R, R> for Sums<T, R> {
    #[inline(always)]
    fn map<S: Isa>(&self, x: [T; R]) -> [T; R] {
        let mut sums = [T::ZERO; R];
        for k in 0..R {
            sums[k] = self.0[k][0] * x[0];
            for j in 1..R {
                sums[k] = T::Lanes::fma_lane::<S>(self.0[k][j], x[j], sums[k]);
            }
        }
        sums
    }
}

/// `(a + w b, a - w b)` in six operations: four for the first, and the second as `2 a` less it.
#[inline(always)]
fn butterfly<T: Element, S: Isa>([cos, sin]: [T; 2], a: [T; 2], b: [T; 2]) -> ([T; 2], [T; 2]) {
    let re = T::Lanes::fma_lane::<S>(-sin, b[1], T::Lanes::fma_lane::<S>(cos, b[0], a[0]));
    let im = T::Lanes::fma_lane::<S>(sin, b[0], T::Lanes::fma_lane::<S>(cos, b[1], a[1]));
    ([re, im], [a[0] + a[0] - re, a[1] + a[1] - im])
}

/// `(a + b, conj(w) (a - b))`.
#[inline(always)]
fn back<T: Element, S: Isa>([cos, sin]: [T; 2], a: [T; 2], b: [T; 2]) -> ([T; 2], [T; 2]) {
    let (re, im) = (a[0] - b[0], a[1] - b[1]);
    let turned = [
        T::Lanes::fma_lane::<S>(sin, im, cos * re),
        T::Lanes::fma_lane::<S>(-sin, re, cos * im),
    ];
    ([a[0] + b[0], a[1] + b[1]], turned)
}

/// A node into its four.
struct Split<T>([T; 4]);

impl<T: Element> LaneMap<T, 8, 8> for Split<T> {
    #[inline(always)]
    fn map<S: Isa>(&self, [a, b, c, d, e, f, g, h]: [T; 8]) -> [T; 8] {
        let [cos, sin, cos2, sin2] = self.0;
        let (b0, b2) = butterfly::<T, S>([cos2, sin2], [a, b], [e, f]);
        let (b1, b3) = butterfly::<T, S>([cos2, sin2], [c, d], [g, h]);
        let (c0, c1) = butterfly::<T, S>([cos, sin], b0, b1);
        let (c2, c3) = butterfly::<T, S>([-sin, cos], b2, b3);
        [c0[0], c0[1], c1[0], c1[1], c2[0], c2[1], c3[0], c3[1]]
    }
}

/// Four nodes into one, times four.
struct Join<T>([T; 4]);

impl<T: Element> LaneMap<T, 8, 8> for Join<T> {
    #[inline(always)]
    fn map<S: Isa>(&self, [a, b, c, d, e, f, g, h]: [T; 8]) -> [T; 8] {
        let [cos, sin, cos2, sin2] = self.0;
        let (b0, b1) = back::<T, S>([cos, sin], [a, b], [c, d]);
        let (b2, b3) = back::<T, S>([-sin, cos], [e, f], [g, h]);
        let (a0, a2) = back::<T, S>([cos2, sin2], b0, b2);
        let (a1, a3) = back::<T, S>([cos2, sin2], b1, b3);
        [a0[0], a0[1], a1[0], a1[1], a2[0], a2[1], a3[0], a3[1]]
    }
}

/// `f` of the four points `i`, `i + q`, `i + 2 q`, `i + 3 q`, in every lane, for all `i`.
#[inline(always)]
fn fours<T: Element, S: Isa>(q: usize, x: &mut [Pair<T::Lanes>], f: &impl LaneMap<T, 8, 8>) {
    let (x0, rest) = x.split_at_mut(q);
    let (x1, rest) = rest.split_at_mut(q);
    let (x2, x3) = rest.split_at_mut(q);
    let mut i = 0;
    loop {
        let ([a, b], [c, d], [e, g], [h, k]) = (x0[i], x1[i], x2[i], x3[i]);
        let all = T::Lanes::lanewise::<S, 8, 8>([a, b, c, d, e, g, h, k], f);
        let [a, b, c, d, e, g, h, k] = all;
        (x0[i], x1[i], x2[i], x3[i]) = ([a, b], [c, d], [e, g], [h, k]);
        i = next(i, q);
        if i == 0 {
            return;
        }
    }
}

/// Products of two points each: the factors' parts, then the other factors'.
struct Products;

impl<T: Element> LaneMap<T, 16, 8> for Products {
    #[inline(always)]
    fn map<S: Isa>(&self, v: [T; 16]) -> [T; 8] {
        let mut out = [T::ZERO; 8];
        for p in 0..4 {
            let (a, b, c, d) = (v[2 * p], v[2 * p + 1], v[8 + 2 * p], v[9 + 2 * p]);
            out[2 * p] = T::Lanes::fma_lane::<S>(-b, d, a * c);
            out[2 * p + 1] = T::Lanes::fma_lane::<S>(b, c, a * d);
        }
        out
    }
}

/// `x y` for every point, four at a time; the last ones with zeros.
#[inline(always)]
fn pointwise<T: Element, S: Isa>(x: &mut [Pair<T::Lanes>], y: &[Pair<T::Lanes>]) {
    for (x, y) in x.chunks_mut(4).zip(y.chunks(4)) {
        let mut from = [T::Lanes::ZERO; 16];
        for (p, (x, y)) in x.iter().zip(y).enumerate() {
            [from[2 * p], from[2 * p + 1]] = *x;
            [from[8 + 2 * p], from[9 + 2 * p]] = *y;
        }
        let out = T::Lanes::lanewise::<S, 16, 8>(from, &Products);
        for (p, x) in x.iter_mut().enumerate() {
            *x = [out[2 * p], out[2 * p + 1]];
        }
    }
}
