//! Mutants against their formulas, written out from the definitions.

use super::formulas::reference;
use super::layers::{EQUAL, Named, PLAIN, Shape, Subject, random, stage};
use hungry_hippos::algebra::{FloatFormat, Matrix};
use hungry_hippos::fourier::convolution::circular_convolution;
use hungry_hippos::fourier::dft::{dft, inverse_dft};
use hungry_hippos::h3::{Layer, Name, RealType};
use hungry_hippos::ssm::{Dense, StateSpace, causal_convolution, recurrence};
use num_complex::Complex;

type C = Complex<f64>;

/// One row's elements are close, relative to the largest of them.
fn assert_row(what: &str, got: &[f64], expected: &[f64]) {
    let scale = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    crate::common::assert_close(what, got, expected, EQUAL * scale.max(1e-3));
}

fn row<'a>(stages: &'a Named, name: &str, r: usize, len: usize) -> &'a [f64] {
    &stage(stages, name).data()[r * len..][..len]
}

fn padded(x: &[f64], n: usize) -> Vec<f64> {
    let mut x = x.to_vec();
    x.resize(n, 0.0);
    x
}

/// A layer with one channel a head, its discrete form and its right stages.
struct Plain {
    s: Subject,
    layer: Layer<f64>,
    right: Named,
}

impl Plain {
    fn new(shape: Shape, seed: u64) -> Self {
        let s = random(shape, seed);
        let right = reference(&s.p, &s);
        let layer = s.p.discretize().expect("stable");
        Self { s, layer, right }
    }

    /// For every head: the mutant's shift_k is `wrong(channel, k) + D k`.
    fn shift(&self, mutant: &str, wrong: impl Fn(usize, &[f64]) -> Vec<f64>) {
        let len = self.s.len();
        let got = self.s.run(&[mutant]);
        for c in 0..self.layer.d_model() {
            let k = row(&self.right, "k", c, len);
            let d = self.s.p.get(Name::ShiftD)[c];
            let expected: Vec<f64> = wrong(c, k).iter().zip(k).map(|(y, k)| y + d * k).collect();
            let what = format!("{mutant}, channel {c}");
            assert_row(&what, row(&got, "shift_k", c, len), &expected);
        }
    }

    /// For every head: the mutant's ssm_out is `wrong(head, kv) + D kv`, of the right kv.
    fn long(&self, mutant: &str, wrong: impl Fn(usize, &[f64]) -> Vec<f64>) {
        let len = self.s.len();
        let got = self.s.run(&[mutant]);
        for h in 0..self.layer.n_heads() {
            let kv = row(&self.right, "kv", h, len);
            let d = self.s.p.get(Name::D)[h];
            let expected: Vec<f64> = wrong(h, kv)
                .iter()
                .zip(kv)
                .map(|(y, u)| y + d * u)
                .collect();
            let what = format!("{mutant}, head {h}");
            // Mutants of both convolutions change kv too: those are checked with its own kv.
            assert_eq!(row(&got, "kv", h, len), row(&self.s.run(&[]), "kv", h, len));
            assert_row(&what, row(&got, "ssm_out", h, len), &expected);
        }
    }

    fn kernel(&self, h: usize, len: usize) -> Vec<f64> {
        self.layer.parts().diagonal[h].kernel(len)
    }

    fn taps(&self, c: usize, len: usize) -> Vec<f64> {
        self.layer.parts().shift[c].kernel(len)
    }
}

fn circular(f: &[f64], u: &[f64], n: usize) -> Vec<f64> {
    let len = u.len();
    let mut y = circular_convolution(&padded(f, n), &padded(u, n)).expect("equal lengths");
    y.truncate(len);
    y
}

fn anti_causal(f: &[f64], u: &[f64]) -> Vec<f64> {
    let backwards: Vec<f64> = u.iter().rev().copied().collect();
    let mut y = causal_convolution(f, &backwards);
    y.reverse();
    y
}

