//! The diagonal state space model over lanes of channels, in blocks of time.
//!
//! With `m` stored pairs a channel, a block of `T = BLOCK` steps is three matrices per lane,
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

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::{Panels, lane_groups};
use super::shift::split_parts;
use super::threads::{Workspace, share};
use super::transform::Transform;
use crate::error::{Error, check_len};
use num_complex::Complex;

/// Steps a block.
const BLOCK: usize = 16;

/// Pairs whose part of `M_xy` is applied before moving on: 16 pairs of a tile of 6 blocks are 12
/// KB of states and 8 KB of coefficients, which fit the first-level cache together.
const PAIRS_AT_ONCE: usize = 16;

/// Rows of a register tile and blocks of a register tile, per level.
const fn tile_of(accumulators: usize) -> (usize, usize) {
    match accumulators {
        24.. => (4, 6),
        6.. => (2, 3),
        _ => (2, 1),
    }
}

/// The parameters of a bank of diagonal models, in double precision whatever it will run in.
///
/// Model `h` has the pairs `h * pairs .. (h + 1) * pairs` of `a`, `b` and `c`.
#[derive(Clone, Debug)]
pub struct DiagonalParameters {
    /// Stored pairs a model.
    pub pairs: usize,
    /// Poles (models, pairs).
    pub a: Vec<Complex<f64>>,
    /// Input vectors (models, pairs).
    pub b: Vec<Complex<f64>>,
    /// Output vectors (models, pairs).
    pub c: Vec<Complex<f64>>,
    /// Feedthroughs (models).
    pub d: Vec<f64>,
}

/// A bank of diagonal models, one a lane, prepared for a level.
#[derive(Clone, Debug)]
pub struct DiagonalSsm<T: Element> {
    level: Level,
    models: usize,
    pairs: usize,
    /// Pairs a lane with those that only fill the last tile; their coefficients are zero.
    padded: usize,
    groups: Vec<Coefficients<T>>,
}

/// The coefficients of one group of lanes. Every one is a vector: lane `l` is model `l`.
#[derive(Clone, Debug)]
struct Coefficients<T: Element> {
    /// `M_ux`: [tile of rows][j][row], row `2n` and `2n + 1` the real and imaginary part of
    /// `b_n a_n^{T-1-j}`.
    inject: Vec<T::Lanes>,
    /// `a_n^T`: [n][re, im].
    advance: Vec<T::Lanes>,
    /// `M_xy`: [slice of pairs][tile of steps][row][step], row `2n` the real part of
    /// `2 c_n a_n^{i+1}`, row `2n + 1` minus its imaginary part.
    output: Vec<T::Lanes>,
    /// `T_f`: [tile of steps][j][step], `f_{i-j}` or zero, `D` within `f_0`.
    toeplitz: Vec<T::Lanes>,
    /// For single steps: [n][a re, a im, b re, b im, 2c re, -2c im].
    step: Vec<[T::Lanes; 6]>,
    /// `D`.
    feedthrough: T::Lanes,
}

/// The states of a batch of banks: (batch, copies, models, pairs) real and imaginary parts, as
/// lanes.
///
/// A copy is a signal of its own run through the same models (the `d_h^2` products of a head).
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalState<T: Element> {
    /// [batch][copy][group][n][re, im]
    lanes: Vec<[T::Lanes; 2]>,
    streams: usize,
}

/// Buffers of one thread.
#[derive(Clone, Debug)]
pub(crate) struct DiagonalScratch<T: Element> {
    inputs: Vec<T::Lanes>,
    states: Vec<T::Lanes>,
    outputs: Vec<T::Lanes>,
}

