//! Claim: the layer is what its formulas say for every choice a file can make, the many that no
//! saved case makes among them: against a port written out here in plain loops over f64, which
//! shares nothing with the crate but the names of the parameters.

use crate::common::{assert_close, close, largest};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Rng, Sample};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex64;

const REAL_TYPES: [RealType; 5] = [
    RealType::None,
    RealType::Exp,
    RealType::Relu,
    RealType::Sigmoid,
    RealType::Softplus,
];

/// Random parameters that a trained layer could have: time steps from 0.003 to 0.3, modes that decay.
fn parameters(config: &Config, rng: &mut Rng) -> Parameters<f64> {
    Parameters::new(config.clone(), |name| {
        let count = name.shape(config).iter().product();
        let fan = (config.d_model as f64).sqrt();
        let value = |i: usize, rng: &mut Rng| {
            let x = f64::sample(rng);
            match name {
                Name::LogDt => -3.5 + 2.3 * x,
                Name::InvAReal if config.real_type == RealType::None => 0.55 + 0.45 * x,
                Name::AImag => 3.0 * (i as f64 + x),
                Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => x / fan,
                _ => x,
            }
        };
        Ok((0..count).map(|i| value(i, rng)).collect())
    })
    .expect("sizes are positive")
}

/// The outputs (batch, seq_len, d), and the final diagonal state (batch, d1, d2, H, N/2).
fn plain(p: &Parameters<f64>, u: &Tensor<f64>) -> (Vec<f64>, Vec<Complex64>) {
    let c = p.config();
    let &[batch, len, d] = u.shape() else {
        panic!("an input has three axes")
    };
    let (dh, heads, taps, modes) = (c.head_dim, c.n_heads(), c.d_state, c.n_modes());
    let window = c.l_max.unwrap_or(len).min(len);
    let linear = |w: Name, b: Name, x: &[f64], i: usize| -> f64 {
        p.get(b)[i] + (0..d).map(|j| p.get(w)[i * d + j] * x[j]).sum::<f64>()
    };

    // The diagonal models, discretized: poles and c * b of every head.
    let mut poles = vec![vec![Complex64::default(); modes]; heads];
    let mut input = poles.clone();
    let mut readout = poles.clone();
    for h in 0..heads {
        let dt = p.get(Name::LogDt)[h].exp();
        for n in 0..modes {
            let at = (h % c.n_ssm) * modes + n;
            let x = p.get(Name::InvAReal)[at];
            let re = match c.real_type {
                RealType::None => -x,
                RealType::Exp => -x.exp(),
                RealType::Relu => -x.max(0.0) - 1e-4,
                RealType::Sigmoid => -1.0 / (1.0 + (-x).exp()),
                RealType::Softplus => -(1.0 + x.exp()).ln(),
                other => panic!("no {other} in this port"),
            };
            let lambda = Complex64::new(re, p.get(Name::AImag)[at]);
            let b = &p.get(Name::B)[2 * at..];
            let b = Complex64::new(b[0], b[1]);
            let (a, b) = match c.disc {
                Discretization::Bilinear => {
                    let below = 1.0 - dt * lambda / 2.0;
                    ((1.0 + dt * lambda / 2.0) / below, b * dt / below)
                }
                Discretization::ZeroOrderHold => {
                    let a = (dt * lambda).exp();
                    (a, b * (a - 1.0) / lambda)
                }
                other => panic!("no {other} in this port"),
            };
            let own = &p.get(Name::C)[2 * (h * modes + n)..];
            poles[h][n] = a;
            input[h][n] = b;
            readout[h][n] = Complex64::new(own[0], own[1]);
        }
    }
    let kernel = |h: usize, j: usize| -> f64 {
        let terms = (0..modes).map(|n| readout[h][n] * input[h][n] * poles[h][n].powu(j as u32));
        2.0 * terms.sum::<Complex64>().re
    };
    let kernels: Vec<Vec<f64>> = (0..heads)
        .map(|h| (0..window).map(|j| kernel(h, j)).collect())
        .collect();

    let mut output = vec![f64::NAN; batch * len * d];
    let mut state = Vec::new();
    for b in 0..batch {
        let token = |i: usize| &u.data()[(b * len + i) * d..][..d];
        let project = |w, bias| -> Vec<Vec<f64>> {
            (0..len)
                .map(|i| (0..d).map(|ch| linear(w, bias, token(i), ch)).collect())
                .collect()
        };
        let q = project(Name::QWeight, Name::QBias);
        let k = project(Name::KWeight, Name::KBias);
        let v = project(Name::VWeight, Name::VBias);
        let shift_kernel = |ch: usize, j: usize| -> f64 {
            let (sb, sc) = (p.get(Name::ShiftB), p.get(Name::ShiftC));
            (j..taps)
                .map(|n| sc[ch * taps + n] * sb[ch * taps + n - j])
                .sum()
        };
        let shifted: Vec<Vec<f64>> = (0..d)
            .map(|ch| {
                let f: Vec<f64> = (0..window.min(taps)).map(|j| shift_kernel(ch, j)).collect();
                (0..len)
                    .map(|i| {
                        let past: f64 = (0..f.len().min(i + 1)).map(|j| f[j] * k[i - j][ch]).sum();
                        past + p.get(Name::ShiftD)[ch] * k[i][ch]
                    })
                    .collect()
            })
            .collect();
        let mut gated = vec![vec![0.0; d]; len];
        for d1 in 0..dh {
            for d2 in 0..dh {
                for h in 0..heads {
                    let (key, value) = (h * dh + d1, h * dh + d2);
                    let kv: Vec<f64> = (0..len).map(|i| shifted[key][i] * v[i][value]).collect();
                    let channel = match c.head_order {
                        HeadOrder::D2H => d2 * heads + h,
                        HeadOrder::HD2 => value,
                    };
                    for i in 0..len {
                        let past: f64 = (0..window.min(i + 1))
                            .map(|j| kernels[h][j] * kv[i - j])
                            .sum();
                        gated[i][channel] += q[i][key] * (past + p.get(Name::D)[h] * kv[i]);
                    }
                    state.extend((0..modes).map(|n| {
                        let step = |x, &u: &f64| poles[h][n] * x + input[h][n] * u;
                        kv.iter().fold(Complex64::default(), step)
                    }));
                }
            }
        }
        for i in 0..len {
            for ch in 0..d {
                output[(b * len + i) * d + ch] =
                    linear(Name::OutputWeight, Name::OutputBias, &gated[i], ch);
            }
        }
    }
    (output, state)
}

