//! An H3 layer between its projections, over some whole sequences, forward and backward.
//!
//! With `y` the output of the pair (d1, d2),
//!
//! ```text
//! shifted = shift k     kv = shifted v     y = diagonal kv     gated = sum_d1 q y
//! ```

use super::convolve::{Convolve, Correlate, pad};
use super::kernels::KernelSizes;
use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel, Level};

/// Signals of one vector of channels over one sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct MixBuffers<T: Element> {
    pub(super) padded: Vec<T::Lanes>,
    pub(super) result: Vec<T::Lanes>,
    pub(super) columns: [Vec<T::Lanes>; 4],
}

/// The results of the layer over some sequences of `len` steps: (rows, channels) each, as vectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Mixed<T: Element> {
    /// Queries, keys and values.
    pub(super) qkv: [Vec<T::Lanes>; 3],
    shifted: Vec<T::Lanes>,
    /// Of every pair (d1, d2) and vector of heads, a run of all rows.
    outputs: Vec<T::Lanes>,
    pub(super) gated: Vec<T::Lanes>,
}

/// The layer's kernels, and how long the sequences are.
#[derive(Clone, Copy)]
pub(super) struct Mixing<'a, T: Element> {
    pub(super) level: Level,
    pub(super) sizes: KernelSizes,
    pub(super) kernels: &'a [T::Lanes],
    pub(super) len: usize,
}

/// A column of rows of vectors.
pub(super) fn column<L>(
    rows: &[L],
    width: usize,
    at: usize,
) -> impl DoubleEndedIterator<Item = &L> {
    rows.iter().skip(at).step_by(width)
}

