//! A diagonal model over lanes of channels, in blocks of time.
//!
//! With `m` stored pairs per channel, a block of `T = BLOCK` steps is three matrices per lane,
//!
//! ```text
//! z = M_ux u     (2m x T)   what the block's inputs add to the state
//! x' = A^T x + z (diagonal)
//! y = M_xy x + T_f u        (T x 2m and T x T, lower triangular)
//! ```
//!
//! and a tile of `B` blocks makes matrix products of them, so that a coefficient loaded once
//! serves `B` blocks: `4 m` multiply-adds a step for the two products, `4 m / T` for the
//! state, `(T + I) / 2` for the block's own Toeplitz part in tiles of `I` rows. The recurrence
//! needs `6 m`.
//!
//! The adjoint of a block is the block transposed, and read backwards in time it has the same
//! form, with other powers in its matrices (chapter 11): [`Carried`] says which.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level, match_size};
use super::scratch::BlockScratch;
use core::ops::Range;
use num_complex::Complex;

/// Steps per block.
pub(super) const BLOCK: usize = 16;

/// Pairs whose part of `M_xy` is applied before the next are read: 16 pairs of a tile of 6 blocks are 12
/// KB of states and 8 KB of coefficients, which fit the first-level cache together.
const PAIRS_AT_ONCE: usize = 16;

/// Rows and columns of a register tile of signals, per level.
pub(super) const fn signal_tile(accumulators: usize) -> (usize, usize) {
    match accumulators {
        24.. => (4, 6),
        6.. => (2, 3),
        _ => (2, 1),
    }
}

/// Work in register tiles of signals, whose size is the level's.
pub(super) trait SignalTiles: Sized {
    /// All of it, in tiles of `I` rows and `B` columns.
    fn tiles<S: Isa, const I: usize, const B: usize>(self);

    /// The same with the sizes of [`signal_tile`].
    #[inline(always)]
    fn of_level<S: Isa>(self) {
        match_size!(signal_tile(S::ACCUMULATORS);
            (4, 6) => self.tiles::<S, 4, 6>(),
            (2, 3) => self.tiles::<S, 2, 3>(),
            _ => self.tiles::<S, 2, 1>(),
        );
    }
}

/// The quantity carried over the end of a block.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Carried {
    /// The state, its last input taken in: `x' = a x + b u`, `y = re(c x')`.
    State,
    /// The state already advanced by one step, as cotangents are: `s = x + b u`, `y = re(c s)`,
    /// `x' = a s`.
    Advanced,
}

/// One mode of a model as the blocks see it: `y = re(c x)`, the trace's factor within `c`.
pub(super) struct Mode {
    pub(super) a: Complex<f64>,
    pub(super) b: Complex<f64>,
    pub(super) c: Complex<f64>,
}

/// The matrices of one group of lanes. Every entry is a vector: lane `l` is model `l`.
#[derive(Clone, Debug)]
pub(super) struct Tables<T: Element> {
    /// Pairs with those that only fill the last tile; their entries are zero.
    pairs: usize,
    /// `M_ux`: [tile of rows][j][row], row `2n` and `2n + 1` the real and imaginary part of
    /// `b_n a_n^{T-1-j}`.
    inject: Vec<T::Lanes>,
    /// `a_n^T`: [n][re, im].
    advance: Vec<T::Lanes>,
    /// `M_xy`: [slice of pairs][tile of steps][row][step], row `2n` the real part of
    /// `c_n a_n^{i+1}`, row `2n + 1` minus its imaginary part.
    output: Vec<T::Lanes>,
    /// `T_f`: [tile of steps][j][step], `f_{i-j}` or zero, `D` within `f_0`.
    toeplitz: Vec<T::Lanes>,
}

/// Pairs of a model with those that only fill the last tile of `rows` rows.
pub(super) fn padded_pairs(pairs: usize, rows: usize) -> usize {
    pairs.next_multiple_of((rows / 2).max(1))
}

