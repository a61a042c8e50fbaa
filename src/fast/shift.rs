//! The shift model over lanes of channels: a filter, direct while it is short.

use super::blocks::{SignalTiles, signal_tile};
use super::convolution::LongConvolution;
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::{Panels, lane_groups, split_parts};
use super::share::share;
use super::transform::{Gated, Pair};
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The parameters of a bank of shift models, in double precision, whatever the precision of the run.
///
/// Model `h` has the taps `h * taps .. (h + 1) * taps` of `b` and `c`.
#[derive(Clone, Debug)]
pub struct ShiftParameters {
    /// m, the state dimension.
    pub taps: usize,
    /// Input taps (models, m).
    pub b: Vec<f64>,
    /// Output taps (models, m).
    pub c: Vec<f64>,
    /// Feedthroughs (models).
    pub d: Vec<f64>,
}

/// From this window on transforms take less time than the taps themselves (measured, chapter 10).
const LONG: usize = 96;

/// A bank of shift models, one per lane, prepared for a level.
#[derive(Clone, Debug)]
pub struct ShiftSsm<T: Element> {
    level: Level,
    models: usize,
    taps: usize,
    groups: Vec<Taps<T>>,
    /// For long windows: the same kernels, by transforms.
    long: Option<LongConvolution<T>>,
}

/// The coefficients of one group of lanes: `[j]` each, lane `l` for model `l`.
#[derive(Clone, Debug)]
pub(super) struct Taps<T: Element> {
    pub(super) b: Vec<T::Lanes>,
    pub(super) c: Vec<T::Lanes>,
    /// `f_j = sum_n C_n B_{n-j}`, `D` within `f_0`.
    pub(super) kernel: Vec<T::Lanes>,
    /// For `rows` neighbouring outputs: what output `i` takes from the input `m - 1 - k` steps
    /// before the first of them, `f_{i + m - 1 - k}` or zero: [k][i].
    tile: Vec<T::Lanes>,
    feedthrough: T::Lanes,
}

/// The states of a batch of banks, as lanes.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftState<T: Element> {
    /// [stream][group][n]
    lanes: Vec<T::Lanes>,
    streams: usize,
}

impl<T: Element> ShiftSsm<T> {
    /// The bank prepared for a level; kernels are formed in double precision and rounded once.
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(level: Level, parameters: &ShiftParameters) -> Result<Self, Error> {
        let mut ssm = Self::direct(level, parameters)?;
        if ssm.taps >= LONG {
            ssm.long = Some(by_transforms(level, ssm.models, &ssm.groups)?);
        }
        Ok(ssm)
    }

    /// As [`new`](Self::new), for [`run_group`](Self::run_group) alone, which needs no spectra.
    pub(super) fn direct(level: Level, parameters: &ShiftParameters) -> Result<Self, Error> {
        let (models, m) = (parameters.d.len(), parameters.taps);
        let size = models
            .checked_mul(m)
            .ok_or_else(|| Error::value("taps", "too many"))?;
        check_len("B", parameters.b.len(), size)?;
        check_len("C", parameters.c.len(), size)?;
        let width = T::Lanes::WIDTH;
        let (rows, _) = signal_tile(level.accumulators());
        let groups = (0..lane_groups::<T>(models)).map(|group| {
            let mut taps = Taps {
                b: vec![T::Lanes::ZERO; m],
                c: vec![T::Lanes::ZERO; m],
                kernel: vec![T::Lanes::ZERO; m.max(1)],
                tile: Vec::new(),
                feedthrough: T::Lanes::ZERO,
            };
            for h in group * width..models.min((group + 1) * width) {
                let lane = h % width;
                let put = |to: &mut T::Lanes, x: f64| to.lanes_mut()[lane] = T::from_f64(x);
                let (b, c) = (&parameters.b[h * m..][..m], &parameters.c[h * m..][..m]);
                let d = parameters.d[h];
                for j in 0..m {
                    put(&mut taps.b[j], b[j]);
                    put(&mut taps.c[j], c[j]);
                }
                for (j, to) in taps.kernel.iter_mut().enumerate() {
                    let f: f64 = c.iter().skip(j).zip(b).map(|(c, b)| c * b).sum();
                    put(to, if j == 0 { f + d } else { f });
                }
                put(&mut taps.feedthrough, d);
            }
            let m = taps.kernel.len();
            for k in 0..m + rows - 1 {
                for i in 0..rows {
                    let tap = (i + m - 1).checked_sub(k).and_then(|j| taps.kernel.get(j));
                    taps.tile.push(tap.copied().unwrap_or(T::Lanes::ZERO));
                }
            }
            taps
        });
        Ok(Self {
            level,
            models,
            taps: m,
            groups: groups.into_vec(),
            long: None,
        })
    }

