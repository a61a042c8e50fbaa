//! Operations on rows between projections: LayerNorm, the activation, sums.

use super::lanes::{Arithmetic, Element, LaneMap, Vector};
use super::level::{Isa, Kernel, Level};
use super::share::share;
use super::workspace::Workspace;
use crate::into_vec::IntoVec as _;

/// Vector operations of the activation, about, its two divisions counted as what they take.
const GELU_OPERATIONS: usize = 48;

/// A float type of the fast model, with the elementary functions it needs, one lane at a time.
pub trait ModelElement: Element {
    /// `e^x` within a few units in the last place, for `x <= 80`; nearly 0 far below zero.
    /// `#[inline(always)]`.
    fn exponential<S: Isa>(x: Self) -> Self;

    /// The tanh approximation of GELU, and its slope. `#[inline(always)]`.
    fn gelu<S: Isa>(x: Self) -> [Self; 2];

    /// `a / b`. `#[inline(always)]`.
    fn quotient(a: Self, b: Self) -> Self;

    /// The square root. `#[inline(always)]`.
    fn root(x: Self) -> Self;
}

/// GELU as `x / (1 + e^{-2y})`, `y = sqrt(2/pi) (x + 0.044715 x^3)`: since `(1 + tanh y) / 2` is the logistic
/// function of `2 y`, and this form does not cancel below zero. With `s` that logistic, whose slope is
/// `s (1 - s)`, the slope of `x s` is `s + x s (1 - s) (2 y)'`.
macro_rules! gelu {
    ($float:ident) => {
        #[inline(always)]
        fn quotient(a: $float, b: $float) -> $float {
            a / b
        }

        #[inline(always)]
        fn root(x: $float) -> $float {
            x.sqrt()
        }

        #[inline(always)]
        fn gelu<S: Isa>(x: $float) -> [$float; 2] {
            // -2 sqrt(2 / pi)
            const LINEAR: $float = -1.595_769_121_605_730_7_f64 as $float;
            const CUBIC: $float = LINEAR * 0.044715;
            let z = x * (LINEAR + CUBIC * (x * x));
            // e^80 is as good as infinity here, and stays finite.
            let z = if z > 80.0 { 80.0 } else { z };
            let e = Self::exponential::<S>(z);
            let (y, s) = (x / (1.0 + e), 1.0 / (1.0 + e));
            // 1 - s = e s; and e y is finite where both are.
            let steepness = -(LINEAR + 3.0 * CUBIC * (x * x));
            [y, s + y * (e * s) * steepness]
        }
    };
}

impl ModelElement for f32 {
    /// `2^n` times the Taylor polynomial of degree 7 of `e^r`, where `x = n ln 2 + r` and
    /// `|r| <= ln(2) / 2`: the terms left out are below `r^8 / 8! < 6e-9`.
    #[inline(always)]
    fn exponential<S: Isa>(x: f32) -> f32 {
        // Adding 1.5 * 2^23 leaves the integer nearest to it in the low bits.
        const SHIFT: f32 = 12_582_912.0;
        // The high part has so few digits that its products with n are exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        // Below, e^x would be subnormal.
        let x = if x < -87.0 { -87.0 } else { x };
        let shifted = x * core::f32::consts::LOG2_E + SHIFT;
        let n = shifted - SHIFT;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        let step = |sum: f32, coefficient: f32| {
            if S::FMA {
                sum.mul_add(r, coefficient)
            } else {
                sum * r + coefficient
            }
        };
        let sum = step(1.0 / 5040.0, 1.0 / 720.0);
        let sum = step(step(sum, 1.0 / 120.0), 1.0 / 24.0);
        let sum = step(step(sum, 1.0 / 6.0), 0.5);
        let sum = step(step(sum, 1.0), 1.0);
        sum * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
    }

    gelu!(f32);
}

impl ModelElement for f64 {
    #[inline(always)]
    fn exponential<S: Isa>(x: f64) -> f64 {
        x.exp()
    }

    gelu!(f64);
}

/// The exponential in every lane.
pub(super) struct Exponential;

impl<T: ModelElement> LaneMap<T, 1, 1> for Exponential {
    #[inline(always)]
    fn map<S: Isa>(&self, [x]: [T; 1]) -> [T; 1] {
        [T::exponential::<S>(x)]
    }
}

/// GELU in every lane, and its slope where it is asked for.
pub(super) struct Gelu;

