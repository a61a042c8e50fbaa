//! The shift models backwards.
//!
//! With `l` the cotangent of the final state and `N` steps,
//!
//! ```text
//! u_t receives sum_j f_j g_{t+j} + sum_n B_n l_{n+N-1-t}
//! f_j receives sum_t g_t u_{t-j}
//! C_n also sum_{t<n} g_t x_{n-1-t}        B_n also sum_t u_t l_{n+N-1-t}
//! x_n receives l_{n+N} + sum_t C_{n+1+t} g_t
//! ```
//!
//! where `x` is the initial state and what lies outside a window is zero. The first sum is the
//! filter over reversed signals. What `f_j = sum_n C_n B_{n-j}` received goes on to `B` and `C`
//! once, at the end, in double precision.

use super::blocks::{SignalTiles, signal_tile};
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel};
use super::scratch::ShiftAdjointScratch;
use super::shift::{ShiftParameters, ShiftSsm, Taps, convolve_from_zero};

/// Gradients of one group of lanes, accumulated.
#[derive(Clone, Debug)]
pub(super) struct ShiftSums<T: Element> {
    /// Of the kernel: what output `i` of a few neighbouring ones gave to the input `m - 1 - c`
    /// steps before the first of them: [tile of c][i][c].
    kernel: Vec<T::Lanes>,
    /// Through the final state.
    b: Vec<T::Lanes>,
    /// Through the initial state.
    c: Vec<T::Lanes>,
}

impl<T: Element> ShiftSums<T> {
    /// Resets every sum to zero.
    pub(super) fn clear(&mut self) {
        let Self { kernel, b, c } = self;
        for sums in [kernel, b, c] {
            sums.fill(T::Lanes::ZERO);
        }
    }
}

impl<T: Element> ShiftSsm<T> {
    /// Sums for one group of lanes.
    pub(super) fn zero_sums(&self) -> ShiftSums<T> {
        let (rows, columns) = signal_tile(self.level().accumulators());
        let m = self.taps();
        let all = (m.max(1) - 1 + rows).next_multiple_of(columns);
        ShiftSums {
            kernel: vec![T::Lanes::ZERO; rows * all],
            b: vec![T::Lanes::ZERO; m],
            c: vec![T::Lanes::ZERO; m],
        }
    }

    /// One group backwards from the state `x`: `g` the cotangents of its outputs, `l` that of its
    /// final state, to become that of its initial state. Writes the cotangents of the inputs and
    /// adds to `sums`.
    #[expect(clippy::too_many_arguments, reason = "both directions of one stage")]
    pub(super) fn run_group_adjoint(
        &self,
        group: usize,
        u: &[T::Lanes],
        g: &[T::Lanes],
        x: &[T::Lanes],
        l: &mut [T::Lanes],
        of_u: &mut [T::Lanes],
        sums: &mut ShiftSums<T>,
        scratch: &mut ShiftAdjointScratch<T>,
    ) {
        self.level().run(FilterAdjoint {
            taps: self.group(group),
            u,
            g,
            x,
            l,
            of_u,
            sums,
            scratch,
        });
    }

    /// The gradients of some models, a group of lanes each, from their sums: `parameters` are
    /// those of the bank.
    pub(super) fn gradient<'a>(
        &self,
        parameters: &ShiftParameters,
        sums: impl Iterator<Item = &'a ShiftSums<T>>,
    ) -> ShiftParameters {
        let (rows, columns) = signal_tile(self.level().accumulators());
        let (m, width) = (self.taps(), T::Lanes::WIDTH);
        let mut gradient = ShiftParameters {
            taps: m,
            b: vec![0.0; parameters.b.len()],
            c: vec![0.0; parameters.c.len()],
            d: vec![0.0; parameters.d.len()],
        };
        for (group, sums) in sums.enumerate() {
            for h in group * width..self.models().min((group + 1) * width) {
                let number = |lanes: &T::Lanes| lanes.lanes()[h % width].to_f64();
                let mut of_kernel = vec![0.0; m.max(1)];
                for (at, lanes) in sums.kernel.iter().enumerate() {
                    let (tile, i, b) = (at / columns / rows, at / columns % rows, at % columns);
                    // Lag i + m - 1 - c; beyond the window there is no tap.
                    let lag = (i + of_kernel.len() - 1).checked_sub(tile * columns + b);
                    if let Some(to) = lag.and_then(|lag| of_kernel.get_mut(lag)) {
                        *to += number(lanes);
                    }
                }
                let (b, c) = (&parameters.b[h * m..][..m], &parameters.c[h * m..][..m]);
                for n in 0..m {
                    let of_c: f64 = (0..=n).map(|j| b[n - j] * of_kernel[j]).sum();
                    let of_b: f64 = (0..m - n).map(|j| c[n + j] * of_kernel[j]).sum();
                    gradient.c[h * m + n] = of_c + number(&sums.c[n]);
                    gradient.b[h * m + n] = of_b + number(&sums.b[n]);
                }
                gradient.d[h] = of_kernel[0];
            }
        }
        gradient
    }
}

