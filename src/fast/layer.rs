//! The whole layer.

use super::cut::Cut;
use super::diagonal::{DiagonalParameters, DiagonalSsm};
use super::elementwise::multiply;
use super::lanes::{Element, Vector};
use super::layer_parameters::{LaneLayout, PROJECTIONS, shift_parameters};
use super::layer_state::{FastState, SavedStates};
use super::level::Level;
use super::panels::{lane_groups, split_parts};
use super::projection::Weights;
use super::scratch::Scratch;
use super::share::share;
use super::shift::ShiftSsm;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::h3::{Config, LayerState, Name, Parameters};
use crate::tensor::Tensor;
use core::ops::Range;
use num_complex::Complex;
use std::sync::OnceLock;

/// Rows (sequences times steps) worked on between two visits to memory: the packed input and the
/// gated signals of so many stay in the last-level cache.
const ROWS_AT_ONCE: usize = 1024;

/// Fewer steps than this at once would spend too much on the ends of the filters.
const LEAST_STEPS: usize = 128;

/// The parts a sequence of `len` steps is worked on in.
pub(super) fn parts(
    batch: usize,
    len: usize,
) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
    let steps = (ROWS_AT_ONCE / batch.max(1)).max(LEAST_STEPS);
    (0..len.div_ceil(steps)).map(move |i| i * steps..len.min((i + 1) * steps))
}

/// An H3 layer prepared for a level.
///
/// Inside, heads are lanes: channel `h d_h + d1` is lane `h` of the vectors of `d1`, so that the
/// outer product of a head's keys and values is a product of vectors, and all `d_h^2` signals of
/// a head use one set of coefficients.
#[derive(Clone, Debug)]
pub struct FastLayer<T: Element> {
    pub(super) config: Config,
    pub(super) level: Level,
    /// For every group of heads and every `d1`: queries, keys, values.
    pub(super) projections: Weights<T>,
    /// Models in the order (group of heads, d1, lane).
    pub(super) shift: ShiftSsm<T>,
    /// One model per head.
    pub(super) diagonal: DiagonalSsm<T>,
    pub(super) output: Weights<T>,
    /// The models with kernels that end at `l_max`, once a sequence was longer.
    cut: OnceLock<Cut<T>>,
}

/// The number of inputs after `len` more.
fn end(position: usize, len: usize) -> Result<usize, Error> {
    let end = position.checked_add(len);
    end.ok_or_else(|| Error::value("position of the state", "too large to count on from"))
}

/// The refusal to pass a state where `l_max` cuts the kernels.
pub(super) fn beyond(who: &str, l_max: usize, end: usize) -> Error {
    Error::unsupported(format!(
        "{who} passes a state, and l_max = {l_max} is below the {end} inputs: a diagonal model has no \
         recurrence of finite window; use form convolution, fft or attention on the whole sequence"
    ))
}

impl<T: Element> FastLayer<T> {
    /// The layer of these official parameters, prepared for a level: decoded, discretized and
    /// brought to the powers that are needed in double precision, and only then rounded to `T`.
    ///
    /// # Errors
    ///
    /// If a discretization has no value.
    pub fn new(level: Level, parameters: &Parameters<f64>) -> Result<Self, Error> {
        let config = parameters.config().clone();
        let (d, width) = (config.d_model, T::Lanes::WIDTH);
        let layout = LaneLayout::new::<T>(&config);
        let weights =
            PROJECTIONS.map(|(weight, bias)| (parameters.get(weight), parameters.get(bias)));
        let projections = Weights::pack(
            level,
            3 * layout.vectors(),
            d,
            |vector, lane, input| {
                let of = layout.channel(vector / 3, lane);
                of.map_or(T::ZERO, |c| {
                    T::from_f64(weights[vector % 3].0[c * d + input])
                })
            },
            |vector, lane| {
                let of = layout.channel(vector / 3, lane);
                of.map_or(T::ZERO, |c| T::from_f64(weights[vector % 3].1[c]))
            },
        );
        let (weight, bias) = (
            parameters.get(Name::OutputWeight),
            parameters.get(Name::OutputBias),
        );
        let output = Weights::pack(
            level,
            lane_groups::<T>(d),
            layout.vectors() * width,
            |vector, lane, input| {
                let out = vector * width + lane;
                let from = layout.gated(input / width, input % width);
                match from.filter(|_| out < d) {
                    Some(gated) => T::from_f64(weight[out * d + gated]),
                    None => T::ZERO,
                }
            },
            |vector, lane| {
                let bias = bias.get(vector * width + lane);
                bias.map_or(T::ZERO, |&bias| T::from_f64(bias))
            },
        );
        Ok(Self {
            level,
            projections,
            shift: ShiftSsm::direct(level, &shift_parameters(parameters, layout))?,
            diagonal: DiagonalSsm::new(level, &DiagonalParameters::from_official(parameters)?)?,
            output,
            cut: OnceLock::new(),
            config,
        })
    }