impl<T: Element> DiagonalScratch<T> {
    pub(crate) fn new() -> Self {
        Self {
            inputs: Vec::new(),
            states: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

/// What a run does, and vector operations a step and group of lanes; `Display` says it in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The level.
    pub level: Level,
    /// Stored pairs a model.
    pub pairs: usize,
    /// Steps a block.
    pub block: usize,
    /// Whole blocks, run as matrix products.
    pub blocks: usize,
    /// Steps left over, run by the recurrence.
    pub steps: usize,
    /// Operations a step in a block.
    pub operations: f64,
    /// Operations a step of the recurrence.
    pub recurrence: f64,
    /// Points of a transform for a convolution with the impulse responses.
    pub points: usize,
    /// Its operations a step, the spectra of the impulse responses being known.
    pub transform: f64,
}

impl core::fmt::Display for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{}, {} pairs: {} blocks of {} steps as matrix products ({:.1} operations a step; the \
             recurrence takes {:.1}), {} steps by the recurrence; from the zero state and without \
             the final one, convolution with known spectra takes {:.1} ({} points)",
            self.level,
            self.pairs,
            self.blocks,
            self.block,
            self.operations,
            self.recurrence,
            self.steps,
            self.transform,
            self.points,
        )
    }
}

impl DiagonalParameters {
    /// The number of models.
    fn models(&self) -> usize {
        self.d.len()
    }

    fn check(&self) -> Result<(), Error> {
        let size = self
            .models()
            .checked_mul(self.pairs)
            .ok_or_else(|| Error::value("pairs", "too many"))?;
        check_len("poles", self.a.len(), size)?;
        check_len("B", self.b.len(), size)?;
        check_len("C", self.c.len(), size)
    }
}

impl<T: Element> DiagonalSsm<T> {
    /// The bank prepared for a level. Powers of the poles are formed in double precision, by
    /// multiplication, and rounded once; no exponential is taken.
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(level: Level, parameters: &DiagonalParameters) -> Result<Self, Error> {
        parameters.check()?;
        let (rows, _) = level.run(TileOf);
        let padded = parameters.pairs.next_multiple_of((rows / 2).max(1));
        let models = parameters.models();
        let width = T::Lanes::WIDTH;
        let groups = (0..lane_groups::<T>(models))
            .map(|group| {
                let first = group * width;
                let lanes = first..models.min(first + width);
                Coefficients::new(parameters, lanes, rows, padded)
            })
            .collect();
        Ok(Self {
            level,
            models,
            pairs: parameters.pairs,
            padded,
            groups,
        })
    }

    /// The number of models.
    #[must_use]
    pub fn models(&self) -> usize {
        self.models
    }

    /// Stored pairs a model.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Pairs a state is stored in: with those that only fill the last register tile.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// The zero state for a batch of `streams` signals a model.
    #[must_use]
    pub fn zero_state(&self, streams: usize) -> DiagonalState<T> {
        DiagonalState {
            lanes: vec![[T::Lanes::ZERO; 2]; streams * self.groups.len() * self.padded],
            streams,
        }
    }

    /// The state given by parts: `part(stream, model, pair)`.
    pub fn state_from(
        &self,
        streams: usize,
        mut part: impl FnMut(usize, usize, usize) -> Complex<T>,
    ) -> DiagonalState<T> {
        let mut state = self.zero_state(streams);
        for stream in 0..streams {
            for model in 0..self.models {
                for n in 0..self.pairs {
                    let z = part(stream, model, n);
                    let (group, lane) = (model / T::Lanes::WIDTH, model % T::Lanes::WIDTH);
                    let at = (stream * self.groups.len() + group) * self.padded + n;
                    state.lanes[at][0].lanes_mut()[lane] = z.re;
                    state.lanes[at][1].lanes_mut()[lane] = z.im;
                }
            }
        }
        state
    }

    /// One number of a state, or `None` where there is none.
    #[must_use]
    pub fn state_part(
        &self,
        state: &DiagonalState<T>,
        stream: usize,
        model: usize,
        pair: usize,
    ) -> Option<Complex<T>> {
        if model >= self.models || pair >= self.pairs {
            return None;
        }
        let (group, lane) = (model / T::Lanes::WIDTH, model % T::Lanes::WIDTH);
        let at = (stream * self.groups.len() + group) * self.padded + pair;
        let [re, im] = state.lanes.get(at)?;
        Some(Complex::new(re.lanes()[lane], im.lanes()[lane]))
    }

