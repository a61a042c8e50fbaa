//! The gradient of a weight: the product of cotangents and inputs, over rows.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level, match_size};
use super::panels::lane_groups;
use super::scratch::{Scratch, WideRows};
use super::share::share;

/// Rows between two visits to the sums: the inputs of so many fit the first-level cache with the
/// cotangents they meet, and no sum is longer before it is added to another.
const ROWS_AT_ONCE: usize = 256;

/// Cotangents and vectors of inputs in a register tile, per level and width of the lanes. The
/// cotangents divide the lanes, and are fewer (as in the projections).
const fn tile_of(accumulators: usize, width: usize) -> (usize, usize) {
    match accumulators {
        24.. if width == 8 => (4, 6),
        24.. => (8, 3),
        6.. => (4, 1),
        _ => (2, 1),
    }
}

impl<T: Element> WideRows<T> {
    /// Takes over `rows` rows of `columns` numbers.
    pub(super) fn pack<'a>(
        &mut self,
        level: Level,
        rows: usize,
        columns: usize,
        row: impl Fn(usize) -> &'a [T] + Sync,
        threads: &mut [Scratch<T>],
    ) {
        let (_, vectors) = tile_of(level.accumulators(), T::Lanes::WIDTH);
        let tiles = lane_groups::<T>(columns).div_ceil(vectors);
        self.lanes.resize(tiles * rows * vectors, T::Lanes::ZERO);
        let items = self.lanes.chunks_exact_mut((rows * vectors).max(1));
        share(items.enumerate(), threads, |_, (tile, packed)| {
            for (r, packed) in packed.chunks_exact_mut(vectors).enumerate() {
                let row = row(r);
                for (v, lanes) in packed.iter_mut().enumerate() {
                    let from = (tile * vectors + v) * T::Lanes::WIDTH;
                    *lanes = T::Lanes::load(row.get(from..).unwrap_or_default());
                }
            }
        });
    }
}

/// The gradient of a weight, accumulated: a row for every lane of the cotangents, a column for every input.
#[derive(Clone, Debug)]
pub(super) struct WeightSums<T: Element> {
    level: Level,
    rows: usize,
    vectors: usize,
    /// [tile of columns][row][vector of the tile]
    entries: Vec<T::Lanes>,
    /// Of the inputs themselves: what the bias of a transposed weight receives.
    inputs: Vec<T::Lanes>,
}

impl<T: Element> WeightSums<T> {
    /// Sums for so many vectors of cotangents and so many inputs.
    pub(super) fn new(level: Level, cotangents: usize, inputs: usize) -> Self {
        let (_, vectors) = tile_of(level.accumulators(), T::Lanes::WIDTH);
        let padded = lane_groups::<T>(inputs).next_multiple_of(vectors);
        let rows = cotangents * T::Lanes::WIDTH;
        Self {
            level,
            rows,
            vectors,
            entries: vec![T::Lanes::ZERO; rows * padded],
            inputs: vec![T::Lanes::ZERO; padded],
        }
    }

    /// Resets every sum to zero.
    pub(super) fn clear(&mut self) {
        self.entries.fill(T::Lanes::ZERO);
        self.inputs.fill(T::Lanes::ZERO);
    }

    /// Adds the products of cotangents, in panels of `rows` rows one vector after another, and
    /// inputs, summed over rows.
    pub(super) fn receive(
        &mut self,
        panels: &[T::Lanes],
        inputs: &WideRows<T>,
        rows: usize,
        threads: &mut [Scratch<T>],
    ) {
        if rows == 0 {
            return;
        }
        let (level, vectors) = (self.level, self.vectors);
        let sums = self.entries.chunks_exact_mut((self.rows * vectors).max(1));
        let items = sums
            .zip(self.inputs.chunks_exact_mut(vectors))
            .zip(inputs.lanes.chunks_exact(rows * vectors));
        share(items, threads, |_, ((sums, of_inputs), inputs)| {
            level.run(Receive::<T> {
                panels,
                inputs,
                rows,
                sums,
                of_inputs,
            });
        });
    }

