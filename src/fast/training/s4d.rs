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
fn gelu(x: f64) -> [f64; 2] {
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

#[cfg(test)]
mod tests {
    use super::gelu;
    use crate::algebra::exact_gelu;
    use crate::fast::{Dropout, Level, Trainer};
    use crate::h3::Name;
    use crate::learning::{MixerChoice, Settings, Task};
    use crate::model::{
        BlockName, ModelName, ModelParameters, gelu as mlp_gelu, initial_parameters,
    };
    use crate::training::{OptimizerOptions, official_groups};
    use num_complex::Complex;

    /// The reference's is by a series and a continued fraction.
    #[test]
    fn the_activation_is_the_exact_gelu() {
        for i in -800..=800 {
            let x = f64::from(i) / 100.0;
            let [value, slope] = gelu(x);
            assert!((value - exact_gelu(x)).abs() <= 1e-14, "{x}");
            let h = 1e-5;
            let difference = (gelu(x + h)[0] - gelu(x - h)[0]) / (2.0 * h);
            assert!(
                (slope - difference).abs() < 1e-9,
                "{x}: {slope} {difference}"
            );
        }
    }

    const TOKENS: [usize; 7] = [1, 6, 2, 5, 1, 9, 2];
    const TARGETS: [Option<usize>; 7] =
        [Some(6), Some(2), None, Some(1), Some(9), Some(2), Some(5)];
    const SIZES: (usize, usize) = (1, 7);

    /// A model of 10 channels, more than a vector of some levels, with biases and LayerNorms that are not
    /// those of the beginning, and steps that decay within the sequence.
    fn parameters() -> ModelParameters<f64> {
        let official = Settings::official(Task::Recall, MixerChoice::S4d, None);
        let mut settings = official.expect("settings");
        (settings.d_model, settings.d_state, settings.blocks) = (10, 6, 1);
        let initial = initial_parameters(&settings.config(), 3).expect("a model");
        let log_dt = ModelName::Block(0, BlockName::S4d(Name::LogDt));
        ModelParameters::new(settings.config(), |name| {
            let shift = if name == log_dt { 3.0 } else { 0.0 };
            let values = initial.get(name).iter().enumerate();
            Ok(values
                .map(|(i, x)| 4.0 * x + shift + 0.1 * (i as f64).sin())
                .collect())
        })
        .expect("the same shapes")
    }

    fn trainer(parameters: &ModelParameters<f64>) -> Trainer<f64> {
        let groups = official_groups(parameters.config(), &OptimizerOptions::official(1e-3));
        Trainer::new(Level::detect(), parameters, &groups, None, 1).expect("a model")
    }

    /// The model by its definition, the convolution a sum: the logits of every token.
    fn by_definition(parameters: &ModelParameters<f64>) -> Vec<f64> {
        let config = parameters.config();
        let (d, n, len) = (config.d_model(), config.h3.n_modes(), TOKENS.len());
        let of = |name| parameters.get(ModelName::Block(0, name));
        let s4d = |name| of(BlockName::S4d(name));
        let complex = |x: &[f64], i: usize| Complex::new(x[2 * i], x[2 * i + 1]);
        let norm = |x: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let factor = (variance + config.layer_norm_epsilon).sqrt();
            let scaled = x.iter().map(|x| (x - mean) / factor);
            scaled
                .zip(weight)
                .zip(bias)
                .map(|((x, w), b)| x * w + b)
                .collect()
        };
        let linear = |x: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
            let rows = weight.chunks_exact(x.len()).zip(bias);
            rows.map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
                .collect()
        };
        let kernel = |channel: usize, lag: usize| -> f64 {
            let dt = s4d(Name::LogDt)[channel].exp();
            let modes = (0..n).map(|i| {
                let w = Complex::new(-s4d(Name::InvAReal)[i].exp(), s4d(Name::AImag)[i]);
                let c = complex(s4d(Name::C), channel * n + i) * ((w * dt).exp() - 1.0) / w;
                2.0 * (c * (w * dt * lag as f64).exp()).re
            });
            modes.sum()
        };
        let table = parameters.get(ModelName::Embeddings);
        let embedded = TOKENS.map(|token| table[token * d..(token + 1) * d].to_vec());
        let [weight, bias] = [BlockName::Norm1Weight, BlockName::Norm1Bias].map(of);
        let u = embedded.each_ref().map(|x| norm(x, weight, bias));
        let logits = (0..len).flat_map(|t| {
            let y: Vec<f64> = (0..d)
                .map(|c| {
                    let past = (0..=t).map(|s| kernel(c, t - s) * u[s][c]).sum::<f64>();
                    exact_gelu(past + s4d(Name::D)[c] * u[t][c])
                })
                .collect();
            let mixed = linear(&y, s4d(Name::OutputWeight), s4d(Name::OutputBias));
            let x: Vec<f64> = mixed.iter().zip(&embedded[t]).map(|(a, b)| a + b).collect();
            let normed = norm(&x, of(BlockName::Norm2Weight), of(BlockName::Norm2Bias));
            let hidden = linear(&normed, of(BlockName::Fc1Weight), of(BlockName::Fc1Bias));
            let hidden: Vec<f64> = hidden.into_iter().map(mlp_gelu).collect();
            let hidden = linear(&hidden, of(BlockName::Fc2Weight), of(BlockName::Fc2Bias));
            let x: Vec<f64> = hidden.iter().zip(&x).map(|(a, b)| a + b).collect();
            let [weight, bias] = [ModelName::NormWeight, ModelName::NormBias];
            let x = norm(&x, parameters.get(weight), parameters.get(bias));
            linear(&x, table, &[0.0; 10])
        });
        logits.collect()
    }

    #[test]
    fn the_forward_pass_is_the_definition() {
        let parameters = parameters();
        let found = trainer(&parameters).logits(&TOKENS, SIZES).expect("runs");
        let exact = by_definition(&parameters);
        assert_eq!(found.len(), exact.len());
        for (found, exact) in found.iter().zip(&exact) {
            assert!(
                (found - exact).abs() < 1e-11 && exact.abs() > 1e-6,
                "{found} {exact}"
            );
        }
    }

    /// Two elements of every parameter, by central differences of the loss.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let parameters = parameters();
        let none = Dropout::default();
        let gradients = trainer(&parameters).gradients(&TOKENS, &TARGETS, SIZES, &none);
        let (_, gradients) = gradients.expect("runs");
        let h = 1e-5;
        for name in parameters.config().names() {
            let len = parameters.get(name).len();
            for at in [len / 3, len - 1] {
                let loss = |by: f64| {
                    let moved = ModelParameters::new(parameters.config().clone(), |of| {
                        let mut values = parameters.get(of).to_vec();
                        if of == name {
                            values[at] += by;
                        }
                        Ok(values)
                    });
                    trainer(&moved.expect("shapes"))
                        .loss(&TOKENS, &TARGETS, SIZES)
                        .expect("runs")
                };
                let slope = (loss(h) - loss(-h)) / (2.0 * h);
                let found = gradients.get(name)[at];
                let error = (found - slope).abs();
                assert!(error < 1e-8, "{} {at}: {found} {slope}", name.official());
            }
        }
    }
}
