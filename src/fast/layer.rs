//! The whole layer.

use super::cut::Cut;
use super::diagonal::{DiagonalParameters, DiagonalSsm};
use super::elementwise::multiply;
use super::few_rows::FEW_ROWS;
use super::lanes::{Element, Vector};
use super::layer_parameters::{LaneLayout, PROJECTIONS, shift_parameters};
use super::layer_state::{FastState, SavedStates};
use super::level::Level;
use super::panels::{lane_groups, split_parts};
use super::pieces::{
    Piece, Plan, ROWS_AT_ONCE, Span, check_documents, row_of, rows_of, runs, spans, whole,
};
use super::scratch::Scratch;
use super::share::share;
use super::shift::ShiftSsm;
use super::weight_format::{MATRICES, WeightFormat};
use super::weights::Weights;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::h3::{Config, LayerState, Name, Parameters};
use crate::ssm::Documents;
use crate::tensor::Tensor;
use std::sync::OnceLock;

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

/// The refusal to pass a state where `l_max` truncates the kernels.
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
        Self::with_weights(level, None, parameters)
    }

    /// As [`new`](Self::new), the weights of the four projections stored in a format, or as `T` holds them.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), or if the format has no value for a weight.
    pub fn with_weights(
        level: Level,
        format: Option<WeightFormat>,
        parameters: &Parameters<f64>,
    ) -> Result<Self, Error> {
        if let Some(format) = format {
            for name in MATRICES {
                format.check(name.official(), parameters.get(name).iter().copied())?;
            }
        }
        let config = parameters.config().clone();
        let (d, width) = (config.d_model, T::Lanes::WIDTH);
        let layout = LaneLayout::new::<T>(&config);
        let weights =
            PROJECTIONS.map(|(weight, bias)| (parameters.get(weight), parameters.get(bias)));
        let projections = Weights::pack(
            level,
            format,
            (3 * layout.vectors(), d),
            |vector, lane, input| {
                let of = layout.channel(vector / 3, lane);
                of.map_or(0.0, |c| weights[vector % 3].0[c * d + input])
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
            format,
            (lane_groups::<T>(d), layout.vectors() * width),
            |vector, lane, input| {
                let out = vector * width + lane;
                let from = layout.gated(input / width, input % width);
                match from.filter(|_| out < d) {
                    Some(gated) => weight[out * d + gated],
                    None => 0.0,
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

    /// The layer applied to `u` (batch, seq_len, d), row-major, written to `out` of the same
    /// shape, from `state` and leaving in it the state after the last input. The batch is the
    /// state's. One step of a batch of streams is a call with `seq_len` 1.
    ///
    /// The result does not depend on the number of threads, and no sequence's on the others: it is the
    /// same, bit for bit, as alone. Nor do outputs depend, beyond rounding, on how a sequence is cut into
    /// calls.
    ///
    /// If `l_max` truncates the kernels (there are more inputs), the outputs are convolutions with
    /// the truncated kernels, memory grows with the sequence, and the sequence must be given whole;
    /// the final state is that of the full recurrence, as in the official `forward_state`.
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
        let batch = state.batch();
        let len = self.steps(u, batch)?;
        self.run_spans(u, out, whole(batch, len), state, workspace)
    }

    /// The layer applied to documents: `u` and `out` are (rows, seq_len, d), row-major, and `state` has a
    /// sequence for every document, which it continues; of [`zero_state`](Self::zero_state) they begin.
    /// It becomes the state after each document's last step.
    ///
    /// Every document's outputs and state are, bit for bit, those of a [`run`](Self::run) over it alone.
    /// Values at padding are not read, and outputs there are zeros.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), for every document.
    pub fn run_documents(
        &self,
        u: &[T],
        out: &mut [T],
        documents: &Documents,
        state: &mut FastState<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let input = ("input", u.len(), self.config.d_model);
        check_documents(documents, input, state.batch())?;
        self.run_spans(u, out, spans(documents), state, workspace)
    }

    /// The steps of each of `batch` sequences of an input.
    pub(super) fn steps(&self, u: &[T], batch: usize) -> Result<usize, Error> {
        let each = batch * self.config.d_model;
        let len = u.len().checked_div(each).unwrap_or(0);
        check_len("input", u.len(), len * each)?;
        Ok(len)
    }

    /// As [`run`](Self::run), over sequences anywhere in the rows of `u`, each with its own state.
    pub(super) fn run_spans(
        &self,
        u: &[T],
        out: &mut [T],
        spans: impl Iterator<Item = Span> + Clone,
        state: &mut FastState<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let mut plan = core::mem::take(&mut workspace.plan);
        let done = self
            .lay_out(&mut plan, spans, state, false)
            .and_then(|()| self.run_plan(u, out, &plan, state, None, workspace));
        workspace.plan = plan;
        done
    }

    /// Plans a run, `both_ways` if a backward one is to follow.
    pub(super) fn lay_out(
        &self,
        plan: &mut Plan,
        spans: impl Iterator<Item = Span> + Clone,
        state: &FastState<T>,
        both_ways: bool,
    ) -> Result<(), Error> {
        self.check_state(state)?;
        let l_max = self.config.l_max.unwrap_or(usize::MAX);
        for Span { sequence, rows } in spans.clone() {
            let end = end(state.positions[sequence], rows.len())?;
            if end <= l_max {
                continue;
            }
            if both_ways {
                return Err(beyond("the fast path's backward pass", l_max, end));
            }
            if !state.is_zero(sequence, self.groups()) {
                return Err(beyond("the fast path from a state", l_max, end));
            }
        }
        plan.lay_out(spans, ROWS_AT_ONCE, |span| {
            state.positions[span.sequence] + span.rows.len() > l_max
        });
        Ok(())
    }

    /// As [`run`](Self::run), by a plan, keeping what a backward run needs if asked to.
    pub(super) fn run_plan(
        &self,
        u: &[T],
        out: &mut [T],
        plan: &Plan,
        state: &mut FastState<T>,
        mut kept: Option<&mut SavedStates<T>>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let d = self.config.d_model;
        check_len("output", out.len(), u.len())?;
        let cut = match self.config.l_max {
            Some(l_max) if plan.sets().flatten().any(|piece| piece.uncut) => {
                Some(self.cut_to(l_max)?)
            }
            _ => None,
        };
        for gap in plan.padding(u.len().checked_div(d).unwrap_or(0)) {
            out[gap.start * d..gap.end * d].fill(T::ZERO);
        }
        for set in plan.sets() {
            let rows = rows_of(set);
            let panels = 3 * self.groups() * self.config.head_dim;
            let kept = kept.as_mut();
            let kept = kept.and_then(|kept| kept.push(state, set, self.groups(), panels * rows));
            let products = self.projections.operations(rows) + self.output.operations(rows);
            let mixing = self.groups() * self.config.head_dim * rows * self.operations();
            workspace.with_experience(products + mixing, |workspace| {
                self.run_set((u, out), set, state, cut, kept, workspace);
            });
        }
        for piece in plan.sets().flatten() {
            state.positions[piece.sequence] += piece.len;
        }
        Ok(())
    }

    /// The models with kernels that end at `l_max`.
    fn cut_to(&self, l_max: usize) -> Result<&Cut<T>, Error> {
        if let Some(cut) = self.cut.get() {
            return Ok(cut);
        }
        let cut = Cut::new(self.level, &self.shift, &self.diagonal, l_max)?;
        Ok(self.cut.get_or_init(|| cut))
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
        let end = end(fast.position(), u.shape()[1])?;
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
        check_len("sequences of the state", fast.batch(), batch)?;
        Ok(fast)
    }

    pub(super) fn groups(&self) -> usize {
        lane_groups::<T>(self.config.n_heads())
    }

    /// A set of pieces: projections and mixing group of heads by group of heads, then the output
    /// projection. Queries, keys and values are kept if there is room for them.
    fn run_set(
        &self,
        (u, out): (&[T], &mut [T]),
        set: &[Piece],
        state: &mut FastState<T>,
        cut: Option<&Cut<T>>,
        kept: Option<&mut [T::Lanes]>,
        workspace: &mut Workspace<T>,
    ) {
        let (d, d_h, batch) = (self.config.d_model, self.config.head_dim, state.batch());
        let rows = rows_of(set);
        let row = |r: usize| &u[row_of(set, r) * d..][..d];
        let few = rows <= FEW_ROWS;
        let mut packed = core::mem::take(&mut workspace.shared);
        let mut heads = core::mem::take(&mut workspace.panels);
        if few {
            heads.resize(3 * self.groups() * d_h * rows, T::Lanes::ZERO);
            let pack = |packed: &mut [T]| self.projections.pack_rows(rows, row, packed);
            let store = |vector: usize, r: usize, lanes| heads[vector * rows + r] = lanes;
            self.projections
                .project_few(rows, pack, &mut workspace.few, store);
        } else {
            self.projections
                .pack_rows_shared(rows, row, &mut packed, workspace);
        }
        let mut gated = core::mem::take(&mut workspace.gated);
        gated.resize(self.groups() * d_h * rows, T::Lanes::ZERO);

        let groups = self.groups();
        let mut kept = kept.map(|kept| kept.chunks_exact_mut(3 * d_h * rows));
        let kept = (0..groups).map(|_| kept.as_mut().and_then(Iterator::next));
        let shift = split_parts(&mut state.shift, self.shift_part(batch), groups);
        let diagonal = split_parts(&mut state.diagonal, self.diagonal_part(batch), groups);
        let items = gated
            .chunks_exact_mut(d_h * rows)
            .zip(shift.zip(diagonal))
            .zip(kept)
            .enumerate();
        let mixing = groups * d_h * rows * self.operations();
        if few {
            let items = items.zip(heads.chunks_exact_mut(3 * d_h * rows));
            share(items, workspace.threads_for(mixing), |scratch, item| {
                let ((group, ((gated, states), kept)), heads) = item;
                keep(heads, kept);
                self.mix((group, set), heads, states, cut, gated, scratch);
            });
        } else {
            let operations = self.projections.operations(rows) + mixing;
            share(items, workspace.threads_for(operations), |scratch, item| {
                let (group, ((gated, states), kept)) = item;
                let mut heads = core::mem::take(&mut scratch.heads);
                heads.resize(3 * d_h * rows, T::Lanes::ZERO);
                let first = 3 * group * d_h;
                self.projections.multiply_to_panels(
                    &packed,
                    rows,
                    first,
                    &mut heads,
                    &mut scratch.wide,
                );
                keep(&heads, kept);
                self.mix((group, set), &mut heads, states, cut, gated, scratch);
                scratch.heads = heads;
            });
        }

        for (at, to) in runs(set) {
            let lanes = |vector: usize, t: usize| gated[vector * rows + at + t];
            let out = &mut out[to.start * d..to.end * d];
            self.output.project_panels(d, lanes, out, workspace);
        }
        workspace.shared = packed;
        workspace.panels = heads;
        workspace.gated = gated;
    }

    /// Vector operations of the models per step and vector of channels, about.
    pub(super) fn operations(&self) -> usize {
        self.config.d_state + self.config.head_dim * self.diagonal.operations()
    }

    /// One group of heads: from queries, keys and values, of which `heads` has a panel [row of the set] each, to
    /// `gated` [d2][row of the set].
    fn mix(
        &self,
        (group, set): (usize, &[Piece]),
        heads: &mut [T::Lanes],
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
        let Scratch {
            signals,
            window,
            state,
            points,
            diagonal: blocks,
            ..
        } = scratch;
        for piece in set {
            signals.resize(2 * piece.len, T::Lanes::ZERO);
            let (first, second) = signals.split_at_mut(piece.len);
            let b = piece.sequence;
            let cut = cut.filter(|_| piece.uncut);
            // Where the piece lies in the panel of q (0), k (1) or v (2) of d1.
            let place = |which: usize, d1: usize| {
                let panel = (3 * d1 + which) * rows;
                panel + piece.at..panel + piece.in_set().end
            };
            for d1 in 0..d_h {
                let k = &mut heads[place(1, d1)];
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
                    let (k, v) = (&heads[place(1, d1)], &heads[place(2, d2)]);
                    multiply::<T>(self.level, k, v, false, first);
                    self.diagonal.run_group(group, first, x, second, blocks);
                    if let Some(cut) = cut {
                        cut.diagonal(group, first, second, (points, window));
                    }
                    let gated = &mut gated[d2 * rows + piece.at..][..piece.len];
                    let q = &heads[place(0, d1)];
                    multiply::<T>(self.level, q, second, d1 > 0, gated);
                }
            }
        }
    }
}

/// Keeps panels if there is room for them.
fn keep<L: Copy>(panels: &[L], kept: Option<&mut [L]>) {
    if let Some(kept) = kept {
        kept.copy_from_slice(panels);
    }
}
