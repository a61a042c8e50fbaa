//! The operators of StripedHyena between their projections: `x2 F(x1 v)` after a short filter.

use super::super::diagonal::{DiagonalParameters, DiagonalSsm, DiagonalState};
use super::super::elementwise::multiply;
use super::super::lanes::{Arithmetic, Element, Vector};
use super::super::level::Level;
use super::super::panels::{Panels, lane_groups};
use super::super::scratch::Scratch;
use super::super::share::share;
use super::super::shift::{ShiftParameters, ShiftSsm, ShiftState};
use super::super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use num_complex::Complex;

/// Steps worked on at once, so that what stands between the filters stays in the caches.
const STEPS_AT_ONCE: usize = 1024;

/// The same where the inner filter goes through transforms: what a window adds to a piece is quadratic in
/// the taps, and a small part of a long piece.
const STEPS_OF_TRANSFORMS: usize = 8192;

/// `F`, one filter per group of neighbouring channels: official parameters, in double precision.
#[derive(Clone, Debug)]
pub enum StripedFilter {
    /// Complex modes (groups, modes): `h_t = sum_n re(R_n p_n^t)`.
    Sh1 {
        /// Poles.
        poles: Vec<Complex<f64>>,
        /// Residues.
        residues: Vec<Complex<f64>>,
    },
    /// Real modes (groups, modes): `h_t = sum_n R_n exp(l_n t)`.
    Hcl {
        /// Logarithms of the poles.
        log_poles: Vec<f64>,
        /// Residues.
        residues: Vec<f64>,
    },
    /// Taps (groups, taps), the first on the present input.
    Hcm(Vec<f64>),
    /// Taps (groups, taps), the last on the present input.
    Hcs(Vec<f64>),
}

/// The parameters of an operator, in double precision, whatever the precision of the run.
#[derive(Clone, Debug)]
pub struct StripedParameters {
    /// d.
    pub channels: usize,
    /// Short filters of x2, x1 and v, the last tap on the present input: (3, d, taps).
    pub short: Vec<f64>,
    /// Their bias (3, d), or nothing.
    pub short_bias: Vec<f64>,
    /// The number of filters; channel `c` meets filter `c / (d / groups)`.
    pub groups: usize,
    /// The filter between the gates.
    pub filter: StripedFilter,
    /// `D` (d): `F(p) = h * p + D p`; or nothing.
    pub d: Vec<f64>,
}

/// An operator prepared for a level.
///
/// Its input are the raw projections of `x2`, `x1` and `v`, panels (3 batch, seq_len, d), the three of a
/// sequence one after another: [`Panels::read_parts`] reads every layout. Its output is what
/// `out_filter_dense` is applied to, panels (batch, seq_len, d).
#[derive(Clone, Debug)]
pub struct StripedOperator<T: Element> {
    level: Level,
    channels: usize,
    short: [ShiftSsm<T>; 3],
    /// [which][group], or none.
    bias: Vec<T::Lanes>,
    inner: Inner<T>,
}

#[derive(Clone, Debug)]
enum Inner<T: Element> {
    Modes(DiagonalSsm<T>),
    Taps(ShiftSsm<T>),
}

/// The state of an operator over a batch: the windows of the short filters, and the inner filter's state.
#[derive(Clone, Debug)]
pub struct StripedState<T: Element> {
    short: [ShiftState<T>; 3],
    inner: InnerState<T>,
}

#[derive(Clone, Debug)]
enum InnerState<T: Element> {
    Modes(DiagonalState<T>),
    Taps(ShiftState<T>),
}

