//! The diagonal state space model over lanes of channels: whole blocks as matrix products, what is
//! left over by the recurrence.

use super::blocks::{
    BLOCK, Blocks, Carried, Mode, OutputsOf, Record, StatesOf, Tables, blocks_at_once,
    padded_pairs, signal_tile,
};
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::{Panels, lane_groups, split_parts};
use super::scratch::BlockScratch;
use super::share::share;
use super::transform::Size;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::threads::{in_two, lock};
use core::ops::Range;
use num_complex::Complex;
use std::sync::Mutex;

/// Tiles that one thread passes on to the other at once: of 32 pairs, some 200 KB of states, and 20 microseconds for each.
const TILES_PASSED_ON: usize = 16;

/// The parameters of a bank of diagonal models, in double precision, whatever the precision of the run.
///
/// Model `h` has the pairs `h * pairs .. (h + 1) * pairs` of `a`, `b` and `c`.
#[derive(Clone, Debug)]
pub struct DiagonalParameters {
    /// Stored pairs per model.
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

/// A bank of diagonal models, one per lane, prepared for a level.
#[derive(Clone, Debug)]
pub struct DiagonalSsm<T: Element> {
    level: Level,
    models: usize,
    pairs: usize,
    /// Pairs per lane with those that only fill the last tile; their coefficients are zero.
    padded: usize,
    groups: Vec<Coefficients<T>>,
}

/// The coefficients of one group of lanes.
#[derive(Clone, Debug)]
pub(super) struct Coefficients<T: Element> {
    pub(super) tables: Tables<T>,
    /// For single steps: [n][a re, a im, b re, b im, 2c re, -2c im].
    pub(super) step: Vec<[T::Lanes; 6]>,
    /// `D`.
    pub(super) feedthrough: T::Lanes,
}

/// The states of a batch of banks: (batch, copies, models, pairs) real and imaginary parts, as
/// lanes.
///
/// A copy is a separate signal run through the same models (the `d_h^2` products of a head).
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalState<T: Element> {
    /// [batch][copy][group][n][re, im]
    lanes: Vec<[T::Lanes; 2]>,
    streams: usize,
}

/// The plan of a run, with vector operations per step and group of lanes; `Display` puts it in words.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The level.
    pub level: Level,
    /// Stored pairs per model.
    pub pairs: usize,
    /// Steps per block.
    pub block: usize,
    /// Whole blocks, run as matrix products.
    pub blocks: usize,
    /// Steps left over, run by the recurrence.
    pub steps: usize,
    /// Operations per step in a block.
    pub operations: f64,
    /// Operations per step of the recurrence.
    pub recurrence: f64,
    /// Points of a transform for a convolution with the impulse responses.
    pub points: usize,
    /// Its operations per step, the spectra of the impulse responses being known.
    pub transform: f64,
}

/// The assumed ratio of the time of an operation of a transform to that of one of the blocks, which run from
/// registers: between 1.1 (768 channels, from memory) and 1.6 (one group, from the caches) by the f32
/// figures of chapter 10. A choice between the two, not derived.
const TRANSFORM_WEIGHT: f64 = 1.25;

impl Plan {
    /// The steps it is for.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.blocks * self.block + self.steps
    }

    /// True if a convolution with the impulse responses is less work than the blocks, where no state
    /// is given or asked for.
    #[must_use]
    pub fn prefers_transform(&self) -> bool {
        TRANSFORM_WEIGHT * self.transform < self.operations
    }
}

impl core::fmt::Display for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{}, {} pairs: {} blocks of {} steps as matrix products ({:.1} operations a step; the \
             recurrence takes {:.1}), {} steps by the recurrence; from the zero state and without \
             the final one, convolution with known spectra takes {:.1} ({} points), so there {}",
            self.level,
            self.pairs,
            self.blocks,
            self.block,
            self.operations,
            self.recurrence,
            self.steps,
            self.transform,
            self.points,
            if self.prefers_transform() {
                "the convolution runs"
            } else {
                "the blocks run too"
            },
        )
    }
}

impl<T: Element> DiagonalState<T> {
    /// The zero state of a batch, in the same place.
    pub(super) fn clear(&mut self, streams: usize, ssm: &DiagonalSsm<T>) {
        self.lanes.clear();
        let size = streams * ssm.groups.len() * ssm.padded;
        self.lanes.resize(size, [T::Lanes::ZERO; 2]);
        self.streams = streams;
    }
}