    /// Runs every model over its signal: `u` and `y` (batch, seq_len, models), from `state` and
    /// leaving in it the state after the last input. The result does not depend on the number of
    /// threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees.
    pub fn run(
        &self,
        u: &Panels<T>,
        state: &mut DiagonalState<T>,
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        u.check("input", u.batch(), self.models, u.seq_len())?;
        y.check("output", u.batch(), self.models, u.seq_len())?;
        self.check_state(state, u.batch())?;
        let (len, each) = (u.seq_len(), self.padded);
        if len == 0 || self.groups.is_empty() {
            return Ok(());
        }
        // With no pairs there are no states to share out; an item then has an empty part.
        let states = split_parts(&mut state.lanes, each, u.batch() * self.groups.len());
        let items = u
            .streams()
            .zip(y.streams_mut())
            .zip(states)
            .enumerate()
            .map(|(i, ((u, y), x))| (i % self.groups.len(), u, x, y));
        share(
            items,
            &mut workspace.threads,
            |scratch, (group, u, x, y)| {
                self.run_group(group, u, x, y, &mut scratch.diagonal);
            },
        );
        Ok(())
    }

    /// The impulse responses of all models, `D` within the first tap: (1, len, models). No
    /// exponential is taken for them: they are the models' own answers to an impulse.
    ///
    /// As the kernels of a [`LongConvolution`](super::LongConvolution) they give the outputs from
    /// the zero state; see [`plan`](Self::plan) for when that is less work.
    ///
    /// # Errors
    ///
    /// Never for sizes that fit memory.
    pub fn impulse_response(
        &self,
        len: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Panels<T>, Error> {
        let mut u = Panels::zeros(1, len, self.models);
        for stream in u.streams_mut() {
            stream[0] = T::Lanes::splat(T::ONE);
        }
        let mut y = Panels::zeros(1, len, self.models);
        self.run(&u, &mut self.zero_state(1), &mut y, workspace)?;
        Ok(y)
    }

    /// What a run over so many steps does, and what it costs.
    #[must_use]
    pub fn plan(&self, seq_len: usize) -> Plan {
        let (rows, _) = self.level.run(TileOf);
        let pairs = self.padded as f64;
        let size = Transform::<T>::size_for(seq_len);
        Plan {
            level: self.level,
            pairs: self.pairs,
            block: BLOCK,
            blocks: seq_len / BLOCK,
            steps: seq_len % BLOCK,
            operations: 4.0 * pairs + 4.0 * pairs / BLOCK as f64 + (BLOCK + rows) as f64 / 2.0,
            recurrence: 6.0 * pairs,
            points: size.points,
            transform: size.operations as f64 / seq_len.max(1) as f64,
        }
    }

    fn check_state(&self, state: &DiagonalState<T>, streams: usize) -> Result<(), Error> {
        check_len("streams of the state", state.streams, streams)?;
        check_len(
            "state of the diagonal models",
            state.lanes.len(),
            streams * self.groups.len() * self.padded,
        )
    }

    /// One group of lanes over one signal each.
    pub(crate) fn run_group(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [[T::Lanes; 2]],
        y: &mut [T::Lanes],
        scratch: &mut DiagonalScratch<T>,
    ) {
        self.level.run(Blocks {
            coefficients: &self.groups[group],
            pairs: self.padded,
            u,
            x,
            y,
            scratch,
        });
    }
}

/// Asks a level for its tile.
struct TileOf;

impl Kernel for TileOf {
    type Output = (usize, usize);

