//! The transform behind the long convolution, with lanes across channels.
//!
//! Polynomials are multiplied modulo `x^n - i`. With both factors real and shorter than `n`, the
//! product `P + x^n Q` becomes `P + i Q`: its real part is the causal convolution itself. So `n`
//! need only hold the signal, not its padding; the input's imaginary part is the zero half, and
//! the output's the half nobody asked for, and neither is computed.
//!
//! Modulo `x^n - c` a polynomial splits into four, modulo `x^(n/4) - s`, `+ s`, `- i s` and
//! `+ i s` with `s^4 = c`: every element of a node meets the same two constants. Nodes are
//! visited depth first, so that what fits a cache stays in it, and nothing is ever permuted: the
//! inverse undoes the nodes in reverse.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::Isa;
use core::f64::consts::TAU;

/// A complex number in every lane: [re, im].
pub(super) type Pair<L> = [L; 2];

/// One node of the tree: where it begins, a quarter of its size, and its constants.
#[derive(Clone, Copy, Debug)]
struct Node<T> {
    start: usize,
    quarter: usize,
    /// `s`: re, im; `s^2`: re, im.
    constants: [T; 4],
}

/// A transform of `n = radix 4^k` points.
#[derive(Clone, Debug)]
pub(super) struct Transform<T> {
    n: usize,
    radix: usize,
    /// The first step's constants: `t[k][j]`, the `j`-th power of the `k`-th root, re and im.
    roots: Vec<[T; 2]>,
    nodes: Vec<Node<T>>,
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
    /// The cheapest transform of at least `len` points.
    pub(super) fn of_at_least(len: usize) -> Self {
        let size = |radix: usize| {
            let mut n = radix;
            while n < len {
                n *= 4;
            }
            n
        };
        // Operations a point: the first step's sums of `radix` terms both ways and the passes.
        let cost = |radix: usize| {
            let n = size(radix);
            n * (4 * radix + 7 * (n / radix).ilog2() as usize)
        };
        let radix = (2..=7).min_by_key(|&radix| cost(radix)).unwrap_or(4);
        let n = size(radix);
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
            .collect();
        let mut nodes = Vec::new();
        let mut open: Vec<(usize, usize, f64)> = (0..radix)
            .rev()
            .map(|k| (k * (n / radix), n / radix, child(k)))
            .collect();
        while let Some((start, size, fraction)) = open.pop() {
            if size < 4 {
                continue;
            }
            let (s, s2) = (fraction / 4.0, fraction / 2.0);
            let ([a, b], [c, d]) = (constant(s), constant(s2));
            let quarter = size / 4;
            nodes.push(Node {
                start,
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
            nodes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// The spectrum of the real signal `u` of at most `n` steps.
    #[inline(always)]
    pub(super) fn forward<S: Isa>(&self, u: &[T::Lanes], x: &mut [Pair<T::Lanes>]) {
        match self.radix {
            2 => self.first::<S, 2>(u, x),
            3 => self.first::<S, 3>(u, x),
            4 => self.first::<S, 4>(u, x),
            5 => self.first::<S, 5>(u, x),
            6 => self.first::<S, 6>(u, x),
            _ => self.first::<S, 7>(u, x),
        }
        for node in &self.nodes {
            split::<T, S>(node, &mut x[node.start..][..4 * node.quarter]);
        }
    }

    /// The signal of a spectrum, times `n`: its real part, as much as `y` has room for.
    #[inline(always)]
    pub(super) fn inverse<S: Isa>(&self, x: &mut [Pair<T::Lanes>], y: &mut [T::Lanes]) {
        for node in self.nodes.iter().rev() {
            join::<T, S>(node, &mut x[node.start..][..4 * node.quarter]);
        }
        match self.radix {
            2 => self.last::<S, 2>(x, y),
            3 => self.last::<S, 3>(x, y),
            4 => self.last::<S, 4>(x, y),
            5 => self.last::<S, 5>(x, y),
            6 => self.last::<S, 6>(x, y),
            _ => self.last::<S, 7>(x, y),
        }
    }

    /// The first step, from a real signal: output `k` is `sum_j t[k][j] u_j`.
    #[inline(always)]
    fn first<S: Isa, const R: usize>(&self, u: &[T::Lanes], x: &mut [Pair<T::Lanes>]) {
        let part = self.n / R;
        let roots = self.roots.as_chunks::<R>().0;
        round(part, |i| {
            // Most signals reach into every part; the end of the last one is zeros.
            let mut a = [T::Lanes::ZERO; R];
            for (j, a) in a.iter_mut().enumerate() {
                if let Some(&u) = u.get(j * part + i) {
                    *a = u;
                }
            }
            for k in 0..R {
                let (mut re, mut im) = (a[0], T::Lanes::ZERO);
                for j in 1..R {
                    let [c, s] = roots[k][j];
                    re = T::Lanes::splat(c).fma::<S>(a[j], re);
                    im = T::Lanes::splat(s).fma::<S>(a[j], im);
                }
                x[k * part + i] = [re, im];
            }
        });
    }

    /// The last step of the inverse: the real part of `sum_k conj(t[k][j]) x_k`.
    #[inline(always)]
    fn last<S: Isa, const R: usize>(&self, x: &[Pair<T::Lanes>], y: &mut [T::Lanes]) {
        let part = self.n / R;
        let roots = self.roots.as_chunks::<R>().0;
        round(part, |i| {
            for j in 0..R {
                let Some(y) = y.get_mut(j * part + i) else {
                    break;
                };
                let mut re = T::Lanes::ZERO;
                for k in 0..R {
                    let ([c, s], [a, b]) = (roots[k][j], x[k * part + i]);
                    re = T::Lanes::splat(c).fma::<S>(a, T::Lanes::splat(s).fma::<S>(b, re));
                }
                *y = re;
            }
        });
    }
}

/// `body(0), body(1), ..` for a power of two of rounds.
///
/// The wrapping count is not one the compiler can reason about, and it must not: it would run
/// neighbouring rounds side by side, gathering every lane by itself, instead of the lanes of one.
#[inline(always)]
pub(super) fn round(count: usize, mut body: impl FnMut(usize)) {
    debug_assert!(count.is_power_of_two(), "{count} rounds");
    let mut i = 0;
    loop {
        body(i);
        i = (i + 1) & (count - 1);
        if i == 0 {
            return;
        }
    }
}

/// `(a + w b, a - w b)` in six operations: four for the first, and the second as `2 a` less it.
#[inline(always)]
fn butterfly<T: Element, S: Isa>(
    [cos, sin]: Pair<T::Lanes>,
    a: Pair<T::Lanes>,
    b: Pair<T::Lanes>,
) -> (Pair<T::Lanes>, Pair<T::Lanes>) {
    let re = sin.fnma::<S>(b[1], cos.fma::<S>(b[0], a[0]));
    let im = sin.fma::<S>(b[0], cos.fma::<S>(b[1], a[1]));
    let other = [a[0].plus(a[0]).minus(re), a[1].plus(a[1]).minus(im)];
    ([re, im], other)
}

/// `(a + b, conj(w) (a - b))`.
#[inline(always)]
fn back<T: Element, S: Isa>(
    [cos, sin]: Pair<T::Lanes>,
    a: Pair<T::Lanes>,
    b: Pair<T::Lanes>,
) -> (Pair<T::Lanes>, Pair<T::Lanes>) {
    let (re, im) = (a[0].minus(b[0]), a[1].minus(b[1]));
    let turned = [
        sin.fma::<S>(im, cos.times(re)),
        sin.fnma::<S>(re, cos.times(im)),
    ];
    ([a[0].plus(b[0]), a[1].plus(b[1])], turned)
}

/// One node into its four.
#[inline(always)]
fn split<T: Element, S: Isa>(node: &Node<T>, x: &mut [Pair<T::Lanes>]) {
    let [cos, sin, cos2, sin2] = node.constants.map(T::Lanes::splat);
    let (s, s2) = ([cos, sin], [cos2, sin2]);
    let is = [T::Lanes::ZERO.minus(sin), cos];
    let q = node.quarter;
    let (x0, rest) = x.split_at_mut(q);
    let (x1, rest) = rest.split_at_mut(q);
    let (x2, x3) = rest.split_at_mut(q);
    round(q, |i| {
        let (b0, b2) = butterfly::<T, S>(s2, x0[i], x2[i]);
        let (b1, b3) = butterfly::<T, S>(s2, x1[i], x3[i]);
        (x0[i], x1[i]) = butterfly::<T, S>(s, b0, b1);
        (x2[i], x3[i]) = butterfly::<T, S>(is, b2, b3);
    });
}

/// Four nodes into one, times four.
#[inline(always)]
fn join<T: Element, S: Isa>(node: &Node<T>, x: &mut [Pair<T::Lanes>]) {
    let [cos, sin, cos2, sin2] = node.constants.map(T::Lanes::splat);
    let (s, s2) = ([cos, sin], [cos2, sin2]);
    let is = [T::Lanes::ZERO.minus(sin), cos];
    let q = node.quarter;
    let (x0, rest) = x.split_at_mut(q);
    let (x1, rest) = rest.split_at_mut(q);
    let (x2, x3) = rest.split_at_mut(q);
    round(q, |i| {
        let (b0, b1) = back::<T, S>(s, x0[i], x1[i]);
        let (b2, b3) = back::<T, S>(is, x2[i], x3[i]);
        (x0[i], x2[i]) = back::<T, S>(s2, b0, b2);
        (x1[i], x3[i]) = back::<T, S>(s2, b1, b3);
    });
}