/// 1e-12 of the largest output: what two float64 computations may differ by (`main.rs`).
fn agrees(config: &Config, batch: usize, len: usize, seed: u64) {
    let rng = &mut Rng::new(seed);
    let parameters = parameters(config, rng);
    let layer = parameters.discretize().expect("a layer");
    let u = layer.sample_input(batch, len, rng);
    let (output, state) = plain(&parameters, &u);
    let bound = 1e-12 * largest(&output);
    let mut forms = vec![Form::Fft, Form::Convolution];
    if config.l_max.is_none_or(|l_max| l_max >= len) {
        forms.push(Form::Recurrence);
        forms.push(Form::FlashConv(Chunking::Uniform(1 + len / 3)));
    }
    for form in forms {
        let what = format!("{config:?}, {batch} of {len}, {form}");
        let stages = layer.forward(&form, &u, None).expect("shapes fit");
        assert_close(&what, stages.output.data(), &output, bound);
        let parts = |x: &[Complex64]| x.iter().flat_map(|z| [z.re, z.im]).collect::<Vec<f64>>();
        let expected = parts(&state);
        let bound = 1e-12 * largest(&expected);
        assert_close(
            &what,
            &parts(stages.state.diagonal.data()),
            &expected,
            bound,
        );
    }
    // The bound has teeth: one step size off by a millionth is refused.
    if config.n_modes() > 0 {
        let other = Parameters::new(config.clone(), |name| {
            let mut values = parameters.get(name).to_vec();
            if name == Name::LogDt {
                values[0] += 1e-6;
            }
            Ok(values)
        });
        let (other, _) = plain(&other.expect("the same sizes"), &u);
        assert!(
            close("log_dt", &other, &output, bound).is_err(),
            "{config:?}"
        );
    }
}

fn base() -> Config {
    Config {
        d_model: 4,
        head_dim: 1,
        d_state: 6,
        n_ssm: 4,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    }
}

#[test]
fn every_real_type_in_both_discretizations() {
    for (i, real_type) in REAL_TYPES.into_iter().enumerate() {
        for disc in [Discretization::Bilinear, Discretization::ZeroOrderHold] {
            let config = Config {
                disc,
                real_type,
                ..base()
            };
            agrees(&config, 2, 40, 100 + i as u64);
        }
    }
}

#[test]
fn every_sharing_of_models_among_heads() {
    for (d_model, head_dim, n_ssm) in [
        (6, 1, 1),
        (6, 1, 2),
        (6, 1, 3),
        (8, 2, 2),
        (8, 4, 1),
        (6, 6, 1),
        (9, 3, 1),
    ] {
        for head_order in [HeadOrder::D2H, HeadOrder::HD2] {
            let config = Config {
                d_model,
                head_dim,
                n_ssm,
                head_order,
                ..base()
            };
            agrees(&config, 2, 17, 200 + d_model as u64);
        }
    }
}

#[test]
fn every_window_and_length() {
    for (l_max, len, why) in [
        (None, 1, "one token"),
        (None, 5, "shorter than the shift window"),
        (None, 6, "exactly the shift window"),
        (Some(1), 9, "no past at all"),
        (Some(3), 9, "a kernel shorter than the shift window"),
        (Some(8), 9, "one step cut off"),
        (Some(9), 9, "nothing cut off"),
        (Some(100), 9, "a window longer than the sequence"),
        (None, 1009, "a long prime"),
    ] {
        println!("l_max {l_max:?}, {len} tokens: {why}");
        agrees(&Config { l_max, ..base() }, 1, len, 300 + len as u64);
    }
}

#[test]
fn every_state_dimension() {
    for (d_state, why) in [
        (1, "one tap, no mode"),
        (2, "one mode"),
        (5, "odd: as many modes as four have"),
        (64, "the official size"),
    ] {
        println!("d_state {d_state}: {why}");
        agrees(&Config { d_state, ..base() }, 1, 70, 400 + d_state as u64);
    }
}
