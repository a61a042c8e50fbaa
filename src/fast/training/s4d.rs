//! An S4D layer before its projection, over some whole sequences, forward and backward: `y = gelu(diagonal u)`, with
//! the exact GELU (safari `src/models/sequence/ssm/s4d.py`, `S4D.forward`).

use super::convolve::pad;
use super::mixing::{MixBuffers, Mixing, column};
use crate::fast::lanes::{Arithmetic, Element, Vector};

/// The results of the layer over some sequences: (rows, channels) each, as vectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Filtered<T: Element> {
    pub(super) y: Vec<T::Lanes>,
    /// Of the activation.
    slope: Vec<T::Lanes>,
}

impl<T: Element> Mixing<'_, T> {
    /// From the layer's input.
    pub(super) fn filter(&self, u: &[T::Lanes], to: &mut Filtered<T>, buffers: &mut MixBuffers<T>) {
        let (width, step) = (self.sizes.heads, self.len * self.sizes.heads);
        let Filtered { y, slope } = to;
        y.resize(u.len(), T::Lanes::ZERO);
        slope.resize(u.len(), T::Lanes::ZERO);
        let MixBuffers { padded, result, .. } = buffers;
        let sequences = y.chunks_exact_mut(step).zip(slope.chunks_exact_mut(step));
        for (u, (y, slope)) in u.chunks_exact(step).zip(sequences) {
            for c in 0..width {
                pad(padded, T::Lanes::ZERO, column(u, width, c).copied());
                let kernel = &self.kernels[self.sizes.of_diagonal(c)];
                self.convolve(kernel, padded, result);
                let y = y.iter_mut().skip(c).step_by(width);
                let slope = slope.iter_mut().skip(c).step_by(width);
                for ((y, slope), x) in y.zip(slope).zip(&*result) {
                    let lanes = y.lanes_mut().iter_mut().zip(slope.lanes_mut());
                    for ((y, slope), x) in lanes.zip(x.lanes()) {
                        let [value, derivative] = gelu(x.to_f64());
                        (*y, *slope) = (T::from_f64(value), T::from_f64(derivative));
                    }
                }
            }
        }
    }

    /// From the cotangents `g` of `y` to those of the input, and what the kernels receive, added to
    /// `received`.
    pub(super) fn filter_back(
        &self,
        (u, from): (&[T::Lanes], &Filtered<T>),
        g: &[T::Lanes],
        of_u: &mut Vec<T::Lanes>,
        received: &mut [T::Lanes],
        buffers: &mut MixBuffers<T>,
    ) {
        let (width, step) = (self.sizes.heads, self.len * self.sizes.heads);
        of_u.resize(u.len(), T::Lanes::ZERO);
        let MixBuffers {
            padded,
            result,
            columns: [input, of_output, of_input, _],
        } = buffers;
        for at in (0..u.len()).step_by(step) {
            let here = at..at + step;
            for c in 0..width {
                input.clear();
                input.extend(column(&u[here.clone()], width, c));
                let g = column(&g[here.clone()], width, c);
                let slope = column(&from.slope[here.clone()], width, c);
                of_output.clear();
                of_output.extend(g.zip(slope).map(|(g, slope)| g.times(*slope)));
                self.back(
                    (self.sizes.of_diagonal(c), received),
                    (input, of_output),
                    of_input,
                    (&mut *padded, &mut *result),
                );
                let to = of_u[here.clone()].iter_mut().skip(c).step_by(width);
                to.zip(&*of_input).for_each(|(to, x)| *to = *x);
            }
        }
    }
}

/// `x Phi(x)` and its slope, `Phi` being the distribution function of the normal distribution, by Cody's
/// rational functions of `y = x / sqrt 2` (1969): `erf(y) = y p/q` near zero, `1 - erf(y) = e^(-y^2) p/q`
/// beyond.
pub fn gelu(x: f64) -> [f64; 2] {
    use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    /// Coefficients of numerator and denominator, the highest power first.
    const NEAR: [[f64; 2]; 5] = [
        [1.857_777_061_846_031_5e-1, 1.0],
        [3.161_123_743_870_565_6, 2.360_129_095_234_412_1e1],
        [1.138_641_541_510_501_6e2, 2.440_246_379_344_441_7e2],
        [3.774_852_376_853_02e2, 1.282_616_526_077_372_3e3],
        [3.209_377_589_138_469_5e3, 2.844_236_833_439_171e3],
    ];
    const BEYOND: [[f64; 2]; 9] = [
        [2.153_115_354_744_038_5e-8, 1.0],
        [5.641_884_969_886_701e-1, 1.574_492_611_070_983_5e1],
        [8.883_149_794_388_376, 1.176_939_508_913_125e2],
        [6.611_919_063_714_163e1, 5.371_811_018_620_099e2],
        [2.986_351_381_974_001e2, 1.621_389_574_566_690_2e3],
        [8.819_522_212_417_69e2, 3.290_799_235_733_459_6e3],
        [1.712_047_612_634_070_6e3, 4.362_619_090_143_247e3],
        [2.051_078_377_826_071_5e3, 3.439_367_674_143_721_6e3],
        [1.230_339_354_797_997_2e3, 1.230_339_354_803_749_4e3],
    ];
    let ratio = |coefficients: &[[f64; 2]], at: f64| {
        let mut sums = [0.0; 2];
        for of in coefficients {
            sums = [sums[0] * at + of[0], sums[1] * at + of[1]];
        }
        sums[0] / sums[1]
    };
    let y = x.abs() * FRAC_1_SQRT_2;
    let bell = (-y * y).exp();
    let phi = if y <= 0.468_75 {
        0.5 + 0.5 * x * FRAC_1_SQRT_2 * ratio(&NEAR, y * y)
    } else {
        let tail = 0.5 * bell * ratio(&BEYOND, y);
        if x < 0.0 { tail } else { 1.0 - tail }
    };
    let density = 0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI * bell;
    [x * phi, phi + x * density]
}
