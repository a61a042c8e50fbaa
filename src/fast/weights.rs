//! Weights of matrices, packed for lanes, in the format they are stored in.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::tile::{Tile, height_of, tile_of};
use super::weight_format::{WeightFormat, level_of};
use crate::algebra::FloatFormat;
use std::sync::Arc;

/// A weight as the register tiles read it: outputs in lanes, `per_tile` vectors of them side by
/// side, inputs running. A clone shares what is stored.
#[derive(Clone, Debug)]
pub(crate) struct Weights<T: Element> {
    pub(super) level: Level,
    pub(super) inputs: usize,
    pub(super) vectors: usize,
    /// Rows of the register tiles it is packed for.
    pub(super) height: usize,
    per_tile: usize,
    stored: Arc<Stored<T>>,
}

#[derive(Debug)]
struct Stored<T: Element> {
    entries: Entries<T>,
    /// [tile][vector of the tile]
    bias: Vec<T::Lanes>,
}

/// [tile][input][vector of the tile]
#[derive(Debug)]
enum Entries<T: Element> {
    Whole(Vec<T::Lanes>),
    F16(Vec<Halves<T>>),
    Bf16(Vec<Halves<T>>),
    Int8 {
        levels: Vec<Bytes<T>>,
        /// [tile][vector of the tile]
        scales: Vec<T::Lanes>,
    },
}

type Halves<T> = <<T as Element>::Lanes as Arithmetic<T>>::Halves;
type Bytes<T> = <<T as Element>::Lanes as Arithmetic<T>>::Bytes;

/// The widening of stored lanes. Not a closure, as for [`LaneMap`](super::lanes::LaneMap).
pub(super) trait Widen<T: Element> {
    /// Lanes as they are stored.
    type Code: Copy;
    /// True if widening takes registers.
    const WIDENS: bool;
    /// The lanes, in a row of these scales. `#[inline(always)]`.
    fn lanes(code: &Self::Code, scales: T::Lanes) -> T::Lanes;
}

macro_rules! widen {
    ($name:ident, $code:ty, $widens:literal, |$stored:ident, $scales:ident| $lanes:expr) => {
        pub(super) struct $name;

        impl<T: Element> Widen<T> for $name {
            type Code = $code;
            const WIDENS: bool = $widens;

            #[inline(always)]
            fn lanes($stored: &$code, $scales: T::Lanes) -> T::Lanes {
                $lanes
            }
        }
    };
}

widen!(Whole, T::Lanes, false, |code, _scales| *code);
widen!(F16, Halves<T>, true, |code, _scales| T::Lanes::from_f16(
    code
));
widen!(Bf16, Halves<T>, true, |code, _scales| T::Lanes::from_bf16(
    code
));
widen!(Int8, Bytes<T>, true, |code, scales| T::Lanes::from_levels(
    code, scales
));

/// Neighbouring tiles of a weight as they are stored.
pub(super) struct Tiles<'a, T: Element, W: Widen<T>> {
    pub(super) codes: &'a [W::Code],
    /// Empty in formats without scales.
    pub(super) scales: &'a [T::Lanes],
    pub(super) bias: &'a [T::Lanes],
}

/// Something done with neighbouring tiles of a weight, in whatever format they are.
pub(super) trait WithTiles<T: Element> {
    fn run<W: Widen<T>>(self, tiles: Tiles<'_, T, W>);
}

impl<T: Element> Weights<T> {
    /// Packs `vectors` vectors of outputs: `entry(vector, lane, input)` and `bias(vector, lane)`, in a format that
    /// holds all entries, or as `T` holds them.
    pub(crate) fn pack(
        level: Level,
        format: Option<WeightFormat>,
        (vectors, inputs): (usize, usize),
        mut entry: impl FnMut(usize, usize, usize) -> f64,
        mut bias: impl FnMut(usize, usize) -> T,
    ) -> Self {
        let (height, per_tile) = tile_of(level.accumulators(), T::Lanes::WIDTH);
        let padded = vectors.next_multiple_of(per_tile);
        let size = padded * inputs;
        let mut entries = match format {
            None | Some(WeightFormat::F32) => Entries::Whole(vec![T::Lanes::ZERO; size]),
            Some(WeightFormat::F16) => Entries::F16(vec![Halves::<T>::default(); size]),
            Some(WeightFormat::Bf16) => Entries::Bf16(vec![Halves::<T>::default(); size]),
            Some(WeightFormat::Int8) => Entries::Int8 {
                levels: vec![Bytes::<T>::default(); size],
                scales: vec![<T::Lanes>::ZERO; padded],
            },
        };
        let mut biases = vec![T::Lanes::ZERO; padded];
        let mut row = vec![0.0; inputs];
        for vector in 0..vectors {
            let (tile, within) = (vector / per_tile, vector % per_tile);
            for lane in 0..T::Lanes::WIDTH {
                biases[vector].lanes_mut()[lane] = bias(vector, lane);
                for (input, x) in row.iter_mut().enumerate() {
                    *x = entry(vector, lane, input);
                }
                let scale = format.map_or(0.0, |format| format.scale(&row));
                if let Entries::Int8 { scales, .. } = &mut entries {
                    let scales: &mut T::Lanes = &mut scales[vector];
                    scales.lanes_mut()[lane] = T::from_f64(f64::from(scale));
                }
                for (input, &x) in row.iter().enumerate() {
                    let at = (tile * inputs + input) * per_tile + within;
                    let stored = |format: WeightFormat| format.stored(x, scale);
                    match &mut entries {
                        Entries::Whole(lanes) => {
                            let lanes: &mut T::Lanes = &mut lanes[at];
                            lanes.lanes_mut()[lane] = T::from_f64(format.map_or(x, stored));
                        }
                        Entries::F16(halves) => {
                            put_half::<T>(&mut halves[at], lane, FloatFormat::F16.encode(x) as u16);
                        }
                        Entries::Bf16(halves) => {
                            put_half::<T>(
                                &mut halves[at],
                                lane,
                                FloatFormat::BF16.encode(x) as u16,
                            );
                        }
                        Entries::Int8 { levels, .. } => {
                            let levels: &mut Bytes<T> = &mut levels[at];
                            levels.as_mut()[lane] = level_of(x, scale);
                        }
                    }
                }
            }
        }
        Self {
            level,
            inputs,
            vectors,
            height,
            per_tile,
            stored: Arc::new(Stored {
                entries,
                bias: biases,
            }),
        }
    }

