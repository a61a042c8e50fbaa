//! Matrix products: rows times a weight packed for lanes.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::lane_groups;
use super::share::share;
use super::workspace::Workspace;
use crate::error::{Error, check_len};

/// Rows a thread takes at a time: their packed copy stays in the second-level cache while every
/// panel of the weight passes by.
const ROWS_AT_ONCE: usize = 64;

/// Rows and vectors of a register tile, per level and width of the lanes.
///
/// Never as many rows as lanes: the compiler would then take neighbouring rows for the elements of a
/// vector and gather the lanes one by one, 30 times slower. Three vectors are a head's query, key and
/// value.
const fn tile_of(accumulators: usize, width: usize) -> (usize, usize) {
    match accumulators {
        24.. if width == 8 => (6, 3),
        24.. => (8, 3),
        6.. => (6, 1),
        _ => (3, 1),
    }
}

/// The rows of the smallest register tile that holds `rows` of at most `most` rows.
const fn height_of(rows: usize, most: usize) -> usize {
    match rows {
        0 | 1 => 1,
        2 => 2,
        3 if most == 3 => 3,
        3 | 4 => 4,
        _ => most,
    }
}

/// A weight as the register tiles read it: outputs in lanes, `per_tile` vectors of them side by
/// side, inputs running.
#[derive(Clone, Debug)]
pub(crate) struct Weights<T: Element> {
    level: Level,
    inputs: usize,
    vectors: usize,
    height: usize,
    per_tile: usize,
    /// [tile][input][vector of the tile]
    entries: Vec<T::Lanes>,
    /// [tile][vector of the tile]
    bias: Vec<T::Lanes>,
}

impl<T: Element> Weights<T> {
    /// Packs `vectors` vectors of outputs: `entry(vector, lane, input)` and `bias(vector, lane)`.
    pub(crate) fn pack(
        level: Level,
        vectors: usize,
        inputs: usize,
        mut entry: impl FnMut(usize, usize, usize) -> T,
        mut bias: impl FnMut(usize, usize) -> T,
    ) -> Self {
        let (height, per_tile) = tile_of(level.accumulators(), T::Lanes::WIDTH);
        let padded = vectors.next_multiple_of(per_tile);
        let mut packed = Self {
            level,
            inputs,
            vectors,
            height,
            per_tile,
            entries: vec![T::Lanes::ZERO; padded * inputs],
            bias: vec![T::Lanes::ZERO; padded],
        };
        for vector in 0..vectors {
            let (tile, within) = (vector / per_tile, vector % per_tile);
            for lane in 0..T::Lanes::WIDTH {
                packed.bias[vector].lanes_mut()[lane] = bias(vector, lane);
                for input in 0..inputs {
                    let at = (tile * inputs + input) * per_tile + within;
                    packed.entries[at].lanes_mut()[lane] = entry(vector, lane, input);
                }
            }
        }
        packed
    }

    /// Vectors of outputs a tile.
    pub(crate) fn per_tile(&self) -> usize {
        self.per_tile
    }