    /// Reads the gradient of a row, whose columns are the first of the tiles'.
    pub(super) fn read_row(&self, row: usize, to: &mut [f64]) {
        let tiles = self.entries.chunks_exact((self.rows * self.vectors).max(1));
        for (tile, to) in tiles.zip(to.chunks_mut(self.vectors * T::Lanes::WIDTH)) {
            let lanes = &tile[row * self.vectors..][..self.vectors];
            for (lanes, to) in lanes.iter().zip(to.chunks_mut(T::Lanes::WIDTH)) {
                for (to, x) in to.iter_mut().zip(lanes.lanes()) {
                    *to = x.to_f64();
                }
            }
        }
    }

    /// The sum of an input.
    pub(super) fn input(&self, column: usize) -> f64 {
        let (vector, lane) = (column / T::Lanes::WIDTH, column % T::Lanes::WIDTH);
        self.inputs[vector].lanes()[lane].to_f64()
    }
}

/// All cotangents times one tile of inputs, as a kernel.
struct Receive<'a, T: Element> {
    panels: &'a [T::Lanes],
    inputs: &'a [T::Lanes],
    rows: usize,
    sums: &'a mut [T::Lanes],
    of_inputs: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Receive<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        match_size!(tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
            (4, 6) => self.tiles::<S, 4, 6>(),
            (8, 3) => self.tiles::<S, 8, 3>(),
            (4, 1) => self.tiles::<S, 4, 1>(),
            _ => self.tiles::<S, 2, 1>(),
        );
    }
}

impl<T: Element> Receive<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const R: usize, const V: usize>(self) {
        let Self {
            panels,
            inputs,
            rows,
            sums,
            of_inputs,
        } = self;
        let inputs = inputs.as_chunks::<V>().0;
        let sums = sums.as_chunks_mut::<V>().0;
        for (part, inputs) in inputs.chunks(ROWS_AT_ONCE).enumerate() {
            let first = part * ROWS_AT_ONCE;
            let mut sum = [T::Lanes::ZERO; V];
            for u in inputs {
                for v in 0..V {
                    sum[v] = sum[v].plus(u[v]);
                }
            }
            for v in 0..V {
                of_inputs[v] = of_inputs[v].plus(sum[v]);
            }
            let panels = panels.chunks_exact(rows).map(|panel| &panel[first..]);
            for (panel, sums) in panels.zip(sums.chunks_exact_mut(T::Lanes::WIDTH)) {
                for (tile, sums) in sums.chunks_exact_mut(R).enumerate() {
                    let acc = product::<T, S, R, V>(panel, tile, inputs);
                    for r in 0..R {
                        for v in 0..V {
                            sums[r][v] = sums[r][v].plus(acc[r][v]);
                        }
                    }
                }
            }
        }
    }
}

/// `acc[r][v] = sum over rows of lane (tile R + r) of the cotangent times u[v]`.
#[inline(always)]
fn product<T: Element, S: Isa, const R: usize, const V: usize>(
    panel: &[T::Lanes],
    tile: usize,
    inputs: &[[T::Lanes; V]],
) -> [[T::Lanes; V]; R] {
    let mut acc = [[T::Lanes::ZERO; V]; R];
    let rows = panel.len().min(inputs.len());
    let (panel, inputs) = (&panel[..rows], &inputs[..rows]);
    for k in 0..rows {
        let Some(g) = panel[k].lanes().as_chunks::<R>().0.get(tile) else {
            continue;
        };
        for r in 0..R {
            let g = T::Lanes::splat(g[r]);
            for v in 0..V {
                acc[r][v] = g.fma::<S>(inputs[k][v], acc[r][v]);
            }
        }
    }
    acc
}
