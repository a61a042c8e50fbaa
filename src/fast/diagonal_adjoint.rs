//! The diagonal models backwards, in the same blocks.
//!
//! With `x` the state before a block, `l` the cotangent of the state after it and `g` that of its
//! outputs, the adjoint is the block transposed:
//!
//! ```text
//! x receives (A^T)^* l + M_xy^T g        u receives M_ux^T l + T_f^T g
//! M_ux receives l u^T    M_xy receives g x^T    A^T receives l x^*    f_k the k-th diagonal of g u^T
//! ```
//!
//! The first line is a run of the same kernel over reversed signals, `4 m + 4 m / T + (T + I) / 2`
//! operations per step again; the second needs `4 m + 4 m / T` and `(T + I) / 2` more, as products
//! over the blocks of a run. What the matrices received becomes the gradient of `a`, `b` and `c`
//! once, at the end, in double precision.

use super::blocks::{BLOCK, Blocks, Carried, Mode, Record, Tables, product};
use super::blocks::{padded_pairs, signal_tile};
use super::diagonal::{Coefficients, DiagonalParameters, DiagonalSsm};
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level, match_size};
use super::panels::lane_groups;
use super::scratch::{BlockScratch, DiagonalAdjointScratch};
use crate::into_vec::IntoVec as _;
use num_complex::Complex;

/// A bank prepared to be run backwards.
#[derive(Clone, Debug)]
pub(super) struct DiagonalAdjoint<T: Element> {
    level: Level,
    /// Rows of a register tile.
    rows: usize,
    parameters: DiagonalParameters,
    groups: Vec<Tables<T>>,
}

/// Gradients of the matrices of one group of lanes, accumulated.
#[derive(Clone, Debug)]
pub(super) struct DiagonalSums<T: Element> {
    /// `M_ux`: [tile of rows][tile of steps][row][step].
    inject: Vec<T::Lanes>,
    /// `M_xy`, likewise.
    output: Vec<T::Lanes>,
    /// `T_f`: [tile of outputs][tile of inputs][output][input], the lower triangle.
    toeplitz: Vec<T::Lanes>,
    /// `a_n^T`.
    advance: Vec<[T::Lanes; 2]>,
    /// From single steps, what `a`, `b` and `re c x` received: [n][re, im of each].
    step: Vec<[T::Lanes; 6]>,
    /// From single steps, what `D` received.
    feedthrough: T::Lanes,
}

impl<T: Element> DiagonalSums<T> {
    /// Resets every sum to zero.
    pub(super) fn clear(&mut self) {
        let Self {
            inject,
            output,
            toeplitz,
            advance,
            step,
            feedthrough,
        } = self;
        inject.fill(T::Lanes::ZERO);
        output.fill(T::Lanes::ZERO);
        toeplitz.fill(T::Lanes::ZERO);
        advance.fill([T::Lanes::ZERO; 2]);
        step.fill([T::Lanes::ZERO; 6]);
        *feedthrough = T::Lanes::ZERO;
    }
}

impl<T: Element> DiagonalAdjoint<T> {
    /// The adjoint of a bank, prepared for a level.
    pub(super) fn new(level: Level, parameters: DiagonalParameters) -> Self {
        let (rows, _) = signal_tile(level.accumulators());
        let models = parameters.d.len();
        let width = T::Lanes::WIDTH;
        // Backwards in time: l = conj(c) g + s, u receives re(conj(b) l), s' = conj(a) l.
        let mode = |h: usize, n: usize| {
            let at = h * parameters.pairs + n;
            Mode {
                a: parameters.a[at].conj(),
                b: parameters.c[at].conj() * 2.0,
                c: parameters.b[at].conj(),
            }
        };
        let groups = (0..lane_groups::<T>(models)).map(|group| {
            Tables::new(
                group * width..models.min((group + 1) * width),
                parameters.pairs,
                mode,
                |h| parameters.d[h],
                Carried::Advanced,
                rows,
            )
        });
        Self {
            level,
            rows,
            groups: groups.into_vec(),
            parameters,
        }
    }

    /// Sums for one group of lanes.
    pub(super) fn zero_sums(&self) -> DiagonalSums<T> {
        let pairs = padded_pairs(self.parameters.pairs, self.rows);
        DiagonalSums {
            inject: vec![T::Lanes::ZERO; 2 * pairs * BLOCK],
            output: vec![T::Lanes::ZERO; 2 * pairs * BLOCK],
            toeplitz: vec![T::Lanes::ZERO; BLOCK * BLOCK],
            advance: vec![[T::Lanes::ZERO; 2]; pairs],
            step: vec![[T::Lanes::ZERO; 6]; pairs],
            feedthrough: T::Lanes::ZERO,
        }
    }

