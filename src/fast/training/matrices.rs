//! Matrix products of training: activations in rows of vectors, weights in panels read in place.
//!
//! A weight takes part in three products: forwards, backwards, and as the gradient that is summed
//! over rows. None packs anything: activations are broadcast from their rows, so that products of a
//! few dozen channels, where packing costs as much as multiplying, run from the caches too.

use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel, match_size};
use core::ops::Range;

/// Vectors of columns side by side in a panel of a matrix: [panel][row][vector of the panel].
const PANEL: usize = 2;

/// Rows and vectors of a register tile, per level and width of the lanes; fewer rows than lanes, as in
/// the projections.
const fn tile_of(accumulators: usize, width: usize) -> (usize, usize) {
    match accumulators {
        24.. if width == 8 => (6, 2),
        24.. => (8, 2),
        6.. => (6, 1),
        _ => (3, 1),
    }
}

/// As [`tile_of`], of a gradient: rows are lanes of the cotangents, which they divide.
const fn tile_of_sums(accumulators: usize, width: usize) -> (usize, usize) {
    match accumulators {
        24.. if width == 8 => (4, 2),
        24.. => (8, 2),
        6.. => (4, 1),
        _ => (2, 1),
    }
}

/// The place of a vector in a matrix of so many rows and vectors of columns.
pub(super) fn place(rows: usize, vectors: usize, row: usize, vector: usize) -> usize {
    let first = vector / PANEL * PANEL;
    let width = PANEL.min(vectors - first);
    first * rows + row * width + vector - first
}

/// The panels of a matrix: the vectors each holds, and where it stands.
fn panels(rows: usize, vectors: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    (0..vectors).step_by(PANEL).map(move |first| {
        let end = vectors.min(first + PANEL);
        (first..end, first * rows..end * rows)
    })
}

/// `y = x W + bias`, or `y += x W + bias`, with `x` (rows, inputs) and `y` (rows, outputs) in rows of
/// vectors, and `W` (inputs, outputs) in panels.
pub(super) struct Times<'a, T: Element> {
    pub(super) x: &'a [T::Lanes],
    /// Vectors a row of `x`.
    pub(super) inputs: usize,
    pub(super) weight: &'a [T::Lanes],
    /// Vectors a row of `y`.
    pub(super) outputs: usize,
    /// Empty for none.
    pub(super) bias: &'a [T::Lanes],
    pub(super) add: bool,
    pub(super) y: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Times<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(mut self) {
        if self.inputs == 0 {
            return;
        }
        let depth = self.inputs * T::Lanes::WIDTH;
        for (vectors, at) in panels(depth, self.outputs) {
            let (weight, first) = (&self.weight[at], vectors.start);
            let whole = vectors.len() == PANEL;
            match_size!(tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
                (6, 2) => match whole {
                    true => self.panel::<S, 6, 2, 2, 0>(weight, first),
                    false => self.panel::<S, 6, 1, 1, 0>(weight, first),
                },
                (8, 2) => match whole {
                    true => self.panel::<S, 8, 2, 2, 0>(weight, first),
                    false => self.panel::<S, 8, 1, 1, 0>(weight, first),
                },
                (6, 1) => match whole {
                    true => {
                        self.panel::<S, 6, 1, 2, 0>(weight, first);
                        self.panel::<S, 6, 1, 2, 1>(weight, first + 1);
                    }
                    false => self.panel::<S, 6, 1, 1, 0>(weight, first),
                },
                _ => match whole {
                    true => {
                        self.panel::<S, 3, 1, 2, 0>(weight, first);
                        self.panel::<S, 3, 1, 2, 1>(weight, first + 1);
                    }
                    false => self.panel::<S, 3, 1, 1, 0>(weight, first),
                },
            );
        }
    }
}

impl<T: Element> Times<'_, T> {
    /// All rows times the vectors `AT .. AT + V` of a panel of `STRIDE`, those `first ..` of `y`.
    #[inline(always)]
    fn panel<S: Isa, const R: usize, const V: usize, const STRIDE: usize, const AT: usize>(
        &mut self,
        weight: &[T::Lanes],
        first: usize,
    ) {
        let (x, inputs) = (self.x, self.inputs);
        let weight = weight.as_chunks::<STRIDE>().0;
        let rows = x.len() / inputs;
        let mut row = 0;
        while row < rows {
            let count = R.min(rows - row);
            let mut a = [&x[..0]; R];
            for r in 0..R {
                // Beyond the last row: once more the last, to no effect.
                a[r] = &x[(row + r.min(count - 1)) * inputs..][..inputs];
            }
            let acc = product::<T, S, R, V, STRIDE, AT>(&a, weight, inputs);
            for r in 0..count {
                let y = &mut self.y[(row + r) * self.outputs + first..][..V];
                for v in 0..V {
                    let mut sum = acc[r][v];
                    if let Some(&bias) = self.bias.get(first + v) {
                        sum = sum.plus(bias);
                    }
                    y[v] = if self.add { y[v].plus(sum) } else { sum };
                }
            }
            row += R;
        }
    }
}