impl DiagonalParameters {
    /// The number of models.
    fn models(&self) -> usize {
        self.d.len()
    }

    /// A mode as the blocks see it: `y = 2 re(c x)`, with the 2 within `c`.
    fn mode(&self, model: usize, pair: usize) -> Mode {
        let at = model * self.pairs + pair;
        Mode {
            a: self.a[at],
            b: self.b[at],
            c: self.c[at] * 2.0,
        }
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
        let (rows, _) = signal_tile(level.accumulators());
        let models = parameters.models();
        let width = T::Lanes::WIDTH;
        let groups = (0..lane_groups::<T>(models))
            .map(|group| {
                let first = group * width;
                let lanes = first..models.min(first + width);
                Coefficients::new(parameters, lanes, rows)
            })
            .into_vec();
        Ok(Self {
            level,
            models,
            pairs: parameters.pairs,
            padded: padded_pairs(parameters.pairs, rows),
            groups,
        })
    }

    /// The number of models.
    #[must_use]
    pub fn models(&self) -> usize {
        self.models
    }

    /// Stored pairs per model.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Pairs a state is stored in: with those that only fill the last register tile.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// The coefficients of a group of lanes.
    pub(super) fn coefficients(&self, group: usize) -> &Coefficients<T> {
        &self.groups[group]
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
        let states = self.states_mut(state, u.batch())?;
        if u.seq_len() == 0 || self.groups.is_empty() {
            return Ok(());
        }
        let steps = u.batch() * self.groups.len() * u.seq_len();
        let items = u
            .streams()
            .zip(y.streams_mut())
            .zip(states)
            .enumerate()
            .map(|(i, ((u, y), x))| (i % self.groups.len(), u, x, y));
        let operations = steps * self.operations();
        workspace.with_experience(operations, |workspace| {
            let threads = workspace.threads_for(operations);
            // One long signal: there is only its time to be shared.
            if u.batch() * self.groups.len() == 1 && threads.len() > 1 {
                for (group, u, x, y) in items {
                    self.run_group_in_two(group, u, x, y);
                }
                return;
            }
            share(items, threads, |scratch, (group, u, x, y)| {
                self.run_group(group, u, x, y, &mut scratch.diagonal);
            });
        });
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

    /// Vector operations per step and group of lanes, about.
    pub(super) fn operations(&self) -> usize {
        4 * self.padded + BLOCK
    }

    /// The plan of a run over so many steps, and its cost.
    #[must_use]
    pub fn plan(&self, seq_len: usize) -> Plan {
        let (rows, _) = signal_tile(self.level.accumulators());
        let pairs = self.padded as f64;
        let size = Size::for_len(seq_len);
        Plan {
            level: self.level,
            pairs: self.pairs,
            block: BLOCK,
            blocks: seq_len / BLOCK,
            steps: seq_len % BLOCK,
            operations: 4.0 * pairs + 4.0 * pairs / BLOCK as f64 + (BLOCK + rows) as f64 / 2.0,
            // A product and two multiply-adds for each part of a state, two for the output.
            recurrence: 8.0 * pairs,
            points: size.points,
            transform: size.operations as f64 / seq_len.max(1) as f64,
        }
    }

    /// The state of every group of every stream, of which a batch has so many; empty ones where there are
    /// no pairs.
    pub(super) fn states_mut<'a>(
        &self,
        state: &'a mut DiagonalState<T>,
        streams: usize,
    ) -> Result<impl Iterator<Item = &'a mut [[T::Lanes; 2]]> + use<'a, T>, Error> {
        check_len("streams of the state", state.streams, streams)?;
        let count = streams * self.groups.len();
        let size = count * self.padded;
        check_len("state of the diagonal models", state.lanes.len(), size)?;
        Ok(split_parts(&mut state.lanes, self.padded, count))
    }

    /// One group of lanes over one signal each.
    pub(super) fn run_group(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [[T::Lanes; 2]],
        y: &mut [T::Lanes],
        scratch: &mut BlockScratch<T>,
    ) {
        let whole = u.len() / BLOCK * BLOCK;
        let ((u, rest), (y, last)) = (u.split_at(whole), y.split_at_mut(whole));
        self.run_blocks(group, u, x, y, None, scratch);
        self.run_steps(group, rest, x, last);
    }