/// numpy's irfft of the first (n + 1)/2 bins of a spectrum of odd length n, length not given.
fn odd_irfft(f: &[f64], u: &[f64]) -> Vec<f64> {
    let n = f.len() + u.len() - 1;
    assert!(n % 2 == 1);
    let spectrum = |x: &[f64]| {
        let x: Vec<C> = padded(x, n).iter().map(|&x| C::new(x, 0.0)).collect();
        dft(&x).expect("any length")
    };
    let (f_hat, u_hat) = (spectrum(f), spectrum(u));
    let product: Vec<C> = f_hat.iter().zip(&u_hat).map(|(f, u)| f * u).collect();
    let m = (n - 1) / 2;
    let mut hermitian = vec![C::new(0.0, 0.0); n - 1];
    for k in 0..m {
        hermitian[k] = product[k];
        hermitian[(n - 1 - k) % (n - 1)] = product[k].conj();
    }
    hermitian[0].im = 0.0;
    hermitian[m] = C::new(product[m].re, 0.0);
    let y = inverse_dft(&hermitian).expect("any length");
    y.iter().take(u.len()).map(|y| y.re).collect()
}

#[test]
fn convolutions() {
    let plain = Plain::new(PLAIN, 51);
    let len = plain.s.len();
    let n = (2 * len) as f64;
    plain.long("circular_fft_long", |h, u| {
        circular(&plain.kernel(h, len), u, len)
    });
    plain.long("long_kernel_alias", |h, u| {
        circular(&plain.kernel(h, 2 * len), u, 2 * len)
    });
    plain.long("fft_conj_long", |h, u| {
        anti_causal(&plain.kernel(h, len), u)
    });
    plain.long("conv_no_flip", |h, u| {
        let mut f = plain.kernel(h, len);
        f.reverse();
        causal_convolution(&f, u)
    });
    let scaled = |factor: f64, y: Vec<f64>| y.into_iter().map(|y| factor * y).collect();
    plain.long("norm_twice_long", |h, u| {
        scaled(1.0 / n, causal_convolution(&plain.kernel(h, len), u))
    });
    plain.long("norm_never_long", |h, u| {
        scaled(n, causal_convolution(&plain.kernel(h, len), u))
    });
    plain.shift("norm_twice_shift", |c, u| {
        scaled(1.0 / n, causal_convolution(&plain.taps(c, len), u))
    });
    plain.shift("norm_never_shift", |c, u| {
        scaled(n, causal_convolution(&plain.taps(c, len), u))
    });
    for mutant in ["circular_fft", "shift_cyclic_time"] {
        plain.shift(mutant, |c, u| circular(&plain.taps(c, len), u, len));
    }
    for mutant in ["fft_conj", "fft_conj_shift"] {
        plain.shift(mutant, |c, u| anti_causal(&plain.taps(c, len), u));
    }
    plain.shift("irfft_odd_n", |c, u| odd_irfft(&plain.taps(c, len), u));

    // What of both convolutions is in the long one, on the kv it has made itself.
    for (mutant, wrong) in [
        (
            "circular_fft",
            (|f, u| circular(f, u, u.len())) as fn(&[f64], &[f64]) -> Vec<f64>,
        ),
        ("fft_conj", anti_causal),
        ("irfft_odd_n", odd_irfft),
    ] {
        let got = plain.s.run(&[mutant]);
        for h in 0..plain.layer.n_heads() {
            let kv = row(&got, "kv", h, len);
            let d = plain.s.p.get(Name::D)[h];
            let y = wrong(&plain.kernel(h, len), kv);
            let expected: Vec<f64> = y.iter().zip(kv).map(|(y, u)| y + d * u).collect();
            assert_row(mutant, row(&got, "ssm_out", h, len), &expected);
        }
    }

    // A window far longer than the input: only there does the shift kernel alias.
    let short = Plain::new(
        Shape {
            len: 4,
            d_state: 12,
            ..PLAIN
        },
        52,
    );
    for mutant in ["shift_len_alias", "long_kernel_alias"] {
        short.shift(mutant, |c, u| circular(&short.taps(c, 8), u, 8));
    }
    // As many taps as the transform has points, more of which would not matter; but with an l_max M02
    // keeps no more than that, where M14a knows none.
    let window = |len: usize, l_max: Option<usize>| {
        let shape = Shape {
            len,
            l_max,
            d_state: 16,
            ..PLAIN
        };
        Plain::new(shape, 55)
    };
    for (len, l_max, kept) in [
        (7, None, 14),
        (4, Some(6), 6),
        (4, Some(4), 4),
        (4, Some(9), 8),
    ] {
        let long = window(len, l_max);
        for (mutant, taps) in [("shift_len_alias", 2 * len), ("long_kernel_alias", kept)] {
            long.shift(mutant, |c, u| circular(&long.taps(c, taps), u, 2 * len));
        }
    }
    // Of both, M14a is the one without an l_max.
    let long = window(4, Some(6));
    let (both, one) = (
        long.s.run(&["long_kernel_alias", "shift_len_alias"]),
        long.s.run(&["shift_len_alias"]),
    );
    assert_eq!(stage(&both, "shift_k"), stage(&one, "shift_k"));
    // A kernel that never ends has as many as there is room for.
    for other in ["long_kernel_alias", "shift_len_alias"] {
        let got = plain.s.run(&["shift_is_decay", other]);
        let (p, m) = (&plain.s.p, PLAIN.d_state);
        for c in 0..plain.layer.d_model() {
            let taps = |name| &p.get(name)[c * m..][..m];
            let (b, read) = (taps(Name::ShiftB), taps(Name::ShiftC));
            let tap = |t: usize| -> f64 {
                let rate = |n: usize| (-((n + 1) as f64) * t as f64 / m as f64).exp();
                (0..m).map(|n| b[n] * read[n] * rate(n)).sum()
            };
            let f: Vec<f64> = (0..2 * len).map(tap).collect();
            let k = row(&plain.right, "k", c, len);
            let y = circular(&f, k, 2 * len);
            let d = p.get(Name::ShiftD)[c];
            let y: Vec<f64> = y.iter().zip(k).map(|(y, k)| y + d * k).collect();
            assert_row("M17 and M02", row(&got, "shift_k", c, len), &y);
        }
    }
    // A roll goes round more than once.
    short.shift("shift_cyclic_time", |c, u| {
        let taps = short.taps(c, 12);
        (0..4)
            .map(|t| (0..12).map(|m| taps[m] * u[(t + 12 - m) % 4]).sum())
            .collect()
    });
    // The official transform of a cut kernel has length l_max + L.
    let cut = Plain::new(
        Shape {
            len: 12,
            l_max: Some(5),
            ..PLAIN
        },
        53,
    );
    cut.long("norm_never_long", |h, u| {
        scaled(17.0, causal_convolution(&cut.kernel(h, 5), u))
    });
    // Up to l_max where that is below 2 L.
    let beyond = Plain::new(
        Shape {
            len: 9,
            l_max: Some(14),
            ..PLAIN
        },
        54,
    );
    beyond.long("long_kernel_alias", |h, u| {
        circular(&beyond.kernel(h, 14), u, 18)
    });
}

