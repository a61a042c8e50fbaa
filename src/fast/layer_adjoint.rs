//! The whole layer backwards.
//!
//! Forwards, the state before every piece of a sequence is kept; backwards, the pieces are taken
//! from the last: queries, keys, values and the models' outputs are computed again from the state
//! before the piece, and the cotangent of the state is passed on to the piece before. Memory is
//! bounded by a set of pieces, one state per piece, and the gradients themselves; who can spare more has
//! queries, keys and values kept ([`SavedStates::with_projections`]), and is quicker.

use super::diagonal::DiagonalParameters;
use super::diagonal_adjoint::DiagonalAdjoint;
use super::heads_adjoint::{GroupPart, HeadSums};
use super::lanes::{Element, Vector};
use super::layer::FastLayer;
use super::layer_parameters::{Continuous, LaneLayout, PROJECTIONS, shift_parameters};
use super::layer_state::{FastState, SavedSet, SavedStates};
use super::level::Level;
use super::panels::{lane_groups, split_parts};
use super::pieces::{Piece, Span, check_documents, row_of, rows_of, runs, spans, whole};
use super::projection_adjoint::WeightSums;
use super::scratch::AdjointBuffers;
use super::share::share;
use super::shift::ShiftParameters;
use super::weights::Weights;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::h3::{LayerState, Name, Parameters};
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A layer prepared to be run forwards and backwards.
#[derive(Clone, Debug)]
pub struct FastAdjoint<T: Element> {
    layer: FastLayer<T>,
    layout: LaneLayout,
    /// From the cotangents of queries, keys and values to those of the input.
    to_input: Weights<T>,
    /// From the cotangents of the output to those of the gated signals.
    to_gated: Weights<T>,
    shift: ShiftParameters,
    diagonal: DiagonalAdjoint<T>,
    continuous: Continuous,
}

/// Parameter gradients of a layer, accumulated over backward runs.
///
/// In the order of the lanes; [`FastAdjoint::official`] brings it to the official names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FastGradientSums<T: Element> {
    projections: WeightSums<T>,
    output: WeightSums<T>,
    heads: Vec<HeadSums<T>>,
}

/// Outputs and gradients of [`FastAdjoint::gradients`], in the reference's layouts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FastLayerGradients<T: Element> {
    /// The output (batch, seq_len, d).
    pub output: Tensor<T>,
    /// The state after the last input.
    pub final_state: LayerState<T>,
    /// With respect to the input (batch, seq_len, d).
    pub input: Tensor<T>,
    /// With respect to the initial state.
    pub state: LayerState<T>,
    /// With respect to every official parameter, in its own shape.
    pub parameters: Parameters<f64>,
}

impl<T: Element> FastGradientSums<T> {
    /// Resets every sum to zero.
    pub fn clear(&mut self) {
        let Self {
            projections,
            output,
            heads,
        } = self;
        projections.clear();
        output.clear();
        heads.iter_mut().for_each(HeadSums::clear);
    }
}

impl<T: Element> FastAdjoint<T> {
    /// The layer of these official parameters prepared for a level, and its adjoint.
    ///
    /// # Errors
    ///
    /// As [`FastLayer::new`].
    pub fn new(level: Level, parameters: &Parameters<f64>) -> Result<Self, Error> {
        let layer = FastLayer::new(level, parameters)?;
        let config = parameters.config();
        let (d, width) = (config.d_model, T::Lanes::WIDTH);
        let layout = LaneLayout::new::<T>(config);
        let number = |at: Option<f64>| at.unwrap_or(0.0);
        let weights = PROJECTIONS.map(|(weight, _)| parameters.get(weight));
        let to_input = Weights::pack(
            level,
            None,
            (lane_groups::<T>(d), 3 * layout.vectors() * width),
            |vector, lane, from| {
                let (to, from, lane) = (vector * width + lane, from / width, from % width);
                let channel = layout.channel(from / 3, lane).filter(|_| to < d);
                number(channel.map(|c| weights[from % 3][c * d + to]))
            },
            |_, _| T::ZERO,
        );
        let output = parameters.get(Name::OutputWeight);
        let to_gated = Weights::pack(
            level,
            None,
            (layout.vectors(), d),
            |vector, lane, from| {
                let gated = layout.gated(vector, lane);
                number(gated.map(|gated| output[from * d + gated]))
            },
            |_, _| T::ZERO,
        );
        Ok(Self {
            layer,
            to_input,
            to_gated,
            shift: shift_parameters(parameters, layout),
            diagonal: DiagonalAdjoint::new(level, DiagonalParameters::from_official(parameters)?),
            continuous: Continuous::new(parameters),
            layout,
        })
    }