    /// Whole blocks, the states before them kept if asked for.
    pub(super) fn run_blocks(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [[T::Lanes; 2]],
        y: &mut [T::Lanes],
        record: Option<Record<'_, T::Lanes>>,
        scratch: &mut BlockScratch<T>,
    ) {
        if !u.is_empty() {
            Blocks {
                tables: &self.groups[group].tables,
                u,
                x,
                y,
                record,
                scratch,
            }
            .run(self.level);
        }
    }

    /// As [`run_group`](Self::run_group) on two threads: one brings the state over the tiles of blocks, some tiles ahead of the
    /// other, which reads their outputs from the states before them. Both are about half of the work.
    fn run_group_in_two(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [[T::Lanes; 2]],
        y: &mut [T::Lanes],
    ) {
        let (level, tables) = (self.level, &self.groups[group].tables);
        let whole = u.len() / BLOCK * BLOCK;
        let ((u, rest), (y, last)) = (u.split_at(whole), y.split_at_mut(whole));
        let steps = BLOCK * blocks_at_once(level);
        let mut inputs = u.chunks(steps);
        let outputs = Mutex::new(y.chunks_mut(steps));
        in_two(
            |tiles: &mut Vec<BlockScratch<T>>| {
                let mut filled = 0;
                for u in inputs.by_ref().take(TILES_PASSED_ON) {
                    if filled == tiles.len() {
                        tiles.push(BlockScratch::default());
                    }
                    level.run(StatesOf {
                        tables,
                        u,
                        x: &mut *x,
                        record: None,
                        first: 0,
                        scratch: &mut tiles[filled],
                    });
                    filled += 1;
                }
                tiles.truncate(filled);
                filled > 0
            },
            &|tiles: &mut Vec<BlockScratch<T>>| {
                let mut outputs = lock(&outputs);
                for (scratch, y) in tiles.iter_mut().zip(outputs.by_ref()) {
                    level.run(OutputsOf { tables, y, scratch });
                }
            },
        );
        self.run_steps(group, rest, x, last);
    }

    /// Fewer steps than a block, by the recurrence.
    pub(super) fn run_steps(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [[T::Lanes; 2]],
        y: &mut [T::Lanes],
    ) {
        if !u.is_empty() {
            let coefficients = &self.groups[group];
            self.level.run(Steps {
                coefficients,
                u,
                x,
                y,
            });
        }
    }
}

impl<T: Element> Coefficients<T> {
    /// The coefficients of some models as lanes, for register tiles of `rows` rows.
    fn new(parameters: &DiagonalParameters, models: Range<usize>, rows: usize) -> Self {
        let m = parameters.pairs;
        let mut step = vec![[T::Lanes::ZERO; 6]; padded_pairs(m, rows)];
        let mut feedthrough = T::Lanes::ZERO;
        for (lane, h) in models.clone().enumerate() {
            let put = |to: &mut T::Lanes, x: f64| to.lanes_mut()[lane] = T::from_f64(x);
            for (n, step) in step.iter_mut().enumerate().take(m) {
                let Mode { a, b, c } = parameters.mode(h, n);
                let parts = [a.re, a.im, b.re, b.im, c.re, -c.im];
                for (to, value) in step.iter_mut().zip(parts) {
                    put(to, value);
                }
            }
            put(&mut feedthrough, parameters.d[h]);
        }
        Self {
            tables: Tables::new(
                models,
                m,
                |h, n| parameters.mode(h, n),
                |h| parameters.d[h],
                Carried::State,
                rows,
            ),
            step,
            feedthrough,
        }
    }
}

/// The recurrence, pair by pair over a few steps, as a kernel.
struct Steps<'a, T: Element> {
    coefficients: &'a Coefficients<T>,
    u: &'a [T::Lanes],
    x: &'a mut [[T::Lanes; 2]],
    y: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Steps<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            coefficients,
            u,
            x,
            y,
        } = self;
        let len = u.len().min(y.len());
        for t in 0..len {
            y[t] = coefficients.feedthrough.times(u[t]);
        }
        for n in 0..x.len().min(coefficients.step.len()) {
            let [ar, ai, br, bi, cr, ci] = coefficients.step[n];
            let [mut re, mut im] = x[n];
            for t in 0..len {
                let next = ai.fnma::<S>(im, ar.fma::<S>(re, br.times(u[t])));
                im = ai.fma::<S>(re, ar.fma::<S>(im, bi.times(u[t])));
                re = next;
                y[t] = ci.fma::<S>(im, cr.fma::<S>(re, y[t]));
            }
            x[n] = [re, im];
        }
    }
}