    /// Packs `rows` rows, `row(r)` each: tiles of rows, an input's row elements side by side.
    fn pack_rows<'a>(&self, rows: usize, row: impl Fn(usize) -> &'a [T], packed: &mut [T]) {
        self.pack_tiles(rows, packed, |tile, height, first, count| {
            for r in 0..count {
                let row = row(first + r);
                for k in 0..row.len() {
                    tile[k * height + r] = row[k];
                }
            }
        });
    }

    /// As [`pack_rows`](Self::pack_rows), the tiles shared among threads.
    pub(crate) fn pack_rows_shared<'a>(
        &self,
        rows: usize,
        row: impl Fn(usize) -> &'a [T] + Sync,
        packed: &mut Vec<T>,
        workspace: &mut Workspace<T>,
    ) {
        packed.resize(self.packed_len(rows), T::ZERO);
        if rows < ROWS_AT_ONCE {
            return self.pack_rows(rows, row, packed);
        }
        let each = ROWS_AT_ONCE.next_multiple_of(self.height);
        let items = packed.chunks_mut(each * self.inputs).enumerate();
        share(items, &mut workspace.threads, |_, (i, packed)| {
            let first = i * each;
            self.pack_rows(each.min(rows - first), |r| row(first + r), packed);
        });
    }

    /// As [`pack_rows`](Self::pack_rows), from panels: `lanes(vector, r)` holds the inputs
    /// `vector * WIDTH ..` of row `r`.
    fn pack_panels(&self, rows: usize, lanes: impl Fn(usize, usize) -> T::Lanes, packed: &mut [T]) {
        let width = T::Lanes::WIDTH;
        self.pack_tiles(rows, packed, |tile, height, first, count| {
            for (vector, part) in tile.chunks_exact_mut(height * width).enumerate() {
                for r in 0..count {
                    let values = lanes(vector, first + r);
                    for (lane, &x) in values.lanes().iter().enumerate() {
                        part[lane * height + r] = x;
                    }
                }
            }
        });
    }

    /// Goes over the tiles of packed rows: `fill(tile, height, first row, rows in it)`.
    fn pack_tiles(
        &self,
        rows: usize,
        packed: &mut [T],
        mut fill: impl FnMut(&mut [T], usize, usize, usize),
    ) {
        let mut rest = packed;
        let mut first = 0;
        while first < rows {
            let count = self.height.min(rows - first);
            let height = height_of(count, self.height);
            let (tile, others) = rest.split_at_mut(height * self.inputs);
            fill(tile, height, first, count);
            // What a tile has beyond the last row is computed too, and must not cost time by
            // being subnormal.
            for to in tile.chunks_exact_mut(height) {
                to[count..].fill(T::ZERO);
            }
            rest = others;
            first += count;
        }
    }

    /// The length of `rows` packed rows.
    fn packed_len(&self, rows: usize) -> usize {
        let rest = rows % self.height;
        let last = if rest > 0 {
            height_of(rest, self.height)
        } else {
            0
        };
        (rows - rest + last) * self.inputs
    }

    /// The packed rows times the vectors `first ..`, as panels: `out` is one run of `rows` vectors
    /// after another, as many as `out` has. `first` and their number are multiples of three.
    pub(crate) fn multiply_to_panels(
        &self,
        packed: &[T],
        rows: usize,
        first: usize,
        out: &mut [T::Lanes],
    ) {
        if rows == 0 {
            return;
        }
        let step = rows * self.per_tile;
        for (i, out) in out.chunks_exact_mut(step).enumerate() {
            self.level.run(ToPanels {
                tile: self.tile(first / self.per_tile + i),
                packed,
                rows,
                out,
            });
        }
    }

    /// The packed rows times the whole weight, as row-major rows of `width` outputs.
    fn multiply_to_rows(&self, packed: &[T], rows: usize, width: usize, out: &mut [T]) {
        let step = self.per_tile * T::Lanes::WIDTH;
        for (i, start) in (0..width).step_by(step).enumerate() {
            self.level.run(ToRows {
                tile: self.tile(i),
                packed,
                rows,
                width,
                start,
                out,
            });
        }
    }

    /// The weights of one output, one an input, read out of the packed layout.
    pub(crate) fn read_output(&self, output: usize, to: &mut [T]) {
        let (vector, lane) = (output / T::Lanes::WIDTH, output % T::Lanes::WIDTH);
        let tile = self.tile(vector / self.per_tile);
        let inputs = tile.entries.chunks_exact(self.per_tile);
        for (to, vectors) in to.iter_mut().zip(inputs) {
            *to = vectors[vector % self.per_tile].lanes()[lane];
        }
    }

    fn tile(&self, i: usize) -> Tile<'_, T> {
        let size = self.inputs * self.per_tile;
        Tile {
            inputs: self.inputs,
            entries: &self.entries[i * size..(i + 1) * size],
            bias: &self.bias[i * self.per_tile..(i + 1) * self.per_tile],
        }
    }

    /// `out` (rows, width) row-major from panels of inputs, the rows shared among threads.
    pub(crate) fn project_panels(
        &self,
        width: usize,
        lanes: impl Fn(usize, usize) -> T::Lanes + Sync,
        out: &mut [T],
        workspace: &mut Workspace<T>,
    ) {
        self.project(width, out, workspace, |first, rows, packed| {
            self.pack_panels(rows, |vector, r| lanes(vector, first + r), packed);
        });
    }

    /// `out` (rows, width) row-major from rows of inputs, the rows shared among threads.
    pub(crate) fn project_rows(
        &self,
        u: &[T],
        width: usize,
        out: &mut [T],
        workspace: &mut Workspace<T>,
    ) {
        self.project(width, out, workspace, |first, count, packed| {
            let row = |r: usize| &u[(first + r) * self.inputs..][..self.inputs];
            self.pack_rows(count, row, packed);
        });
    }

    fn project(
        &self,
        width: usize,
        out: &mut [T],
        workspace: &mut Workspace<T>,
        pack: impl Fn(usize, usize, &mut [T]) + Sync,
    ) {
        if out.is_empty() || width == 0 {
            return;
        }
        let rows = out.len() / width;
        // Every thread should have work, and every tile but the last be whole.
        let each = rows
            .div_ceil(workspace.threads())
            .next_multiple_of(self.height)
            .min(ROWS_AT_ONCE.next_multiple_of(self.height));
        if rows < self.height {
            return self.project_columns(width, rows, out, workspace, pack);
        }
        let items = out.chunks_mut(each * width).enumerate();
        share(items, &mut workspace.threads, |scratch, (i, out)| {
            let rows = out.len() / width;
            scratch.packed.resize(self.packed_len(rows), T::ZERO);
            pack(i * each, rows, &mut scratch.packed);
            self.multiply_to_rows(&scratch.packed, rows, width, out);
        });
    }

    /// A few rows: the time goes into reading the weight, so that is what is shared out.
    fn project_columns(
        &self,
        width: usize,
        rows: usize,
        out: &mut [T],
        workspace: &mut Workspace<T>,
        pack: impl Fn(usize, usize, &mut [T]) + Sync,
    ) {
        let (mut few, mut panels) = (
            core::mem::take(&mut workspace.few),
            core::mem::take(&mut workspace.panels),
        );
        few.resize(self.packed_len(rows), T::ZERO);
        pack(0, rows, &mut few);
        let step = rows * self.per_tile;
        panels.resize(step * self.vectors.div_ceil(self.per_tile), T::Lanes::ZERO);
        let items = panels.chunks_exact_mut(step).enumerate();
        share(items, workspace.threads_for(rows), |_, (i, out)| {
            self.level.run(ToPanels {
                tile: self.tile(i),
                packed: &few,
                rows,
                out,
            });
        });
        for (vector, panel) in panels.chunks_exact(rows).take(self.vectors).enumerate() {
            for (row, lanes) in panel.iter().enumerate() {
                let out = &mut out[row * width..][..width];
                if let Some(place) = out.get_mut(vector * T::Lanes::WIDTH..) {
                    lanes.store(place);
                }
            }
        }
        workspace.few = few;
        workspace.panels = panels;
    }
}

