//! The layer stage by stage, with the switches at the lines they change.

use super::Mutant::{
    self, CarryAfterGate, DAfterGate, DTimesInput, DTimesShiftK, DTimesV, GateBeforeSsm, GeluLong,
    GeluTanhLong, InitialStateIgnored, LMaxCut, LongKernelAlias, NoD, PadInState, QvRolesSwapped,
    ShiftOnQ, ShiftOnV, SiluLong, SnapshotBoundary, SnapshotBoundaryLater, StateFromInput,
    StateFromV, StateWithoutB,
};
use super::activation::activate;
use super::convolve::Convolution;
use super::diagonal::{self, DiagonalModel};
use super::passing::{Model, Passing, closed_form, pass};
use super::shift::{ShiftStage, shift_stage};
use super::switches::Switches;
use super::wiring::{by_channel, finish, gate, head_row, load, outer, project};
use crate::error::Error;
use crate::flashconv::Chunking;
use crate::h3::{Config, LayerState, Name, Parameters};
use crate::tensor::Tensor;
use num_complex::Complex;

/// The sizes every stage needs.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) d: usize,
    pub(super) d_h: usize,
    pub(super) heads: usize,
}

impl Sizes {
    /// The row of a (batch, d, seq_len) stage.
    pub(super) fn channel(self, b: usize, channel: usize) -> usize {
        b * self.d + channel
    }

    /// The row of a (batch, d1, d2, H, seq_len) stage.
    pub(super) fn pair(self, b: usize, d1: usize, d2: usize, h: usize) -> usize {
        ((b * self.d_h + d1) * self.d_h + d2) * self.heads + h
    }

    /// All (b, d1, d2, h), in the order of the rows.
    pub(super) fn all_pairs(self) -> impl Iterator<Item = (usize, usize, usize, usize)> {
        let Self { d_h, heads, .. } = self;
        (0..self.batch * d_h * d_h * heads).map(move |r| {
            let (pair, h) = (r / heads, r % heads);
            (pair / d_h / d_h, pair / d_h % d_h, pair % d_h, h)
        })
    }
}

/// One run: what is given, and which mistakes are made with it.
pub(super) struct Run<'a> {
    pub(super) on: Switches<'a>,
    pub(super) config: Config,
    pub(super) parameters: Parameters<f64>,
    pub(super) input: &'a Tensor<f64>,
    pub(super) state: LayerState<f64>,
    pub(super) sizes: Sizes,
    /// The kernels' length.
    pub(super) window: usize,
    /// The chunks' lengths; one chunk unless a mutant sits between chunks.
    pub(super) chunks: Vec<usize>,
}

impl Run<'_> {
    /// Whether the layer can be run through states: kernels that are cut have none.
    pub(super) fn passes_states(&self) -> bool {
        self.window == self.sizes.len
    }

    /// M60: whether the states saved for sequence `b` are those before the last chunk.
    pub(super) fn snapshot(&self, b: usize) -> bool {
        self.chunks.len() > 1
            && (self.on.on(SnapshotBoundary) || b > 0 && self.on.on(SnapshotBoundaryLater))
    }
}

/// The chunk length at which [`mutated_forward`] runs mutants that sit between chunks: the largest
/// up to 16 that makes at least three chunks, the last of them shorter than the others; where
/// there is none, the largest up to 16 that makes at least three; else 1.
#[must_use]
pub fn default_chunk_len(seq_len: usize) -> usize {
    let three = |t: &usize| seq_len.div_ceil(*t) >= 3;
    let lengths = || (1..=16).rev().filter(three);
    let ragged = lengths().find(|t| !seq_len.is_multiple_of(*t));
    ragged.or_else(|| lengths().next()).unwrap_or(1)
}

/// The layer in `f64` with none, one or several mutants switched on: every stage of
/// [`STAGES`](super::STAGES) with its array, named and shaped as by
/// [`named_stages`](crate::oracle::named_stages). Without mutants it is the reference to rounding.
///
/// What a port with the mistake would save under a stage's name is taken to be this: `shift_k` is
/// what the shift model returned, whatever it was applied to; `kv` the product before the diagonal
/// model, `ssm_out` what that returned; kernels are cut as the right ones.
///
/// The order in which mutants are given does not matter. Of two that change the same line one may
/// hide the other.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward) by convolution; and if a mutant's
/// discretization has no value ([`bilinear`](crate::ssm::bilinear)).
pub fn mutated_forward(
    parameters: &Parameters<f64>,
    input: &Tensor<f64>,
    state: Option<&LayerState<f64>>,
    mutants: &[Mutant],
) -> Result<Vec<(&'static str, Tensor<f64>)>, Error> {
    let chunk_len = default_chunk_len(input.shape().get(1).copied().unwrap_or(0));
    mutated_forward_in_chunks(parameters, input, state, mutants, chunk_len)
}