/// `irfft` of products of the spectra of B and C, as the official code writes it, and miswritten.
#[test]
fn shift_kernels() {
    for shape in [
        PLAIN,
        Shape {
            len: 3,
            d_state: 5,
            ..PLAIN
        },
    ] {
        let plain = Plain::new(shape, 61);
        let (len, m) = (plain.s.len(), shape.d_state);
        let by_spectra = |c: usize, n: usize, keep: usize, product: fn(C, C) -> C| {
            let spectrum = |name| {
                let taps = &plain.s.p.get(name)[c * m..][..m];
                let x: Vec<C> = padded(taps, n).iter().map(|&x| C::new(x, 0.0)).collect();
                dft(&x).expect("any length")
            };
            let (b, c) = (spectrum(Name::ShiftB), spectrum(Name::ShiftC));
            let bins: Vec<C> = b.iter().zip(&c).map(|(&b, &c)| product(b, c)).collect();
            let taps = inverse_dft(&bins).expect("any length");
            let mut taps: Vec<f64> = taps.iter().map(|z| z.re).collect();
            taps.truncate(keep);
            taps
        };
        let right = |c| by_spectra(c, 2 * m, m, |b, c| b.conj() * c);
        let check = |mutants: &[&str], taps: &dyn Fn(usize) -> Vec<f64>| {
            let got = plain.s.run(mutants);
            for c in 0..plain.layer.d_model() {
                let expected = padded(&taps(c), len);
                let what = format!("{mutants:?}, channel {c}");
                assert_row(&what, row(&got, "shift_kernel", c, len), &expected);
                // And it is this kernel that is used.
                let k = row(&plain.right, "k", c, len);
                let d = plain.s.p.get(Name::ShiftD)[c];
                let y = causal_convolution(&expected, k);
                let y: Vec<f64> = y.iter().zip(k).map(|(y, k)| y + d * k).collect();
                assert_row(&what, row(&got, "shift_k", c, len), &y);
            }
        };
        check(&[], &right);
        check(&["shift_conv_not_corr"], &|c| {
            by_spectra(c, 2 * m, m, |b, c| b * c)
        });
        check(&["shift_conj_on_c"], &|c| {
            by_spectra(c, 2 * m, m, |b, c| b * c.conj())
        });
        check(&["shift_fft_n"], &|c| {
            by_spectra(c, m, m, |b, c| b.conj() * c)
        });
        check(&["shift_len_uncut"], &|c| {
            by_spectra(c, 2 * m, 2 * m, |b, c| b.conj() * c)
        });
        check(&["shift_unit_delay"], &|_| vec![0.0, 1.0]);
        check(&["shift_delayed"], &|c| [vec![0.0], right(c)].concat());
        check(&["shift_advanced"], &|c| right(c)[1..].to_vec());
        check(&["shift_taps_reversed"], &|c| {
            right(c).into_iter().rev().collect()
        });
        check(&["shift_is_decay"], &|c| {
            let taps = |name| &plain.s.p.get(name)[c * m..][..m];
            let (b, c) = (taps(Name::ShiftB), taps(Name::ShiftC));
            (0..len)
                .map(|t| {
                    let mode = |n: usize| (-((n + 1) as f64) / m as f64 * t as f64).exp();
                    (0..m).map(|n| b[n] * c[n] * mode(n)).sum()
                })
                .collect()
        });
    }
}