    /// The sizes and choices of the layer.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The level it was prepared for.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The state before any input, for a batch.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> FastState<T> {
        let groups = self.groups();
        FastState {
            batch,
            position: 0,
            shift: vec![T::Lanes::ZERO; groups * self.shift_part(batch)],
            diagonal: vec![[T::Lanes::ZERO; 2]; groups * self.diagonal_part(batch)],
        }
    }

    /// The state in the reference's layout, taken over.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn state_from(&self, state: &LayerState<T>) -> Result<FastState<T>, Error> {
        let batch = state.shift.shape().first().copied().unwrap_or(0);
        let (d, d_h, heads) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.n_heads(),
        );
        let (m, n) = (self.config.d_state, self.config.n_modes());
        state
            .shift
            .check_shape("state of the shift models", &[batch, d, m])?;
        let shape = [batch, d_h, d_h, heads, n];
        state
            .diagonal
            .check_shape("state of the diagonal models", &shape)?;
        let mut fast = self.zero_state(batch);
        fast.position = state.position;
        for (at, place, lane) in self.shift_places(batch) {
            fast.shift[place].lanes_mut()[lane] = state.shift.data()[at];
        }
        for (at, place, lane) in self.diagonal_places(batch) {
            let z = state.diagonal.data()[at];
            fast.diagonal[place][0].lanes_mut()[lane] = z.re;
            fast.diagonal[place][1].lanes_mut()[lane] = z.im;
        }
        Ok(fast)
    }

    /// The state in the reference's layout.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn state_to(&self, fast: &FastState<T>) -> Result<LayerState<T>, Error> {
        self.check_state(fast, fast.batch)?;
        let (d, d_h, heads) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.n_heads(),
        );
        let (m, n, batch) = (self.config.d_state, self.config.n_modes(), fast.batch);
        let mut shift = vec![T::ZERO; batch * d * m];
        for (at, place, lane) in self.shift_places(batch) {
            shift[at] = fast.shift[place].lanes()[lane];
        }
        let mut diagonal = vec![Complex::new(T::ZERO, T::ZERO); batch * d_h * d_h * heads * n];
        for (at, place, lane) in self.diagonal_places(batch) {
            let [re, im] = &fast.diagonal[place];
            diagonal[at] = Complex::new(re.lanes()[lane], im.lanes()[lane]);
        }
        Ok(LayerState {
            shift: Tensor::new([batch, d, m], shift)?,
            diagonal: Tensor::new([batch, d_h, d_h, heads, n], diagonal)?,
            position: fast.position,
        })
    }

    /// The layer applied to `u` (batch, seq_len, d), row-major, written to `out` of the same
    /// shape, from `state` and leaving in it the state after the last input. The batch is the
    /// state's. One step of a batch of streams is a call with `seq_len` 1.
    ///
    /// The result does not depend on the number of threads; nor do the outputs depend, beyond
    /// rounding, on how a sequence is cut into calls.
    ///
    /// Where `l_max` cuts the kernels (there are more inputs), the outputs are convolutions with the
    /// cut kernels and memory grows with the sequence, which has to come whole; the final state is
    /// that of the full recurrence, as in the official `forward_state`.
    ///
    /// # Errors
    ///
    /// If a length or the state does not fit, or more than `l_max` inputs do not begin at the zero
    /// state: beyond it the layer is not the function of any recurrence. `out` and `state` are then as
    /// they were.
    pub fn run(
        &self,
        u: &[T],
        out: &mut [T],
        state: &mut FastState<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        self.run_keeping(u, out, state, None, workspace)
    }

    /// As [`run`](Self::run), keeping the state before every part of the sequence if asked to.
    pub(super) fn run_keeping(
        &self,
        u: &[T],
        out: &mut [T],
        state: &mut FastState<T>,
        mut kept: Option<&mut SavedStates<T>>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let (d, batch) = (self.config.d_model, state.batch);
        let len = u.len().checked_div(batch * d).unwrap_or(0);
        check_len("input", u.len(), batch * len * d)?;
        check_len("output", out.len(), u.len())?;
        self.check_state(state, batch)?;
        let end = end(state.position, len)?;
        if let Some(l_max) = self.config.l_max.filter(|&l_max| end > l_max) {
            if kept.is_some() {
                return Err(beyond("the fast path's backward pass", l_max, end));
            }
            if !state.is_zero() {
                return Err(beyond("the fast path from a state", l_max, end));
            }
            let cut = match self.cut.get() {
                Some(cut) => cut,
                None => {
                    let cut = Cut::new(self.level, &self.shift, &self.diagonal, l_max)?;
                    self.cut.get_or_init(|| cut)
                }
            };
            self.run_steps(u, out, 0..len, state, Some(cut), workspace);
            state.position = end;
            return Ok(());
        }
        for part in parts(batch, len) {
            if let Some(kept) = &mut kept {
                kept.push(state);
            }
            self.run_steps(u, out, part, state, None, workspace);
        }
        state.position = end;
        Ok(())
    }

    /// The layer applied to `u` (batch, seq_len, d), from `state` (zeros if `None`): output and
    /// final state. Allocates what it needs; [`run`](Self::run) does not.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); beyond `l_max` any state given is refused, as by the reference.
    pub fn forward(
        &self,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        workspace: &mut Workspace<T>,
    ) -> Result<(Tensor<T>, LayerState<T>), Error> {
        let mut fast = self.initial_state(u, state)?;
        let end = end(fast.position, u.shape()[1])?;
        if let Some(l_max) = self
            .config
            .l_max
            .filter(|&l_max| state.is_some() && end > l_max)
        {
            return Err(beyond("the fast path from a state", l_max, end));
        }
        let mut out = vec![T::ZERO; u.data().len()];
        self.run(u.data(), &mut out, &mut fast, workspace)?;
        Ok((Tensor::new(u.shape(), out)?, self.state_to(&fast)?))
    }

    /// The layer over a sequence that comes in pieces of any lengths, each (batch, steps, d)
    /// row-major: an output for every piece. Memory is bounded by the piece, whatever the length
    /// of the sequence.
    pub fn run_pieces<'a, I>(
        &'a self,
        pieces: I,
        state: &'a mut FastState<T>,
        workspace: &'a mut Workspace<T>,
    ) -> impl Iterator<Item = Result<Vec<T>, Error>> + use<'a, I, T>
    where
        I: IntoIterator<Item = Vec<T>>,
        I::IntoIter: 'a,
    {
        pieces.into_iter().map(|piece| {
            let mut out = vec![T::ZERO; piece.len()];
            self.run(&piece, &mut out, state, workspace)?;
            Ok(out)
        })
    }

    /// The state (zeros if `None`) for an input (batch, seq_len, d), both checked.
    pub(super) fn initial_state(
        &self,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
    ) -> Result<FastState<T>, Error> {
        let d_model = self.config.d_model;
        let batch = match *u.shape() {
            [batch, _, d] if d == d_model => batch,
            _ => {
                return Err(Error::shape(
                    "input",
                    format_args!("shape (batch, seq_len, d_model = {d_model})"),
                    format_args!("{:?}", u.shape()),
                ));
            }
        };
        let fast = match state {
            Some(state) => self.state_from(state)?,
            None => self.zero_state(batch),
        };
        check_len("sequences of the state", fast.batch, batch)?;
        Ok(fast)
    }

    pub(super) fn groups(&self) -> usize {
        lane_groups::<T>(self.config.n_heads())
    }

    /// Number of shift-state vectors per group of heads.
    pub(super) fn shift_part(&self, batch: usize) -> usize {
        batch * self.config.head_dim * self.config.d_state
    }

    /// Number of pairs of diagonal-state vectors per group of heads.
    pub(super) fn diagonal_part(&self, batch: usize) -> usize {
        batch * self.config.head_dim * self.config.head_dim * self.diagonal.padded()
    }

    pub(super) fn check_state(&self, state: &FastState<T>, batch: usize) -> Result<(), Error> {
        let groups = self.groups();
        let shift = groups * self.shift_part(batch);
        check_len("state of the shift models", state.shift.len(), shift)?;
        let diagonal = groups * self.diagonal_part(batch);
        check_len(
            "state of the diagonal models",
            state.diagonal.len(),
            diagonal,
        )
    }

    /// For every element of a reference's shift state: its index, the vector here, the lane.
    fn shift_places(&self, batch: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d, d_h, m) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.d_state,
        );
        (0..batch * d * m).map(move |at| {
            let (b, c, n) = (at / m / d, at / m % d, at % m);
            let (h, d1) = (c / d_h, c % d_h);
            let (group, lane) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
            let place = ((group * batch + b) * d_h + d1) * m + n;
            (at, place, lane)
        })
    }

    /// As [`shift_places`](Self::shift_places), for the diagonal states.
    fn diagonal_places(
        &self,
        batch: usize,
    ) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d_h, heads) = (self.config.head_dim, self.config.n_heads());
        let (n, padded, copies) = (self.config.n_modes(), self.diagonal.padded(), d_h * d_h);
        (0..batch * copies * heads * n).map(move |at| {
            let (i, h) = (at % n, at / n % heads);
            let (b, copy) = (at / n / heads / copies, at / n / heads % copies);
            let (group, lane) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
            let place = ((group * batch + b) * copies + copy) * padded + i;
            (at, place, lane)
        })
    }

    /// Some steps of every sequence: projections and mixing group of heads by group of heads,
    /// then the output projection.
    fn run_steps(
        &self,
        u: &[T],
        out: &mut [T],
        steps: Range<usize>,
        state: &mut FastState<T>,
        cut: Option<&Cut<T>>,
        workspace: &mut Workspace<T>,
    ) {
        let (d, d_h, batch) = (self.config.d_model, self.config.head_dim, state.batch);
        let len = u.len() / (batch * d);
        let rows = batch * steps.len();
        let row = |r: usize| {
            let (b, t) = (r / steps.len(), r % steps.len());
            &u[(b * len + steps.start + t) * d..][..d]
        };
        let mut packed = core::mem::take(&mut workspace.shared);
        self.projections
            .pack_rows_shared(rows, row, &mut packed, workspace);
        let mut gated = core::mem::take(&mut workspace.gated);
        gated.resize(self.groups() * d_h * rows, T::Lanes::ZERO);

        let groups = self.groups();
        let shift = split_parts(&mut state.shift, self.shift_part(batch), groups);
        let diagonal = split_parts(&mut state.diagonal, self.diagonal_part(batch), groups);
        let items = gated
            .chunks_exact_mut(d_h * rows)
            .zip(shift.zip(diagonal))
            .enumerate();
        share(items, workspace.threads_for(rows), |scratch, item| {
            let (group, (gated, states)) = item;
            scratch.heads.resize(3 * d_h * rows, T::Lanes::ZERO);
            let first = 3 * group * d_h;
            self.projections
                .multiply_to_panels(&packed, rows, first, &mut scratch.heads);
            self.mix(group, batch, states, cut, gated, scratch);
        });

        if steps.len() == len {
            let lanes = |vector: usize, r: usize| gated[vector * rows + r];
            self.output.project_panels(d, lanes, out, workspace);
        } else {
            for b in 0..batch {
                let lanes = |vector: usize, t: usize| gated[vector * rows + b * steps.len() + t];
                let out = &mut out[(b * len + steps.start) * d..][..steps.len() * d];
                self.output.project_panels(d, lanes, out, workspace);
            }
        }
        workspace.shared = packed;
        workspace.gated = gated;
    }

    /// One group of heads: from queries, keys and values in `scratch.heads` to `gated`
    /// [d2][sequence][step].
    fn mix(
        &self,
        group: usize,
        batch: usize,
        (shift, diagonal): (&mut [T::Lanes], &mut [[T::Lanes; 2]]),
        cut: Option<&Cut<T>>,
        gated: &mut [T::Lanes],
        scratch: &mut Scratch<T>,
    ) {
        let (d_h, m, padded) = (
            self.config.head_dim,
            self.config.d_state,
            self.diagonal.padded(),
        );
        let rows = gated.len() / d_h;
        let steps = rows / batch;
        let Scratch {
            heads,
            signals,
            window,
            state,
            points,
            diagonal: blocks,
            ..
        } = scratch;
        signals.resize(2 * steps, T::Lanes::ZERO);
        let (first, second) = signals.split_at_mut(steps);
        // Where the part of a sequence lies in the panel of q (0), k (1) or v (2) of d1.
        let place = |which: usize, d1: usize, b: usize| {
            let start = (3 * d1 + which) * rows + b * steps;
            start..start + steps
        };
        for b in 0..batch {
            for d1 in 0..d_h {
                let k = &mut heads[place(1, d1, b)];
                let x = &mut shift[(b * d_h + d1) * m..][..m];
                self.shift.run_group(group * d_h + d1, k, x, first, window);
                if let Some(cut) = cut {
                    cut.shift(group * d_h + d1, k, first, (state, window));
                }
                k.copy_from_slice(first);
            }
            for d2 in 0..d_h {
                for d1 in 0..d_h {
                    let copy = (b * d_h + d1) * d_h + d2;
                    let x = &mut diagonal[copy * padded..][..padded];
                    let (k, v) = (&heads[place(1, d1, b)], &heads[place(2, d2, b)]);
                    multiply::<T>(self.level, k, v, false, first);
                    self.diagonal.run_group(group, first, x, second, blocks);
                    if let Some(cut) = cut {
                        cut.diagonal(group, first, second, (points, window));
                    }
                    let gated = &mut gated[d2 * rows + b * steps..][..steps];
                    let q = &heads[place(0, d1, b)];
                    multiply::<T>(self.level, q, second, d1 > 0, gated);
                }
            }
        }
    }
}