    /// The models with their kernels cut to so many taps, for [`run_group`](Self::run_group).
    pub(super) fn cut(&self, window: usize) -> Result<Self, Error> {
        let taps = window.min(self.taps);
        let mut parameters = ShiftParameters {
            taps,
            b: vec![0.0; self.models * taps],
            c: vec![0.0; self.models * taps],
            // It is within the first tap already.
            d: vec![0.0; self.models],
        };
        for model in 0..self.models {
            let (group, lane) = (model / T::Lanes::WIDTH, model % T::Lanes::WIDTH);
            let kernel = &self.groups[group].kernel[..taps];
            parameters.b[model * taps] = 1.0;
            for (c, f) in parameters.c[model * taps..].iter_mut().zip(kernel) {
                *c = f.lanes()[lane].to_f64();
            }
        }
        Self::direct(self.level, &parameters)
    }

    /// The number of models.
    #[must_use]
    pub fn models(&self) -> usize {
        self.models
    }

    /// m, the state dimension.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.taps
    }

    /// The points of a transform, and the steps it takes at once, if the window is long enough for
    /// transforms.
    #[must_use]
    pub fn points(&self) -> Option<usize> {
        self.long.as_ref().map(LongConvolution::points)
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// The coefficients of a group of lanes.
    pub(super) fn group(&self, group: usize) -> &Taps<T> {
        &self.groups[group]
    }

    /// The zero state for a batch of `streams` signals a model.
    #[must_use]
    pub fn zero_state(&self, streams: usize) -> ShiftState<T> {
        ShiftState {
            lanes: vec![T::Lanes::ZERO; streams * self.groups.len() * self.taps],
            streams,
        }
    }

    /// The state given by parts: `part(stream, model, n)`.
    pub fn state_from(
        &self,
        streams: usize,
        mut part: impl FnMut(usize, usize, usize) -> T,
    ) -> ShiftState<T> {
        let mut state = self.zero_state(streams);
        for stream in 0..streams {
            for model in 0..self.models {
                for n in 0..self.taps {
                    let at = self.place(stream, model, n);
                    let lane = model % T::Lanes::WIDTH;
                    state.lanes[at].lanes_mut()[lane] = part(stream, model, n);
                }
            }
        }
        state
    }

    /// One number of a state, or `None` where there is none.
    #[must_use]
    pub fn state_part(
        &self,
        state: &ShiftState<T>,
        stream: usize,
        model: usize,
        n: usize,
    ) -> Option<T> {
        if model >= self.models || n >= self.taps {
            return None;
        }
        let lanes = state.lanes.get(self.place(stream, model, n))?;
        Some(lanes.lanes()[model % T::Lanes::WIDTH])
    }

    fn place(&self, stream: usize, model: usize, n: usize) -> usize {
        (stream * self.groups.len() + model / T::Lanes::WIDTH) * self.taps + n
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
        state: &mut ShiftState<T>,
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
        let items = u.streams().zip(y.streams_mut()).zip(states).enumerate();
        let threads = workspace.threads_for(steps * self.taps());
        share(items, threads, |scratch, (i, item)| {
            let ((u, y), x) = item;
            let (points, window) = (&mut scratch.points, &mut scratch.window);
            self.respond(i % self.groups.len(), u, x, y, points, window);
        });
        Ok(())
    }

    /// The state of every group of every stream, of which a batch has so many.
    pub(super) fn states_mut<'a>(
        &self,
        state: &'a mut ShiftState<T>,
        streams: usize,
    ) -> Result<impl Iterator<Item = &'a mut [T::Lanes]> + use<'a, T>, Error> {
        check_len("streams of the state", state.streams, streams)?;
        let count = streams * self.groups.len();
        let size = count * self.taps;
        check_len("state of the shift models", state.lanes.len(), size)?;
        Ok(split_parts(&mut state.lanes, self.taps, count))
    }

    /// One group of lanes over one signal each, by transforms where the window is long enough.
    pub(super) fn respond(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [T::Lanes],
        y: &mut [T::Lanes],
        points: &mut Vec<Pair<T::Lanes>>,
        window: &mut Vec<T::Lanes>,
    ) {
        let long = self.long.as_ref().filter(|_| u.len() >= self.taps);
        if let Some(long) = long {
            let u = Gated {
                signal: u,
                gate: None,
            };
            long.run_group(group, u, (&mut *y, None), points, window);
        }
        self.level.run(Filter {
            taps: &self.groups[group],
            convolved: long.is_some(),
            u,
            x,
            y,
            window,
        });
    }

    /// One group of lanes over one signal each, tap by tap: a layer's window is 64 officially, below
    /// where transforms begin to gain.
    pub(crate) fn run_group(
        &self,
        group: usize,
        u: &[T::Lanes],
        x: &mut [T::Lanes],
        y: &mut [T::Lanes],
        window: &mut Vec<T::Lanes>,
    ) {
        self.level.run(Filter {
            taps: &self.groups[group],
            convolved: false,
            u,
            x,
            y,
            window,
        });
    }
}