impl<T: Element> Tables<T> {
    /// The matrices of some models as lanes, for register tiles of `rows` rows. Powers are formed
    /// by multiplication and rounded once; no exponential is taken.
    pub(super) fn new(
        models: Range<usize>,
        pairs: usize,
        mode: impl Fn(usize, usize) -> Mode,
        feedthrough: impl Fn(usize) -> f64,
        carried: Carried,
        rows: usize,
    ) -> Self {
        let padded = padded_pairs(pairs, rows);
        let tiles = BLOCK / rows;
        let mut tables = Self {
            pairs: padded,
            inject: vec![T::Lanes::ZERO; 2 * padded * BLOCK],
            advance: vec![T::Lanes::ZERO; 2 * padded],
            output: vec![T::Lanes::ZERO; 2 * padded * BLOCK],
            toeplitz: vec![T::Lanes::ZERO; tiles * BLOCK * rows],
        };
        for (lane, h) in models.enumerate() {
            let put = |to: &mut T::Lanes, x: f64| to.lanes_mut()[lane] = T::from_f64(x);
            let mut kernel = [0.0; BLOCK];
            for n in 0..pairs {
                let Mode { a, b, c } = mode(h, n);
                let mut power = Complex::new(1.0, 0.0);
                let (slice, within) = (n / PAIRS_AT_ONCE, n % PAIRS_AT_ONCE);
                let in_slice = 2 * PAIRS_AT_ONCE.min(padded - slice * PAIRS_AT_ONCE);
                let start = slice * 2 * PAIRS_AT_ONCE * BLOCK;
                for (i, f) in kernel.iter_mut().enumerate() {
                    let next = power * a;
                    // power = a^i
                    *f += (c * b * power).re;
                    let (before, after) = match carried {
                        Carried::State => (power, next),
                        Carried::Advanced => (next, power),
                    };
                    let (from, to, j) = (b * before, c * after, BLOCK - 1 - i);
                    for (part, value) in [from.re, from.im].into_iter().enumerate() {
                        let row = 2 * n + part;
                        let at = (row / rows * BLOCK + j) * rows + row % rows;
                        put(&mut tables.inject[at], value);
                    }
                    for (part, value) in [to.re, -to.im].into_iter().enumerate() {
                        let row = i / rows * in_slice + 2 * within + part;
                        put(&mut tables.output[start + row * rows + i % rows], value);
                    }
                    power = next;
                }
                put(&mut tables.advance[2 * n], power.re);
                put(&mut tables.advance[2 * n + 1], power.im);
            }
            kernel[0] += feedthrough(h);
            for i in 0..BLOCK {
                for j in 0..=i {
                    let at = (i / rows * BLOCK + j) * rows + i % rows;
                    put(&mut tables.toeplitz[at], kernel[i - j]);
                }
            }
        }
        tables
    }
}

/// The states before every block, to be kept: [tile of rows][block][row]. `blocks` of them, the
/// last first if `reversed`.
pub(super) struct Record<'a, L> {
    pub(super) states: &'a mut [L],
    pub(super) blocks: usize,
    pub(super) reversed: bool,
}

/// One group of lanes over whole blocks of one signal each.
pub(super) struct Blocks<'a, T: Element> {
    pub(super) tables: &'a Tables<T>,
    pub(super) u: &'a [T::Lanes],
    pub(super) x: &'a mut [[T::Lanes; 2]],
    pub(super) y: &'a mut [T::Lanes],
    pub(super) record: Option<Record<'a, T::Lanes>>,
    pub(super) scratch: &'a mut BlockScratch<T>,
}

/// The blocks of a tile at a level.
pub(super) fn blocks_at_once(level: Level) -> usize {
    signal_tile(level.accumulators()).1
}

impl<T: Element> Blocks<'_, T> {
    /// Tile by tile: the states before the blocks, then their outputs.
    pub(super) fn run(self, level: Level) {
        let Self {
            tables,
            u,
            x,
            y,
            mut record,
            scratch,
        } = self;
        let blocks = blocks_at_once(level);
        let steps = BLOCK * blocks;
        for (tile, (u, y)) in u.chunks(steps).zip(y.chunks_mut(steps)).enumerate() {
            level.run(StatesOf {
                tables,
                u,
                x,
                record: record.as_mut(),
                first: tile * blocks,
                scratch,
            });
            level.run(OutputsOf { tables, y, scratch });
        }
    }
}

/// The states before the blocks of one tile, with its inputs as the tile reads them; `x` is brought over the tile.
pub(super) struct StatesOf<'a, 'r, T: Element> {
    pub(super) tables: &'a Tables<T>,
    pub(super) u: &'a [T::Lanes],
    pub(super) x: &'a mut [[T::Lanes; 2]],
    pub(super) record: Option<&'a mut Record<'r, T::Lanes>>,
    /// Its first block.
    pub(super) first: usize,
    pub(super) scratch: &'a mut BlockScratch<T>,
}

impl<T: Element> Kernel for StatesOf<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        self.of_level::<S>();
    }
}

impl<T: Element> SignalTiles for StatesOf<'_, '_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const I: usize, const B: usize>(self) {
        let BlockScratch { inputs, states, .. } = self.scratch;
        inputs.resize(BLOCK * B, T::Lanes::ZERO);
        states.resize(2 * self.tables.pairs * B, T::Lanes::ZERO);
        let inputs = inputs.as_chunks_mut::<B>().0;
        let states = states.as_chunks_mut::<B>().0;
        let count = self.u.len() / BLOCK;
        gather(self.u, inputs);
        inject::<T, S, I, B>(self.tables, inputs, self.x, states, count);
        if let Some(record) = self.record {
            record.keep::<I, B>(states, self.first, count);
        }
    }
}

/// The outputs of the tile whose states and inputs are in the scratch.
pub(super) struct OutputsOf<'a, T: Element> {
    pub(super) tables: &'a Tables<T>,
    pub(super) y: &'a mut [T::Lanes],
    pub(super) scratch: &'a mut BlockScratch<T>,
}

impl<T: Element> Kernel for OutputsOf<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        self.of_level::<S>();
    }
}