    #[inline(always)]
    fn run<S: Isa>(self) -> (usize, usize) {
        tile_of(S::ACCUMULATORS)
    }
}

impl<T: Element> Coefficients<T> {
    /// The coefficients of some models as lanes, for register tiles of `rows` rows.
    fn new(
        parameters: &DiagonalParameters,
        lanes: core::ops::Range<usize>,
        rows: usize,
        padded: usize,
    ) -> Self {
        let m = parameters.pairs;
        let tiles = BLOCK / rows;
        let mut inject = vec![T::Lanes::ZERO; 2 * padded * BLOCK];
        let mut advance = vec![T::Lanes::ZERO; 2 * padded];
        let mut output = vec![T::Lanes::ZERO; 2 * padded * BLOCK];
        let mut toeplitz = vec![T::Lanes::ZERO; tiles * BLOCK * rows];
        let mut step = vec![[T::Lanes::ZERO; 6]; padded];
        let mut feedthrough = T::Lanes::ZERO;
        for (lane, h) in lanes.enumerate() {
            let put = |to: &mut T::Lanes, x: f64| to.lanes_mut()[lane] = T::from_f64(x);
            let mut kernel = [0.0; BLOCK];
            for n in 0..m {
                let at = h * m + n;
                let (a, b, c) = (parameters.a[at], parameters.b[at], parameters.c[at]);
                let mut power = Complex::new(1.0, 0.0);
                for i in 0..BLOCK {
                    // power = a^i
                    let ab = b * power;
                    kernel[i] += 2.0 * (c * ab).re;
                    let j = BLOCK - 1 - i;
                    for (part, value) in [ab.re, ab.im].into_iter().enumerate() {
                        let row = 2 * n + part;
                        put(
                            &mut inject[(row / rows * BLOCK + j) * rows + row % rows],
                            value,
                        );
                    }
                    power *= a;
                    let ca = c * power * 2.0;
                    let (slice, within) = (n / PAIRS_AT_ONCE, n % PAIRS_AT_ONCE);
                    let in_slice = 2 * PAIRS_AT_ONCE.min(padded - slice * PAIRS_AT_ONCE);
                    let start = slice * 2 * PAIRS_AT_ONCE * BLOCK;
                    for (part, value) in [ca.re, -ca.im].into_iter().enumerate() {
                        let row = i / rows * in_slice + 2 * within + part;
                        put(&mut output[start + row * rows + i % rows], value);
                    }
                }
                put(&mut advance[2 * n], power.re);
                put(&mut advance[2 * n + 1], power.im);
                let parts = [a.re, a.im, b.re, b.im, 2.0 * c.re, -2.0 * c.im];
                for (to, value) in step[n].iter_mut().zip(parts) {
                    put(to, value);
                }
            }
            kernel[0] += parameters.d[h];
            put(&mut feedthrough, parameters.d[h]);
            for i in 0..BLOCK {
                for j in 0..=i {
                    let at = (i / rows * BLOCK + j) * rows + i % rows;
                    put(&mut toeplitz[at], kernel[i - j]);
                }
            }
        }
        Self {
            inject,
            advance,
            output,
            toeplitz,
            step,
            feedthrough,
        }
    }
}

/// One group of lanes over one signal each, as a kernel.
struct Blocks<'a, T: Element> {
    coefficients: &'a Coefficients<T>,
    pairs: usize,
    u: &'a [T::Lanes],
    x: &'a mut [[T::Lanes; 2]],
    y: &'a mut [T::Lanes],
    scratch: &'a mut DiagonalScratch<T>,
}

impl<T: Element> Kernel for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        match tile_of(S::ACCUMULATORS) {
            (4, _) => self.tiles::<S, 4, 6>(),
            (_, 3) => self.tiles::<S, 2, 3>(),
            _ => self.tiles::<S, 2, 1>(),
        }
    }
}

impl<T: Element> Blocks<'_, T> {
    /// Whole blocks in tiles of `B`, what is left over a step at a time.
    #[inline(always)]
    fn tiles<S: Isa, const I: usize, const B: usize>(self) {
        let blocks = self.u.len() / BLOCK;
        if blocks > 0 {
            let DiagonalScratch {
                inputs,
                states,
                outputs,
            } = self.scratch;
            inputs.resize(BLOCK * B, T::Lanes::ZERO);
            states.resize(2 * self.pairs * B, T::Lanes::ZERO);
            outputs.resize(BLOCK * B, T::Lanes::ZERO);
            let inputs = inputs.as_chunks_mut::<B>().0;
            let states = states.as_chunks_mut::<B>().0;
            let outputs = outputs.as_chunks_mut::<B>().0;
            let (u, y) = (self.u, &mut *self.y);
            for (u, y) in u
                .chunks(BLOCK * B)
                .zip(y.chunks_mut(BLOCK * B))
                .take(blocks.div_ceil(B))
            {
                let count = u.len() / BLOCK;
                gather(u, inputs);
                inject::<T, S, I, B>(self.coefficients, inputs, self.x, states, count);
                read::<T, S, I, B>(self.coefficients, inputs, states, outputs);
                for (b, y) in y.chunks_exact_mut(BLOCK).enumerate() {
                    for (y, row) in y.iter_mut().zip(outputs.iter()) {
                        *y = row[b];
                    }
                }
            }
        }
        let done = blocks * BLOCK;
        let (u, y) = (&self.u[done..], &mut self.y[done..]);
        steps::<T, S>(self.coefficients, u, self.x, y);
    }
}

