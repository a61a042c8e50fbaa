//! The operations of a block on rows besides products, forward and backward: LayerNorm, the activation, sums over rows.

use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel};
use crate::fast::rows::{Gelu, ModelElement};
use crate::into_vec::IntoVec as _;

/// The sum of all lanes, in halves: so always in the same order.
#[inline(always)]
pub(super) fn sum_of_lanes<T: Element>(mut lanes: T::Lanes) -> T {
    let x = lanes.lanes_mut();
    let mut half = T::Lanes::WIDTH / 2;
    while half > 0 {
        for i in 0..half {
            x[i] = x[i] + x[half + i];
        }
        half /= 2;
    }
    x[0]
}

/// Vectors of ones where there are channels, zeros beyond.
pub(super) fn mask<T: Element>(channels: usize) -> Vec<T::Lanes> {
    let width = T::Lanes::WIDTH;
    let vectors = 0..channels.div_ceil(width);
    let ones = vec![T::ONE; width];
    let within = vectors.map(|v| T::Lanes::load(&ones[..width.min(channels - v * width)]));
    within.into_vec()
}

/// The weight of a LayerNorm and the channels of its rows.
#[derive(Clone, Copy)]
pub(super) struct NormOf<'a, T: Element> {
    pub(super) weight: &'a [T::Lanes],
    pub(super) mask: &'a [T::Lanes],
    pub(super) channels: usize,
}

/// Rows normalized, with the values for the backward pass: the rows before weight and bias, and the factor of
/// each.
pub(super) struct Normalize<'a, T: Element> {
    pub(super) norm: NormOf<'a, T>,
    pub(super) bias: &'a [T::Lanes],
    pub(super) epsilon: f64,
    pub(super) x: &'a [T::Lanes],
    pub(super) scaled: &'a mut [T::Lanes],
    pub(super) factors: &'a mut [T],
    pub(super) y: &'a mut [T::Lanes],
}

impl<T: ModelElement> Kernel for Normalize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let NormOf {
            weight,
            mask,
            channels,
        } = self.norm;
        let d = weight.len();
        let (inverse, epsilon) = (
            T::from_f64(1.0 / channels as f64),
            T::from_f64(self.epsilon),
        );
        let rows = self.x.chunks_exact(d).zip(self.scaled.chunks_exact_mut(d));
        let rows = rows.zip(self.y.chunks_exact_mut(d)).zip(self.factors);
        for (((x, scaled), y), factor) in rows {
            let mut sum = T::Lanes::ZERO;
            for v in 0..d {
                sum = sum.plus(x[v]);
            }
            let mean = T::Lanes::splat(sum_of_lanes::<T>(sum) * inverse);
            let mut sum = T::Lanes::ZERO;
            for v in 0..d {
                let centered = x[v].minus(mean).times(mask[v]);
                scaled[v] = centered;
                sum = centered.fma::<S>(centered, sum);
            }
            let variance = sum_of_lanes::<T>(sum) * inverse;
            *factor = T::quotient(T::ONE, T::root(variance + epsilon));
            let by = T::Lanes::splat(*factor);
            for v in 0..d {
                scaled[v] = scaled[v].times(by);
                y[v] = scaled[v].fma::<S>(weight[v], self.bias[v]);
            }
        }
    }
}

/// A LayerNorm backwards: with `h` the cotangent of a row before weight and bias, `s` that row and `f`
/// its factor, the input receives `f (h - mean(h) - s mean(h s))`, which is added to `of_x`.
pub(super) struct NormalizeBack<'a, T: Element> {
    pub(super) norm: NormOf<'a, T>,
    pub(super) scaled: &'a [T::Lanes],
    pub(super) factors: &'a [T],
    pub(super) g: &'a [T::Lanes],
    pub(super) of_x: &'a mut [T::Lanes],
    /// Overwritten.
    pub(super) of_weight: &'a mut [T::Lanes],
    /// Overwritten.
    pub(super) of_bias: &'a mut [T::Lanes],
}

impl<T: ModelElement> Kernel for NormalizeBack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            of_weight, of_bias, ..
        } = self;
        let NormOf {
            weight,
            mask,
            channels,
        } = self.norm;
        let d = weight.len();
        let inverse = T::from_f64(1.0 / channels as f64);
        of_weight.fill(T::Lanes::ZERO);
        of_bias.fill(T::Lanes::ZERO);
        let rows = self.scaled.chunks_exact(d).zip(self.g.chunks_exact(d));
        let rows = rows.zip(self.of_x.chunks_exact_mut(d)).zip(self.factors);
        for (((scaled, g), of_x), &factor) in rows {
            let (mut sum, mut product) = (T::Lanes::ZERO, T::Lanes::ZERO);
            for v in 0..d {
                let h = g[v].times(weight[v]);
                sum = sum.plus(h);
                product = h.fma::<S>(scaled[v], product);
                of_weight[v] = g[v].fma::<S>(scaled[v], of_weight[v]);
                of_bias[v] = of_bias[v].plus(g[v]);
            }
            let mean = T::Lanes::splat(sum_of_lanes::<T>(sum) * inverse);
            let slope = T::Lanes::splat(sum_of_lanes::<T>(product) * inverse);
            let by = T::Lanes::splat(factor);
            for v in 0..d {
                let h = g[v].times(weight[v]).minus(mean);
                let h = scaled[v].fnma::<S>(slope, h).times(mask[v]);
                of_x[v] = by.fma::<S>(h, of_x[v]);
            }
        }
    }
}

/// GELU of every number in place, and its slope.
pub(super) struct Activate<'a, T: Element> {
    pub(super) x: &'a mut [T::Lanes],
    pub(super) slope: &'a mut [T::Lanes],
}

impl<T: ModelElement> Kernel for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        for (x, slope) in self.x.iter_mut().zip(self.slope) {
            [*x, *slope] = T::Lanes::lanewise::<S, 1, 2>([*x], &Gelu);
        }
    }
}

/// `x *= y`, number by number.
pub(super) struct MultiplyBy<'a, T: Element> {
    pub(super) x: &'a mut [T::Lanes],
    pub(super) y: &'a [T::Lanes],
}

impl<T: Element> Kernel for MultiplyBy<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        for (x, y) in self.x.iter_mut().zip(self.y) {
            *x = x.times(*y);
        }
    }
}

/// `sum` is the sum of the rows of `x`, of as many vectors each: what a bias receives.
pub(super) struct SumRows<'a, T: Element> {
    pub(super) x: &'a [T::Lanes],
    pub(super) sum: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for SumRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { x, sum } = self;
        sum.fill(T::Lanes::ZERO);
        for row in x.chunks_exact(sum.len().max(1)) {
            for v in 0..sum.len() {
                sum[v] = sum[v].plus(row[v]);
            }
        }
    }
}