/// Steps of the shift model as dense models: the matrix says it all.
#[test]
fn shift_steps() {
    let plain = Plain::new(
        Shape {
            state: true,
            ..PLAIN
        },
        71,
    );
    let m = PLAIN.d_state;
    let x0 = plain.s.state.clone().expect("given").shift;
    let len = plain.s.len();
    let entry = |is: bool| f64::from(is);
    for (mutant, a) in [
        (
            "shift_step_transposed",
            Matrix::from_fn(m, m, |i, j| entry(j == i + 1)),
        ),
        (
            "shift_step_rolled_back",
            Matrix::from_fn(m, m, |i, j| entry(i > 0 && j == (i + 1) % m)),
        ),
        (
            "shift_step_reads_before",
            Matrix::from_fn(m, m, |i, j| entry(i == j + 1)),
        ),
        (
            "shift_is_decay",
            Matrix::from_fn(m, m, |i, j| {
                entry(i == j) * (-((i + 1) as f64) / m as f64).exp()
            }),
        ),
    ] {
        let got = plain.s.run(&[mutant]);
        for c in 0..plain.layer.d_model() {
            let taps = |name| plain.s.p.get(name)[c * m..][..m].to_vec();
            let (b, taps_c) = (taps(Name::ShiftB), taps(Name::ShiftC));
            let d = plain.s.p.get(Name::ShiftD)[c];
            let model = Dense::new(a.clone(), b, taps_c, d).expect("fits");
            let x0 = &x0.data()[c * m..][..m];
            let k = row(&plain.right, "k", c, len);
            let response = recurrence(&model, k, Some(x0)).expect("fits");
            let output = if mutant == "shift_step_reads_before" {
                hungry_hippos::flashconv::Convention::ReadsBefore
                    .recurrence(&model, k, Some(x0))
                    .expect("fits")
            } else {
                response.output
            };
            assert_row(mutant, row(&got, "shift_k", c, len), &output);
            assert_row(mutant, row(&got, "final_state_k", c, m), &response.state);
        }
    }
    // M09a is the same reading by convolution.
    let (step, kernel) = (
        plain.s.run(&["shift_step_reads_before"]),
        plain.s.run(&["shift_delayed"]),
    );
    for c in 0..plain.layer.d_model() {
        assert_row(
            "M09a",
            row(&kernel, "shift_k", c, len),
            row(&step, "shift_k", c, len),
        );
    }
}