/// [`mutated_forward`] with the chunk length of the port, for mutants that sit between chunks.
///
/// # Errors
///
/// As [`mutated_forward`], and if `chunk_len` is zero.
pub fn mutated_forward_in_chunks(
    parameters: &Parameters<f64>,
    input: &Tensor<f64>,
    state: Option<&LayerState<f64>>,
    mutants: &[Mutant],
    chunk_len: usize,
) -> Result<Vec<(&'static str, Tensor<f64>)>, Error> {
    let run = prepare(parameters, input, state, Switches(mutants), chunk_len)?;
    let u = by_channel(&run);
    let q = project(&run, &u, Name::QWeight, Name::QBias);
    let k = project(&run, &u, Name::KWeight, Name::KBias);
    let v = project(&run, &u, Name::VWeight, Name::VBias);
    let (shift_on_v, shift_on_q) = (run.on.on(ShiftOnV), run.on.on(ShiftOnQ));
    let shifted = match () {
        () if shift_on_v => &v, // M19
        () if shift_on_q => &q, // M20
        () => &k,
    };
    let ShiftStage {
        kernel: shift_kernel,
        shift_k,
        state: final_state_k,
    } = shift_stage(&run, shifted)?;
    let (mut queries, keys, mut values) = match () {
        () if shift_on_v => (&q, &k, &shift_k),
        () if shift_on_q => (&shift_k, &k, &v),
        () => (&q, &shift_k, &v),
    };
    if run.on.on(QvRolesSwapped) {
        core::mem::swap(&mut queries, &mut values); // M21
    }
    let kv = outer(&run, keys, values);
    let long = diagonal_stage(&run, &u, queries, keys, values, &kv)?;
    let gated = gate(&run, queries, &long.ssm_out, &long.ungated);
    let output = finish(&run, &gated);
    Ok(vec![
        ("q", q),
        ("k", k),
        ("v", v),
        ("shift_kernel", shift_kernel),
        ("shift_k", shift_k),
        ("kv", kv),
        ("ssm_kernel", long.kernel),
        ("ssm_out", long.ssm_out),
        ("gated", gated),
        ("output", output),
        ("final_state_k", final_state_k),
        ("final_state", long.state),
    ])
}

/// Checks the input and state as the reference does, and decides on chunks.
pub(super) fn prepare<'a>(
    parameters: &Parameters<f64>,
    input: &'a Tensor<f64>,
    state: Option<&LayerState<f64>>,
    on: Switches<'a>,
    chunk_len: usize,
) -> Result<Run<'a>, Error> {
    let config = parameters.config().clone();
    let &[batch, len, d] = input.shape() else {
        return Err(Error::shape("input", "three axes", input.shape().len()));
    };
    input.check_shape("input", &[batch, len, config.d_model])?;
    let sizes = Sizes {
        batch,
        len,
        d,
        d_h: config.head_dim,
        heads: config.n_heads(),
    };
    let layer = parameters.discretize()?;
    let zero = layer.zero_state(batch);
    if let Some(state) = state {
        layer.check_state(state, batch)?;
        layer.check_window(state, len, true, "a layer from a state")?;
    }
    let window = layer.window(len);
    // A kernel cut to l_max has no state that could be passed between chunks.
    let chunk_len = if on.chunked() && window == len {
        chunk_len
    } else {
        len.max(1)
    };
    Ok(Run {
        on,
        parameters: load(parameters, on)?,
        input,
        state: match state {
            Some(state) if !on.on(InitialStateIgnored) => state.clone(), // M59b
            _ => zero,
        },
        sizes,
        window,
        chunks: Chunking::Uniform(chunk_len).lengths(len)?,
        config,
    })
}

/// What the diagonal model gives, and what a mistake adds beside the gate.
struct DiagonalStage {
    kernel: Tensor<f64>,
    ssm_out: Tensor<f64>,
    ungated: Tensor<f64>,
    state: Tensor<f64>,
}

/// The taps the long convolution is given, which cuts them to its window.
fn long_kernel_len(run: &Run<'_>) -> usize {
    let len = run.sizes.len;
    if run.on.on(LongKernelAlias) {
        // M02: the kernel as long as it can be, L_k > L.
        run.config.l_max.unwrap_or(usize::MAX).clamp(len, 2 * len)
    } else {
        len
    }
}