/// One group of lanes backwards, as a kernel.
struct FilterAdjoint<'a, T: Element> {
    taps: &'a Taps<T>,
    u: &'a [T::Lanes],
    g: &'a [T::Lanes],
    x: &'a [T::Lanes],
    l: &'a mut [T::Lanes],
    of_u: &'a mut [T::Lanes],
    sums: &'a mut ShiftSums<T>,
    scratch: &'a mut ShiftAdjointScratch<T>,
}

impl<T: Element> Kernel for FilterAdjoint<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        self.of_level::<S>();
    }
}

impl<T: Element> SignalTiles for FilterAdjoint<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const I: usize, const B: usize>(self) {
        let Self {
            taps,
            u,
            g,
            x,
            l,
            of_u,
            sums,
            scratch,
        } = self;
        let ShiftAdjointScratch {
            reversed,
            window,
            outputs,
            ..
        } = scratch;
        reversed.clear();
        reversed.extend(g.iter().rev());
        convolve_from_zero::<T, S, I, B>(taps, reversed, of_u, window);
        of_u.reverse();
        let (m, len) = (l.len(), u.len());
        // What the final state remembers: input t stands at n + N - 1 - t.
        for back in 0..m.min(len) {
            let t = len - 1 - back;
            let l = &l[back..];
            let mut sum = of_u[t];
            for n in 0..l.len() {
                sum = taps.b[n].fma::<S>(l[n], sum);
                sums.b[n] = l[n].fma::<S>(u[t], sums.b[n]);
            }
            of_u[t] = sum;
        }
        // What the initial state gave: x_n stands at n + t + 1.
        for n in 0..m {
            let mut sum = l.get(n + len).copied().unwrap_or(T::Lanes::ZERO);
            for t in 0..len.min(m - 1 - n) {
                sum = taps.c[n + 1 + t].fma::<S>(g[t], sum);
            }
            l[n] = sum;
            let mut sum = sums.c[n];
            for t in 0..len.min(n) {
                sum = g[t].fma::<S>(x[n - 1 - t], sum);
            }
            sums.c[n] = sum;
        }
        receive::<T, S, I, B>(taps.kernel.len(), u, g, window, outputs, &mut sums.kernel);
    }
}

/// `sums[tile of c][i][c] += sum_k g[k I + i] u[k I + c - (m - 1)]`.
#[inline(always)]
fn receive<T: Element, S: Isa, const I: usize, const B: usize>(
    m: usize,
    u: &[T::Lanes],
    g: &[T::Lanes],
    window: &mut Vec<T::Lanes>,
    outputs: &mut Vec<T::Lanes>,
    sums: &mut [T::Lanes],
) {
    let rows = g.len().next_multiple_of(I);
    outputs.clear();
    outputs.extend_from_slice(g);
    outputs.resize(rows, T::Lanes::ZERO);
    let tiles = sums.len() / (I * B);
    window.clear();
    window.resize(m - 1, T::Lanes::ZERO);
    window.extend_from_slice(u);
    window.resize(rows + tiles * B, T::Lanes::ZERO);
    let sums = sums.as_chunks_mut::<B>().0.chunks_exact_mut(I);
    for (tile, sums) in sums.enumerate() {
        let mut acc = [[T::Lanes::ZERO; B]; I];
        let inputs = &window[tile * B..];
        let outputs = outputs.as_chunks::<I>().0;
        for k in 0..outputs.len() {
            let Some(u) = inputs[k * I..].first_chunk::<B>() else {
                continue;
            };
            for i in 0..I {
                for b in 0..B {
                    acc[i][b] = outputs[k][i].fma::<S>(u[b], acc[i][b]);
                }
            }
        }
        for i in 0..I {
            for b in 0..B {
                sums[i][b] = sums[i][b].plus(acc[i][b]);
            }
        }
    }
}