/// A model with another matrix leaves another state, also where its kernel is cut.
#[test]
fn a_decay_leaves_its_state_beyond_a_cut_kernel() {
    let plain = Plain::new(
        Shape {
            len: 12,
            l_max: Some(5),
            ..PLAIN
        },
        72,
    );
    let (len, m) = (plain.s.len(), PLAIN.d_state);
    let got = plain.s.run(&["shift_is_decay"]);
    for c in 0..plain.layer.d_model() {
        let b = &plain.s.p.get(Name::ShiftB)[c * m..][..m];
        let k = row(&plain.right, "k", c, len);
        let entry = |n: usize| {
            let decay = (-((n + 1) as f64) / m as f64).exp();
            k.iter().fold(0.0, |x, k| decay * x + b[n] * k)
        };
        let state: Vec<f64> = (0..m).map(entry).collect();
        assert_row("M17", row(&got, "final_state_k", c, m), &state);
    }
}

/// Kernels of the diagonal model from decoded parameters.
#[test]
fn diagonal_kernels() {
    let plain = Plain::new(PLAIN, 81);
    let (p, len, n) = (&plain.s.p, plain.s.len(), plain.s.p.config().n_modes());
    let lambda = p.lambda();
    let complex = |name, i: usize| C::new(p.get(name)[2 * i], p.get(name)[2 * i + 1]);
    let one = C::new(1.0, 0.0);
    type Rule<'a> = dyn Fn(C, C, f64) -> (C, C) + 'a;
    let check = |mutant: &str, first: i32, rule: &Rule<'_>| {
        let got = plain.s.run(&[mutant]);
        for h in 0..plain.layer.n_heads() {
            let dt = p.get(Name::LogDt)[h].exp();
            let expected: Vec<f64> = (0..len as i32)
                .map(|t| {
                    if t + first < 0 {
                        return 0.0;
                    }
                    (0..n)
                        .map(|i| {
                            // Here every head has its own model.
                            let i = h * n + i;
                            let (a, b) = rule(lambda[i], complex(Name::B, i), dt);
                            2.0 * (complex(Name::C, i) * a.powi(t + first) * b).re
                        })
                        .sum()
                })
                .collect();
            assert_row(mutant, row(&got, "ssm_kernel", h, len), &expected);
            let kv = row(&plain.right, "kv", h, len);
            let d = p.get(Name::D)[h];
            let y = causal_convolution(&expected, kv);
            let y: Vec<f64> = y.iter().zip(kv).map(|(y, u)| y + d * u).collect();
            assert_row(mutant, row(&got, "ssm_out", h, len), &y);
        }
    };
    let pole = move |z: C| (one + z / 2.0) / (one - z / 2.0);
    let input = move |z: C, b: C, dt: f64| b * dt / (one - z / 2.0);
    let right = move |l: C, b: C, dt: f64| (pole(l * dt), input(l * dt, b, dt));
    check("euler_b", 0, &|l, b, dt| ((l * dt).exp(), b * dt));
    check("missing_bilinear_denominator", 0, &|l, b, dt| {
        (pole(l * dt), b * dt)
    });
    check("undiscretised", 0, &|l, b, _| (l.exp(), b));
    check("b_undiscretised", 0, &|l, b, dt| (pole(l * dt), b));
    check("real_before_power", 0, &|l, b, dt| {
        (C::new(pole(l * dt).re, 0.0), input(l * dt, b, dt))
    });
    check("magnitude_only", 0, &|l, b, dt| {
        (C::new(pole(l * dt).norm(), 0.0), input(l * dt, b, dt))
    });
    check("kernel_delay", -1, &right);
    check("kernel_advance", 1, &right);
    let bf16 = |x: f64| FloatFormat::BF16.round(x);
    check("decode_bf16", 0, &|l, b, dt| {
        right(C::new(bf16(l.re), bf16(l.im)), b, bf16(dt))
    });
    let (right, rounded) = (plain.s.run(&[]), plain.s.run(&["kernel_bf16"]));
    let (right, rounded) = (stage(&right, "ssm_kernel"), stage(&rounded, "ssm_kernel"));
    assert_eq!(*rounded, right.map(bf16));
    assert_eq!(plain.s.p.config().real_type, RealType::Exp);
}

