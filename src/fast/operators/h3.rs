//! The core of an H3 layer: from queries, keys, values and kernels to the input of the output projection.

use super::super::convolution::LongConvolution;
use super::super::elementwise::multiply;
use super::super::lanes::{Element, Vector};
use super::super::level::Level;
use super::super::panels::{Panels, lane_groups};
use super::super::scratch::Scratch;
use super::super::share::share;
use super::super::transform::Gated;
use super::super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The kernels of an H3 operator, in double precision, whatever the precision of the run; channel `h head_dim + i`
/// is channel `i` of head `h`.
#[derive(Clone, Debug)]
pub struct H3Kernels {
    /// The number of heads.
    pub heads: usize,
    /// `d_h`.
    pub head_dim: usize,
    /// (heads, any length), as the official `ssm_kernel`.
    pub ssm: Vec<f64>,
    /// `D` (heads), or nothing.
    pub d: Vec<f64>,
    /// (heads head_dim, any length), as the official `shift_kernel`; nothing where keys are not shifted.
    pub shift: Vec<f64>,
    /// `ssm_k_D` (heads head_dim), or nothing.
    pub shift_d: Vec<f64>,
}

/// An H3 operator prepared for a level and a length (official H3 `src/ops/fftconv.py`,
/// `fftconv_h3_ref`):
///
/// ```text
/// shift_k = f_shift * k + ssm_k_D k        kv[d1,d2] = shift_k[d1] v[d2]
/// gated[d2] = sum_d1 q[d1] (f_ssm * kv[d1,d2] + D kv[d1,d2])
/// ```
///
/// Heads are lanes: signals are panels (batch head_dim, seq_len, heads), sequence `b head_dim + i` of which
/// is channel `i` of every head. [`Panels::read_parts`] and [`Panels::write_parts`] bring them from and to
/// either order of a layer's channels.
#[derive(Clone, Debug)]
pub struct H3Operator<T: Element> {
    level: Level,
    heads: usize,
    head_dim: usize,
    seq_len: usize,
    /// By channel `i` of the heads; none where keys are not shifted.
    shift: Vec<LongConvolution<T>>,
    ssm: LongConvolution<T>,
}

/// Kernels (channels, taps) as convolutions of signals of at most `seq_len` steps.
fn convolution<T: Element>(
    level: Level,
    channels: usize,
    seq_len: usize,
    (kernels, d): (&[f64], &[f64]),
) -> Result<LongConvolution<T>, Error> {
    let taps = kernels.len().checked_div(channels).unwrap_or(0);
    let reach = taps.min(seq_len);
    let tap = |at: usize| kernels[at % channels * taps + at / channels];
    let rows: Vec<T> = (0..reach * channels)
        .map(|at| T::from_f64(tap(at)))
        .into_vec();
    let kernels = Panels::from_rows(1, reach, channels, &rows)?;
    let d: Vec<T> = d.iter().map(|&d| T::from_f64(d)).into_vec();
    let d = (!d.is_empty()).then_some(&d[..]);
    let mut convolution = LongConvolution::with_taps(level, channels, seq_len, reach);
    convolution.set_kernels_and_feedthrough(&kernels, d, &mut Workspace::new(1))?;
    Ok(convolution)
}

impl<T: Element> H3Operator<T> {
    /// The operator prepared for sequences of at most `seq_len` steps; taps beyond them cannot reach an
    /// output and are left out.
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(level: Level, kernels: &H3Kernels, seq_len: usize) -> Result<Self, Error> {
        let &H3Kernels {
            heads, head_dim, ..
        } = kernels;
        let d = heads * head_dim;
        let rows = |what: &str, kernels: &[f64], rows: usize| {
            let taps = kernels.len().checked_div(rows).unwrap_or(0);
            check_len(what, kernels.len(), taps * rows).map(|()| taps)
        };
        rows("ssm_kernel", &kernels.ssm, heads)?;
        let taps = rows("shift_kernel", &kernels.shift, d)?;
        if !kernels.shift_d.is_empty() {
            check_len("ssm_k_D", kernels.shift_d.len(), d)?;
        }
        // Channel i of every head.
        let of_heads = |x: &[f64], each: usize, i: usize| -> Vec<f64> {
            let rows = x.chunks_exact(each.max(1)).skip(i).step_by(head_dim);
            rows.flatten().copied().into_vec()
        };
        let shift = |i: usize| {
            let taps = of_heads(&kernels.shift, taps, i);
            let d = of_heads(&kernels.shift_d, 1, i);
            convolution(level, heads, seq_len, (&taps, &d))
        };
        let shifted = if taps == 0 { 0 } else { head_dim };
        Ok(Self {
            level,
            heads,
            head_dim,
            seq_len,
            shift: (0..shifted).map(shift).collect::<Result<_, _>>()?,
            ssm: convolution(level, heads, seq_len, (&kernels.ssm, &kernels.d))?,
        })
    }

    /// `y`, what the official code calls `gated`, of `[q, k, v]`. The result does not depend on the number of
    /// threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees, or the sequences are longer than prepared for.
    pub fn run(
        &self,
        [q, k, v]: [&Panels<T>; 3],
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let (d_h, len) = (self.head_dim, y.seq_len());
        let batch = y.batch() / d_h.max(1) * d_h;
        y.check("output", batch, self.heads, len)?;
        for (what, signal) in [("q", q), ("k", k), ("v", v)] {
            signal.check(what, batch, self.heads, len)?;
        }
        if len > self.seq_len {
            return Err(Error::value(
                "input",
                format!(
                    "{len} steps; this operator was prepared for at most {}",
                    self.seq_len
                ),
            ));
        }
        if len == 0 || batch == 0 || self.heads == 0 {
            return Ok(());
        }
        let groups = lane_groups::<T>(self.heads);
        let mut keys = core::mem::take(&mut workspace.panels);
        if !self.shift.is_empty() {
            keys.resize(batch * groups * len, T::Lanes::ZERO);
            let operations = batch * groups * self.shift[0].operations(len);
            let items = keys.chunks_exact_mut(len).enumerate();
            share(
                items,
                workspace.threads_for(operations),
                |scratch, (i, key)| {
                    let Scratch { points, window, .. } = scratch;
                    let shift = &self.shift[i / groups % d_h];
                    let k = Gated {
                        signal: k.stream(i),
                        gate: None,
                    };
                    shift.run_group(i % groups, k, (key, None), points, window);
                },
            );
        }
        let key = |i: usize| match self.shift.is_empty() {
            true => k.stream(i),
            false => &keys[i * len..][..len],
        };
        let operations = batch * groups * d_h * self.ssm.operations(len);
        let items = y.streams_mut().enumerate();
        share(
            items,
            workspace.threads_for(operations),
            |scratch, (i, y)| {
                let Scratch {
                    points,
                    window,
                    signals,
                    ..
                } = scratch;
                signals.resize(len, T::Lanes::ZERO);
                let (sequence, group) = (i / groups / d_h, i % groups);
                for d1 in 0..d_h {
                    let at = (sequence * d_h + d1) * groups + group;
                    let kv = Gated {
                        signal: key(at),
                        gate: Some(v.stream(i)),
                    };
                    let q = q.stream(at);
                    // The first is written gated, the others are added.
                    if d1 == 0 {
                        self.ssm
                            .run_group(group, kv, (&mut *y, Some(q)), points, window);
                    } else {
                        self.ssm
                            .run_group(group, kv, (&mut *signals, None), points, window);
                        multiply::<T>(self.level, q, signals, true, y);
                    }
                }
            },
        );
        workspace.panels = keys;
        Ok(())
    }
}
