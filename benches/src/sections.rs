//! What is measured.

use crate::contest::{Contestant, Python, contest, seconds, sizes};
use crate::operators;
use crate::packed::packed;
use crate::peak::measured_peak;
use crate::peers::RealFft;
use crate::steps;
use crate::training;
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    DiagonalOutputs, DiagonalParameters, DiagonalSsm, Element, FastAdjoint, FastLayer, Level,
    LongConvolution, Panels, Projection, SavedStates, Workspace,
};
use hungry_hippos::h3::{Config, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;
use std::cell::RefCell;

type Section = fn(&mut Option<Python>);

pub const ALL: [(&str, Section); 18] = [
    ("peak", peak),
    ("product", product),
    ("diagonal", diagonal),
    ("length", length),
    ("convolution", convolution),
    ("long", long),
    ("memory", memory),
    ("layer", layer),
    ("backward", backward),
    ("packed", |_| packed()),
    ("step", steps::step),
    ("weights", steps::weights),
    ("threads", |_| steps::threads()),
    ("gated", operators::gated),
    ("h3", operators::h3),
    ("striped", operators::striped),
    ("ssd", operators::ssd),
    ("training", training::training),
];

pub const D: usize = 768;

pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.unit() as f32).collect()
}

/// A Python contestant, if Python has it.
pub fn ask<'a>(
    python: &'a RefCell<&mut Option<Python>>,
    name: &str,
    threads: usize,
    sizes: &str,
    per: f64,
) -> Option<Contestant<'a>> {
    let has = python.borrow().as_ref().is_some_and(|p| p.has(name));
    let request = format!("{name} {threads} {sizes}");
    has.then(|| {
        Contestant::new(name, move || {
            let mut python = python.borrow_mut();
            python.as_mut().map_or(f64::NAN, |p| p.ask(&request)) / per
        })
    })
}

fn peak(_: &mut Option<Python>) {
    for level in Level::all() {
        println!("{level}: {:.1} GFLOP/s", measured_peak(level));
    }
}

fn product(python: &mut Option<Python>) {
    let (rows, level) = (2048, Level::detect());
    let (w, u) = (random(D * D, 1), random(D * rows, 2));
    let python = RefCell::new(python);
    for threads in [1, 2] {
        let p = Projection::new(level, D, &w, &vec![0.0; D]).unwrap();
        let mut workspace = Workspace::new(threads);
        let mut y = vec![0.0f32; D * rows];
        let mut ours = y.clone();
        let mut theirs = y.clone();
        let (d, l) = (D as isize, rows);
        let parallel = match threads {
            1 => gemm::Parallelism::None,
            n => gemm::Parallelism::Rayon(n),
        };
        let mut all = vec![
            Contestant::new("fast", || {
                seconds(|| p.apply(&u, &mut ours, &mut workspace).unwrap())
            }),
            Contestant::new("gemm", || {
                // SAFETY: row-major slices of l x d, d x d (transposed by its strides), l x d.
                seconds(|| unsafe {
                    gemm::gemm(
                        l,
                        D,
                        D,
                        y.as_mut_ptr(),
                        1,
                        d,
                        false,
                        u.as_ptr(),
                        1,
                        d,
                        w.as_ptr(),
                        d,
                        1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallel,
                    );
                })
            }),
        ];
        if threads == 1 {
            all.push(Contestant::new("matrixmultiply", || {
                // SAFETY: as above.
                seconds(|| unsafe {
                    matrixmultiply::sgemm(
                        l,
                        D,
                        D,
                        1.0,
                        u.as_ptr(),
                        d,
                        1,
                        w.as_ptr(),
                        1,
                        d,
                        0.0,
                        theirs.as_mut_ptr(),
                        d,
                        1,
                    );
                })
            }));
        }
        all.extend(ask(&python, "linear", threads, &format!("{rows} {D}"), 1.0));
        let title = format!("product {rows} x {D} x {D}, f32, {threads} threads");
        let medians = contest(&title, "ms", 1e-3, all);
        let flops = 2.0 * (rows * D * D) as f64;
        println!("  {:.1} GFLOP/s", flops / medians[0] / 1e6);
    }
}

