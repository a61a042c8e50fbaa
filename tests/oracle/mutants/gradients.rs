//! Mistakes in the backward pass, against the chain rule written out for one channel a head.

use super::layers::{PLAIN, Shape, distance, is_served, random};
use crate::common::{assert_close, largest};
use crate::verdicts::is_cotangent;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::h3::{Form, Name, Parameters};
use hungry_hippos::oracle::{Case, LayerCase, Precision, default_chunk_len};
use num_complex::Complex;
use std::collections::BTreeMap;

type C = Complex<f64>;

/// What the backward of `y = f * u` makes of `f`, `u` and the cotangent of `y`: those of `f` and of
/// `u`.
type Adjoint = fn(&[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

fn right(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut of_kernel, mut of_input) = (vec![0.0; f.len()], vec![0.0; u.len()]);
    for i in 0..g.len() {
        for j in 0..f.len().min(i + 1) {
            of_kernel[j] += g[i] * u[i - j];
            of_input[i - j] += g[i] * f[j];
        }
    }
    (of_kernel, of_input)
}

/// `sum_i g_i x_{j-i}`, of `len` elements.
fn convolved(g: &[f64], x: &[f64], len: usize) -> Vec<f64> {
    let term = |i: usize, j: usize| match j.checked_sub(i) {
        Some(k) if k < x.len() => g[i] * x[k],
        _ => 0.0,
    };
    let sum = |j: usize| (0..g.len()).map(|i| term(i, j)).sum();
    (0..len).map(sum).collect()
}

fn kernel_convolved(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    (convolved(g, u, f.len()), right(f, u, g).1)
}

fn input_convolved(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    (right(f, u, g).0, convolved(g, f, u.len()))
}

/// All `n = L_k + L` entries: lag j, and from the end backwards the lags below zero.
fn uncut(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = f.len() + u.len();
    let mut of_kernel = vec![0.0; n];
    for (i, g) in g.iter().enumerate() {
        for (k, u) in u.iter().enumerate() {
            of_kernel[if i >= k { i - k } else { n + i - k }] += g * u;
        }
    }
    (of_kernel, right(f, u, g).1)
}

/// The way back: a convolution's adjoint in both models, or the diagonal one's recurrence with
/// something done to every cotangent of its state.
struct Way {
    adjoint: Adjoint,
    state: Option<fn(C) -> C>,
    carry: Option<Carry>,
    chunk_len: usize,
}

/// What a chunk hands on to the one before it, by its length and that of a whole one: of a mode's
/// pole (conjugate), the cotangents of the state before the chunk, of that after its first input and
/// of that after the chunk.
type Carry = fn(C, [C; 3], usize, usize) -> C;

/// The gradients of `<g, output>` for one sequence, under their official names.
fn backward(
    p: &Parameters<f64>,
    u: &Tensor<f64>,
    g: &[f64],
    way: &Way,
) -> BTreeMap<String, Vec<f64>> {
    let config = p.config();
    let (d, len) = (config.d_model, u.shape()[1]);
    let (m, n) = (config.d_state, config.n_modes());
    let window = config.l_max.map_or(len, |l_max| l_max.min(len));
    let mut of: BTreeMap<Name, Vec<f64>> = Name::ALL
        .into_iter()
        .map(|name| (name, vec![0.0; p.get(name).len()]))
        .collect();
    let mut add = |name: Name, at: usize, x: f64| of.get_mut(&name).expect("all")[at] += x;
    let mut of_input = vec![0.0; len * d];
    let at = |t: usize, c: usize| t * d + c;
    let project = |weight: Name, bias: Name, c: usize| -> Vec<f64> {
        let w = &p.get(weight)[c * d..][..d];
        (0..len)
            .map(|t| (0..d).map(|j| w[j] * u.data()[at(t, j)]).sum::<f64>() + p.get(bias)[c])
            .collect()
    };
    let causal = |f: &[f64], x: &[f64], skip: f64| -> Vec<f64> {
        let y = convolved(x, f, len);
        y.iter().zip(x).map(|(y, x)| y + skip * x).collect()
    };
    let mut gated = vec![0.0; len * d];
    for c in 0..d {
        let q = project(Name::QWeight, Name::QBias, c);
        let k = project(Name::KWeight, Name::KBias, c);
        let v = project(Name::VWeight, Name::VBias, c);
        let (b, taps) = (
            &p.get(Name::ShiftB)[c * m..][..m],
            &p.get(Name::ShiftC)[c * m..][..m],
        );
        let tap = |t: usize| (t..m).map(|i| b[i - t] * taps[i]).sum::<f64>();
        let shift_kernel: Vec<f64> = (0..window).map(tap).collect();
        let shift_skip = p.get(Name::ShiftD)[c];
        let s = causal(&shift_kernel, &k, shift_skip);
        let kv: Vec<f64> = s.iter().zip(&v).map(|(s, v)| s * v).collect();
        // The modes, and how their poles and inputs depend on lambda and dt.
        let dt = p.get(Name::LogDt)[c].exp();
        let model = c % config.n_ssm;
        let complex = |name: Name, i: usize| C::new(p.get(name)[2 * i], p.get(name)[2 * i + 1]);
        let modes: Vec<(C, C, C, C)> = (0..n)
            .map(|i| {
                let i = model * n + i;
                let lambda = C::new(-p.get(Name::InvAReal)[i].exp(), p.get(Name::AImag)[i]);
                let under = 1.0 - lambda * dt / 2.0;
                (
                    lambda,
                    under,
                    (1.0 + lambda * dt / 2.0) / under,
                    complex(Name::B, i) * dt / under,
                )
            })
            .collect();
        let read: Vec<C> = (0..n).map(|i| complex(Name::C, c * n + i)).collect();
        let kernel: Vec<f64> = (0..window as i32)
            .map(|t| {
                (0..n)
                    .map(|i| 2.0 * (read[i] * modes[i].2.powi(t) * modes[i].3).re)
                    .sum()
            })
            .collect();
        let skip = p.get(Name::D)[c];
        let y = causal(&kernel, &kv, skip);
        for t in 0..len {
            gated[at(t, c)] = q[t] * y[t];
        }

        // From here backwards.
        let of_gated: Vec<f64> = (0..len)
            .map(|t| {
                (0..d)
                    .map(|o| p.get(Name::OutputWeight)[o * d + c] * g[at(t, o)])
                    .sum()
            })
            .collect();
        let of_q: Vec<f64> = of_gated.iter().zip(&y).map(|(g, y)| g * y).collect();
        let of_y: Vec<f64> = of_gated.iter().zip(&q).map(|(g, q)| g * q).collect();
        let zero = C::new(0.0, 0.0);
        // Of the poles, the inputs and C; conjugate gradients: d/dre + i d/dim.
        let (mut of_a, mut of_b, mut of_c) = (vec![zero; n], vec![zero; n], vec![zero; n]);
        let mut of_kv = vec![0.0; len];
        if way.state.is_some() || way.carry.is_some() {
            let change = way.state.unwrap_or(|l| l);
            for i in 0..n {
                let (a, b) = (modes[i].2, modes[i].3);
                let mut states = vec![zero];
                for t in 0..len {
                    states.push(a * states[t] + b * kv[t]);
                }
                let mut l = zero;
                let mut after = l;
                for t in (0..len).rev() {
                    l = change(l + 2.0 * read[i].conj() * of_y[t]);
                    of_c[i] += 2.0 * states[t + 1].conj() * of_y[t];
                    of_b[i] += l * kv[t];
                    of_a[i] += l * states[t].conj();
                    of_kv[t] += (b.conj() * l).re;
                    let first = l;
                    l *= a.conj();
                    if let Some(carry) = way.carry
                        && t > 0
                        && t % way.chunk_len == 0
                    {
                        let chunk = way.chunk_len.min(len - t);
                        l = carry(a.conj(), [l, first, after], chunk, way.chunk_len);
                        after = l;
                    }
                }
            }
        } else {
            let of_kernel;
            (of_kernel, of_kv) = (way.adjoint)(&kernel, &kv, &of_y);
            for (t, g) in of_kernel.iter().enumerate() {
                for i in 0..n {
                    let (a, b, power) = (modes[i].2, modes[i].3, modes[i].2.powi(t as i32));
                    of_c[i] += 2.0 * g * (b * power).conj();
                    of_b[i] += 2.0 * g * (read[i] * power).conj();
                    of_a[i] += 2.0 * g * t as f64 * (read[i] * b * power / a).conj();
                }
            }
        }
        for t in 0..len {
            of_kv[t] += skip * of_y[t];
            add(Name::D, c, of_y[t] * kv[t]);
        }
        for i in 0..n {
            let ((lambda, under, ..), stored) = (modes[i], model * n + i);
            let input = complex(Name::B, stored);
            let of_lambda = of_a[i] * (dt / under / under).conj()
                + of_b[i] * (input * dt * dt / 2.0 / under / under).conj();
            let of_dt = (of_a[i].conj() * lambda / under / under
                + of_b[i].conj() * input / under / under)
                .re;
            let of_stored = of_b[i] * (dt / under).conj();
            add(Name::AImag, stored, of_lambda.im);
            add(Name::InvAReal, stored, of_lambda.re * lambda.re);
            add(Name::LogDt, c, of_dt * dt);
            add(Name::B, 2 * stored, of_stored.re);
            add(Name::B, 2 * stored + 1, of_stored.im);
            add(Name::C, 2 * (c * n + i), of_c[i].re);
            add(Name::C, 2 * (c * n + i) + 1, of_c[i].im);
        }
        let of_s: Vec<f64> = of_kv.iter().zip(&v).map(|(g, v)| g * v).collect();
        let of_v: Vec<f64> = of_kv.iter().zip(&s).map(|(g, s)| g * s).collect();
        let (of_kernel, mut of_k) = (way.adjoint)(&shift_kernel, &k, &of_s);
        for (t, g) in of_kernel.iter().enumerate() {
            for i in t..m {
                add(Name::ShiftB, c * m + i - t, g * taps[i]);
                add(Name::ShiftC, c * m + i, g * b[i - t]);
            }
        }
        for t in 0..len {
            of_k[t] += shift_skip * of_s[t];
            add(Name::ShiftD, c, of_s[t] * k[t]);
        }
        for (weight, bias, of) in [
            (Name::QWeight, Name::QBias, &of_q),
            (Name::KWeight, Name::KBias, &of_k),
            (Name::VWeight, Name::VBias, &of_v),
        ] {
            for t in 0..len {
                add(bias, c, of[t]);
                for j in 0..d {
                    add(weight, c * d + j, of[t] * u.data()[at(t, j)]);
                    of_input[at(t, j)] += of[t] * p.get(weight)[c * d + j];
                }
            }
        }
    }
    for t in 0..len {
        for o in 0..d {
            add(Name::OutputBias, o, g[at(t, o)]);
            for c in 0..d {
                add(Name::OutputWeight, o * d + c, g[at(t, o)] * gated[at(t, c)]);
            }
        }
    }
    let named = of
        .into_iter()
        .map(|(name, x)| (name.official().to_string(), x));
    named.chain([("input".to_string(), of_input)]).collect()
}

/// What is done to gradients that are right but for that.
fn afterwards(mutant: &str, name: &str, d: usize, gradient: &mut [f64]) {
    let size = gradient.len();
    let complex = ["kernel.kernel.B", "kernel.kernel.C"].contains(&name);
    let factor = |i: usize| match (mutant, name) {
        ("complex_grad_conj" | "complex_grad_conj_all", _) if complex && i % 2 == 1 => -1.0,
        ("complex_grad_conj_all", "kernel.kernel.A_imag") => -1.0,
        ("half_grad", "kernel.kernel.B" | "kernel.kernel.C" | "kernel.kernel.A_imag") => 0.5,
        ("half_grad", "kernel.kernel.inv_A_real" | "kernel.kernel.log_dt") => 0.5,
        ("untrained_shift", "ssm_k_D" | "ssm_k_kernel.kernel.C") => 0.0,
        ("untrained_shift_b", "ssm_k_kernel.kernel.B") => 0.0,
        ("detached_frequencies", "kernel.kernel.A_imag") => 0.0,
        ("detached_decays", "kernel.kernel.inv_A_real") => 0.0,
        ("detached_dt", "kernel.kernel.log_dt") => 0.0,
        ("detached_b", "kernel.kernel.B") | ("detached_c", "kernel.kernel.C") => 0.0,
        ("detached_skip", "D") => 0.0,
        ("first_input_grad_lost", "input") if i < d => 0.0,
        ("last_input_grad_lost", "input") if i >= size - d => 0.0,
        _ => 1.0,
    };
    for (i, x) in gradient.iter_mut().enumerate() {
        *x *= factor(i);
    }
}

/// What a mistake hands on between chunks.
fn carry(mutant: &str) -> Option<Carry> {
    Some(match mutant {
        "reverse_carry_undecayed" => |_, [_, first, _], _, _| first,
        "reverse_carry_whole_undecayed" => {
            |a, [right, _, after], len, _| right - a.powi(len as i32) * after + after
        }
        "reverse_carry_dropped" => |_, _, _, _| C::new(0.0, 0.0),
        "reverse_carry_one_late" => |a, [right, ..], _, _| a * right,
        "reverse_carry_full_chunk" => {
            |a, [right, ..], len, full| a.powi((full - len) as i32) * right
        }
        _ => return None,
    })
}

#[test]
fn every_mistake_is_its_formula() {
    let plain = Shape { len: 9, ..PLAIN };
    for (seed, shape) in [
        (300, plain),
        (
            301,
            Shape {
                n_ssm: 1,
                d_state: 6,
                len: 4,
                ..plain
            },
        ),
        (
            302,
            Shape {
                l_max: Some(5),
                ..plain
            },
        ),
        (
            303,
            Shape {
                l_max: Some(3),
                d_state: 8,
                ..plain
            },
        ),
    ] {
        let s = random(shape, seed);
        let g = random(shape, seed + 50).input;
        let case = LayerCase::new(s.p.clone(), s.input.clone());
        let case = case.and_then(|case| case.with_cotangent(g.clone()));
        let case: Case = case.expect("a case").into();
        let whole = shape.l_max.is_none();
        let mut known = case.mistakes();
        known.retain(|mistake| mistake.first_stage.starts_with("grad.") && !is_served(mistake));
        assert_eq!(known.len(), 25);
        for mistake in known {
            let mutant = mistake.name;
            let bf16 = |z: C| C::new(FloatFormat::BF16.round(z.re), FloatFormat::BF16.round(z.im));
            let way = Way {
                adjoint: match mutant {
                    "dk_convolved" => kernel_convolved,
                    "du_convolved" => input_convolved,
                    "dk_uncut" => uncut,
                    _ => right,
                },
                // A kernel that is cut has no state.
                state: (mutant == "state_grad_bf16" && whole).then_some(bf16),
                carry: carry(mutant).filter(|_| whole),
                chunk_len: default_chunk_len(s.len()),
            };
            let mut g = g.data().to_vec();
            if mutant == "last_output_uncounted" {
                let before = g.len() - s.p.config().d_model;
                g[before..].fill(0.0);
            }
            let mut expected = backward(&s.p, &s.input, &g, &way);
            let mut got = case.run_with(&[mutant], None).expect("runs");
            let all = got.len();
            got.retain(|(name, _)| !is_cotangent(name));
            assert_eq!((got.len(), all), (expected.len(), expected.len() + 7));
            for (name, got) in got {
                let name = name.strip_prefix("grad.").expect("a gradient");
                let expected = expected.get_mut(name).expect("of this name");
                afterwards(mutant, name, s.p.config().d_model, expected);
                // Sums of at most 81 products of at most nine factors: below 1000 roundings.
                let bound = 1000.0 * f64::EPSILON * largest(expected).max(1.0);
                let what = format!("{} on {}, {name}", mutant, s.name);
                assert_close(&what, got.data(), expected, bound);
            }
        }
    }
}

/// Gradients stand in the order of the way back; a mistake there shows from its first one on.
#[test]
fn mistakes_show_from_their_first_gradient() {
    let shape = Shape { batch: 2, ..PLAIN };
    for seed in [310, 311] {
        let s = random(shape, seed);
        let g = random(shape, seed + 50).input;
        let case = LayerCase::new(s.p.clone(), s.input.clone());
        let case = case.and_then(|case| case.with_cotangent(g));
        let case: Case = case.expect("a case").into();
        let right = case.run(&Form::Recurrence, Precision::F64, true);
        let right = right.expect("runs");
        for mistake in case.mistakes() {
            if !mistake.first_stage.starts_with("grad.") || is_served(mistake) {
                continue;
            }
            let wrong = case.run_with(&[mistake.id], None).expect("runs");
            let mut changed = wrong.iter().filter(|(name, wrong)| {
                let right = right.iter().find(|(right, _)| right == name);
                distance(wrong, &right.expect("a gradient").1) > 1e-9
            });
            let first = changed.next().map(|(name, _)| name.as_str());
            assert_eq!(first, Some(mistake.first_stage), "{}", mistake.id);
        }
    }
}