/// The groups' kernels for signals of any length.
fn by_transforms<T: Element>(
    level: Level,
    models: usize,
    groups: &[Taps<T>],
) -> Result<LongConvolution<T>, Error> {
    let taps = groups.first().map_or(0, |group| group.kernel.len());
    let mut kernels = Panels::zeros(1, taps, models);
    for (to, group) in kernels.streams_mut().zip(groups) {
        to.copy_from_slice(&group.kernel);
    }
    let mut long = LongConvolution::with_taps(level, models, usize::MAX, taps);
    long.set_kernels(&kernels, &mut Workspace::new(1))?;
    Ok(long)
}

/// One group of lanes over one signal each, as a kernel.
struct Filter<'a, T: Element> {
    taps: &'a Taps<T>,
    /// True if `y` is `f * u` already.
    convolved: bool,
    u: &'a [T::Lanes],
    x: &'a mut [T::Lanes],
    y: &'a mut [T::Lanes],
    window: &'a mut Vec<T::Lanes>,
}

impl<T: Element> Kernel for Filter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        // Below this the closed forms for what the state adds, quadratic in the taps, cost more
        // than moving the window.
        if self.u.len() * 2 < self.taps.b.len() {
            return self.steps::<S>();
        }
        self.of_level::<S>();
    }
}

impl<T: Element> Filter<'_, T> {
    /// The recurrence, the window moved one place per step.
    #[inline(always)]
    fn steps<S: Isa>(self) {
        let Taps {
            b, c, feedthrough, ..
        } = self.taps;
        let taps = self.x.len();
        let (b, c) = (&b[..taps], &c[..taps]);
        for t in 0..self.u.len().min(self.y.len()) {
            let u = self.u[t];
            let mut moved = T::Lanes::ZERO;
            // Four sums, since one would wait for itself at every tap.
            let mut sums = [T::Lanes::ZERO; 4];
            for n in 0..taps {
                let next = b[n].fma::<S>(u, moved);
                moved = self.x[n];
                self.x[n] = next;
                sums[n % 4] = c[n].fma::<S>(next, sums[n % 4]);
            }
            let [s0, s1, s2, s3] = sums;
            self.y[t] = feedthrough.fma::<S>(u, s0.plus(s1).plus(s2.plus(s3)));
        }
    }
}