/// 768 channels of 32 pairs as the official layer initializes them.
fn bank() -> DiagonalParameters {
    let mut rng = Rng::new(1);
    let mut p = DiagonalParameters {
        pairs: 32,
        a: vec![],
        b: vec![],
        c: vec![],
        d: vec![],
    };
    for _ in 0..D {
        let dt = 0.001 * 100f64.powf(0.5 * (rng.unit() + 1.0));
        for n in 0..32 {
            let z = Complex::new(-0.5, std::f64::consts::PI * f64::from(n)) * (0.5 * dt);
            let one = Complex::new(1.0, 0.0);
            p.a.push((one + z) / (one - z));
            p.b.push(dt / (one - z));
            p.c.push(Complex::new(rng.unit(), rng.unit()));
        }
        p.d.push(rng.unit());
    }
    p
}

/// The first of them.
pub fn channels_of_bank(channels: usize) -> DiagonalParameters {
    let mut bank = bank();
    for list in [&mut bank.a, &mut bank.b, &mut bank.c] {
        list.truncate(32 * channels);
    }
    bank.d.truncate(channels);
    bank
}

fn diagonal(python: &mut Option<Python>) {
    let python = RefCell::new(python);
    let level = Level::detect();
    let bank = bank();
    let ssm = DiagonalSsm::<f32>::new(level, &bank).unwrap();
    let prepare = seconds(|| drop(DiagonalSsm::<f32>::new(level, &bank).unwrap()));
    println!("diagonal bank of {D}: prepared in {:.2} ms", prepare * 1e3);
    for &len in sizes(&[4096, 1024, 2048, 8192, 16384, 65536], 1) {
        // Never more than 256 MB of signal: channels as many as fit.
        let channels = if len > 16384 { 192 } else { D };
        let ssm = if channels == D {
            ssm.clone()
        } else {
            DiagonalSsm::new(level, &channels_of_bank(channels)).unwrap()
        };
        let per = (len * channels) as f64;
        let rows = random(len * channels, 3);
        let kernel = random(len * channels, 4);
        let u = Panels::from_rows(1, len, channels, &rows).unwrap();
        for threads in [1, 2] {
            let mut y = Panels::zeros(1, len, channels);
            let mut state = ssm.zero_state(1);
            let mut workspace = Workspace::new(threads);
            // The other form of the same function, from the zero state: the impulse responses as
            // kernels of a long convolution.
            let kernels = ssm.impulse_response(len, &mut Workspace::new(1)).unwrap();
            let mut given = LongConvolution::new(level, channels, len);
            let mut known = given.clone();
            known.set_kernels(&kernels, &mut Workspace::new(1)).unwrap();
            let mut first = (Panels::zeros(1, len, channels), Workspace::new(threads));
            let mut second = first.clone();
            let mut planned =
                DiagonalOutputs::new(&ssm, len, &mut Workspace::new(threads)).unwrap();
            println!("{}", planned.plan());
            let mut third = (Panels::zeros(1, len, channels), Workspace::new(threads));
            let mut all = vec![Contestant::new("fast", || {
                seconds(|| ssm.run(&u, &mut state, &mut y, &mut workspace).unwrap()) / per
            })];
            all.push(Contestant::new("fast, outputs alone, as planned", || {
                seconds(|| planned.run(&u, &mut third.0, &mut third.1).unwrap()) / per
            }));
            all.push(Contestant::new("fast, transform, kernel given", || {
                seconds(|| {
                    given.set_kernels(&kernels, &mut first.1).unwrap();
                    given.run(&u, &mut first.0, &mut first.1).unwrap();
                }) / per
            }));
            all.push(Contestant::new("fast, transform, spectrum known", || {
                seconds(|| known.run(&u, &mut second.0, &mut second.1).unwrap()) / per
            }));
            if threads == 1 {
                let both = |known: bool| {
                    let mut fft = RealFft::<f32>::new(len);
                    let mut spectra: Vec<_> = Vec::new();
                    if known {
                        for f in kernel.chunks(len) {
                            fft.kernel(f);
                            spectra.push(fft.take_kernel());
                        }
                    }
                    let mut out = vec![0.0f32; len * channels];
                    let (rows, kernel) = (&rows, &kernel);
                    move || {
                        seconds(|| {
                            let io = rows.chunks(len).zip(out.chunks_mut(len)).enumerate();
                            for (c, (u, y)) in io {
                                if known {
                                    fft.convolve(u, Some(&spectra[c]), y);
                                } else {
                                    fft.kernel(&kernel[c * len..(c + 1) * len]);
                                    fft.convolve(u, None, y);
                                }
                            }
                        }) / per
                    }
                };
                all.push(Contestant::new("realfft", both(false)));
                all.push(Contestant::new("realfft, spectrum known", both(true)));
            }
            let sizes = format!("{channels} {len}");
            all.extend(ask(&python, "torch_conv", threads, &sizes, per));
            all.extend(ask(&python, "torch_conv_known", threads, &sizes, per));
            all.extend(ask(&python, "scipy_conv", threads, &sizes, per));
            let title =
                format!("diagonal, 32 pairs, {channels} channels, L {len}, f32, {threads} threads");
            let medians = contest(&title, "ns", 1e-9, all);
            // 4 m products, 4 m / 16 of state, 10 of the Toeplitz tiles.
            let operations = 4.0 * 32.0 + 4.0 * 32.0 / 16.0 + 10.0;
            let rate = 2.0 * operations / medians[0];
            println!(
                "  {rate:.1} GFLOP/s, {:.0} % of {threads} cores' peak",
                100.0 * rate / measured_peak(level) / threads as f64
            );
        }
    }
}

