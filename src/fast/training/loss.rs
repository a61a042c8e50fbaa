//! Softmax cross-entropy over the positions that count.

use super::rows::sum_of_lanes;
use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel};
use crate::fast::rows::{Exponential, ModelElement};

/// The sum of `-log softmax(logits)[target]` over the rows with a target; `logits` become their
/// cotangents, `weight` times `softmax - 1[target]`, zeros in the other rows.
pub(super) struct CrossEntropy<'a, T: Element> {
    /// Ones where there are tokens of the vocabulary.
    pub(super) mask: &'a [T::Lanes],
    pub(super) logits: &'a mut [T::Lanes],
    /// One a row, where the row counts.
    pub(super) targets: &'a [Option<usize>],
    pub(super) weight: f64,
}

impl<T: ModelElement> Kernel for CrossEntropy<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Isa>(self) -> f64 {
        let (width, mask) = (T::Lanes::WIDTH, self.mask);
        let weight = T::from_f64(self.weight);
        // What lanes without a token are lowered by.
        let far = T::Lanes::splat(T::from_f64(1e30));
        let ones = T::Lanes::splat(T::ONE);
        let mut loss = 0.0;
        let rows = self.logits.chunks_exact_mut(mask.len());
        for (row, &target) in rows.zip(self.targets) {
            let Some(target) = target else {
                row.fill(T::Lanes::ZERO);
                continue;
            };
            let (vector, lane) = (target / width, target % width);
            let mut top = f64::NEG_INFINITY;
            for v in 0..mask.len() {
                let masked = far.fnma::<S>(ones.minus(mask[v]), row[v]);
                for x in masked.lanes() {
                    let x = x.to_f64();
                    top = if x > top { x } else { top };
                }
            }
            let of_target = row[vector].lanes()[lane].to_f64();
            let highest = T::Lanes::splat(T::from_f64(top));
            let mut sum = T::Lanes::ZERO;
            for v in 0..mask.len() {
                let below = row[v].minus(highest).times(mask[v]);
                let [e] = T::Lanes::lanewise::<S, 1, 1>([below], &Exponential);
                row[v] = e.times(mask[v]);
                sum = sum.plus(row[v]);
            }
            let sum = sum_of_lanes::<T>(sum);
            loss += sum.to_f64().ln() + (top - of_target);
            let by = T::Lanes::splat(T::quotient(weight, sum));
            for v in 0..mask.len() {
                row[v] = row[v].times(by);
            }
            let x = &mut row[vector].lanes_mut()[lane];
            *x = *x - weight;
        }
        loss
    }
}