    /// The layer.
    #[must_use]
    pub fn layer(&self) -> &FastLayer<T> {
        &self.layer
    }

    /// Gradients that have received nothing.
    #[must_use]
    pub fn zero_gradients(&self) -> FastGradientSums<T> {
        let (d, d_h) = (self.layer.config.d_model, self.layer.config.head_dim);
        let (level, vectors) = (self.layer.level, self.layout.vectors());
        let head = HeadSums {
            diagonal: self.diagonal.zero_sums(),
            shift: vec![self.layer.shift.zero_sums(); d_h],
            bias: vec![T::Lanes::ZERO; 3 * d_h],
        };
        FastGradientSums {
            projections: WeightSums::new(level, 3 * vectors, d),
            output: WeightSums::new(level, vectors, d),
            heads: vec![head; self.layer.groups()],
        }
    }

    /// [`FastLayer::run`], keeping in `saved` what [`backward`](Self::backward) needs besides the
    /// input.
    ///
    /// # Errors
    ///
    /// As [`FastLayer::run`].
    pub fn forward(
        &self,
        u: &[T],
        out: &mut [T],
        state: &mut FastState<T>,
        saved: &mut SavedStates<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let batch = state.batch();
        let len = self.layer.steps(u, batch)?;
        self.forward_spans(u, out, whole(batch, len), state, saved, workspace)
    }

    /// [`FastLayer::run_documents`], keeping in `saved` what [`backward`](Self::backward) needs besides the
    /// input.
    ///
    /// # Errors
    ///
    /// As [`FastLayer::run_documents`].
    pub fn forward_documents(
        &self,
        u: &[T],
        out: &mut [T],
        documents: &Documents,
        state: &mut FastState<T>,
        saved: &mut SavedStates<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let input = ("input", u.len(), self.layer.config.d_model);
        check_documents(documents, input, state.batch())?;
        let spans = spans(documents);
        self.forward_spans(u, out, spans, state, saved, workspace)
    }

    fn forward_spans(
        &self,
        u: &[T],
        out: &mut [T],
        spans: impl Iterator<Item = Span> + Clone,
        state: &mut FastState<T>,
        saved: &mut SavedStates<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        saved.clear();
        let mut plan = core::mem::take(&mut saved.plan);
        let done = self
            .layer
            .lay_out(&mut plan, spans, state, true)
            .and_then(|()| {
                self.layer
                    .run_plan(u, out, &plan, state, Some(&mut *saved), workspace)
            });
        saved.plan = plan;
        done?;
        saved.sequences = state.batch();
        saved.len = u.len();
        Ok(())
    }

