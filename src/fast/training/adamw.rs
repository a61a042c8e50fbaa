//! AdamW (Loshchilov and Hutter 2019; `torch.optim.AdamW`), over vectors.

use crate::fast::lanes::{Arithmetic, Element, LaneMap, Vector};
use crate::fast::level::{Isa, Kernel};
use crate::fast::rows::ModelElement;
use crate::training::ParameterGroup;

/// The numbers of one update of a group.
#[derive(Clone, Copy)]
pub(super) struct Update<T> {
    /// The factor of a weight that decays.
    decay: T,
    /// The step over the first moment's correction.
    rate: T,
    /// The inverse root of the second moment's correction.
    correction: T,
    betas: [T; 2],
    /// One minus each.
    complements: [T; 2],
    epsilon: T,
    /// The factor of the gradient: below one where its norm is clipped.
    clip: T,
}

impl<T: ModelElement> Update<T> {
    /// Update number `step`, from 1.
    pub(super) fn new(group: &ParameterGroup, factor: f64, clip: f64, step: u64) -> Self {
        let rate = group.rate * factor;
        let [b1, b2] = group.betas;
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            decay: T::from_f64(1.0 - rate * group.weight_decay),
            rate: T::from_f64(rate / correction(b1)),
            correction: T::from_f64(1.0 / correction(b2).sqrt()),
            betas: [b1, b2].map(T::from_f64),
            complements: [1.0 - b1, 1.0 - b2].map(T::from_f64),
            epsilon: T::from_f64(group.epsilon),
            clip: T::from_f64(clip),
        }
    }
}

impl<T: ModelElement> LaneMap<T, 4, 3> for Update<T> {
    /// From weight, first and second moment, and gradient.
    #[inline(always)]
    fn map<S: Isa>(&self, [p, m, v, g]: [T; 4]) -> [T; 3] {
        let g = g * self.clip;
        let m = T::Lanes::fma_lane::<S>(self.betas[0], m, self.complements[0] * g);
        let v = T::Lanes::fma_lane::<S>(self.betas[1], v, self.complements[1] * (g * g));
        let scale = T::Lanes::fma_lane::<S>(T::root(v), self.correction, self.epsilon);
        let p = p * self.decay - T::quotient(self.rate * m, scale);
        [p, m, v]
    }
}

/// One update of some vectors.
pub(super) struct UpdateOf<'a, T: Element> {
    pub(super) by: Update<T>,
    pub(super) weights: &'a mut [T::Lanes],
    pub(super) moments: [&'a mut [T::Lanes]; 2],
    pub(super) gradient: &'a [T::Lanes],
}

impl<T: ModelElement> Kernel for UpdateOf<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let [first, second] = self.moments;
        let moments = first.iter_mut().zip(second);
        let all = self.weights.iter_mut().zip(moments).zip(self.gradient);
        for ((p, (m, v)), g) in all {
            [*p, *m, *v] = T::Lanes::lanewise::<S, 4, 3>([*p, *m, *v, *g], &self.by);
        }
    }
}

/// The sum of squares of some vectors.
pub(super) struct Squares<'a, T: Element>(pub(super) &'a [T::Lanes]);

impl<T: ModelElement> Kernel for Squares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Isa>(self) -> f64 {
        let mut total = 0.0;
        // No sum is long before it goes on in double precision.
        for part in self.0.chunks(64) {
            let mut sum = T::Lanes::ZERO;
            for x in part {
                sum = x.fma::<S>(*x, sum);
            }
            total = sum.lanes().iter().fold(total, |sum, x| sum + x.to_f64());
        }
        total
    }
}

/// `sum` is the sum of some runs of vectors of its length, one after another.
pub(super) struct SumRuns<'a, T: Element> {
    pub(super) runs: &'a [&'a [T::Lanes]],
    pub(super) sum: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for SumRuns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let len = self.sum.len();
        for (at, sum) in self.sum.iter_mut().enumerate() {
            let mut total = T::Lanes::ZERO;
            for run in self.runs {
                total = total.plus(run[..len][at]);
            }
            *sum = total;
        }
    }
}
