//! The shift model: its kernel from B and C, its pass over the keys.

use super::Mutant::{
    GeluShift, GeluTanhShift, LMaxCut, LongKernelAlias, NoShiftD, PadInState, ShiftAdvanced,
    ShiftConjOnC, ShiftConvNotCorr, ShiftCyclicTime, ShiftDelayed, ShiftFeatureAxis, ShiftFftN,
    ShiftIsDecay, ShiftLenAlias, ShiftLenUncut, ShiftStateFromShiftK, ShiftStepReadsBefore,
    ShiftStepRolledBack, ShiftStepTransposed, ShiftTapsReversed, ShiftUnitDelay, SiluShift,
};
use super::activation::activate;
use super::convolve::Convolution;
use super::evaluate::Run;
use super::passing::{Model, Passed, Passing, closed_form, pass};
use super::switches::Switches;
use crate::algebra::dot;
use crate::error::Error;
use crate::h3::Name;
use crate::tensor::Tensor;

/// The shift model of one channel.
pub(super) struct ShiftModel {
    b: Vec<f64>,
    c: Vec<f64>,
    /// M17: the diagonal of A, in place of the shift matrix.
    decay: Option<Vec<f64>>,
    /// All taps, before any cut.
    pub(super) kernel: Vec<f64>,
    d: f64,
}

/// The shift model of every channel, for sequences of `len`.
pub(super) fn models(run: &Run<'_>, len: usize) -> Vec<ShiftModel> {
    let (p, on, m) = (&run.parameters, run.on, run.config.d_state);
    let taps = |name, channel| p.get(name)[channel * m..][..m].to_vec();
    (0..run.sizes.d)
        .map(|channel| {
            let mut model = ShiftModel {
                b: taps(Name::ShiftB, channel),
                c: taps(Name::ShiftC, channel),
                decay: None,
                kernel: Vec::new(),
                d: p.get(Name::ShiftD)[channel],
            };
            if on.on(ShiftIsDecay) {
                // M17
                let rate = |n| (-((n + 1) as f64) / m as f64).exp();
                model.decay = Some((0..m).map(rate).collect());
            }
            model.kernel = model.taps(on, len);
            model
        })
        .collect()
}

impl ShiftModel {
    /// The kernel before any cut to the input's length.
    fn taps(&self, on: Switches<'_>, len: usize) -> Vec<f64> {
        let m = self.b.len();
        let mut kernel = if self.decay.is_some() {
            self.rows(&self.b, 0, m.max(2 * len))
        } else if on.on(ShiftUnitDelay) {
            // M08
            let mut kernel = vec![0.0, 1.0];
            kernel.resize(m.max(2), 0.0);
            kernel
        } else {
            self.over_the_state_axis(on, len)
        };
        if on.on(ShiftTapsReversed) {
            kernel[..m].reverse(); // M10
        }
        if on.on(ShiftDelayed) {
            kernel.insert(0, 0.0); // M09a
        }
        if on.on(ShiftAdvanced) {
            kernel.remove(0); // M09b
        }
        kernel
    }

    /// `irfft(conj(B_f) C_f)`, as the sum it is; no more taps than inputs of `len` can meet.
    fn over_the_state_axis(&self, on: Switches<'_>, len: usize) -> Vec<f64> {
        let m = self.b.len();
        // M13: an FFT of m points instead of 2 m.
        let n = if on.on(ShiftFftN) { m } else { 2 * m };
        // M12: conj(C_f) instead of conj(B_f).
        let (b, c) = if on.on(ShiftConjOnC) {
            (&self.c, &self.b)
        } else {
            (&self.b, &self.c)
        };
        // M14b: all n points instead of the first m.
        let count = if on.on(ShiftLenUncut) { n } else { m };
        // M10, M15, M16: the last tap at the first time steps.
        let late = [ShiftTapsReversed, ShiftCyclicTime, ShiftFeatureAxis];
        let count = match on.any(&late) {
            true => count,
            false => count.min(2 * len + 2),
        };
        (0..count)
            .map(|t| {
                b.iter().enumerate().fold(0.0, |sum, (i, &b)| {
                    // M11: without conj, C_{t-i} instead of C_{i+t}.
                    let place = if on.on(ShiftConvNotCorr) {
                        t + n - i
                    } else {
                        i + t
                    };
                    // Both are below 2 n.
                    let place = if place < n { place } else { place - n };
                    sum + b * c.get(place).copied().unwrap_or(0.0)
                })
            })
            .collect()
    }

    /// The recurrence, with a mistake in its step.
    fn step(&self, on: Switches<'_>, chunks: &[usize], u: &[f64], x0: &[f64]) -> Passed<f64> {
        let m = self.b.len();
        let last = u.len() - chunks.last().copied().unwrap_or(0);
        let (mut x, mut boundary) = (x0.to_vec(), x0.to_vec());
        let mut within = Vec::with_capacity(u.len());
        for (t, &u) in u.iter().enumerate() {
            if t == last {
                boundary.clone_from(&x);
            }
            let before = dot(&self.c, &x);
            if on.on(ShiftStepTransposed) {
                x.rotate_left(1); // M64a: ones above the diagonal
                x[m - 1] = 0.0;
            } else if on.on(ShiftStepRolledBack) {
                x.rotate_left(1); // M64b: roll by -1
                x[0] = 0.0;
            } else {
                x.rotate_right(1);
                x[0] = 0.0;
            }
            for (x, &b) in x.iter_mut().zip(&self.b) {
                *x += b * u;
            }
            // M64c: read before the insertion.
            within.push(if on.on(ShiftStepReadsBefore) {
                before
            } else {
                dot(&self.c, &x)
            });
        }
        Passed {
            carried: vec![0.0; within.len()],
            within,
            state: x,
            boundary,
        }
    }
}