fn diagonal_stage(
    run: &Run<'_>,
    input: &Tensor<f64>,
    queries: &Tensor<f64>,
    keys: &Tensor<f64>,
    values: &Tensor<f64>,
    kv: &Tensor<f64>,
) -> Result<DiagonalStage, Error> {
    let (on, sizes) = (run.on, run.sizes);
    let models = diagonal::models(run)?;
    let n = run.config.n_modes();
    let taps = long_kernel_len(run);
    let kernels: Vec<_> = models.iter().map(|m| m.kernel(on, taps)).collect();
    let mut kernel = Tensor::filled([sizes.heads, run.window], 0.0);
    for (h, taps) in kernels.iter().enumerate() {
        let row = kernel.row_mut(h);
        row.copy_from_slice(&taps[..row.len()]);
    }
    let mut ssm_out = Tensor::filled(kv.shape(), 0.0);
    let mut ungated = Tensor::filled(kv.shape(), 0.0);
    let mut states = Vec::with_capacity(2 * sizes.all_pairs().count() * n);
    let (convolution, passing) = (
        Convolution::long(on),
        Passing::long(on, run.passes_states()),
    );
    // M52: no cut.
    let window = if on.on(LMaxCut) {
        sizes.len
    } else {
        run.window
    };
    for (b, d1, d2, h) in sizes.all_pairs() {
        let (r, model) = (sizes.pair(b, d1, d2, h), &models[h]);
        let mut u = kv.row(r).to_vec();
        if on.on(GateBeforeSsm) {
            // M22
            let q = queries.row(head_row(run, b, h, d1));
            u.iter_mut().zip(q).for_each(|(u, q)| *u *= q);
        }
        let x0 = run.state.diagonal.row(r);
        let passed = if run.passes_states() && on.0.iter().any(|m| m.steps_diagonal()) {
            model.step(on, &run.chunks, &u, x0)
        } else {
            pass(model, &passing, &run.chunks, &u, x0, |chunk| {
                convolution.apply(&kernels[h], window, chunk)
            })?
        };
        let (key, value) = (head_row(run, b, h, d1), head_row(run, b, h, d2));
        let skipped = match () {
            () if on.on(DTimesV) => values.row(value),    // M35a
            () if on.on(DTimesShiftK) => keys.row(key),   // M35b
            () if on.on(DTimesInput) => input.row(value), // M35c
            () => &u,
        };
        let (y, beside) = (ssm_out.row_mut(r), ungated.row_mut(r));
        y.copy_from_slice(&passed.within);
        // M61, M36: added after the gate instead of before it.
        let place = if on.on(CarryAfterGate) {
            &mut *beside
        } else {
            &mut *y
        };
        for (place, carried) in place.iter_mut().zip(&passed.carried) {
            *place += carried;
        }
        let place = if on.on(DAfterGate) { beside } else { &mut *y };
        if !on.on(NoD) {
            // M34
            for (place, u) in place.iter_mut().zip(skipped) {
                *place += model.d * u;
            }
        }
        activate(on, [GeluLong, GeluTanhLong, SiluLong], y); // M32
        let source = match () {
            () if on.on(StateFromInput) => Some(input.row(value)), // M65a
            () if on.on(StateFromV) => Some(values.row(value)),    // M65c
            () => None,
        };
        let saved = if run.snapshot(b) {
            passed.boundary // M60
        } else {
            save(on, model, x0, &u, source, passed.state)
        };
        // M67: one zero too many.
        let pad = usize::from(on.on(PadInState) && sizes.len % 2 == 1);
        for z in model.advance(&saved, pad) {
            states.extend([z.re, z.im]);
        }
    }
    let flat = [sizes.batch * sizes.d_h * sizes.d_h, sizes.heads, n, 2];
    Ok(DiagonalStage {
        kernel,
        ssm_out,
        ungated,
        state: Tensor::known(flat, states),
    })
}

/// The state a port saves after the sequence.
fn save(
    on: Switches<'_>,
    model: &DiagonalModel,
    x0: &[Complex<f64>],
    u: &[f64],
    source: Option<&[f64]>,
    state: Vec<Complex<f64>>,
) -> Vec<Complex<f64>> {
    let without_b = on.on(StateWithoutB);
    if !without_b && source.is_none() {
        return state;
    }
    let input = source.unwrap_or(u); // M65
    if without_b {
        closed_form(&model.without_b(), x0, input) // M66
    } else {
        closed_form(model, x0, input)
    }
}