/// Time a channel and step over sequences of any length, in pieces of at most 4096 steps that stay
/// in the caches, the state carried: it should not depend on the length.
fn length(_: &mut Option<Python>) {
    let bank = bank();
    let ssm = DiagonalSsm::<f32>::new(Level::detect(), &bank).unwrap();
    println!("{}", ssm.plan(4096));
    for total in [1000, 10_000, 100_000, 1_000_000, 4_000_000] {
        // One group of channels is what a core works on at a time.
        let ssm = DiagonalSsm::<f32>::new(Level::detect(), &channels_of_bank(16)).unwrap();
        let piece = total.min(4096);
        let u = Panels::from_rows(1, piece, 16, &random(piece * 16, 3)).unwrap();
        let mut y = Panels::zeros(1, piece, 16);
        let mut workspace = Workspace::new(1);
        let pieces = total.div_ceil(piece);
        // A short sequence is run often enough for a clock to see.
        let repeats = (1_000_000 / total).max(1);
        let all = vec![Contestant::new("fast", || {
            seconds(|| {
                for _ in 0..repeats {
                    let mut state = ssm.zero_state(1);
                    for _ in 0..pieces {
                        ssm.run(&u, &mut state, &mut y, &mut workspace).unwrap();
                    }
                }
            }) / (repeats * pieces * piece * 16) as f64
        })];
        contest(
            &format!("diagonal, 32 pairs, 16 channels, L {total}, f32, 1 thread"),
            "ns",
            1e-9,
            all,
        );
    }
}