    /// Vectors of outputs per tile.
    pub(crate) fn per_tile(&self) -> usize {
        self.per_tile
    }

    /// The number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.vectors.div_ceil(self.per_tile)
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

    /// The vector operations of a product of `rows` rows.
    pub(super) fn operations(&self, rows: usize) -> usize {
        rows * self.inputs * self.vectors
    }

    /// Does something with `count` tiles from the `first`.
    pub(super) fn with_tiles(&self, first: usize, count: usize, todo: impl WithTiles<T>) {
        let size = self.inputs * self.per_tile;
        let (at, vectors) = (first * size..(first + count) * size, first * self.per_tile);
        let vectors = vectors..vectors + count * self.per_tile;
        let bias = &self.stored.bias[vectors.clone()];
        let scales = &[][..];
        match &self.stored.entries {
            Entries::Whole(lanes) => todo.run::<Whole>(Tiles {
                codes: &lanes[at],
                scales,
                bias,
            }),
            Entries::F16(halves) => todo.run::<F16>(Tiles {
                codes: &halves[at],
                scales,
                bias,
            }),
            Entries::Bf16(halves) => todo.run::<Bf16>(Tiles {
                codes: &halves[at],
                scales,
                bias,
            }),
            Entries::Int8 { levels, scales } => todo.run::<Int8>(Tiles {
                codes: &levels[at],
                scales: &scales[vectors],
                bias,
            }),
        }
    }

    /// One tile as lanes: where it is stored in another format, widened into `wide`.
    pub(super) fn tile<'a>(&'a self, i: usize, wide: &'a mut Vec<T::Lanes>) -> Tile<'a, T> {
        let size = self.inputs * self.per_tile;
        let entries = match &self.stored.entries {
            Entries::Whole(lanes) => &lanes[i * size..(i + 1) * size],
            _ => {
                wide.resize(size, T::Lanes::ZERO);
                let (level, per_tile) = (self.level, self.per_tile);
                let to = &mut wide[..];
                self.with_tiles(
                    i,
                    1,
                    Unpack {
                        level,
                        per_tile,
                        to,
                    },
                );
                &wide[..]
            }
        };
        Tile {
            inputs: self.inputs,
            entries,
            bias: &self.stored.bias[i * self.per_tile..(i + 1) * self.per_tile],
        }
    }

    /// The weights of one output, one per input, read out of the packed layout.
    pub(crate) fn read_output(&self, output: usize, to: &mut [T]) {
        let (vector, lane) = (output / T::Lanes::WIDTH, output % T::Lanes::WIDTH);
        let (within, per_tile) = (vector % self.per_tile, self.per_tile);
        self.with_tiles(
            vector / self.per_tile,
            1,
            ReadOutput {
                within,
                lane,
                per_tile,
                to,
            },
        );
    }
}

/// Puts the bits of a lane to its place among zeros.
fn put_half<T: Element>(halves: &mut Halves<T>, lane: usize, bits: u16) {
    let words = halves.as_mut();
    let (word, upper) = (lane % words.len(), lane / words.len());
    words[word] |= u32::from(bits) << (16 * upper);
}

/// Widens a tile.
struct Unpack<'a, T: Element> {
    level: Level,
    per_tile: usize,
    to: &'a mut [T::Lanes],
}

impl<T: Element> WithTiles<T> for Unpack<'_, T> {
    fn run<W: Widen<T>>(self, tiles: Tiles<'_, T, W>) {
        for v in 0..self.per_tile {
            self.level.run(UnpackVector::<T, W> {
                codes: &tiles.codes[v..],
                per_tile: self.per_tile,
                scales: tiles.scales.get(v).copied().unwrap_or_default(),
                to: &mut self.to[v..],
            });
        }
    }
}

/// Widens one vector of a tile, for every input.
struct UnpackVector<'a, T: Element, W: Widen<T>> {
    codes: &'a [W::Code],
    per_tile: usize,
    scales: T::Lanes,
    to: &'a mut [T::Lanes],
}

impl<T: Element, W: Widen<T>> Kernel for UnpackVector<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let inputs = self.codes.len().div_ceil(self.per_tile);
        for k in 0..inputs {
            let at = k * self.per_tile;
            self.to[at] = W::lanes(&self.codes[at], self.scales);
        }
    }
}

/// Reads one lane of a tile, for every input.
struct ReadOutput<'a, T> {
    within: usize,
    lane: usize,
    per_tile: usize,
    to: &'a mut [T],
}

impl<T: Element> WithTiles<T> for ReadOutput<'_, T> {
    fn run<W: Widen<T>>(self, tiles: Tiles<'_, T, W>) {
        let scales = tiles.scales.get(self.within).copied().unwrap_or_default();
        let codes = tiles.codes.chunks_exact(self.per_tile);
        for (to, codes) in self.to.iter_mut().zip(codes) {
            *to = W::lanes(&codes[self.within], scales).lanes()[self.lane];
        }
    }
}
