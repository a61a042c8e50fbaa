//! The language model once more, in plain loops over f64, right or with a mistake of the catalogue made where
//! its formula says. Of the crate only an H3 layer's own forward pass is used, which has its own tests.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::h3::{Form, HeadOrder, Name, Parameters};
use hungry_hippos::model::{BlockName, ModelName, ModelParameters, SsmMixer};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;

/// Stages in the order of computation, under their names.
pub(crate) type Stages = Vec<(String, Vec<f64>)>;

/// The model over `ids` (batch, seq_len), without a mistake or with one.
pub(crate) fn stages(
    parameters: &ModelParameters<f64>,
    ids: &Tensor<usize>,
    mistake: Option<&str>,
) -> Stages {
    let (batch, len) = (ids.shape()[0], ids.shape()[1]);
    let plain = Plain {
        parameters,
        mistake,
        batch,
        len,
        d: parameters.config().d_model(),
    };
    plain.run(ids.data())
}

struct Plain<'a> {
    parameters: &'a ModelParameters<f64>,
    mistake: Option<&'a str>,
    batch: usize,
    len: usize,
    d: usize,
}

impl Plain<'_> {
    fn run(&self, ids: &[usize]) -> Stages {
        let config = self.parameters.config();
        let words = self.parameters.get(ModelName::Embeddings);
        let mut sum = self.embedded(ids);
        let mut last = sum.clone();
        let mut stages = Vec::new();
        for i in 0..config.n_layer {
            sum = self.in_16_bits(sum);
            let u = self.norm(2 * i, &sum);
            let mixer = self.mixer(i);
            let mixed = if config.is_attention(mixer) {
                self.attention(mixer, &u)
            } else if config.ssm == SsmMixer::S4d {
                self.s4d(mixer, &u)
            } else {
                self.h3(mixer, &u)
            };
            let residual = self.in_16_bits(added(&mixed, &sum));
            let hidden = self.mlp(i, &self.norm(2 * i + 1, &residual));
            sum = added(&hidden, &residual);
            let handed_on = |mistake, right: &Vec<f64>| match self.made(mistake) {
                true => sum.clone(),
                false => right.clone(),
            };
            stages.push((
                format!("block{i}.hidden"),
                handed_on("hidden_summed", &hidden),
            ));
            stages.push((
                format!("block{i}.residual"),
                handed_on("residual_summed", &residual),
            ));
            last = hidden;
        }
        if !self.made("last_add_forgotten") {
            last = self.in_16_bits(sum);
        }
        if !self.made("no_final_norm") {
            last = self.norm(2 * config.n_layer, &last);
        }
        let logits = product(words, &last, self.d);
        stages.push(("logits".into(), logits));
        stages
    }

    /// The residual stream as it is read.
    fn in_16_bits(&self, x: Vec<f64>) -> Vec<f64> {
        let format = match self.mistake {
            Some("residual_bf16") => FloatFormat::BF16,
            Some("residual_f16") => FloatFormat::F16,
            _ => return x,
        };
        x.into_iter().map(|x| format.round(x)).collect()
    }

    fn made(&self, mistake: &str) -> bool {
        self.mistake == Some(mistake)
    }

    fn of(&self, block: usize, name: BlockName) -> &[f64] {
        self.parameters.get(ModelName::Block(block, name))
    }

    /// A bias, or none with a mistake.
    fn bias(&self, block: usize, name: BlockName, without: &str) -> &[f64] {
        match self.made(without) {
            true => &[0.0],
            false => self.of(block, name),
        }
    }

    fn embedded(&self, ids: &[usize]) -> Vec<f64> {
        let words = self.parameters.get(ModelName::Embeddings);
        let positions = self.parameters.get(ModelName::Positions);
        let learned = !positions.is_empty() && !self.made("no_positions");
        let mut embedded = Vec::new();
        for (token, id) in ids.iter().enumerate() {
            let mut position = token % self.len;
            if self.made("positions_from_one") && learned {
                position = (position + 1) % (positions.len() / self.d);
            }
            for c in 0..self.d {
                let word = words[id * self.d + c];
                embedded.push(if learned {
                    word + positions[position * self.d + c]
                } else {
                    word
                });
            }
        }
        embedded
    }

    /// The block whose mixer is computed in block `i`: attention one block early or late changes places with
    /// what is there.
    fn mixer(&self, i: usize) -> usize {
        let attention = &self.parameters.config().attn_layer_idx;
        let is = |block: Option<usize>| block.is_some_and(|block| attention.contains(&block));
        let (before, after) = (i.checked_sub(1), Some(i + 1));
        match self.mistake {
            Some("attention_early") if is(after) => i + 1,
            Some("attention_early") if is(Some(i)) => i - 1,
            Some("attention_late") if is(before) => i - 1,
            Some("attention_late") if is(Some(i)) => i + 1,
            _ => i,
        }
    }

    /// The LayerNorms in the order in which they are computed, the last one before the head.
    fn norm(&self, place: usize, x: &[f64]) -> Vec<f64> {
        let n_layer = self.parameters.config().n_layer;
        let place = match self.made("older_norms") {
            // A checkpoint of the older order begins with a LayerNorm without a block, `norm`, the one a
            // port of the newer order takes for its last: every other one is computed a place early.
            true => (place + 1) % (2 * n_layer + 1),
            false => place,
        };
        let (weight, bias) = if place == 2 * n_layer {
            (
                self.parameters.get(ModelName::NormWeight),
                self.parameters.get(ModelName::NormBias),
            )
        } else if place.is_multiple_of(2) {
            (
                self.of(place / 2, BlockName::Norm1Weight),
                self.of(place / 2, BlockName::Norm1Bias),
            )
        } else {
            (
                self.of(place / 2, BlockName::Norm2Weight),
                self.of(place / 2, BlockName::Norm2Bias),
            )
        };
        let epsilon = match self.mistake {
            Some("epsilon_1e5") => 1e-5,
            Some("epsilon_1e6") => 1e-6,
            Some("epsilon_1e12") => 1e-12,
            Some("epsilon_1e3") => 1e-3,
            _ => self.parameters.config().layer_norm_epsilon,
        };
        let channels = self.d as f64;
        let mut normalized = Vec::new();
        for token in x.chunks(self.d) {
            let mut mean = 0.0;
            if !self.made("norm_not_centered") {
                for x in token {
                    mean += x / channels;
                }
            }
            let mut squares = 0.0;
            for x in token {
                squares += (x - mean) * (x - mean);
            }
            let variance = match self.made("unbiased_variance") {
                true => squares / (channels - 1.0),
                false => squares / channels,
            };
            let deviation = match self.made("epsilon_outside") {
                true => variance.sqrt() + epsilon,
                false => (variance + epsilon).sqrt(),
            };
            for c in 0..self.d {
                let (weight, bias) = match self.mistake {
                    Some("norm_weight_plus_one") => (weight[c] + 1.0, bias[c]),
                    Some("norm_without_bias") => (weight[c], 0.0),
                    _ => (weight[c], bias[c]),
                };
                normalized.push((token[c] - mean) / deviation * weight + bias);
            }
        }
        normalized
    }

    fn h3(&self, block: usize, u: &[f64]) -> Vec<f64> {
        let mut config = self.parameters.config().h3.clone();
        if self.made("head_order") {
            config.head_order = match config.head_order {
                HeadOrder::D2H => HeadOrder::HD2,
                HeadOrder::HD2 => HeadOrder::D2H,
            };
        }
        if self.made("discretization") {
            config.disc = match config.disc {
                Discretization::Bilinear => Discretization::ZeroOrderHold,
                _ => Discretization::Bilinear,
            };
        }
        let parameters = Parameters::new(config, |name| {
            Ok(self.of(block, BlockName::H3(name)).to_vec())
        });
        let layer = parameters.and_then(|parameters| parameters.discretize());
        let u = Tensor::new([self.batch, self.len, self.d], u.to_vec()).expect("fits");
        let stages = layer.and_then(|layer| layer.forward(&Form::Convolution, &u, None));
        stages.expect("runs").output.into_data()
    }

    /// `W gelu(f * u + D u) + b`, with the kernel of every channel summed over its modes.
    fn s4d(&self, block: usize, u: &[f64]) -> Vec<f64> {
        let (d, len) = (self.d, self.len);
        let config = &self.parameters.config().h3;
        let modes = config.d_state / 2;
        let is_held = (config.disc == Discretization::ZeroOrderHold) != self.made("discretization");
        let of = |name| self.of(block, BlockName::S4d(name));
        let kernel = |c: usize, lag: usize| -> f64 {
            let mut sum = 0.0;
            for n in 0..modes {
                let pole = c % config.n_ssm * modes + n;
                let w = Complex::new(-of(Name::InvAReal)[pole].exp(), of(Name::AImag)[pole]);
                let dt = of(Name::LogDt)[c].exp();
                let parts = &of(Name::C)[2 * c * modes..2 * (c + 1) * modes];
                let weight = match self.mistake {
                    Some("s4d_planar_c") => Complex::new(parts[n], parts[modes + n]),
                    Some("s4d_conjugated") => Complex::new(parts[2 * n], -parts[2 * n + 1]),
                    _ => Complex::new(parts[2 * n], parts[2 * n + 1]),
                };
                let (a, held) = match is_held {
                    true => ((w * dt).exp(), ((w * dt).exp() - 1.0) / w),
                    false => {
                        let below = 1.0 - w * dt / 2.0;
                        ((1.0 + w * dt / 2.0) / below, dt / below)
                    }
                };
                let b = match self.made("s4d_euler_input") {
                    true => Complex::from(dt),
                    false => held,
                };
                sum += (weight * b * a.powu(lag as u32)).re;
            }
            match self.made("s4d_half_kernel") {
                true => sum,
                false => 2.0 * sum,
            }
        };
        let exact = |x: f64| x * (1.0 + erf(x / 2f64.sqrt())) / 2.0;
        let mut active = Vec::new();
        for token in 0..self.batch * len {
            for c in 0..d {
                let t = token % len;
                let mut x = 0.0;
                for lag in 0..=t {
                    x += kernel(c, lag) * u[(token - lag) * d + c];
                }
                if !self.made("s4d_no_d") {
                    x += of(Name::D)[c] * u[token * d + c];
                }
                active.push(match self.mistake {
                    Some("s4d_tanh_gelu") => x * tanh_gate(x),
                    Some("s4d_no_gelu" | "s4d_gelu_after") => x,
                    _ => exact(x),
                });
            }
        }
        let output = biased(of(Name::OutputWeight), of(Name::OutputBias), &active, d);
        match self.made("s4d_gelu_after") {
            true => output.into_iter().map(exact).collect(),
            false => output,
        }
    }

    fn attention(&self, block: usize, u: &[f64]) -> Vec<f64> {
        let (d, len) = (self.d, self.len);
        let heads = self.parameters.config().num_heads;
        let d_h = d / heads;
        let qkv = biased(
            self.of(block, BlockName::QkvWeight),
            self.bias(block, BlockName::QkvBias, "no_attention_bias"),
            u,
            d,
        );
        // Channel c of head h of the queries (0), keys (1) or values (2) of a token.
        let at = |token: usize, which: usize, h: usize, c: usize| {
            let row = match self.made("qkv_by_head") {
                true => (h * 3 + which) * d_h + c,
                false => (which * heads + h) * d_h + c,
            };
            qkv[token * 3 * d + row]
        };
        let scale = match self.mistake {
            Some("no_scale") => 1.0,
            Some("scale_by_model") => 1.0 / (d as f64).sqrt(),
            _ => 1.0 / (d_h as f64).sqrt(),
        };
        let mut context = vec![0.0; u.len()];
        for b in 0..self.batch {
            for h in 0..heads {
                for i in 0..len {
                    let seen = match self.mistake {
                        Some("no_mask") => len,
                        Some("mask_one_late") => len.min(i + 2),
                        Some("mask_one_early") => i.max(1),
                        _ => i + 1,
                    };
                    let mut powers = Vec::new();
                    for j in 0..seen {
                        let mut score = 0.0;
                        for c in 0..d_h {
                            score += at(b * len + i, 0, h, c) * at(b * len + j, 1, h, c);
                        }
                        powers.push((scale * score).exp());
                    }
                    let sum: f64 = powers.iter().sum();
                    for (j, power) in powers.iter().enumerate() {
                        for c in 0..d_h {
                            context[(b * len + i) * d + h * d_h + c] +=
                                power / sum * at(b * len + j, 2, h, c);
                        }
                    }
                }
            }
        }
        biased(
            self.of(block, BlockName::OutWeight),
            self.bias(block, BlockName::OutBias, "no_attention_bias"),
            &context,
            d,
        )
    }

    fn mlp(&self, block: usize, u: &[f64]) -> Vec<f64> {
        let inner = self.parameters.config().d_inner;
        let mut hidden = biased(
            self.of(block, BlockName::Fc1Weight),
            self.bias(block, BlockName::Fc1Bias, "no_mlp_bias"),
            u,
            self.d,
        );
        for x in &mut hidden {
            *x *= match self.mistake {
                Some("erf_gelu") => (1.0 + erf(*x / 2f64.sqrt())) / 2.0,
                Some("sigmoid_gelu") => 1.0 / (1.0 + (-1.702 * *x).exp()),
                Some("silu_mlp") => 1.0 / (1.0 + (-*x).exp()),
                Some("relu_mlp") => (1.0 + x.signum()) / 2.0,
                Some("linear_mlp") => 1.0,
                _ => tanh_gate(*x),
            };
        }
        biased(
            self.of(block, BlockName::Fc2Weight),
            self.bias(block, BlockName::Fc2Bias, "no_mlp_bias"),
            &hidden,
            inner,
        )
    }
}