/// A line of what the system says of this process, in MB (Linux).
fn of_process(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// The most memory this process has had, in MB.
fn most_memory() -> f64 {
    of_process("VmHWM:")
}

/// The most memory a run takes beside what was there before it, in MB.
fn memory_of(run: impl FnOnce()) -> f64 {
    // Makes the most so far what there is now.
    let reset = std::fs::write("/proc/self/clear_refs", "5");
    let before = of_process("VmRSS:");
    run();
    match reset {
        Ok(()) => most_memory() - before,
        Err(_) => f64::NAN,
    }
}

/// Says the most memory of the crate's run, and of those peers that there are.
fn say_memory(
    own: f64,
    python: &RefCell<&mut Option<Python>>,
    peers: &[&str],
    threads: usize,
    sizes: &str,
) {
    let mut text = format!("  memory beside inputs and parameters: fast {own:.0} MB");
    if let Some(python) = python.borrow_mut().as_mut() {
        for name in peers {
            if python.has(name) {
                let most = python.memory(&format!("{name} {threads} {sizes}")) / 1e6;
                text += &format!(", {name} {most:.0}");
            }
        }
    }
    println!("{text}");
}

/// What the layer needs beside its input: run alone (`memory` as the only section), since the
/// most a process ever had does not go down again.
fn memory(_: &mut Option<Python>) {
    let layer = FastLayer::<f32>::new(Level::detect(), &parameters()).unwrap();
    println!("memory: {:.0} MB with the layer prepared", most_memory());
    for len in [2048, 32768] {
        let u = random(len * D, 5);
        let mut out = vec![0.0f32; len * D];
        let before = most_memory();
        let mut state = layer.zero_state(1);
        layer
            .run(&u, &mut out, &mut state, &mut Workspace::new(2))
            .unwrap();
        let signals = 2.0 * (len * D * 4) as f64 / 1048576.0;
        println!(
            "  L {len}: {:.0} MB more for a run (2 threads), input and output being {signals:.0} MB",
            most_memory() - before
        );
    }
}

/// Both sides with the kernel's spectrum included. The crate's signals are in panels of lanes,
/// realfft's one channel after another: each in its own.
fn convolution_in<T: Element + realfft::FftNum>(name: &str) {
    let lengths = [
        4096, 1000, 256, 512, 1024, 2048, 8192, 16384, 32768, 65536, 3000, 10007,
    ];
    for &len in sizes(&lengths, 2) {
        let channels = if len > 8192 { 64 } else { 192 };
        let per = (len * channels) as f64;
        let rows: Vec<T> = random(len * channels, 3)
            .iter()
            .map(|&x| T::from_f32(x).unwrap())
            .collect();
        let u = Panels::from_rows(1, len, channels, &rows).unwrap();
        let mut y = Panels::zeros(1, len, channels);
        let mut workspace = Workspace::new(1);
        let mut both = LongConvolution::new(Level::detect(), channels, len);
        let mut known = both.clone();
        known.set_kernels(&u, &mut workspace).unwrap();
        let mut second = (Panels::zeros(1, len, channels), Workspace::new(1));
        let mut fft = RealFft::<T>::new(len);
        let mut out = vec![<T as hungry_hippos::algebra::Ring>::ZERO; len * channels];
        let all = vec![
            Contestant::new("fast", || {
                seconds(|| {
                    both.set_kernels(&u, &mut workspace).unwrap();
                    both.run(&u, &mut y, &mut workspace).unwrap();
                }) / per
            }),
            Contestant::new("realfft", || {
                seconds(|| {
                    for (u, y) in rows.chunks(len).zip(out.chunks_mut(len)) {
                        fft.kernel(u);
                        fft.convolve(u, None, y);
                    }
                }) / per
            }),
            Contestant::new("fast, spectrum known", || {
                seconds(|| known.run(&u, &mut second.0, &mut second.1).unwrap()) / per
            }),
        ];
        contest(
            &format!("long convolution, {channels} channels, L {len}, {name}, 1 thread"),
            "ns",
            1e-9,
            all,
        );
    }
}

fn convolution(_: &mut Option<Python>) {
    convolution_in::<f32>("f32");
    convolution_in::<f64>("f64");
}

/// One group of channels over sequences that leave every cache, spectra known: kernels as long as
/// the sequence, and short ones.
fn long_in<T: Element>(name: &str) {
    let channels = 64 / std::mem::size_of::<T>();
    for len in [65_536, 262_144, 1_048_576, 4_194_304] {
        let per = (len * channels) as f64;
        let rows: Vec<T> = random(len * channels, 3)
            .iter()
            .map(|&x| T::from_f64(f64::from(x)))
            .collect();
        let u = Panels::from_rows(1, len, channels, &rows).unwrap();
        let taps = [len, 64, 256, 1024, 4096, 16_384];
        let all = taps.map(|taps| {
            let f = Panels::from_rows(1, taps, channels, &rows[..taps * channels]).unwrap();
            let (mut y, mut workspace) = (Panels::zeros(1, len, channels), Workspace::new(1));
            let mut one = LongConvolution::with_taps(Level::detect(), channels, len, taps);
            one.set_kernels(&f, &mut workspace).unwrap();
            let u = &u;
            Contestant::new(format!("{taps} taps, {} points", one.points()), move || {
                seconds(|| one.run(u, &mut y, &mut workspace).unwrap()) / per
            })
        });
        contest(
            &format!("{channels} channels, L {len}, spectra known, {name}, 1 thread"),
            "ns",
            1e-9,
            all.into(),
        );
    }
}

fn long(_: &mut Option<Python>) {
    long_in::<f32>("f32");
    long_in::<f64>("f64");
}

/// A layer of the official sizes.
pub fn parameters() -> Parameters<f64> {
    of_size(D)
}

/// A layer of `d` channels, the rest as officially.
pub fn of_size(d: usize) -> Parameters<f64> {
    let config = Config {
        d_model: d,
        head_dim: 1,
        d_state: 64,
        n_ssm: 1,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let mut rng = Rng::new(1);
    Parameters::new(config.clone(), |name| {
        let size: usize = name.shape(&config).iter().product();
        Ok((0..size)
            .map(|i| match name {
                Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                    rng.unit() / (d as f64).sqrt()
                }
                Name::LogDt => -4.6 + 2.3 * rng.unit(),
                Name::InvAReal => 0.5f64.ln(),
                Name::AImag => std::f64::consts::PI * i as f64,
                Name::ShiftB => {
                    if i % 64 == 0 {
                        1.0
                    } else {
                        0.0
                    }
                }
                Name::ShiftC => rng.unit() / 8.0,
                Name::B => {
                    if i % 2 == 0 {
                        1.0
                    } else {
                        0.0
                    }
                }
                _ => rng.unit(),
            })
            .collect())
    })
    .unwrap()
}

fn layer(python: &mut Option<Python>) {
    let python = RefCell::new(python);
    let p = parameters();
    for &len in sizes(&[2048, 32768], 1) {
        let u = random(len * D, 5);
        for threads in [1, 2] {
            let layer = FastLayer::<f32>::new(Level::detect(), &p).unwrap();
            let mut out = vec![0.0f32; len * D];
            let mut workspace = Workspace::new(threads);
            let mut all = vec![Contestant::new("fast", || {
                let mut state = layer.zero_state(1);
                seconds(|| layer.run(&u, &mut out, &mut state, &mut workspace).unwrap())
            })];
            let sizes = format!("{D} {len}");
            all.extend(ask(&python, "torch_best", threads, &sizes, 1.0));
            if len == 2048 {
                all.extend(ask(&python, "official", threads, &sizes, 1.0));
            }
            contest(
                &format!("layer, d {D}, d_state 64, L {len}, f32, {threads} threads"),
                "ms",
                1e-3,
                all,
            );
            let own = memory_of(|| {
                let (mut state, mut out) = (layer.zero_state(1), vec![0.0f32; len * D]);
                let workspace = &mut Workspace::new(threads);
                layer.run(&u, &mut out, &mut state, workspace).unwrap();
            });
            say_memory(own, &python, &["torch_best", "official"], threads, &sizes);
        }
    }
}

/// The layer forwards and backwards: the output, and the gradients of the input and of every
/// official parameter by its official name, as the peer's autograd leaves them.
fn backward(python: &mut Option<Python>) {
    let python = RefCell::new(python);
    let p = parameters();
    let len = 2048;
    let (u, g) = (random(len * D, 5), random(len * D, 6));
    for threads in [1, 2] {
        let adjoint = FastAdjoint::<f32>::new(Level::detect(), &p).unwrap();
        let mut out = vec![0.0f32; len * D];
        let mut of_u = out.clone();
        let (mut kept, mut fewer) = (SavedStates::with_projections(), SavedStates::new());
        let mut gradients = adjoint.zero_gradients();
        let mut workspace = Workspace::new(threads);
        let zero = adjoint.layer().zero_state(1);
        let mut run = |official: bool, keep: bool| {
            let (mut state, mut cotangent) = (zero.clone(), zero.clone());
            let saved = if keep { &mut kept } else { &mut fewer };
            seconds(|| {
                gradients.clear();
                adjoint
                    .forward(&u, &mut out, &mut state, saved, &mut workspace)
                    .unwrap();
                adjoint
                    .backward(
                        &u,
                        &g,
                        saved,
                        &mut cotangent,
                        &mut of_u,
                        &mut gradients,
                        &mut workspace,
                    )
                    .unwrap();
                if official {
                    drop(std::hint::black_box(adjoint.official(&gradients).unwrap()));
                }
            })
        };
        let run = RefCell::new(&mut run);
        let mut all = vec![
            Contestant::new("fast", || run.borrow_mut()(true, true)),
            Contestant::new("fast, sums left in place", || run.borrow_mut()(false, true)),
            Contestant::new("fast, projected again", || run.borrow_mut()(true, false)),
        ];
        let sizes = format!("{D} {len}");
        all.extend(ask(&python, "torch_best_backward", threads, &sizes, 1.0));
        all.extend(ask(&python, "official_backward", threads, &sizes, 1.0));
        contest(
            &format!("forward and backward, d {D}, d_state 64, L {len}, f32, {threads} threads"),
            "ms",
            1e-3,
            all,
        );
        let own = memory_of(|| {
            let (mut state, mut cotangent) = (zero.clone(), zero.clone());
            let (mut out, mut of_u) = (vec![0.0f32; len * D], vec![0.0f32; len * D]);
            let (mut saved, mut sums) = (SavedStates::with_projections(), adjoint.zero_gradients());
            let workspace = &mut Workspace::new(threads);
            adjoint
                .forward(&u, &mut out, &mut state, &mut saved, workspace)
                .unwrap();
            adjoint
                .backward(
                    &u,
                    &g,
                    &saved,
                    &mut cotangent,
                    &mut of_u,
                    &mut sums,
                    workspace,
                )
                .unwrap();
            drop(std::hint::black_box(adjoint.official(&sums).unwrap()));
        });
        let peers = ["torch_best_backward", "official_backward"];
        say_memory(own, &python, &peers, threads, &sizes);
    }
}