/// One tile of a weight.
struct Tile<'a, T: Element> {
    inputs: usize,
    entries: &'a [T::Lanes],
    bias: &'a [T::Lanes],
}

/// `acc[r][v] = bias[v] + sum_k a[k][r] w[k][v]`.
#[inline(always)]
fn product<T: Element, S: Isa, const R: usize, const V: usize>(
    a: &[[T; R]],
    w: &[[T::Lanes; V]],
    bias: &[T::Lanes; V],
) -> [[T::Lanes; V]; R] {
    let mut acc = [*bias; R];
    let terms = a.len().min(w.len());
    let (a, w) = (&a[..terms], &w[..terms]);
    for k in 0..terms {
        for r in 0..R {
            let x = T::Lanes::splat(a[k][r]);
            for v in 0..V {
                acc[r][v] = x.fma::<S>(w[k][v], acc[r][v]);
            }
        }
    }
    acc
}

impl<T: Element> Tile<'_, T> {
    /// All packed rows times this tile, handed to `store(row, vector of the tile, lanes)`.
    #[inline(always)]
    fn times<S: Isa>(&self, packed: &[T], rows: usize, store: impl FnMut(usize, usize, T::Lanes)) {
        match tile_of(S::ACCUMULATORS, T::Lanes::WIDTH) {
            (6, 3) => self.times_sized::<S, 6, 3>(packed, rows, store),
            (8, _) => self.times_sized::<S, 8, 3>(packed, rows, store),
            (6, _) => self.times_sized::<S, 6, 1>(packed, rows, store),
            _ => self.times_sized::<S, 3, 1>(packed, rows, store),
        }
    }

    #[inline(always)]
    fn times_sized<S: Isa, const R: usize, const V: usize>(
        &self,
        packed: &[T],
        rows: usize,
        mut store: impl FnMut(usize, usize, T::Lanes),
    ) {
        let whole = rows / R;
        let (tiles, rest) = packed.split_at(whole * R * self.inputs);
        for i in 0..whole {
            let a = &tiles[i * R * self.inputs..][..R * self.inputs];
            self.one::<S, R, V>(a, i * R, R, &mut store);
        }
        let (first, count) = (whole * R, rows - whole * R);
        if count > 0 {
            match height_of(count, R) {
                1 => self.one::<S, 1, V>(rest, first, count, &mut store),
                2 => self.one::<S, 2, V>(rest, first, count, &mut store),
                4 => self.one::<S, 4, V>(rest, first, count, &mut store),
                _ => self.one::<S, R, V>(rest, first, count, &mut store),
            }
        }
    }

    #[inline(always)]
    fn one<S: Isa, const R: usize, const V: usize>(
        &self,
        a: &[T],
        first: usize,
        count: usize,
        store: &mut impl FnMut(usize, usize, T::Lanes),
    ) {
        let Some(bias) = self.bias.first_chunk::<V>() else {
            return;
        };
        let acc = product::<T, S, R, V>(a.as_chunks().0, self.entries.as_chunks().0, bias);
        for (r, row) in acc.iter().enumerate().take(count) {
            for (v, &lanes) in row.iter().enumerate() {
                store(first + r, v, lanes);
            }
        }
    }
}