    /// The layer backwards over the input it was last run [`forward`](Self::forward) over with
    /// `saved`, or [`forward_documents`](Self::forward_documents).
    ///
    /// `g` (batch, seq_len, d) are the cotangents of the output. `cotangent` is that of the final
    /// state (zeros if nothing depends on it) and becomes that of the initial state; its `position`
    /// does not matter. The cotangents of the input are written to `of_u`, and what the parameters
    /// receive, from all sequences, is added to `gradients`. The results do not depend on the number of
    /// threads.
    ///
    /// Of documents, the cotangents of each one's input and initial state are, bit for bit, those of it
    /// alone; values at padding are not read, and the input's are zeros there.
    ///
    /// # Errors
    ///
    /// If a length or state does not fit, or `saved` is not of this input. Everything is then as
    /// it was.
    #[expect(clippy::too_many_arguments, reason = "both directions of the layer")]
    pub fn backward(
        &self,
        u: &[T],
        g: &[T],
        saved: &SavedStates<T>,
        cotangent: &mut FastState<T>,
        of_u: &mut [T],
        gradients: &mut FastGradientSums<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let d = self.layer.config.d_model;
        check_len("input the states were saved for", saved.len, u.len())?;
        check_len("cotangent of the output", g.len(), u.len())?;
        check_len("gradient of the input", of_u.len(), u.len())?;
        check_len(
            "sequences of the cotangent",
            cotangent.batch(),
            saved.sequences,
        )?;
        let (plan, saved) = (&saved.plan, saved.sets());
        check_len("saved states", saved.len(), plan.sets().len())?;
        check_len("gradients", gradients.heads.len(), self.layer.groups())?;
        self.layer.check_state(cotangent)?;
        let panels = 3 * self.layer.groups() * self.layer.config.head_dim;
        for (set, saved) in plan.sets().zip(saved) {
            self.layer.check_state(&saved.before)?;
            if !saved.projections.is_empty() {
                check_len(
                    "saved projections",
                    saved.projections.len(),
                    panels * rows_of(set),
                )?;
            }
        }
        for gap in plan.padding(u.len().checked_div(d).unwrap_or(0)) {
            of_u[gap.start * d..gap.end * d].fill(T::ZERO);
        }
        for (set, saved) in plan.sets().zip(saved).rev() {
            let signals = Signals { u, g, set };
            self.back_set(&signals, saved, cotangent, of_u, gradients, workspace);
        }
        Ok(())
    }

    /// The gradients of the official parameters, back through the discretization (summed over the
    /// heads that share a model), `dt = exp(log_dt)` and `real_type`, in double precision.
    ///
    /// # Errors
    ///
    /// If they are not gradients of this layer.
    pub fn official(&self, gradients: &FastGradientSums<T>) -> Result<Parameters<f64>, Error> {
        let config = &self.layer.config;
        let (d, d_h, width) = (config.d_model, config.head_dim, T::Lanes::WIDTH);
        let FastGradientSums {
            projections,
            output,
            heads,
        } = gradients;
        check_len("gradients", heads.len(), self.layer.groups())?;
        let shift = heads.iter().flat_map(|head| &head.shift);
        let shift = self.layer.shift.gradient(&self.shift, shift);
        let diagonal = self.diagonal.gradient(heads.iter().map(|h| &h.diagonal));
        let continuous = self.continuous.gradient(&diagonal.a, &diagonal.b);
        // A list by channel from one by lane.
        let by_channel = |each: usize, of_row: &dyn Fn(usize, &mut [f64])| {
            let mut list = vec![0.0; d * each];
            for (channel, row) in self.layout.rows(LaneLayout::channel) {
                of_row(row, &mut list[channel * each..][..each]);
            }
            list
        };
        let m = config.d_state;
        Parameters::new(config.clone(), |name| {
            let projection = PROJECTIONS
                .iter()
                .position(|(weight, bias)| [*weight, *bias].contains(&name));
            Ok(match (name, projection) {
                (Name::QWeight | Name::KWeight | Name::VWeight, Some(which)) => {
                    by_channel(d, &|row, list| {
                        let vector = 3 * (row / width) + which;
                        projections.read_row(vector * width + row % width, list);
                    })
                }
                (Name::QBias | Name::KBias | Name::VBias, Some(which)) => {
                    by_channel(1, &|row, list| {
                        let (vector, lane) = (row / width, row % width);
                        let bias = &heads[vector / d_h].bias[vector % d_h * 3 + which];
                        list[0] = bias.lanes()[lane].to_f64();
                    })
                }
                (Name::ShiftB, _) => by_channel(m, &|row, list| {
                    list.copy_from_slice(&shift.b[row * m..][..m]);
                }),
                (Name::ShiftC, _) => by_channel(m, &|row, list| {
                    list.copy_from_slice(&shift.c[row * m..][..m]);
                }),
                (Name::ShiftD, _) => by_channel(1, &|row, list| list[0] = shift.d[row]),
                (Name::OutputWeight, _) => {
                    let mut by_gated = vec![0.0; d * d];
                    for (gated, row) in self.layout.rows(LaneLayout::gated) {
                        output.read_row(row, &mut by_gated[gated * d..][..d]);
                    }
                    transposed(&by_gated, d)
                }
                (Name::OutputBias, _) => (0..d).map(|to| output.input(to)).into_vec(),
                (Name::C, _) => diagonal.c.iter().flat_map(|z| [z.re, z.im]).into_vec(),
                (Name::D, _) => diagonal.d.clone(),
                (Name::B, _) => continuous.b.clone(),
                (Name::LogDt, _) => continuous.log_dt.clone(),
                (Name::InvAReal, _) => continuous.inv_a_real.clone(),
                (Name::AImag, _) => continuous.a_imag.clone(),
                // Every projection is one of the three.
                (_, None) => Vec::new(),
            })
        })
    }