/// The recurrence, miswritten as a scan or kept in 16 bits.
#[test]
fn scans() {
    let plain = Plain::new(
        Shape {
            state: true,
            ..PLAIN
        },
        91,
    );
    let state = plain.s.state.clone().expect("given").diagonal;
    let (len, n) = (plain.s.len(), plain.s.p.config().n_modes());
    let bf16 = |z: C| C::new(FloatFormat::BF16.round(z.re), FloatFormat::BF16.round(z.im));
    for mutant in ["scan_operands", "state_bf16", "scan_underflow"] {
        let got = plain.s.run(&[mutant]);
        for h in 0..plain.layer.n_heads() {
            let model = &plain.layer.parts().diagonal[h];
            let (a, x0) = (model.poles(), &state.data()[h * n..][..n]);
            let kv = row(&plain.right, "kv", h, len);
            let mut after: Vec<Vec<C>> = Vec::new();
            for t in 0..len {
                let input = |s: usize, i: usize| model.inject(kv[s])[i];
                let x = (0..n).map(|i| match mutant {
                    // x0 comes first in the scan, with the identity.
                    "scan_operands" => {
                        (0..=t).fold(x0[i], |sum, s| sum + a[i].powi(s as i32) * input(s, i))
                    }
                    "scan_underflow" => (0..=t).fold(a[i].powi(t as i32 + 1) * x0[i], |sum, s| {
                        let (p_t, p_s) = (a[i].powi(t as i32 + 1), a[i].powi(s as i32 + 1));
                        sum + p_t * (input(s, i) / (p_s + 1e-10))
                    }),
                    _ => {
                        let before = after.last().map_or(x0[i], |x| x[i]);
                        bf16(a[i] * before + input(t, i))
                    }
                });
                after.push(x.collect());
            }
            let d = model.feedthrough();
            let y: Vec<f64> = (0..len)
                .map(|t| model.read(&after[t]) + d * kv[t])
                .collect();
            assert_row(mutant, row(&got, "ssm_out", h, len), &y);
            let last: Vec<f64> = after[len - 1].iter().flat_map(|z| [z.re, z.im]).collect();
            assert_row(mutant, row(&got, "final_state", h, 2 * n), &last);
        }
    }
}