/// The inner filter's state of one group of lanes.
enum InnerPart<'a, L> {
    Modes(&'a mut [[L; 2]]),
    Taps(&'a mut [L]),
}

/// Free taps as shift models, the first tap on the present input.
pub(super) fn taps_of(taps: Vec<f64>, channels: usize, d: Vec<f64>) -> ShiftParameters {
    let count = taps.len().checked_div(channels).unwrap_or(0);
    let newest = |i: usize| if i.is_multiple_of(count) { 1.0 } else { 0.0 };
    ShiftParameters {
        taps: count,
        b: (0..taps.len()).map(newest).into_vec(),
        c: taps,
        d,
    }
}

impl StripedParameters {
    /// The rows (channels, ..) of an array with one row per group.
    fn of_channels<V: Copy>(&self, what: &str, of_groups: &[V]) -> Result<Vec<V>, Error> {
        let each = of_groups.len().checked_div(self.groups).unwrap_or(0);
        check_len(what, of_groups.len(), each * self.groups)?;
        let in_group = self.channels / self.groups.max(1);
        let rows = (0..self.channels).map(|c| &of_groups[c / in_group * each..][..each]);
        Ok(rows.flatten().copied().into_vec())
    }

    fn modes(&self, poles: &[Complex<f64>], residues: &[Complex<f64>]) -> Result<Inner64, Error> {
        check_len("residues", residues.len(), poles.len())?;
        let (a, c) = (
            self.of_channels("poles", poles)?,
            self.of_channels("residues", residues)?,
        );
        Ok(Inner64::Modes(DiagonalParameters {
            pairs: a.len().checked_div(self.channels).unwrap_or(0),
            b: vec![Complex::new(1.0, 0.0); a.len()],
            // The models double the real part.
            c: c.iter().map(|c| c * 0.5).into_vec(),
            a,
            d: self.feedthrough()?,
        }))
    }

    fn feedthrough(&self) -> Result<Vec<f64>, Error> {
        if self.d.is_empty() {
            return Ok(vec![0.0; self.channels]);
        }
        check_len("D", self.d.len(), self.channels)?;
        Ok(self.d.clone())
    }

    fn inner(&self) -> Result<Inner64, Error> {
        let real = |x: &[f64]| -> Vec<Complex<f64>> { x.iter().map(|&x| x.into()).into_vec() };
        match &self.filter {
            StripedFilter::Sh1 { poles, residues } => self.modes(poles, residues),
            StripedFilter::Hcl {
                log_poles,
                residues,
            } => {
                let poles: Vec<f64> = log_poles.iter().map(|l| l.exp()).into_vec();
                self.modes(&real(&poles), &real(residues))
            }
            StripedFilter::Hcm(h) => Ok(Inner64::Taps(taps_of(
                self.of_channels("taps", h)?,
                self.channels,
                self.feedthrough()?,
            ))),
            StripedFilter::Hcs(h) => Ok(Inner64::Taps(taps_of(
                reversed(&self.of_channels("taps", h)?, self.channels),
                self.channels,
                self.feedthrough()?,
            ))),
        }
    }
}

/// The models of an inner filter.
enum Inner64 {
    Modes(DiagonalParameters),
    Taps(ShiftParameters),
}

/// Every row the other way round.
fn reversed(x: &[f64], rows: usize) -> Vec<f64> {
    let each = x.len().checked_div(rows).unwrap_or(0);
    let rows = x.chunks_exact(each.max(1));
    rows.flat_map(|row| row.iter().rev().copied()).into_vec()
}

impl<T: Element> StripedOperator<T> {
    /// The operator prepared for a level.
    ///
    /// # Errors
    ///
    /// If the lengths disagree, or the groups do not divide the channels.
    pub fn new(level: Level, parameters: &StripedParameters) -> Result<Self, Error> {
        let StripedParameters {
            channels,
            groups,
            ref short,
            ref short_bias,
            ..
        } = *parameters;
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::value(
                "groups",
                format!("{groups}; expected a divisor of the {channels} channels"),
            ));
        }
        let each = short.len().checked_div(3).unwrap_or(0);
        let count = each.checked_div(channels).unwrap_or(0);
        check_len("short filters", short.len(), 3 * channels * count)?;
        if !short_bias.is_empty() {
            check_len("bias of the short filters", short_bias.len(), 3 * channels)?;
        }
        let of = |which: usize| {
            let taps = reversed(&short[which * each..][..each], channels);
            ShiftSsm::new(level, &taps_of(taps, channels, vec![0.0; channels]))
        };
        let mut bias = Vec::new();
        for part in short_bias.chunks(channels.max(1)) {
            for lanes in part.chunks(T::Lanes::WIDTH) {
                let lanes: Vec<T> = lanes.iter().map(|&x| T::from_f64(x)).into_vec();
                bias.push(T::Lanes::load(&lanes));
            }
        }
        Ok(Self {
            level,
            channels,
            short: [of(0)?, of(1)?, of(2)?],
            bias,
            inner: match parameters.inner()? {
                Inner64::Modes(models) => Inner::Modes(DiagonalSsm::new(level, &models)?),
                Inner64::Taps(models) => Inner::Taps(ShiftSsm::new(level, &models)?),
            },
        })
    }

    /// The state of `batch` sequences before any input.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> StripedState<T> {
        StripedState {
            short: self.short.each_ref().map(|ssm| ssm.zero_state(batch)),
            inner: match &self.inner {
                Inner::Modes(ssm) => InnerState::Modes(ssm.zero_state(batch)),
                Inner::Taps(ssm) => InnerState::Taps(ssm.zero_state(batch)),
            },
        }
    }

    /// The raw projection that came `back` steps ago (0: the last one), of x2, x1 or v (0, 1, 2); `None`
    /// beyond the window.
    #[must_use]
    pub fn projection_before(
        &self,
        state: &StripedState<T>,
        [sequence, which, channel]: [usize; 3],
        back: usize,
    ) -> Option<T> {
        let (ssm, state) = (self.short.get(which)?, state.short.get(which)?);
        ssm.state_part(state, sequence, channel, back)
    }

    /// One number of the inner filter's state: mode `n`, or its input `n` steps ago; `None` where there is
    /// none.
    #[must_use]
    pub fn inner_part(
        &self,
        state: &StripedState<T>,
        [sequence, channel]: [usize; 2],
        n: usize,
    ) -> Option<Complex<T>> {
        match (&self.inner, &state.inner) {
            (Inner::Modes(ssm), InnerState::Modes(state)) => {
                ssm.state_part(state, sequence, channel, n)
            }
            (Inner::Taps(ssm), InnerState::Taps(state)) => {
                let part = ssm.state_part(state, sequence, channel, n)?;
                Some(Complex::new(part, T::ZERO))
            }
            _ => None,
        }
    }

    /// Vector operations per step and group of lanes, about.
    fn operations(&self) -> usize {
        let short = self.short.iter().map(ShiftSsm::taps).sum::<usize>();
        short
            + match &self.inner {
                Inner::Modes(ssm) => ssm.operations(),
                Inner::Taps(ssm) => ssm.taps(),
            }
    }

    /// `y = x2 F(x1 v)` of the filtered projections `z`, from `state` and leaving in it the state after the
    /// last input. The result does not depend on the number of threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees, or the state is another operator's.
    pub fn run(
        &self,
        z: &Panels<T>,
        state: &mut StripedState<T>,
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let (batch, len) = (y.batch(), y.seq_len());
        y.check("output", batch, self.channels, len)?;
        z.check("projections", 3 * batch, self.channels, len)?;
        let [s2, s1, sv] = &mut state.short;
        let short = self.short[0]
            .states_mut(s2, batch)?
            .zip(self.short[1].states_mut(s1, batch)?)
            .zip(self.short[2].states_mut(sv, batch)?)
            .map(|((x2, x1), v)| [x2, x1, v]);
        let groups = lane_groups::<T>(self.channels);
        let items = y.streams_mut().zip(short).enumerate();
        let operations = batch * groups * len * self.operations();
        let threads = workspace.threads_for(operations);
        let run = |scratch: &mut Scratch<T>, (i, (y, short)), mut inner: InnerPart<'_, _>| {
            let (b, group) = (i / groups, i % groups);
            let z = [0, 1, 2].map(|which| z.stream((3 * b + which) * groups + group));
            self.run_group(group, z, (short, &mut inner), y, scratch);
        };
        match (&self.inner, &mut state.inner) {
            (Inner::Modes(ssm), InnerState::Modes(state)) => {
                let items = items.zip(ssm.states_mut(state, batch)?);
                share(items, threads, |scratch, (item, x)| {
                    run(scratch, item, InnerPart::Modes(x));
                });
            }
            (Inner::Taps(ssm), InnerState::Taps(state)) => {
                let items = items.zip(ssm.states_mut(state, batch)?);
                share(items, threads, |scratch, (item, x)| {
                    run(scratch, item, InnerPart::Taps(x));
                });
            }
            _ => return Err(Error::value("state", "of another kind of filter")),
        }
        Ok(())
    }

    /// One group of lanes over one sequence, piece by piece.
    fn run_group(
        &self,
        group: usize,
        z: [&[T::Lanes]; 3],
        (short, inner): ([&mut [T::Lanes]; 3], &mut InnerPart<'_, T::Lanes>),
        y: &mut [T::Lanes],
        scratch: &mut Scratch<T>,
    ) {
        let Scratch {
            diagonal,
            points,
            window,
            heads,
            signals,
            ..
        } = scratch;
        let steps = match &self.inner {
            Inner::Taps(ssm) if ssm.points().is_some() => STEPS_OF_TRANSFORMS,
            _ => STEPS_AT_ONCE,
        };
        let groups = lane_groups::<T>(self.channels);
        for (i, y) in y.chunks_mut(steps).enumerate() {
            let len = y.len();
            heads.resize(3 * len, T::Lanes::ZERO);
            signals.resize(2 * len, T::Lanes::ZERO);
            for (which, out) in heads.chunks_exact_mut(len).enumerate() {
                let z = &z[which][i * steps..][..len];
                let x = &mut *short[which];
                self.short[which].respond(group, z, x, out, points, window);
                if let Some(&bias) = self.bias.get(which * groups + group) {
                    for x in out {
                        *x = x.plus(bias);
                    }
                }
            }
            let (x2, rest) = heads.split_at(len);
            let (x1, v) = rest.split_at(len);
            let (p, filtered) = signals.split_at_mut(len);
            multiply::<T>(self.level, x1, v, false, p);
            match (&self.inner, &mut *inner) {
                (Inner::Modes(ssm), InnerPart::Modes(x)) => {
                    ssm.run_group(group, p, x, filtered, diagonal);
                }
                (Inner::Taps(ssm), InnerPart::Taps(x)) => {
                    ssm.respond(group, p, x, filtered, points, window);
                }
                // The part is made from the filter.
                _ => {}
            }
            multiply::<T>(self.level, x2, filtered, false, y);
        }
    }
}