/// `acc[r][v] = sum over inputs of a[r] w[AT + v]`.
#[inline(always)]
fn product<
    T: Element,
    S: Isa,
    const R: usize,
    const V: usize,
    const STRIDE: usize,
    const AT: usize,
>(
    a: &[&[T::Lanes]; R],
    w: &[[T::Lanes; STRIDE]],
    inputs: usize,
) -> [[T::Lanes; V]; R] {
    let width = T::Lanes::WIDTH;
    let mut acc = [[T::Lanes::ZERO; V]; R];
    for k in 0..inputs {
        let w = &w[k * width..][..width];
        for lane in 0..width {
            for r in 0..R {
                let x = T::Lanes::splat(a[r][k].lanes()[lane]);
                for v in 0..V {
                    acc[r][v] = x.fma::<S>(w[lane][AT + v], acc[r][v]);
                }
            }
        }
    }
    acc
}

/// `sums = g^T u` with `g` (rows, outputs) and `u` (rows, inputs) in rows of vectors: the gradient of a
/// weight (outputs, inputs), in panels.
pub(super) struct Sums<'a, T: Element> {
    pub(super) g: &'a [T::Lanes],
    /// Vectors a row of `g`.
    pub(super) outputs: usize,
    pub(super) u: &'a [T::Lanes],
    /// Vectors a row of `u`.
    pub(super) inputs: usize,
    pub(super) sums: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(mut self) {
        if self.outputs == 0 {
            return;
        }
        for (vectors, at) in panels(self.outputs * T::Lanes::WIDTH, self.inputs) {
            let first = vectors.start;
            let whole = vectors.len() == PANEL;
            match_size!(tile_of_sums(S::ACCUMULATORS, T::Lanes::WIDTH);
                (4, 2) => match whole {
                    true => self.panel::<S, 4, 2, 2, 0>(at, first),
                    false => self.panel::<S, 4, 1, 1, 0>(at, first),
                },
                (8, 2) => match whole {
                    true => self.panel::<S, 8, 2, 2, 0>(at, first),
                    false => self.panel::<S, 8, 1, 1, 0>(at, first),
                },
                (4, 1) => match whole {
                    true => {
                        self.panel::<S, 4, 1, 2, 0>(at.clone(), first);
                        self.panel::<S, 4, 1, 2, 1>(at, first + 1);
                    }
                    false => self.panel::<S, 4, 1, 1, 0>(at, first),
                },
                _ => match whole {
                    true => {
                        self.panel::<S, 2, 1, 2, 0>(at.clone(), first);
                        self.panel::<S, 2, 1, 2, 1>(at, first + 1);
                    }
                    false => self.panel::<S, 2, 1, 1, 0>(at, first),
                },
            );
        }
    }
}

impl<T: Element> Sums<'_, T> {
    /// All outputs against the vectors `first .. first + V` of the inputs.
    #[inline(always)]
    fn panel<S: Isa, const R: usize, const V: usize, const STRIDE: usize, const AT: usize>(
        &mut self,
        at: Range<usize>,
        first: usize,
    ) {
        let sums = self.sums[at].as_chunks_mut::<STRIDE>().0;
        let tiles = T::Lanes::WIDTH / R;
        for (tile, sums) in sums.chunks_exact_mut(R).enumerate() {
            let (vector, tile) = (tile / tiles, tile % tiles);
            let mut acc = [[T::Lanes::ZERO; V]; R];
            let rows = self.g.chunks_exact(self.outputs);
            for (g, u) in rows.zip(self.u.chunks_exact(self.inputs)) {
                let Some(g) = g[vector].lanes().as_chunks::<R>().0.get(tile) else {
                    continue;
                };
                let u = &u[first..][..V];
                for r in 0..R {
                    let g = T::Lanes::splat(g[r]);
                    for v in 0..V {
                        acc[r][v] = g.fma::<S>(u[v], acc[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    sums[r][AT + v] = acc[r][v];
                }
            }
        }
    }
}

/// `to` (columns, rows) is `from` (rows, columns) transposed, both in panels: `rows` and `columns` are
/// vectors.
pub(super) struct Transpose<'a, T: Element> {
    pub(super) from: &'a [T::Lanes],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) to: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            from,
            rows,
            columns,
            to,
        } = self;
        let width = T::Lanes::WIDTH;
        for column in 0..columns {
            for row in 0..rows {
                for lane in 0..width {
                    let at = place(rows * width, columns, row * width + lane, column);
                    let from = from[at];
                    for k in 0..width {
                        let at = place(columns * width, rows, column * width + k, row);
                        to[at].lanes_mut()[lane] = from.lanes()[k];
                    }
                }
            }
        }
    }
}