/// `inputs[j][b] = u[b T + j]`; zeros for blocks that are not whole.
#[inline(always)]
fn gather<L: Copy, const B: usize>(u: &[L], inputs: &mut [[L; B]]) {
    let blocks = u.as_chunks::<BLOCK>().0;
    for (b, block) in blocks.iter().enumerate() {
        for (row, &u) in inputs.iter_mut().zip(block) {
            row[b] = u;
        }
    }
}

/// `acc[i][b] += sum_k p[k][i] x[k][b]`: the register tile everything is made of.
#[inline(always)]
fn product<T: Element, S: Isa, const I: usize, const B: usize>(
    p: &[[T::Lanes; I]],
    x: &[[T::Lanes; B]],
    mut acc: [[T::Lanes; B]; I],
) -> [[T::Lanes; B]; I] {
    for (p, x) in p.iter().zip(x) {
        for i in 0..I {
            for b in 0..B {
                acc[i][b] = p[i].fma::<S>(x[b], acc[i][b]);
            }
        }
    }
    acc
}

/// Brings the states over a tile of blocks: `states[row][b]` is the state before block `b`, and
/// `x` becomes the one after the last of `count` whole blocks.
#[inline(always)]
fn inject<T: Element, S: Isa, const I: usize, const B: usize>(
    coefficients: &Coefficients<T>,
    inputs: &[[T::Lanes; B]],
    x: &mut [[T::Lanes; 2]],
    states: &mut [[T::Lanes; B]],
    count: usize,
) {
    let tiles = coefficients.inject.as_chunks::<I>().0;
    for (tile, m_ux) in tiles.chunks_exact(BLOCK).enumerate() {
        let acc = product::<T, S, I, B>(m_ux, inputs, [[T::Lanes::ZERO; B]; I]);
        for pair in 0..I / 2 {
            let n = tile * (I / 2) + pair;
            let (ar, ai) = (coefficients.advance[2 * n], coefficients.advance[2 * n + 1]);
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
    coefficients: &Coefficients<T>,
    inputs: &[[T::Lanes; B]],
    states: &[[T::Lanes; B]],
    outputs: &mut [[T::Lanes; B]],
) {
    let outputs = outputs.as_chunks_mut::<I>().0;
    let toeplitz = coefficients.toeplitz.as_chunks::<I>().0;
    for (tile, (out, t_f)) in outputs
        .iter_mut()
        .zip(toeplitz.chunks_exact(BLOCK))
        .enumerate()
    {
        // Row i reads inputs up to j = i; the tile's triangle is filled up with zeros.
        let t_f = &t_f[..(tile + 1) * I];
        *out = product::<T, S, I, B>(t_f, inputs, [[T::Lanes::ZERO; B]; I]);
    }
    let m_xy = coefficients.output.as_chunks::<I>().0;
    let slice = 2 * PAIRS_AT_ONCE;
    for (states, m_xy) in states.chunks(slice).zip(m_xy.chunks(slice * (BLOCK / I))) {
        for (out, m_xy) in outputs.iter_mut().zip(m_xy.chunks_exact(states.len())) {
            *out = product::<T, S, I, B>(m_xy, states, *out);
        }
    }
}

/// The recurrence, pair by pair over a few steps.
#[inline(always)]
fn steps<T: Element, S: Isa>(
    coefficients: &Coefficients<T>,
    u: &[T::Lanes],
    x: &mut [[T::Lanes; 2]],
    y: &mut [T::Lanes],
) {
    for (y, &u) in y.iter_mut().zip(u) {
        *y = coefficients.feedthrough.times(u);
    }
    for (x, &[ar, ai, br, bi, cr, ci]) in x.iter_mut().zip(&coefficients.step) {
        let [mut re, mut im] = *x;
        for (y, &u) in y.iter_mut().zip(u) {
            let next = ai.fnma::<S>(im, ar.fma::<S>(re, br.times(u)));
            im = ai.fma::<S>(re, ar.fma::<S>(im, bi.times(u)));
            re = next;
            *y = ci.fma::<S>(im, cr.fma::<S>(re, *y));
        }
        *x = [re, im];
    }
}