impl<T: Element> Mixing<'_, T> {
    pub(super) fn convolve(&self, kernel: &[T::Lanes], padded: &[T::Lanes], y: &mut Vec<T::Lanes>) {
        self.level.run(Convolve::<T> {
            kernel,
            u: padded,
            y,
        });
    }

    /// Every pair of channels of a group of heads: the pair, and the columns of d1 and d2.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<T> {
        let KernelSizes {
            head_dim, heads, ..
        } = self.sizes;
        (0..heads).flat_map(move |group| {
            (0..head_dim).flat_map(move |d2| {
                (0..head_dim).map(move |d1| {
                    let pair = (d1 * head_dim + d2) * heads + group;
                    (group, pair, d1 * heads + group, d2 * heads + group)
                })
            })
        })
    }

    /// From queries, keys and values to the gated signals.
    pub(super) fn forward(&self, mixed: &mut Mixed<T>, buffers: &mut MixBuffers<T>) {
        let width = self.sizes.channels();
        let Mixed {
            qkv: [q, k, v],
            shifted,
            outputs,
            gated,
        } = mixed;
        let MixBuffers {
            padded,
            result,
            columns: [kv, ..],
        } = buffers;
        shifted.resize(q.len(), T::Lanes::ZERO);
        outputs.resize(q.len() * self.sizes.head_dim, T::Lanes::ZERO);
        gated.clear();
        gated.resize(q.len(), T::Lanes::ZERO);
        let rows = q.len() / width;
        let step = self.len * width;
        for at in (0..rows).step_by(self.len) {
            let here = at * width..at * width + step;
            let [q, k, v] = [&*q, k, v].map(|x| &x[here.clone()]);
            let (shifted, gated) = (&mut shifted[here.clone()], &mut gated[here]);
            for c in 0..width {
                pad(padded, T::Lanes::ZERO, column(k, width, c).copied());
                self.convolve(&self.kernels[self.sizes.of_shift(c)], padded, result);
                let to = shifted.iter_mut().skip(c).step_by(width);
                to.zip(&*result).for_each(|(to, y)| *to = *y);
            }
            for (group, pair, c1, c2) in self.pairs() {
                kv.resize(self.len, T::Lanes::ZERO);
                self.level.run(Gate::<T> {
                    a: (&*shifted, c1),
                    b: (v, c2),
                    width,
                    to: kv,
                });
                pad(padded, T::Lanes::ZERO, kv.iter().copied());
                let kernel = &self.kernels[self.sizes.of_diagonal(group)];
                self.convolve(kernel, padded, result);
                outputs[pair * rows + at..][..self.len].copy_from_slice(result);
                self.level.run(AddGated::<T> {
                    a: (q, c1),
                    b: result,
                    width,
                    to: (&mut *gated, c2),
                });
            }
        }
    }

    /// From the cotangents of the gated signals to those of queries, keys and values, and what the
    /// kernels receive, added to `received`.
    pub(super) fn backward(
        &self,
        mixed: &Mixed<T>,
        of_gated: &[T::Lanes],
        of_qkv: &mut [Vec<T::Lanes>; 3],
        received: &mut [T::Lanes],
        buffers: &mut MixBuffers<T>,
    ) {
        let width = self.sizes.channels();
        let Mixed {
            qkv,
            shifted,
            outputs,
            ..
        } = mixed;
        let MixBuffers {
            padded,
            result,
            columns: [kv, of_y, y, of_kv],
        } = buffers;
        for of in of_qkv.iter_mut() {
            of.clear();
            of.resize(qkv[0].len(), T::Lanes::ZERO);
        }
        let [of_q, of_k, of_v] = of_qkv;
        let rows = qkv[0].len() / width;
        for at in (0..rows).step_by(self.len) {
            let here = at * width..(at + self.len) * width;
            let [q, k, v] = qkv.each_ref().map(|x| &x[here.clone()]);
            let (shifted, g) = (&shifted[here.clone()], &of_gated[here.clone()]);
            let (of_q, of_v) = (&mut of_q[here.clone()], &mut of_v[here.clone()]);
            // What the shifted keys receive, until the shift models have been gone back through.
            let of_shifted = &mut of_k[here];
            for (group, pair, c1, c2) in self.pairs() {
                for signal in [&mut *kv, of_y, of_kv] {
                    signal.resize(self.len, T::Lanes::ZERO);
                }
                self.level.run(Gate::<T> {
                    a: (shifted, c1),
                    b: (v, c2),
                    width,
                    to: kv,
                });
                self.level.run(Gate::<T> {
                    a: (g, c2),
                    b: (q, c1),
                    width,
                    to: of_y,
                });
                y.clear();
                y.extend_from_slice(&outputs[pair * rows + at..][..self.len]);
                self.level.run(AddGated::<T> {
                    a: (g, c2),
                    b: y,
                    width,
                    to: (&mut *of_q, c1),
                });
                let kernel = self.sizes.of_diagonal(group);
                self.back(
                    (kernel, received),
                    (kv, of_y),
                    of_kv,
                    (&mut *padded, &mut *result),
                );
                self.level.run(AddGated::<T> {
                    a: (v, c2),
                    b: of_kv,
                    width,
                    to: (&mut *of_shifted, c1),
                });
                self.level.run(AddGated::<T> {
                    a: (shifted, c1),
                    b: of_kv,
                    width,
                    to: (&mut *of_v, c2),
                });
            }
            for c in 0..width {
                kv.clear();
                kv.extend(column(k, width, c));
                of_y.clear();
                of_y.extend(column(of_shifted, width, c));
                let kernel = self.sizes.of_shift(c);
                self.back(
                    (kernel, received),
                    (kv, of_y),
                    of_kv,
                    (&mut *padded, &mut *result),
                );
                let to = of_shifted.iter_mut().skip(c).step_by(width);
                to.zip(&*of_kv).for_each(|(to, x)| *to = *x);
            }
        }
    }

    /// One convolution backwards: from the input `u` and the cotangents `g` of its output to those of the
    /// input, and what the kernel receives.
    pub(super) fn back(
        &self,
        (kernel, received): (core::ops::Range<usize>, &mut [T::Lanes]),
        (u, g): (&[T::Lanes], &[T::Lanes]),
        of_u: &mut Vec<T::Lanes>,
        (padded, result): (&mut Vec<T::Lanes>, &mut Vec<T::Lanes>),
    ) {
        pad(padded, T::Lanes::ZERO, u.iter().copied());
        self.level.run(Correlate::<T> {
            g,
            u: padded,
            sums: &mut received[kernel.clone()],
        });
        pad(padded, T::Lanes::ZERO, g.iter().rev().copied());
        self.convolve(&self.kernels[kernel], padded, result);
        of_u.clear();
        of_u.extend(result.iter().rev());
    }
}

/// `to = a b`, of columns of rows of `width` vectors.
struct Gate<'a, T: Element> {
    a: (&'a [T::Lanes], usize),
    b: (&'a [T::Lanes], usize),
    width: usize,
    to: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Gate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { a, b, width, to } = self;
        for (t, to) in to.iter_mut().enumerate() {
            *to = a.0[t * width + a.1].times(b.0[t * width + b.1]);
        }
    }
}

/// `to += a b`, of columns of rows of `width` vectors but for `b`.
struct AddGated<'a, T: Element> {
    a: (&'a [T::Lanes], usize),
    b: &'a [T::Lanes],
    width: usize,
    to: (&'a mut [T::Lanes], usize),
}

impl<T: Element> Kernel for AddGated<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { a, b, width, to } = self;
        for (t, b) in b.iter().enumerate() {
            let to = &mut to.0[t * width + to.1];
            *to = a.0[t * width + a.1].fma::<S>(*b, *to);
        }
    }
}