impl<T: ModelElement> LaneMap<T, 1, 1> for Gelu {
    #[inline(always)]
    fn map<S: Isa>(&self, [x]: [T; 1]) -> [T; 1] {
        let [y, _] = T::gelu::<S>(x);
        [y]
    }
}

impl<T: ModelElement> LaneMap<T, 1, 2> for Gelu {
    #[inline(always)]
    fn map<S: Isa>(&self, [x]: [T; 1]) -> [T; 2] {
        T::gelu::<S>(x)
    }
}

/// GELU of every number, in place.
struct GeluOf<'a, T>(&'a mut [T]);

impl<T: ModelElement> Kernel for GeluOf<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        for part in self.0.chunks_mut(T::Lanes::WIDTH) {
            let [y] = T::Lanes::lanewise::<S, 1, 1>([T::Lanes::load(part)], &Gelu);
            y.store(part);
        }
    }
}

/// GELU of every number, in place, shared among threads.
pub(super) fn gelu<T: ModelElement>(level: Level, x: &mut [T], workspace: &mut Workspace<T>) {
    let count = workspace.threads();
    let each = x
        .len()
        .div_ceil(count)
        .next_multiple_of(T::Lanes::WIDTH)
        .max(T::Lanes::WIDTH);
    let threads = workspace.threads_for(x.len() / T::Lanes::WIDTH * GELU_OPERATIONS);
    let items = x.chunks_mut(each);
    share(items, threads, |_, part| level.run(GeluOf(part)));
}

/// `x += y`, element by element.
pub(super) fn accumulate<T: Element>(x: &mut [T], y: &[T]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x = *x + y;
    }
}

/// A LayerNorm: weight and bias (d).
#[derive(Clone, Debug)]
pub(super) struct Norm<T> {
    weight: Vec<T>,
    bias: Vec<T>,
    epsilon: f64,
}

impl<T: ModelElement> Norm<T> {
    pub(super) fn new(weight: &[f64], bias: &[f64], epsilon: f64) -> Self {
        let rounded = |x: &[f64]| x.iter().map(|&x| T::from_f64(x)).into_vec();
        Self {
            weight: rounded(weight),
            bias: rounded(bias),
            epsilon,
        }
    }

    /// Every row of `x` normalized into `out`.
    pub(super) fn apply(&self, level: Level, x: &[T], out: &mut [T]) {
        let d = self.weight.len();
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            level.run(Normalize { norm: self, x, out });
        }
    }
}

struct Normalize<'a, T> {
    norm: &'a Norm<T>,
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: ModelElement> Kernel for Normalize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { norm, x, out } = self;
        let (width, d) = (T::Lanes::WIDTH, x.len() as f64);
        let sum_of = |lanes: T::Lanes, rest: f64| {
            let lanes = lanes.lanes().iter();
            lanes.fold(rest, |sum, x| sum + x.to_f64())
        };
        let whole = x.len() / width * width;
        let mut lanes = T::Lanes::ZERO;
        for part in x[..whole].chunks_exact(width) {
            lanes = lanes.plus(T::Lanes::load(part));
        }
        let rest = x[whole..].iter().fold(0.0, |sum, x| sum + x.to_f64());
        let mean = T::from_f64(sum_of(lanes, rest) / d);
        let mut lanes = T::Lanes::ZERO;
        for part in x[..whole].chunks_exact(width) {
            let centered = T::Lanes::load(part).minus(T::Lanes::splat(mean));
            lanes = centered.fma::<S>(centered, lanes);
        }
        let rest = x[whole..].iter().fold(0.0, |sum, &x| {
            let centered = (x - mean).to_f64();
            sum + centered * centered
        });
        let variance = sum_of(lanes, rest) / d;
        let scale = T::from_f64(1.0 / (variance + norm.epsilon).sqrt());
        let parts = x.chunks(width).zip(out.chunks_mut(width));
        let affine = norm.weight.chunks(width).zip(norm.bias.chunks(width));
        for ((x, out), (weight, bias)) in parts.zip(affine) {
            let centered = T::Lanes::load(x).minus(T::Lanes::splat(mean));
            let scaled = centered.times(T::Lanes::splat(scale));
            let y = scaled.fma::<S>(T::Lanes::load(weight), T::Lanes::load(bias));
            y.store(out);
        }
    }
}