    /// Forwards and backwards over `u` (batch, seq_len, d) from `state` (zeros if `None`), given
    /// the cotangents of the output and of the final state (zeros if `None`). Allocates what it
    /// needs; [`forward`](Self::forward) and [`backward`](Self::backward) do not.
    ///
    /// # Errors
    ///
    /// As those two.
    pub fn gradients(
        &self,
        u: &Tensor<T>,
        state: Option<&LayerState<T>>,
        g: &Tensor<T>,
        g_state: Option<&LayerState<T>>,
        workspace: &mut Workspace<T>,
    ) -> Result<FastLayerGradients<T>, Error> {
        let layer = &self.layer;
        let mut running = layer.initial_state(u, state)?;
        let mut cotangent = layer.initial_state(u, g_state)?;
        g.check_shape("cotangent of the output", u.shape())?;
        let mut output = vec![T::ZERO; u.data().len()];
        let mut input = output.clone();
        let mut saved = SavedStates::with_projections();
        let initial = running.position();
        self.forward(u.data(), &mut output, &mut running, &mut saved, workspace)?;
        let mut gradients = self.zero_gradients();
        self.backward(
            u.data(),
            g.data(),
            &saved,
            &mut cotangent,
            &mut input,
            &mut gradients,
            workspace,
        )?;
        cotangent.positions.fill(initial);
        Ok(FastLayerGradients {
            output: Tensor::new(u.shape(), output)?,
            final_state: layer.state_to(&running)?,
            input: Tensor::new(u.shape(), input)?,
            state: layer.state_to(&cotangent)?,
            parameters: self.official(&gradients)?,
        })
    }