    /// One group forwards from the state `x`, keeping what [`run_group`](Self::run_group) needs.
    #[expect(clippy::too_many_arguments, reason = "both directions of one stage")]
    pub(super) fn run_group_forward(
        &self,
        ssm: &DiagonalSsm<T>,
        group: usize,
        u: &[T::Lanes],
        x: &[[T::Lanes; 2]],
        y: &mut [T::Lanes],
        scratch: &mut DiagonalAdjointScratch<T>,
        blocks: &mut BlockScratch<T>,
    ) {
        let count = u.len() / BLOCK;
        let ((u, rest), (y, last)) = (u.split_at(count * BLOCK), y.split_at_mut(count * BLOCK));
        let DiagonalAdjointScratch {
            states, end, after, ..
        } = scratch;
        states.resize(2 * x.len() * count, T::Lanes::ZERO);
        end.clear();
        end.extend_from_slice(x);
        let record = Record {
            states,
            blocks: count,
            reversed: false,
        };
        ssm.run_blocks(group, u, end, y, Some(record), blocks);
        after.clone_from(end);
        ssm.run_steps(group, rest, after, last);
    }

    /// One group backwards over the signal that [`run_group_forward`](Self::run_group_forward)
    /// was given last: `g` the cotangents of its outputs, `l` that of its final state, to become
    /// that of its initial state. Writes the cotangents of the inputs and adds to `sums`.
    #[expect(clippy::too_many_arguments, reason = "both directions of one stage")]
    pub(super) fn run_group(
        &self,
        ssm: &DiagonalSsm<T>,
        group: usize,
        u: &[T::Lanes],
        g: &[T::Lanes],
        l: &mut [[T::Lanes; 2]],
        of_u: &mut [T::Lanes],
        sums: &mut DiagonalSums<T>,
        scratch: &mut DiagonalAdjointScratch<T>,
        blocks: &mut BlockScratch<T>,
    ) {
        let count = u.len() / BLOCK;
        let whole = count * BLOCK;
        if whole < u.len() {
            self.level.run(StepsAdjoint {
                coefficients: ssm.coefficients(group),
                u: &u[whole..],
                g: &g[whole..],
                x: &scratch.end,
                l,
                of_u: &mut of_u[whole..],
                sums,
            });
        }
        if count == 0 {
            return;
        }
        let DiagonalAdjointScratch {
            states,
            cotangents,
            inputs,
            outputs,
            reversed,
            ..
        } = scratch;
        let (u, g, of_u) = (&u[..whole], &g[..whole], &mut of_u[..whole]);
        reversed.clear();
        reversed.extend(g.iter().rev());
        cotangents.resize(2 * l.len() * count, T::Lanes::ZERO);
        Blocks {
            tables: &self.groups[group],
            u: reversed,
            x: l,
            y: of_u,
            record: Some(Record {
                states: cotangents,
                blocks: count,
                reversed: true,
            }),
            scratch: blocks,
        }
        .run(self.level);
        of_u.reverse();
        self.pack(u, inputs);
        self.pack(g, outputs);
        self.level.run(Receive::<T> {
            blocks: count,
            states,
            cotangents,
            inputs,
            outputs,
            sums,
        });
    }

    /// A signal of whole blocks as [tile of steps][block][step].
    fn pack(&self, signal: &[T::Lanes], packed: &mut Vec<T::Lanes>) {
        packed.clear();
        for tile in (0..BLOCK).step_by(self.rows) {
            for block in signal.chunks_exact(BLOCK) {
                packed.extend_from_slice(&block[tile..tile + self.rows]);
            }
        }
    }

    /// The gradient of every parameter of the bank from the sums of all groups.
    pub(super) fn gradient<'a>(
        &self,
        sums: impl Iterator<Item = &'a DiagonalSums<T>>,
    ) -> DiagonalParameters {
        let Self { parameters: of, .. } = self;
        let mut gradient = DiagonalParameters {
            pairs: of.pairs,
            a: Vec::with_capacity(of.a.len()),
            b: Vec::with_capacity(of.a.len()),
            c: Vec::with_capacity(of.a.len()),
            d: Vec::with_capacity(of.d.len()),
        };
        let width = T::Lanes::WIDTH;
        for (group, sums) in sums.enumerate() {
            for h in group * width..of.d.len().min((group + 1) * width) {
                let lane = Lane {
                    sums,
                    rows: self.rows,
                    lane: h % width,
                };
                let of_kernel = lane.kernel();
                for n in 0..of.pairs {
                    let at = h * of.pairs + n;
                    let [a, b, c] = lane.mode(n, [of.a[at], of.b[at], of.c[at]], &of_kernel);
                    gradient.a.push(a);
                    gradient.b.push(b);
                    gradient.c.push(c);
                }
                let feedthrough = sums.feedthrough.lanes()[lane.lane].to_f64();
                gradient.d.push(of_kernel[0] + feedthrough);
            }
        }
        gradient
    }
}

