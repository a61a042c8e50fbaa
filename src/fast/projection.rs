//! Matrix products: rows times a weight packed for lanes.

use super::few_rows::FEW_ROWS;
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::lane_groups;
use super::share::share;
use super::weight_format::WeightFormat;
use super::weights::Weights;
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
pub(super) const fn tile_of(accumulators: usize, width: usize) -> (usize, usize) {
    match accumulators {
        24.. if width == 8 => (6, 3),
        24.. => (8, 3),
        6.. => (6, 1),
        _ => (3, 1),
    }
}

/// The rows of the smallest register tile that holds `rows` of at most `most` rows.
pub(super) const fn height_of(rows: usize, most: usize) -> usize {
    match rows {
        0 | 1 => 1,
        2 => 2,
        3 if most == 3 => 3,
        3 | 4 => 4,
        _ => most,
    }
}

impl<T: Element> Weights<T> {
    /// Packs `rows` rows, `row(r)` each: tiles of rows, an input's row elements side by side.
    pub(super) fn pack_rows<'a>(
        &self,
        rows: usize,
        row: impl Fn(usize) -> &'a [T],
        packed: &mut [T],
    ) {
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
        let each = ROWS_AT_ONCE.next_multiple_of(self.height);
        let items = packed.chunks_mut(each * self.inputs).enumerate();
        let threads = workspace.threads_for(rows * self.inputs / T::Lanes::WIDTH);
        share(items, threads, |_, (i, packed)| {
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
    pub(super) fn packed_len(&self, rows: usize) -> usize {
        let rest = rows % self.height;
        let last = if rest > 0 {
            height_of(rest, self.height)
        } else {
            0
        };
        (rows - rest + last) * self.inputs
    }

    /// The packed rows times the vectors `first ..`, as panels: `out` is one run of `rows` vectors
    /// after another, as many as `out` has. `first` and their number are multiples of three. `wide` is for a tile
    /// that is stored in another format.
    pub(crate) fn multiply_to_panels(
        &self,
        packed: &[T],
        rows: usize,
        first: usize,
        out: &mut [T::Lanes],
        wide: &mut Vec<T::Lanes>,
    ) {
        if rows == 0 {
            return;
        }
        let step = rows * self.per_tile();
        for (i, out) in out.chunks_exact_mut(step).enumerate() {
            self.level.run(ToPanels {
                tile: self.tile(first / self.per_tile() + i, wide),
                packed,
                rows,
                out,
            });
        }
    }

    /// The packed rows times the whole weight, as row-major rows of `width` outputs.
    fn multiply_to_rows(
        &self,
        packed: &[T],
        rows: usize,
        width: usize,
        out: &mut [T],
        wide: &mut Vec<T::Lanes>,
    ) {
        let step = self.per_tile() * T::Lanes::WIDTH;
        for (i, start) in (0..width).step_by(step).enumerate() {
            self.level.run(ToRows {
                tile: self.tile(i, wide),
                packed,
                rows,
                width,
                start,
                out,
            });
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
        if rows <= FEW_ROWS {
            let pack = |packed: &mut [T]| pack(0, rows, packed);
            return self.project_few(rows, pack, workspace, |vector, row, lanes| {
                let out = &mut out[row * width..][..width];
                if let Some(place) = out.get_mut(vector * T::Lanes::WIDTH..) {
                    lanes.store(place);
                }
            });
        }
        let threads = workspace.threads_for(self.operations(rows));
        // Every thread should have work, and every tile but the last be whole.
        let each = rows
            .div_ceil(threads.len())
            .next_multiple_of(self.height)
            .min(ROWS_AT_ONCE.next_multiple_of(self.height));
        let items = out.chunks_mut(each * width).enumerate();
        share(items, threads, |scratch, (i, out)| {
            let rows = out.len() / width;
            scratch.packed.resize(self.packed_len(rows), T::ZERO);
            pack(i * each, rows, &mut scratch.packed);
            self.multiply_to_rows(&scratch.packed, rows, width, out, &mut scratch.wide);
        });
    }

    /// The vector operations of a product of `rows` rows.
    pub(super) fn operations(&self, rows: usize) -> usize {
        rows * self.inputs * self.vectors
    }
}

/// One tile of a weight.
pub(super) struct Tile<'a, T: Element> {
    pub(super) inputs: usize,
    pub(super) entries: &'a [T::Lanes],
    pub(super) bias: &'a [T::Lanes],
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

/// Packed rows times a tile, as panels.
pub(super) struct ToPanels<'a, T: Element> {
    pub(super) tile: Tile<'a, T>,
    pub(super) packed: &'a [T],
    pub(super) rows: usize,
    pub(super) out: &'a mut [T::Lanes],
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
        Self::with_weights(level, None, inputs, weight, bias)
    }

    /// As [`new`](Self::new), its weight stored in a format, or as `T` holds it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or if the format has no value for a weight.
    pub fn with_weights(
        level: Level,
        format: Option<WeightFormat>,
        inputs: usize,
        weight: &[T],
        bias: &[T],
    ) -> Result<Self, Error> {
        let outputs = bias.len();
        let size = outputs
            .checked_mul(inputs)
            .ok_or_else(|| Error::value("weight", "too large"))?;
        check_len("weight", weight.len(), size)?;
        if let Some(format) = format {
            format.check("weight", weight.iter().map(|x| x.to_f64()))?;
        }
        let of = |vector: usize, lane: usize| vector * T::Lanes::WIDTH + lane;
        let weights = Weights::pack(
            level,
            format,
            (lane_groups::<T>(outputs), inputs),
            |vector, lane, input| match of(vector, lane) {
                output if output < outputs => weight[output * inputs + input].to_f64(),
                _ => 0.0,
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