    /// One set of pieces, of which this was saved.
    fn back_set(
        &self,
        signals: &Signals<'_, T>,
        saved: &SavedSet<T>,
        cotangent: &mut FastState<T>,
        of_u: &mut [T],
        gradients: &mut FastGradientSums<T>,
        workspace: &mut Workspace<T>,
    ) {
        let layer = &self.layer;
        let (d, d_h, set) = (layer.config.d_model, layer.config.head_dim, signals.set);
        let (rows, groups) = (rows_of(set), layer.groups());
        let mut packed = core::mem::take(&mut workspace.shared);
        let mut gated = core::mem::take(&mut workspace.gated);
        let AdjointBuffers {
            packed: mut packed_g,
            mut of_gated,
            mut of_heads,
            mut inputs,
            mut cotangents,
        } = core::mem::take(&mut workspace.adjoint);

        let (u, g) = (
            |r| signals.row(signals.u, d, r),
            |r| signals.row(signals.g, d, r),
        );
        let SavedSet {
            before,
            projections,
        } = saved;
        if projections.is_empty() {
            layer
                .projections
                .pack_rows_shared(rows, u, &mut packed, workspace);
        }
        self.to_gated
            .pack_rows_shared(rows, g, &mut packed_g, workspace);
        let vectors = self.layout.vectors();
        let threads = workspace.threads_for(rows * vectors);
        inputs.pack(layer.level, rows, d, u, threads);
        cotangents.pack(layer.level, rows, d, g, threads);
        let each = self.to_gated.per_tile();
        of_gated.resize(vectors.next_multiple_of(each) * rows, T::Lanes::ZERO);
        let items = of_gated.chunks_exact_mut(each * rows).enumerate();
        let threads = workspace.threads_for(self.to_gated.operations(rows));
        share(items, threads, |scratch, (i, out)| {
            self.to_gated
                .multiply_to_panels(&packed_g, rows, i * each, out, &mut scratch.wide);
        });

        gated.resize(vectors * rows, T::Lanes::ZERO);
        of_heads.resize(3 * vectors * rows, T::Lanes::ZERO);
        let parts = |batch: usize| (layer.shift_part(batch), layer.diagonal_part(batch));
        let (l_shift, l_diagonal) = parts(cotangent.batch());
        let (shift, diagonal) = parts(set.len());
        let items = gated
            .chunks_exact_mut(d_h * rows)
            .zip(of_heads.chunks_exact_mut(3 * d_h * rows))
            .zip(split_parts(&mut cotangent.shift, l_shift, groups))
            .zip(split_parts(&mut cotangent.diagonal, l_diagonal, groups))
            .zip(&mut gradients.heads)
            .enumerate();
        let products = layer.projections.operations(rows);
        let mixing = vectors * rows * 3 * layer.operations();
        let threads = workspace.threads_for(products + mixing);
        share(items, threads, |scratch, (group, item)| {
            let ((((gated, of_heads), l_shift), l_diagonal), sums) = item;
            let size = 3 * d_h * rows;
            if projections.is_empty() {
                scratch.heads.resize(size, T::Lanes::ZERO);
                layer.projections.multiply_to_panels(
                    &packed,
                    rows,
                    3 * group * d_h,
                    &mut scratch.heads,
                    &mut scratch.wide,
                );
            }
            let kept = projections.chunks_exact(size).nth(group);
            let part = GroupPart {
                layer,
                adjoint: &self.diagonal,
                group,
                set,
                heads: kept.unwrap_or(&scratch.heads),
                of_gated: &of_gated[group * d_h * rows..][..d_h * rows],
                shift: &before.shift[group * shift..][..shift],
                diagonal: &before.diagonal[group * diagonal..][..diagonal],
            };
            let scratches = (&mut scratch.adjoint, &mut scratch.diagonal);
            part.run(gated, of_heads, (l_shift, l_diagonal), sums, scratches);
        });

        let threads = workspace.threads_for(products);
        gradients
            .projections
            .receive(&of_heads, &inputs, rows, threads);
        let threads = workspace.threads_for(self.to_gated.operations(rows));
        gradients.output.receive(&gated, &cotangents, rows, threads);
        for (at, to) in runs(set) {
            let lanes = |vector: usize, t: usize| of_heads[vector * rows + at + t];
            let of_u = &mut of_u[to.start * d..to.end * d];
            self.to_input.project_panels(d, lanes, of_u, workspace);
        }
        workspace.shared = packed;
        workspace.gated = gated;
        workspace.adjoint = AdjointBuffers {
            packed: packed_g,
            of_gated,
            of_heads,
            inputs,
            cotangents,
        };
    }
}

/// The input, the cotangents of the output, and the pieces of both that are worked on.
struct Signals<'a, T> {
    u: &'a [T],
    g: &'a [T],
    set: &'a [Piece],
}

impl<'a, T> Signals<'a, T> {
    /// A row of the set.
    fn row(&self, of: &'a [T], d: usize, r: usize) -> &'a [T] {
        &of[row_of(self.set, r) * d..][..d]
    }
}

/// The transpose of a matrix of rows of `d`, some rows of the result at a time, so that neither is read or written at
/// more places than a cache has room for.
fn transposed(matrix: &[f64], d: usize) -> Vec<f64> {
    const ROWS: usize = 8;
    let mut transposed = vec![0.0; matrix.len()];
    for (part, rows) in transposed.chunks_mut(ROWS * d).enumerate() {
        let columns = part * ROWS..(part * ROWS + ROWS).min(d);
        for (j, row) in matrix.chunks_exact(d).enumerate() {
            for (i, &x) in row[columns.clone()].iter().enumerate() {
                rows[i * d + j] = x;
            }
        }
    }
    transposed
}