/// Gradients of one model, in double precision.
struct Lane<'a, T: Element> {
    sums: &'a DiagonalSums<T>,
    rows: usize,
    lane: usize,
}

impl<T: Element> Lane<'_, T> {
    fn number(&self, lanes: &T::Lanes) -> f64 {
        lanes.lanes()[self.lane].to_f64()
    }

    /// Entry (row, step) of a matrix of sums.
    fn entry(&self, sums: &[T::Lanes], row: usize, step: usize) -> f64 {
        let i = self.rows;
        let tile = row / i * (BLOCK / i) + step / i;
        self.number(&sums[(tile * i + row % i) * i + step % i])
    }

    /// Gradients of the taps within a block.
    fn kernel(&self) -> [f64; BLOCK] {
        let mut of_kernel = [0.0; BLOCK];
        for i in 0..BLOCK {
            for j in 0..=i {
                of_kernel[i - j] += self.entry(&self.sums.toeplitz, i, j);
            }
        }
        of_kernel
    }

    /// The gradients of `a`, `b` and `c` of one pair. For `w = h z` it is `z` that receives
    /// `h^*` times what `w` did; for a power, `n` times that of the power before.
    fn mode(
        &self,
        n: usize,
        [a, b, c]: [Complex<f64>; 3],
        of_kernel: &[f64; BLOCK],
    ) -> [Complex<f64>; 3] {
        let sums = self.sums;
        let complex = |matrix: &[T::Lanes], step: usize| {
            Complex::new(
                self.entry(matrix, 2 * n, step),
                self.entry(matrix, 2 * n + 1, step),
            )
        };
        let mut powers = [Complex::new(1.0, 0.0); BLOCK + 1];
        for i in 1..=BLOCK {
            powers[i] = powers[i - 1] * a;
        }
        // The derivative of a^i.
        let slope = |i: usize| match i {
            0 => Complex::new(0.0, 0.0),
            _ => powers[i - 1] * i as f64,
        };
        let [ar, ai, br, bi, cr, ci] = sums.step[n].map(|lanes| self.number(&lanes));
        let mut of_a = Complex::new(ar, ai);
        let mut of_b = Complex::new(br, bi);
        // y = 2 re(c x): c receives 2 g x^*.
        let mut of_c = Complex::new(cr, -ci) * 2.0;
        for i in 0..BLOCK {
            let g = complex(&sums.inject, BLOCK - 1 - i);
            of_b += powers[i].conj() * g;
            of_a += (b * slope(i)).conj() * g;
            let g = complex(&sums.output, i).conj() * 2.0;
            of_c += powers[i + 1].conj() * g;
            of_a += (c * slope(i + 1)).conj() * g;
            let g = 2.0 * of_kernel[i];
            of_b += (c * powers[i]).conj() * g;
            of_c += (b * powers[i]).conj() * g;
            of_a += (b * c * slope(i)).conj() * g;
        }
        let [re, im] = sums.advance[n].map(|lanes| self.number(&lanes));
        of_a += slope(BLOCK).conj() * Complex::new(re, im);
        [of_a, of_b, of_c]
    }
}

/// Sums over the blocks of a run, as a kernel.
struct Receive<'a, T: Element> {
    blocks: usize,
    states: &'a [T::Lanes],
    cotangents: &'a [T::Lanes],
    inputs: &'a [T::Lanes],
    outputs: &'a [T::Lanes],
    sums: &'a mut DiagonalSums<T>,
}

impl<T: Element> Kernel for Receive<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        match_size!(signal_tile(S::ACCUMULATORS);
            (4, _) => self.tiles::<S, 4>(),
            _ => self.tiles::<S, 2>(),
        );
    }
}

