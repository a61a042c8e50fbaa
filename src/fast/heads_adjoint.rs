//! A group of heads backwards: between the projections.

use super::diagonal_adjoint::{DiagonalAdjoint, DiagonalSums};
use super::elementwise::multiply;
use super::lanes::{Arithmetic, Element, Vector};
use super::layer::FastLayer;
use super::pieces::{Piece, rows_of};
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

/// A set of pieces of the signals of a group of heads, [.][row of the set] each, and the states before
/// them.
pub(super) struct GroupPart<'a, T: Element> {
    pub(super) layer: &'a FastLayer<T>,
    pub(super) adjoint: &'a DiagonalAdjoint<T>,
    pub(super) group: usize,
    pub(super) set: &'a [Piece],
    /// [d1][q, k, v]
    pub(super) heads: &'a [T::Lanes],
    /// [d2]
    pub(super) of_gated: &'a [T::Lanes],
    /// [piece][d1][n]
    pub(super) shift: &'a [T::Lanes],
    /// [piece][d1][d2][n]
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
    ///
    /// The cotangents of states are those of all sequences.
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
        let (level, padded) = (layer.level, layer.diagonal.padded());
        let rows = rows_of(self.set);
        let HeadsAdjointScratch {
            diagonal: diagonal_scratch,
            shift: shift_scratch,
            signals,
            keys,
            window,
        } = scratch;
        let models = self.group * d_h;
        for (before, piece) in self.set.iter().enumerate() {
            let steps = piece.len;
            signals.resize(4 * steps, T::Lanes::ZERO);
            keys.resize(d_h * steps, T::Lanes::ZERO);
            let (kv, rest) = signals.split_at_mut(steps);
            let (y, rest) = rest.split_at_mut(steps);
            let (of_y, of_kv) = rest.split_at_mut(steps);
            // Where the piece lies in the panel of q (0), k (1) or v (2) of d1.
            let place = |which: usize, d1: usize| {
                let start = (3 * d1 + which) * rows + piece.at;
                start..start + steps
            };
            let gated_at = |d2: usize| d2 * rows + piece.at..d2 * rows + piece.in_set().end;
            for (d1, key) in keys.chunks_exact_mut(steps).enumerate() {
                // What the run leaves in the state is not needed.
                let x = &self.shift[(before * d_h + d1) * m..][..m];
                shift_scratch.state.clear();
                shift_scratch.state.extend_from_slice(x);
                let (k, x) = (&self.heads[place(1, d1)], &mut shift_scratch.state);
                layer.shift.run_group(models + d1, k, x, key, window);
            }
            for d2 in 0..d_h {
                for d1 in 0..d_h {
                    let copy = |b: usize| ((b * d_h + d1) * d_h + d2) * padded;
                    let x = &self.diagonal[copy(before)..][..padded];
                    let key = &keys[d1 * steps..][..steps];
                    let (q, v) = (&self.heads[place(0, d1)], &self.heads[place(2, d2)]);
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
                    let of_q = &mut of_heads[place(0, d1)];
                    multiply::<T>(level, of_gated, y, d2 > 0, of_q);
                    multiply::<T>(level, of_gated, q, false, of_y);
                    diagonal.run_group(
                        &layer.diagonal,
                        self.group,
                        kv,
                        of_y,
                        &mut l_diagonal[copy(piece.sequence)..][..padded],
                        of_kv,
                        &mut sums.diagonal,
                        diagonal_scratch,
                        blocks,
                    );
                    let of_key = &mut of_heads[place(1, d1)];
                    multiply::<T>(level, of_kv, v, d2 > 0, of_key);
                    let of_v = &mut of_heads[place(2, d2)];
                    multiply::<T>(level, of_kv, key, d1 > 0, of_v);
                }
            }
            for d1 in 0..d_h {
                let at = |b: usize| (b * d_h + d1) * m;
                let of_k = &mut of_heads[place(1, d1)];
                of_y.copy_from_slice(of_k);
                layer.shift.run_group_adjoint(
                    models + d1,
                    &self.heads[place(1, d1)],
                    of_y,
                    &self.shift[at(before)..][..m],
                    &mut l_shift[at(piece.sequence)..][..m],
                    of_k,
                    &mut sums.shift[d1],
                    shift_scratch,
                );
            }
        }
        for (bias, panel) in sums.bias.iter_mut().zip(of_heads.chunks_exact(rows)) {
            // From zero, so that no sum is longer than a set.
            let sum = panel
                .iter()
                .fold(T::Lanes::ZERO, |sum, &lanes| sum.plus(lanes));
            *bias = bias.plus(sum);
        }
    }
}
