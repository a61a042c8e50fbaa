//! A group of heads backwards: between the projections.

use super::diagonal_adjoint::{DiagonalAdjoint, DiagonalSums};
use super::elementwise::multiply;
use super::lanes::{Arithmetic, Element, Vector};
use super::layer::FastLayer;
use super::scratch::{BlockScratch, HeadsAdjointScratch};
use super::shift_adjoint::ShiftSums;

/// Gradients of the models and biases of a group of heads, accumulated.
#[derive(Clone, Debug)]
pub(super) struct HeadSums<T: Element> {
    pub(super) diagonal: DiagonalSums<T>,
    /// [d1]
    pub(super) shift: Vec<ShiftSums<T>>,
    /// [d1][q, k, v]
    pub(super) bias: Vec<T::Lanes>,
}

impl<T: Element> HeadSums<T> {
    /// Resets every sum to zero.
    pub(super) fn clear(&mut self) {
        let Self {
            diagonal,
            shift,
            bias,
        } = self;
        diagonal.clear();
        shift.iter_mut().for_each(ShiftSums::clear);
        bias.fill(T::Lanes::ZERO);
    }
}

/// A part of the signals of a group of heads, [.][sequence][step] each, and the states before it.
pub(super) struct GroupPart<'a, T: Element> {
    pub(super) layer: &'a FastLayer<T>,
    pub(super) adjoint: &'a DiagonalAdjoint<T>,
    pub(super) group: usize,
    pub(super) batch: usize,
    pub(super) steps: usize,
    /// [d1][q, k, v]
    pub(super) heads: &'a [T::Lanes],
    /// [d2]
    pub(super) of_gated: &'a [T::Lanes],
    pub(super) shift: &'a [T::Lanes],
    pub(super) diagonal: &'a [[T::Lanes; 2]],
}

impl<T: Element> GroupPart<'_, T> {
    /// Forwards and back at once, so that nothing larger than a signal is kept: with `y` the
    /// output of the pair (d1, d2),
    ///
    /// ```text
    /// gated = sum_d1 q y     q: sum_d2 g y     y: g q     kv: by the model's adjoint
    /// kv = shift_k v         shift_k: sum_d2 (kv's) v     v: sum_d1 (kv's) shift_k
    /// ```
    pub(super) fn run(
        &self,
        gated: &mut [T::Lanes],
        of_heads: &mut [T::Lanes],
        (l_shift, l_diagonal): (&mut [T::Lanes], &mut [[T::Lanes; 2]]),
        sums: &mut HeadSums<T>,
        (scratch, blocks): (&mut HeadsAdjointScratch<T>, &mut BlockScratch<T>),
    ) {
        let (layer, diagonal) = (self.layer, self.adjoint);
        let (d_h, m) = (layer.config.head_dim, layer.config.d_state);
        let (level, steps, padded) = (layer.level, self.steps, layer.diagonal.padded());
        let rows = self.batch * steps;
        let HeadsAdjointScratch {
            diagonal: diagonal_scratch,
            shift: shift_scratch,
            signals,
            keys,
            window,
        } = scratch;
        signals.resize(4 * steps, T::Lanes::ZERO);
        keys.resize(d_h * steps, T::Lanes::ZERO);
        let (kv, rest) = signals.split_at_mut(steps);
        let (y, rest) = rest.split_at_mut(steps);
        let (of_y, of_kv) = rest.split_at_mut(steps);
        // Where the part of a sequence lies in the panel of q (0), k (1) or v (2) of d1.
        let place = |which: usize, d1: usize, b: usize| {
            let start = (3 * d1 + which) * rows + b * steps;
            start..start + steps
        };
        let models = self.group * d_h;
        for b in 0..self.batch {
            let gated_at = |d2: usize| d2 * rows + b * steps..d2 * rows + (b + 1) * steps;
            for (d1, key) in keys.chunks_exact_mut(steps).enumerate() {
                // What the run leaves in the state is not needed.
                let x = &self.shift[(b * d_h + d1) * m..][..m];
                shift_scratch.state.clear();
                shift_scratch.state.extend_from_slice(x);
                let (k, x) = (&self.heads[place(1, d1, b)], &mut shift_scratch.state);
                layer.shift.run_group(models + d1, k, x, key, window);
            }
            for d2 in 0..d_h {
                for d1 in 0..d_h {
                    let copy = ((b * d_h + d1) * d_h + d2) * padded;
                    let x = &self.diagonal[copy..][..padded];
                    let key = &keys[d1 * steps..][..steps];
                    let (q, v) = (&self.heads[place(0, d1, b)], &self.heads[place(2, d2, b)]);
                    let of_gated = &self.of_gated[gated_at(d2)];
                    multiply::<T>(level, key, v, false, kv);
                    diagonal.run_group_forward(
                        &layer.diagonal,
                        self.group,
                        kv,
                        x,
                        y,
                        diagonal_scratch,
                        blocks,
                    );
                    multiply::<T>(level, q, y, d1 > 0, &mut gated[gated_at(d2)]);
                    let of_q = &mut of_heads[place(0, d1, b)];
                    multiply::<T>(level, of_gated, y, d2 > 0, of_q);
                    multiply::<T>(level, of_gated, q, false, of_y);
                    diagonal.run_group(
                        &layer.diagonal,
                        self.group,
                        kv,
                        of_y,
                        &mut l_diagonal[copy..][..padded],
                        of_kv,
                        &mut sums.diagonal,
                        diagonal_scratch,
                        blocks,
                    );
                    let of_key = &mut of_heads[place(1, d1, b)];
                    multiply::<T>(level, of_kv, v, d2 > 0, of_key);
                    let of_v = &mut of_heads[place(2, d2, b)];
                    multiply::<T>(level, of_kv, key, d1 > 0, of_v);
                }
            }
            for d1 in 0..d_h {
                let at = (b * d_h + d1) * m;
                let of_k = &mut of_heads[place(1, d1, b)];
                of_y.copy_from_slice(of_k);
                layer.shift.run_group_adjoint(
                    models + d1,
                    &self.heads[place(1, d1, b)],
                    of_y,
                    &self.shift[at..][..m],
                    &mut l_shift[at..][..m],
                    of_k,
                    &mut sums.shift[d1],
                    shift_scratch,
                );
            }
        }
        for (bias, panel) in sums.bias.iter_mut().zip(of_heads.chunks_exact(rows)) {
            // From zero, so that no sum is longer than a part.
            let sum = panel
                .iter()
                .fold(T::Lanes::ZERO, |sum, &lanes| sum.plus(lanes));
            *bias = bias.plus(sum);
        }
    }
}