impl<T: Element> Receive<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const I: usize>(self) {
        let Self {
            blocks,
            states,
            cotangents,
            inputs,
            outputs,
            sums,
        } = self;
        outer::<T, S, I>(cotangents, inputs, blocks, false, &mut sums.inject);
        outer::<T, S, I>(states, outputs, blocks, false, &mut sums.output);
        outer::<T, S, I>(outputs, inputs, blocks, true, &mut sums.toeplitz);
        let tiles = states.as_chunks::<I>().0.chunks_exact(blocks);
        let tiles = tiles.zip(cotangents.as_chunks::<I>().0.chunks_exact(blocks));
        for ((x, l), sums) in tiles.zip(sums.advance.chunks_exact_mut(I / 2)) {
            for (pair, [of_re, of_im]) in sums.iter_mut().enumerate() {
                let (mut re, mut im) = (T::Lanes::ZERO, T::Lanes::ZERO);
                for block in 0..blocks {
                    let ([xr, xi], [lr, li]) = (
                        [x[block][2 * pair], x[block][2 * pair + 1]],
                        [l[block][2 * pair], l[block][2 * pair + 1]],
                    );
                    re = li.fma::<S>(xi, lr.fma::<S>(xr, re));
                    im = lr.fnma::<S>(xi, li.fma::<S>(xr, im));
                }
                *of_re = of_re.plus(re);
                *of_im = of_im.plus(im);
            }
        }
    }
}

/// `sums[row][column] += sum over blocks of row times column`, both packed in tiles of `I`;
/// tiles above the diagonal left out if `lower`.
#[inline(always)]
fn outer<T: Element, S: Isa, const I: usize>(
    rows: &[T::Lanes],
    columns: &[T::Lanes],
    blocks: usize,
    lower: bool,
    sums: &mut [T::Lanes],
) {
    let (rows, columns) = (rows.as_chunks::<I>().0, columns.as_chunks::<I>().0);
    let sums = sums.as_chunks_mut::<I>().0.chunks_exact_mut(BLOCK);
    for (i, (rows, sums)) in rows.chunks_exact(blocks).zip(sums).enumerate() {
        let tiles = columns.chunks_exact(blocks).zip(sums.chunks_exact_mut(I));
        for (j, (columns, sums)) in tiles.enumerate() {
            if lower && j > i {
                break;
            }
            // From zero, so that no sum is longer than a run.
            let acc = product::<T, S, I, I>(rows, columns, [[T::Lanes::ZERO; I]; I]);
            for i in 0..I {
                for k in 0..I {
                    sums[i][k] = sums[i][k].plus(acc[i][k]);
                }
            }
        }
    }
}

/// The adjoint of the recurrence over fewer steps than a block, as a kernel.
struct StepsAdjoint<'a, T: Element> {
    coefficients: &'a Coefficients<T>,
    u: &'a [T::Lanes],
    g: &'a [T::Lanes],
    /// The state before the first step.
    x: &'a [[T::Lanes; 2]],
    l: &'a mut [[T::Lanes; 2]],
    of_u: &'a mut [T::Lanes],
    sums: &'a mut DiagonalSums<T>,
}

impl<T: Element> Kernel for StepsAdjoint<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            coefficients,
            u,
            g,
            x,
            l,
            of_u,
            sums,
        } = self;
        let len = u.len().min(g.len()).min(of_u.len());
        for t in 0..len {
            of_u[t] = coefficients.feedthrough.times(g[t]);
            sums.feedthrough = g[t].fma::<S>(u[t], sums.feedthrough);
        }
        for n in 0..x.len() {
            let [ar, ai, br, bi, cr, ci] = coefficients.step[n];
            // The state before and after every step.
            let mut states = [x[n]; BLOCK];
            for t in 0..len {
                let ([re, im], u) = (states[t], u[t]);
                states[t + 1] = [
                    ai.fnma::<S>(im, ar.fma::<S>(re, br.times(u))),
                    ai.fma::<S>(re, ar.fma::<S>(im, bi.times(u))),
                ];
            }
            let [mut sr, mut si] = l[n];
            let mut sum = sums.step[n];
            for t in (0..len).rev() {
                let ([pr, pi], [xr, xi]) = (states[t], states[t + 1]);
                let (lr, li) = (cr.fma::<S>(g[t], sr), ci.fma::<S>(g[t], si));
                of_u[t] = bi.fma::<S>(li, br.fma::<S>(lr, of_u[t]));
                sum = [
                    li.fma::<S>(pi, lr.fma::<S>(pr, sum[0])),
                    lr.fnma::<S>(pi, li.fma::<S>(pr, sum[1])),
                    lr.fma::<S>(u[t], sum[2]),
                    li.fma::<S>(u[t], sum[3]),
                    xr.fma::<S>(g[t], sum[4]),
                    xi.fma::<S>(g[t], sum[5]),
                ];
                sr = ai.fma::<S>(li, ar.times(lr));
                si = ai.fnma::<S>(lr, ar.times(li));
            }
            sums.step[n] = sum;
            l[n] = [sr, si];
        }
    }
}