impl<T: Element> SignalTiles for Filter<'_, T> {
    /// `y = f * u` in tiles of `I B` outputs, then what the state adds to the first outputs and
    /// what the last inputs leave in the state.
    #[inline(always)]
    fn tiles<S: Isa, const I: usize, const B: usize>(self) {
        let Self {
            taps,
            u,
            x,
            y,
            window,
            convolved,
        } = self;
        if !convolved {
            convolve_from_zero::<T, S, I, B>(taps, u, y, window);
        }
        let m = x.len();
        for t in 0..y.len().min(m.saturating_sub(1)) {
            // After t + 1 moves x_n stands at n + t + 1.
            let c = &taps.c[t + 1..m];
            y[t] = sum_of_products::<T, S>(c.len(), y[t], |n| (c[n], x[n]));
        }
        for n in (0..m).rev() {
            let left = match n.checked_sub(u.len()) {
                Some(from) => x[from],
                None => T::Lanes::ZERO,
            };
            x[n] = sum_of_products::<T, S>(u.len().min(n + 1), left, |back| {
                (taps.b[n - back], u[u.len() - 1 - back])
            });
        }
    }
}

/// `first + sum_k a_k b_k`, in four sums, since one would wait for itself at every product.
#[inline(always)]
fn sum_of_products<T: Element, S: Isa>(
    count: usize,
    first: T::Lanes,
    factors: impl Fn(usize) -> (T::Lanes, T::Lanes),
) -> T::Lanes {
    let mut sums = [first, T::Lanes::ZERO, T::Lanes::ZERO, T::Lanes::ZERO];
    let whole = count / 4 * 4;
    let mut k = 0;
    while k < whole {
        for s in 0..4 {
            let (a, b) = factors(k + s);
            sums[s] = a.fma::<S>(b, sums[s]);
        }
        k += 4;
    }
    while k < count {
        let (a, b) = factors(k);
        sums[0] = a.fma::<S>(b, sums[0]);
        k += 1;
    }
    let [s0, s1, s2, s3] = sums;
    s0.plus(s1).plus(s2.plus(s3))
}

/// `y = f * u`, nothing having come before.
#[inline(always)]
pub(super) fn convolve_from_zero<T: Element, S: Isa, const I: usize, const B: usize>(
    taps: &Taps<T>,
    u: &[T::Lanes],
    y: &mut [T::Lanes],
    window: &mut Vec<T::Lanes>,
) {
    let m = taps.kernel.len();
    // The first outputs read a window that begins with zeros; the others read the input.
    let head = u.len().min((m - 1).next_multiple_of(I * B));
    window.clear();
    window.resize(m - 1, T::Lanes::ZERO);
    window.extend_from_slice(&u[..head]);
    convolve::<T, S, I, B>(taps, window, &mut y[..head]);
    if head < u.len() {
        convolve::<T, S, I, B>(taps, &u[head + 1 - m..], &mut y[head..]);
    }
}

/// `y[t] = sum_j f[j] u[t + m - 1 - j]`.
#[inline(always)]
fn convolve<T: Element, S: Isa, const I: usize, const B: usize>(
    taps: &Taps<T>,
    u: &[T::Lanes],
    y: &mut [T::Lanes],
) {
    let m = taps.kernel.len();
    let tile = taps.tile.as_chunks::<I>().0;
    let done = y.len() / (I * B) * (I * B);
    for start in (0..done).step_by(I * B) {
        let u = &u[start..][..I * B + m - 1];
        let mut acc = [[T::Lanes::ZERO; B]; I];
        for k in 0..tile.len() {
            // Output b I + i reads input b I + k by the coefficient [k][i].
            let f = tile[k];
            let mut inputs = [T::Lanes::ZERO; B];
            for b in 0..B {
                inputs[b] = u[b * I + k];
            }
            for i in 0..I {
                for b in 0..B {
                    acc[i][b] = f[i].fma::<S>(inputs[b], acc[i][b]);
                }
            }
        }
        let y = &mut y[start..][..I * B];
        for b in 0..B {
            for i in 0..I {
                y[b * I + i] = acc[i][b];
            }
        }
    }
    for t in done..y.len() {
        let u = &u[t..][..m];
        let mut sum = T::Lanes::ZERO;
        for j in 0..m {
            sum = taps.kernel[j].fma::<S>(u[m - 1 - j], sum);
        }
        y[t] = sum;
    }
}