impl Model for ShiftModel {
    type X = f64;

    fn advance(&self, x: &[f64], k: usize) -> Vec<f64> {
        if let Some(decay) = &self.decay {
            let power = i32::try_from(k).unwrap_or(i32::MAX);
            return x
                .iter()
                .zip(decay)
                .map(|(x, r)| x * r.powi(power))
                .collect();
        }
        let moved = k.min(x.len());
        let mut next = vec![0.0; moved];
        next.extend_from_slice(&x[..x.len() - moved]);
        next
    }

    fn rows(&self, x: &[f64], first: usize, len: usize) -> Vec<f64> {
        if let Some(decay) = &self.decay {
            let mut x = self.advance(x, first);
            let row = |_| {
                let y = dot(&self.c, &x);
                x.iter_mut().zip(decay).for_each(|(x, r)| *x *= r);
                y
            };
            return (0..len).map(row).collect();
        }
        (first..first + len)
            .map(|k| match self.c.get(k..) {
                Some(taps) => dot(taps, &x[..taps.len()]),
                None => 0.0,
            })
            .collect()
    }

    fn absorb(&self, u: &[f64]) -> Vec<f64> {
        let Some(decay) = &self.decay else {
            return (0..self.b.len())
                .map(|n| {
                    let newest = u.iter().rev().take(n + 1).enumerate();
                    newest.fold(0.0, |sum, (k, &u)| sum + self.b[n - k] * u)
                })
                .collect();
        };
        let horner = |r: f64| u.iter().fold(0.0, |sum, &u| sum * r + u);
        let pairs = self.b.iter().zip(decay);
        pairs.map(|(&b, &r)| b * horner(r)).collect()
    }
}

/// What the shift model gives: its kernel, its output and its final state.
pub(super) struct ShiftStage {
    pub(super) kernel: Tensor<f64>,
    pub(super) shift_k: Tensor<f64>,
    pub(super) state: Tensor<f64>,
}

/// The shift model of every channel of `keys` (batch, d, seq_len).
pub(super) fn shift_stage(run: &Run<'_>, keys: &Tensor<f64>) -> Result<ShiftStage, Error> {
    let (on, sizes) = (run.on, run.sizes);
    let models = models(run, sizes.len);
    let mut kernel = Tensor::filled([sizes.d, run.window], 0.0);
    let mut shift_k = Tensor::filled(keys.shape(), 0.0);
    let mut state = run.state.shift.clone();
    // M52: the recurrence knows no window.
    let window = if on.on(LMaxCut) {
        sizes.len
    } else {
        run.window
    };
    // M02: kernels as long as they can be, which is l_max where there is one.
    let longest = match run.config.l_max {
        Some(l_max) if on.on(LongKernelAlias) && !on.on(ShiftLenAlias) => l_max.max(sizes.len),
        _ => usize::MAX,
    };
    let (convolution, passing) = (Convolution::shift(on), Passing::shift(on));
    for (c, model) in models.iter().enumerate() {
        for (place, &tap) in kernel.row_mut(c).iter_mut().zip(&model.kernel) {
            *place = tap;
        }
        for b in 0..sizes.batch {
            let r = sizes.channel(b, c);
            let (u, x0) = (keys.row(r), run.state.shift.row(r));
            let mut passed = if run.passes_states() && on.0.iter().any(|m| m.steps_shift()) {
                model.step(on, &run.chunks, u, x0)
            } else {
                pass(model, &passing, &run.chunks, u, x0, |chunk| {
                    let taps = &model.kernel[..longest.min(model.kernel.len())];
                    convolution.apply(taps, window, chunk)
                })?
            };
            if on.on(ShiftFeatureAxis) {
                // M16
                passed.within = across_channels(&model.kernel, keys, sizes.channel(b, 0), c);
                passed.carried.fill(0.0);
            }
            let y = shift_k.row_mut(r);
            for (i, y) in y.iter_mut().enumerate() {
                *y = passed.within[i] + passed.carried[i];
                if !on.on(NoShiftD) {
                    *y += model.d * u[i]; // M18
                }
            }
            activate(on, [GeluShift, GeluTanhShift, SiluShift], y); // M32
            let saved = if run.snapshot(b) {
                passed.boundary // M60
            } else if on.on(ShiftStateFromShiftK) {
                closed_form(model, x0, y) // M65b
            } else {
                passed.state
            };
            // M67: one zero too many.
            let pad = usize::from(on.on(PadInState) && sizes.len % 2 == 1);
            let saved = model.advance(&saved, pad);
            state.row_mut(r).copy_from_slice(&saved);
        }
    }
    Ok(ShiftStage {
        kernel,
        shift_k,
        state,
    })
}

/// M16: the taps against channels `c, c - 1, ...` (cyclic) at one position, rows from `first`.
fn across_channels(taps: &[f64], keys: &Tensor<f64>, first: usize, c: usize) -> Vec<f64> {
    let (d, len) = (keys.shape()[1], keys.shape()[2]);
    (0..len)
        .map(|t| {
            taps.iter().enumerate().fold(0.0, |sum, (m, &tap)| {
                sum + tap * keys.row(first + (c + d - m % d) % d)[t]
            })
        })
        .collect()
}
