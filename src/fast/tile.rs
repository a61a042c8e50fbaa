//! Packed rows times one tile of a weight, in registers.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, match_size};

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
        match_size!(tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
            (6, 3) => self.times_sized::<S, 6, 3>(packed, rows, store),
            (8, 3) => self.times_sized::<S, 8, 3>(packed, rows, store),
            (6, 1) => self.times_sized::<S, 6, 1>(packed, rows, store),
            _ => self.times_sized::<S, 3, 1>(packed, rows, store),
        );
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
                4 if const { R > 4 } => self.one::<S, 4, V>(rest, first, count, &mut store),
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

/// Packed rows times a tile, as the outputs from `start` on of row-major rows of `width`.
pub(super) struct ToRows<'a, T: Element> {
    pub(super) tile: Tile<'a, T>,
    pub(super) packed: &'a [T],
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) start: usize,
    pub(super) out: &'a mut [T],
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