impl<T: Element> SignalTiles for OutputsOf<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const I: usize, const B: usize>(self) {
        let BlockScratch {
            inputs,
            states,
            outputs,
        } = self.scratch;
        outputs.resize(BLOCK * B, T::Lanes::ZERO);
        let outputs = outputs.as_chunks_mut::<B>().0;
        let (inputs, states) = (inputs.as_chunks::<B>().0, states.as_chunks::<B>().0);
        read::<T, S, I, B>(self.tables, inputs, states, outputs);
        for (b, y) in self.y.chunks_exact_mut(BLOCK).enumerate() {
            for j in 0..BLOCK {
                y[j] = outputs[j][b];
            }
        }
    }
}

impl<L: Copy> Record<'_, L> {
    /// Keeps the states before `count` blocks from the `first`.
    #[inline(always)]
    fn keep<const I: usize, const B: usize>(
        &mut self,
        states: &[[L; B]],
        first: usize,
        count: usize,
    ) {
        let kept = self.states.as_chunks_mut::<I>().0;
        for (kept, rows) in kept
            .chunks_exact_mut(self.blocks)
            .zip(states.as_chunks::<I>().0)
        {
            for b in 0..count.min(B) {
                let block = if self.reversed {
                    self.blocks - 1 - (first + b)
                } else {
                    first + b
                };
                for i in 0..I {
                    kept[block][i] = rows[i][b];
                }
            }
        }
    }
}

/// `inputs[j][b] = u[b T + j]`; zeros for blocks that are not whole.
#[inline(always)]
fn gather<L: Copy, const B: usize>(u: &[L], inputs: &mut [[L; B]]) {
    let blocks = u.as_chunks::<BLOCK>().0;
    for (b, block) in blocks.iter().enumerate() {
        for j in 0..BLOCK {
            inputs[j][b] = block[j];
        }
    }
}

/// `acc[i][b] += sum_k p[k][i] x[k][b]`: the register tile everything is made of.
#[inline(always)]
pub(super) fn product<T: Element, S: Isa, const I: usize, const B: usize>(
    p: &[[T::Lanes; I]],
    x: &[[T::Lanes; B]],
    mut acc: [[T::Lanes; B]; I],
) -> [[T::Lanes; B]; I] {
    let terms = p.len().min(x.len());
    let (p, x) = (&p[..terms], &x[..terms]);
    for k in 0..terms {
        for i in 0..I {
            for b in 0..B {
                acc[i][b] = p[k][i].fma::<S>(x[k][b], acc[i][b]);
            }
        }
    }
    acc
}

/// Brings the states over a tile of blocks: `states[row][b]` is the state before block `b`, and
/// `x` becomes the one after the last of `count` whole blocks.
#[inline(always)]
fn inject<T: Element, S: Isa, const I: usize, const B: usize>(
    tables: &Tables<T>,
    inputs: &[[T::Lanes; B]],
    x: &mut [[T::Lanes; 2]],
    states: &mut [[T::Lanes; B]],
    count: usize,
) {
    let tiles = tables.inject.as_chunks::<I>().0;
    for (tile, m_ux) in tiles.chunks_exact(BLOCK).enumerate() {
        let acc = product::<T, S, I, B>(m_ux, inputs, [[T::Lanes::ZERO; B]; I]);
        for pair in 0..I / 2 {
            let n = tile * (I / 2) + pair;
            let (ar, ai) = (tables.advance[2 * n], tables.advance[2 * n + 1]);
            let [mut re, mut im] = x[n];
            for b in 0..B {
                states[2 * n][b] = re;
                states[2 * n + 1][b] = im;
                if b < count {
                    let next = ai.fnma::<S>(im, ar.fma::<S>(re, acc[2 * pair][b]));
                    im = ai.fma::<S>(re, ar.fma::<S>(im, acc[2 * pair + 1][b]));
                    re = next;
                }
            }
            x[n] = [re, im];
        }
    }
}

/// The outputs of a tile of blocks, `outputs[i][b]`, from the states before each and their
/// inputs.
#[inline(always)]
fn read<T: Element, S: Isa, const I: usize, const B: usize>(
    tables: &Tables<T>,
    inputs: &[[T::Lanes; B]],
    states: &[[T::Lanes; B]],
    outputs: &mut [[T::Lanes; B]],
) {
    let outputs = outputs.as_chunks_mut::<I>().0;
    let toeplitz = tables.toeplitz.as_chunks::<I>().0;
    for (tile, out) in outputs.iter_mut().enumerate() {
        // Row i reads inputs up to j = i; the tile's triangle is filled up with zeros.
        let t_f = &toeplitz[tile * BLOCK..][..(tile + 1) * I];
        *out = product::<T, S, I, B>(t_f, inputs, [[T::Lanes::ZERO; B]; I]);
    }
    let m_xy = tables.output.as_chunks::<I>().0;
    let slice = 2 * PAIRS_AT_ONCE;
    for (i, states) in states.chunks(slice).enumerate() {
        let m_xy = &m_xy[i * slice * (BLOCK / I)..];
        for (tile, out) in outputs.iter_mut().enumerate() {
            let m_xy = &m_xy[tile * states.len()..][..states.len()];
            *out = product::<T, S, I, B>(m_xy, states, *out);
        }
    }
}