/// The tanh approximation of GELU over its argument.
fn tanh_gate(x: f64) -> f64 {
    let root = (2.0 / core::f64::consts::PI).sqrt();
    (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh()) / 2.0
}

fn added(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// A matrix of rows of `inputs` times every token of `x`.
fn product(weight: &[f64], x: &[f64], inputs: usize) -> Vec<f64> {
    let mut outputs = Vec::new();
    for token in x.chunks(inputs) {
        for row in weight.chunks(inputs) {
            let mut sum = 0.0;
            for c in 0..inputs {
                sum += row[c] * token[c];
            }
            outputs.push(sum);
        }
    }
    outputs
}

fn biased(weight: &[f64], bias: &[f64], x: &[f64], inputs: usize) -> Vec<f64> {
    let mut outputs = product(weight, x, inputs);
    for (at, output) in outputs.iter_mut().enumerate() {
        *output += bias[at % bias.len()];
    }
    outputs
}

/// `2 / sqrt(pi)` times the integral of `e^(-t^2)` from 0 to x, by Gauss's rule of three points in 256
/// parts: one of width h is off by `h^7 / 2016000` times a sixth derivative of at most 120, together less than
/// 1e-14 up to `|x| = 4`.
fn erf(x: f64) -> f64 {
    let half = x / 512.0;
    let mut integral = 0.0;
    for part in 0..256 {
        let middle = f64::from(2 * part + 1) * half;
        for (place, weight) in [(-0.6f64.sqrt(), 5.0), (0.0, 8.0), (0.6f64.sqrt(), 5.0)] {
            integral += weight / 9.0 * half * (-(middle + place * half).powi(2)).exp();
        }
    }
    core::f64::consts::FRAC_2_SQRT_PI * integral
}