struct ToPanels<'a, T: Element> {
    tile: Tile<'a, T>,
    packed: &'a [T],
    rows: usize,
    out: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for ToPanels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let (rows, out) = (self.rows, self.out);
        self.tile.times::<S>(self.packed, rows, |r, v, lanes| {
            out[v * rows + r] = lanes;
        });
    }
}

struct ToRows<'a, T: Element> {
    tile: Tile<'a, T>,
    packed: &'a [T],
    rows: usize,
    width: usize,
    start: usize,
    out: &'a mut [T],
}

impl<T: Element> Kernel for ToRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let (width, start, out) = (self.width, self.start, self.out);
        self.tile.times::<S>(self.packed, self.rows, |r, v, lanes| {
            let row = &mut out[r * width..(r + 1) * width];
            if let Some(place) = row.get_mut(start + v * T::Lanes::WIDTH..) {
                lanes.store(place);
            }
        });
    }
}

/// A projection `W u + b` of row-major rows.
#[derive(Clone, Debug)]
pub struct Projection<T: Element> {
    weights: Weights<T>,
    outputs: usize,
}

impl<T: Element> Projection<T> {
    /// The projection with this weight (outputs, inputs), row-major as PyTorch stores it, and
    /// bias (outputs), packed for a level.
    ///
    /// # Errors
    ///
    /// If the weight is not `bias.len()` rows of `inputs`.
    pub fn new(level: Level, inputs: usize, weight: &[T], bias: &[T]) -> Result<Self, Error> {
        let outputs = bias.len();
        let size = outputs
            .checked_mul(inputs)
            .ok_or_else(|| Error::value("weight", "too large"))?;
        check_len("weight", weight.len(), size)?;
        let of = |vector: usize, lane: usize| vector * T::Lanes::WIDTH + lane;
        let weights = Weights::pack(
            level,
            lane_groups::<T>(outputs),
            inputs,
            |vector, lane, input| match of(vector, lane) {
                output if output < outputs => weight[output * inputs + input],
                _ => T::ZERO,
            },
            |vector, lane| bias.get(of(vector, lane)).copied().unwrap_or(T::ZERO),
        );
        Ok(Self { weights, outputs })
    }

    /// Every row of `u` (rows, inputs) projected to a row of `out` (rows, outputs).
    ///
    /// # Errors
    ///
    /// If a slice is not a number of whole rows, or not the same number.
    pub fn apply(&self, u: &[T], out: &mut [T], workspace: &mut Workspace<T>) -> Result<(), Error> {
        let (inputs, outputs) = (self.weights.inputs, self.outputs);
        let rows = u.len().checked_div(inputs).unwrap_or(0);
        check_len("rows of the input", u.len(), rows * inputs)?;
        check_len("output", out.len(), rows * outputs)?;
        self.weights.project_rows(u, outputs, out, workspace);
        Ok(())
    }
}
