//! Matrix products: rows times a weight packed for lanes.

use super::few_rows::FEW_ROWS;
use super::lanes::{Element, Vector};
use super::level::Level;
use super::panels::lane_groups;
use super::share::share;
use super::tile::{ToPanels, ToRows, height_of};
use super::weight_format::WeightFormat;
use super::weights::Weights;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Rows a thread takes at a time: their packed copy stays in the second-level cache while every
/// panel of the weight passes by.
const ROWS_AT_ONCE: usize = 64;

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
            return self.project_few(rows, pack, &mut workspace.few, |vector, row, lanes| {
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
        let of = |at: usize| weight[at].to_f64();
        Self::packed(level, format, inputs, (weight.len(), of), bias)
    }

    /// As [`with_weights`](Self::with_weights), of weights in double precision, which are rounded once.
    pub(super) fn from_f64(
        level: Level,
        format: Option<WeightFormat>,
        inputs: usize,
        weight: &[f64],
        bias: &[f64],
    ) -> Result<Self, Error> {
        let bias: Vec<T> = bias.iter().map(|&x| T::from_f64(x)).into_vec();
        Self::packed(
            level,
            format,
            inputs,
            (weight.len(), |at| weight[at]),
            &bias,
        )
    }

    fn packed(
        level: Level,
        format: Option<WeightFormat>,
        inputs: usize,
        (len, weight): (usize, impl Fn(usize) -> f64),
        bias: &[T],
    ) -> Result<Self, Error> {
        let outputs = bias.len();
        let size = outputs
            .checked_mul(inputs)
            .ok_or_else(|| Error::value("weight", "too large"))?;
        check_len("weight", len, size)?;
        if let Some(format) = format {
            format.check("weight", (0..len).map(&weight))?;
        }
        let of = |vector: usize, lane: usize| vector * T::Lanes::WIDTH + lane;
        let weights = Weights::pack(
            level,
            format,
            (lane_groups::<T>(outputs), inputs),
            |vector, lane, input| match of(vector, lane) {
                output if output < outputs => weight(output * inputs + input),
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
