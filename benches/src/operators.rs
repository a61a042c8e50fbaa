//! Operators without a layer around them: gated convolutions, H3's, StripedHyena's, SSD.

use crate::contest::{Contestant, Python, contest, seconds};
use crate::peers::RealFft;
use crate::sections::{ask, random};
use hungry_hippos::fast::{
    Element, H3Kernels, H3Operator, Level, LongConvolution, Panels, Ssd, SsdInputs, StripedFilter,
    StripedOperator, StripedParameters, Workspace,
};
use std::cell::RefCell;

fn numbers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let numbers = random(len, seed).into_iter();
    numbers.map(|x| T::from_f64(f64::from(x))).collect()
}

/// `post (k * p + D p)`, `p = pre u`, the kernels' spectra included on both sides.
fn gated_in<T: Element + realfft::FftNum>(name: &str) {
    for len in [256, 1024, 4096, 16384, 65536, 1000, 10007] {
        let channels = if len > 8192 { 64 } else { 192 };
        let per = (len * channels) as f64;
        let [u, k, pre, post] = [1, 2, 3, 4].map(|seed| numbers::<T>(len * channels, seed));
        let d = numbers::<T>(channels, 5);
        let panels = |x: &[T]| Panels::from_rows(1, len, channels, x).unwrap();
        let [pu, pk, ppre, ppost] = [&u, &k, &pre, &post].map(|x| panels(x));
        let mut y = panels(&u);
        let mut workspace = Workspace::new(1);
        let mut convolution = LongConvolution::<T>::new(Level::detect(), channels, len);
        let mut fft = RealFft::<T>::new(len);
        let mut out = u.clone();
        let mut p = u[..len].to_vec();
        let all = vec![
            Contestant::new("fast", || {
                seconds(|| {
                    convolution
                        .set_kernels_and_feedthrough(&pk, Some(&d), &mut workspace)
                        .unwrap();
                    convolution
                        .run_gated(&pu, [Some(&ppre), Some(&ppost)], &mut y, &mut workspace)
                        .unwrap();
                }) / per
            }),
            Contestant::new("realfft", || {
                seconds(|| {
                    for (c, y) in out.chunks_mut(len).enumerate() {
                        let of = c * len..(c + 1) * len;
                        let (u, k) = (&u[of.clone()], &k[of.clone()]);
                        let (pre, post) = (&pre[of.clone()], &post[of]);
                        for t in 0..len {
                            p[t] = pre[t] * u[t];
                        }
                        fft.kernel(k);
                        fft.convolve(&p, None, y);
                        for t in 0..len {
                            y[t] = post[t] * (y[t] + d[c] * p[t]);
                        }
                    }
                }) / per
            }),
        ];
        contest(
            &format!("gated convolution with D, {channels} channels, L {len}, {name}, 1 thread"),
            "ns",
            1e-9,
            all,
        );
    }
}

pub fn gated(_: &mut Option<Python>) {
    gated_in::<f32>("f32");
    gated_in::<f64>("f64");
}

/// The H3 operator, kernels as long as the sequence, their spectra known on both sides.
pub fn h3(_: &mut Option<Python>) {
    let (d, len) = (768, 2048);
    for head_dim in [1, 8] {
        let heads = d / head_dim;
        let of = |size: usize, seed: u64| random(size, seed).into_iter().map(f64::from).collect();
        let kernels = H3Kernels {
            heads,
            head_dim,
            ssm: of(heads * len, 1),
            d: of(heads, 2),
            shift: of(d * len, 3),
            shift_d: of(d, 4),
        };
        let operator = H3Operator::<f32>::new(Level::detect(), &kernels, len).unwrap();
        let rows = [5, 6, 7].map(|seed| random(len * d, seed));
        let panels = rows.each_ref().map(|x| {
            let mut panels = Panels::zeros(head_dim, len, heads);
            panels
                .read_parts(head_dim, |i, h| h * head_dim + i, x)
                .unwrap();
            panels
        });
        let [q, k, v] = &panels;
        for threads in [1, 2] {
            let (mut y, mut workspace) = (q.clone(), Workspace::new(threads));
            let mut fft = RealFft::<f32>::new(len);
            let mut spectra = |kernels: &[f64]| -> Vec<_> {
                let kernels: Vec<f32> = kernels.iter().map(|&x| x as f32).collect();
                let spectra = kernels.chunks(len).map(|f| {
                    fft.kernel(f);
                    fft.take_kernel()
                });
                spectra.collect()
            };
            let (shift, ssm) = (spectra(&kernels.shift), spectra(&kernels.ssm));
            let (mut keys, mut out) = (vec![0.0f32; d * len], vec![0.0f32; d * len]);
            let (mut kv, mut line) = (vec![0.0f32; len], vec![0.0f32; len]);
            let mut all = vec![Contestant::new("fast", || {
                seconds(|| operator.run([q, k, v], &mut y, &mut workspace).unwrap())
            })];
            if threads == 1 {
                let [q, k, v] = rows.each_ref();
                all.push(Contestant::new("realfft", || {
                    seconds(|| {
                        for c in 0..d {
                            let (k, key) = (&k[c * len..][..len], &mut keys[c * len..][..len]);
                            fft.convolve(k, Some(&shift[c]), key);
                            for t in 0..len {
                                key[t] += kernels.shift_d[c] as f32 * k[t];
                            }
                        }
                        out.fill(0.0);
                        for c in 0..d {
                            let (h, v) = (c / head_dim, &v[c * len..][..len]);
                            let out = &mut out[c * len..][..len];
                            for d1 in h * head_dim..(h + 1) * head_dim {
                                let (key, q) = (&keys[d1 * len..][..len], &q[d1 * len..][..len]);
                                for t in 0..len {
                                    kv[t] = key[t] * v[t];
                                }
                                fft.convolve(&kv, Some(&ssm[h]), &mut line);
                                for t in 0..len {
                                    out[t] += q[t] * (line[t] + kernels.d[h] as f32 * kv[t]);
                                }
                            }
                        }
                    })
                }));
            }
            contest(
                &format!(
                    "H3 operator, d {d}, head_dim {head_dim}, L {len}, f32, {threads} threads"
                ),
                "ms",
                1e-3,
                all,
            );
        }
    }
}

