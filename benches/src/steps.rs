//! Steps of one token, the formats of their weights, and what a second thread is worth.

use crate::contest::{Contestant, Python, contest, seconds, sizes};
use crate::sections::{D, ask, channels_of_bank, of_size, parameters, random};
use hungry_hippos::fast::{DiagonalSsm, FastLayer, Level, Panels, WeightFormat, Workspace};
use std::cell::RefCell;
use std::hint::black_box;

/// Steps per time.
const STEPS: usize = 20;

/// The layer's step on one thread and on two, beside reading its weights and the official step.
pub fn step(python: &mut Option<Python>) {
    in_formats(python, &[1, 8], &[1, 2], &[None]);
}

/// The step with its weights in each format.
pub fn weights(python: &mut Option<Python>) {
    let formats = WeightFormat::ALL.map(Some);
    in_formats(python, sizes(&[1, 8], 1), &[1, 2], &formats);
}

fn in_formats(
    python: &mut Option<Python>,
    batches: &[usize],
    threads: &[usize],
    formats: &[Option<WeightFormat>],
) {
    let python = RefCell::new(python);
    let p = parameters();
    let layer = |&format| FastLayer::<f32>::with_weights(Level::detect(), format, &p).unwrap();
    let layers: Vec<_> = formats.iter().map(layer).collect();
    for &batch in batches {
        for &threads in threads {
            let u = random(batch * D, 6);
            let u = &u;
            let own = layers.iter().zip(formats).map(|(layer, format)| {
                let mut out = vec![0.0f32; batch * D];
                let mut state = layer.zero_state(batch);
                let mut workspace = Workspace::new(threads);
                let name = format.map_or("fast".into(), |format| format!("fast, weights {format}"));
                Contestant::new(name, move || {
                    seconds(|| {
                        for _ in 0..STEPS {
                            layer.run(u, &mut out, &mut state, &mut workspace).unwrap();
                        }
                    }) / STEPS as f64
                })
            });
            let mut all: Vec<_> = own.collect();
            for format in formats {
                // As many bytes as the weights of the layer, read once.
                let bits = format.map_or(32, WeightFormat::bits);
                let weights = random(4 * D * D * bits / 32, 7);
                all.push(Contestant::new(
                    format!("reading {bits} bits each"),
                    move || {
                        seconds(|| {
                            for _ in 0..STEPS {
                                let mut sums = [0.0f32; 64];
                                for part in weights.as_chunks::<64>().0 {
                                    for (s, x) in sums.iter_mut().zip(part) {
                                        *s += x;
                                    }
                                }
                                black_box(sums);
                            }
                        }) / STEPS as f64
                    },
                ));
            }
            let sizes = format!("{D} {batch}");
            all.extend(ask(&python, "official_step", threads, &sizes, STEPS as f64));
            let title = format!("step, d {D}, batch {batch}, f32, {threads} threads");
            contest(&title, "us", 1e-6, all);
        }
    }
}

/// The layer on one thread and on two over a grid of shapes: the ratio should never be above 1.1.
pub fn threads() {
    let mut slower = Vec::new();
    for &d in sizes(&[768, 64, 32, 128, 256, 512, 1024], 2) {
        let layer = FastLayer::<f32>::new(Level::detect(), &of_size(d)).unwrap();
        for &batch in sizes(&[1, 8, 2], 2) {
            for &len in sizes(&[1, 32, 2048, 4, 16, 128, 512, 4096], 3) {
                // Never more than a few seconds in all.
                if batch * len * d > 1 << 22 {
                    continue;
                }
                let repeats = ((1 << 22) / (batch * len * d * (d + 300))).clamp(1, 50);
                let u = random(batch * len * d, 5);
                let (u, layer) = (&u, &layer);
                let all = [1, 2].map(|threads| {
                    let mut out = vec![0.0f32; u.len()];
                    let mut workspace = Workspace::new(threads);
                    Contestant::new(format!("{threads} threads"), move || {
                        let mut state = layer.zero_state(batch);
                        seconds(|| {
                            for _ in 0..repeats {
                                layer.run(u, &mut out, &mut state, &mut workspace).unwrap();
                            }
                        }) / repeats as f64
                    })
                });
                let title = format!("layer, d {d}, batch {batch}, L {len}, f32");
                let medians = contest(&title, "us", 1e-6, all.into());
                if medians[1] > 1.1 * medians[0] {
                    slower.push(title);
                }
            }
        }
    }
    one_group(&mut slower);
    println!(
        "two threads more than 10 % slower than one: {}",
        slower.len()
    );
    for title in slower {
        println!("  {title}");
    }
}

/// One group of channels over sequences that leave the caches, where there is nothing to share but time.
fn one_group(slower: &mut Vec<String>) {
    for &len in sizes(&[262_144, 4096, 32_768], 1) {
        let ssm = DiagonalSsm::<f32>::new(Level::detect(), &channels_of_bank(16)).unwrap();
        let u = Panels::from_rows(1, len, 16, &random(len * 16, 3)).unwrap();
        let (ssm, u) = (&ssm, &u);
        let all = [1, 2].map(|threads| {
            let (mut y, mut workspace) = (Panels::zeros(1, len, 16), Workspace::new(threads));
            Contestant::new(format!("{threads} threads"), move || {
                let mut state = ssm.zero_state(1);
                let run = || ssm.run(u, &mut state, &mut y, &mut workspace).unwrap();
                seconds(run) / (len * 16) as f64
            })
        });
        let title = format!("diagonal with states, 32 pairs, 16 channels, L {len}, f32");
        let medians = contest(&title, "ns", 1e-9, all.into());
        if medians[1] > 1.1 * medians[0] {
            slower.push(title);
        }
    }
}