/// vortex's `HyenaCascade` between its projections, in the layout of Evo 2 1B's filters.
pub fn striped(python: &mut Option<Python>) {
    let python = RefCell::new(python);
    let (d, len) = (1024, 8192);
    let of = |size: usize, seed: u64| -> Vec<f64> {
        random(size, seed).into_iter().map(f64::from).collect()
    };
    let filters = [
        (
            "hcl",
            d,
            StripedFilter::Hcl {
                log_poles: of(16 * d, 1).iter().map(|x| -x.abs()).collect(),
                residues: of(16 * d, 2),
            },
        ),
        ("hcm", 128, StripedFilter::Hcm(of(128 * 128, 3))),
        ("hcs", 128, StripedFilter::Hcs(of(128 * 7, 4))),
    ];
    let rows = random(3 * d * len, 5);
    for (name, groups, filter) in filters {
        let parameters = StripedParameters {
            channels: d,
            short: of(9 * d, 6),
            short_bias: Vec::new(),
            groups,
            d: if name == "hcs" { Vec::new() } else { of(d, 7) },
            filter,
        };
        let operator = StripedOperator::<f32>::new(Level::detect(), &parameters).unwrap();
        let place = |part: usize, c: usize| 3 * c + part;
        let mut z = Panels::zeros(3, len, d);
        z.read_parts(3, place, &rows).unwrap();
        for threads in [1, 2] {
            let workspace = RefCell::new(Workspace::new(threads));
            let mut y = Panels::zeros(1, len, d);
            let (mut all_z, mut all_y) = (z.clone(), y.clone());
            let mut out = vec![0.0f32; d * len];
            let run = |z: &Panels<f32>, y: &mut Panels<f32>| {
                let state = &mut operator.zero_state(1);
                operator
                    .run(z, state, y, &mut workspace.borrow_mut())
                    .unwrap();
            };
            let mut all = vec![
                Contestant::new("fast", || seconds(|| run(&z, &mut y))),
                Contestant::new("fast, from rows to rows", || {
                    seconds(|| {
                        all_z.read_parts(3, place, &rows).unwrap();
                        run(&all_z, &mut all_y);
                        all_y.write_rows(&mut out).unwrap();
                    })
                }),
            ];
            let sizes = format!("{d} {len}");
            all.extend(ask(
                &python,
                &format!("vortex_{name}"),
                threads,
                &sizes,
                1.0,
            ));
            contest(
                &format!("{name}, d {d}, L {len}, f32, {threads} threads"),
                "ms",
                1e-3,
                all,
            );
        }
    }
}

/// Mamba-2's `ssd_minimal_discrete`, in chunks of the sizes it may be run with.
pub fn ssd(python: &mut Option<Python>) {
    let python = RefCell::new(python);
    let (heads, inputs, state, len) = (24, 64, 128, 4096);
    let x = random(len * heads * inputs, 1);
    let [b, c] = [2, 3].map(|seed| random(len * state, seed));
    let dt: Vec<f32> = random(len * heads, 4)
        .iter()
        .map(|x| 0.03 * x.abs())
        .collect();
    let log_a: Vec<f32> = dt.iter().map(|dt| -1.7 * dt).collect();
    let operator = Ssd::new(Level::detect(), [heads, inputs], [1, state]).unwrap();
    let place = |head: usize, p: usize| head * inputs + p;
    let mut panels = Panels::zeros(heads, len, inputs);
    panels.read_parts(heads, place, &x).unwrap();
    for threads in [1, 2] {
        let workspace = RefCell::new(Workspace::new(threads));
        let mut y = panels.clone();
        let (mut all_x, mut all_y) = (panels.clone(), panels.clone());
        let mut out = x.clone();
        let run = |x: &Panels<f32>, y: &mut Panels<f32>| {
            let inputs = SsdInputs {
                x,
                dt: Some(&dt),
                log_a: &log_a,
                b: &b,
                c: &c,
            };
            let state = &mut operator.zero_state(1);
            operator
                .run(&inputs, state, y, &mut workspace.borrow_mut())
                .unwrap();
        };
        let mut all = vec![
            Contestant::new("fast", || seconds(|| run(&panels, &mut y))),
            Contestant::new("fast, from rows to rows", || {
                seconds(|| {
                    all_x.read_parts(heads, place, &x).unwrap();
                    run(&all_x, &mut all_y);
                    all_y.write_parts(heads, place, &mut out).unwrap();
                })
            }),
        ];
        for chunk in [32, 64, 256] {
            let sizes = format!("{heads} {inputs} {state} {len} {chunk}");
            all.extend(ask(&python, "mamba_ssd", threads, &sizes, 1.0));
        }
        contest(
            &format!(
                "SSD, {heads} heads, P {inputs}, N {state}, L {len}, f32, {threads} threads; peers in \
                 chunks of 32, 64, 256"
            ),
            "ms",
            1e-3,
            all,
        );
    }
}
