//! The kernels of the fast path and their Rust peers under Criterion, one group for each:
//! `cargo bench --manifest-path benches/Cargo.toml [-- GROUP]`.
//!
//! Criterion measures one after the other and keeps histories, which is what watching a kernel over
//! time needs. The ratios of chapter 10 come from the program in `src/`, which takes turns.

#[path = "../src/peers.rs"]
mod peers;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    DiagonalParameters, DiagonalSsm, Dropout, Element, Level, LongConvolution, Panels, Projection,
    ShiftParameters, ShiftSsm, Trainer, Workspace,
};
use hungry_hippos::model::{ModelParameters, ModelPreset, initial_values};
use hungry_hippos::training::{OptimizerOptions, official_groups};
use num_complex::Complex;
use peers::RealFft;

const CHANNELS: usize = 96;

fn signal<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| T::from_f64(rng.unit())).collect()
}

fn convolution_in<T: Element + realfft::FftNum>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(format!("convolution {name}"));
    for len in [1024, 4096, 16384] {
        group.throughput(Throughput::Elements((len * CHANNELS) as u64));
        let rows = signal::<T>(len * CHANNELS, 1);
        let u = Panels::from_rows(1, len, CHANNELS, &rows).expect("fits");
        let (mut y, mut workspace) = (Panels::zeros(1, len, CHANNELS), Workspace::new(1));
        let mut fast = LongConvolution::new(Level::detect(), CHANNELS, len);
        group.bench_function(BenchmarkId::new("fast", len), |bencher| {
            bencher.iter(|| {
                fast.set_kernels(&u, &mut workspace).expect("fits");
                fast.run(&u, &mut y, &mut workspace).expect("fits");
            });
        });
        group.bench_function(BenchmarkId::new("fast, spectrum known", len), |bencher| {
            bencher.iter(|| fast.run(&u, &mut y, &mut workspace).expect("fits"));
        });
        let mut fft = RealFft::<T>::new(len);
        let mut out = rows.clone();
        group.bench_function(BenchmarkId::new("realfft", len), |bencher| {
            bencher.iter(|| {
                for (u, y) in rows.chunks(len).zip(out.chunks_mut(len)) {
                    fft.kernel(u);
                    fft.convolve(u, None, y);
                }
            });
        });
        let spectrum = fft.take_kernel();
        group.bench_function(
            BenchmarkId::new("realfft, spectrum known", len),
            |bencher| {
                bencher.iter(|| {
                    for (u, y) in rows.chunks(len).zip(out.chunks_mut(len)) {
                        fft.convolve(u, Some(&spectrum), y);
                    }
                });
            },
        );
    }
    group.finish();
}

fn convolution(criterion: &mut Criterion) {
    convolution_in::<f32>(criterion, "f32");
    convolution_in::<f64>(criterion, "f64");
}

fn models_in<T: Element>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(format!("models {name}"));
    let (len, pairs) = (4096, 32);
    group.throughput(Throughput::Elements((len * CHANNELS) as u64));
    let mut rng = Rng::new(2);
    let mut poles = |radius: f64| -> Vec<Complex<f64>> {
        (0..CHANNELS * pairs)
            .map(|_| Complex::from_polar(radius, 3.0 * rng.unit()))
            .collect()
    };
    let bank = DiagonalParameters {
        pairs,
        a: poles(0.98),
        b: poles(1.0),
        c: poles(1.0),
        d: signal(CHANNELS, 3),
    };
    let diagonal = DiagonalSsm::<T>::new(Level::detect(), &bank).expect("a bank");
    let u = signal::<T>(len * CHANNELS, 7);
    let u = Panels::from_rows(1, len, CHANNELS, &u).expect("fits");
    let (mut y, mut workspace) = (Panels::zeros(1, len, CHANNELS), Workspace::new(1));
    let mut state = diagonal.zero_state(1);
    group.bench_function("diagonal, 32 pairs", |bencher| {
        bencher.iter(|| {
            diagonal
                .run(&u, &mut state, &mut y, &mut workspace)
                .expect("fits")
        });
    });
    group.finish();
}

/// Windows on both sides of where the transforms begin.
fn shift_in<T: Element>(criterion: &mut Criterion, name: &str) {
    let mut group = criterion.benchmark_group(format!("shift {name}"));
    let len = 8192;
    group.throughput(Throughput::Elements((len * CHANNELS) as u64));
    let u = signal::<T>(len * CHANNELS, 7);
    let u = Panels::from_rows(1, len, CHANNELS, &u).expect("fits");
    let (mut y, mut workspace) = (Panels::zeros(1, len, CHANNELS), Workspace::new(1));
    for taps in [64, 95, 96, 128, 256, 512, 1024] {
        let bank = ShiftParameters {
            taps,
            b: signal(taps * CHANNELS, 4),
            c: signal(taps * CHANNELS, 5),
            d: signal(CHANNELS, 6),
        };
        let shift = ShiftSsm::<T>::new(Level::detect(), &bank).expect("a bank");
        let mut state = shift.zero_state(1);
        group.bench_function(BenchmarkId::new("taps", taps), |bencher| {
            bencher.iter(|| {
                shift
                    .run(&u, &mut state, &mut y, &mut workspace)
                    .expect("fits")
            });
        });
    }
    group.finish();
}

fn shift(criterion: &mut Criterion) {
    shift_in::<f32>(criterion, "f32");
    shift_in::<f64>(criterion, "f64");
}

fn models(criterion: &mut Criterion) {
    models_in::<f32>(criterion, "f32");
    models_in::<f64>(criterion, "f64");
}

fn product(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product f32");
    let (rows, d) = (512, 768);
    group.throughput(Throughput::Elements((rows * d * d) as u64));
    let (w, u) = (signal::<f32>(d * d, 8), signal::<f32>(rows * d, 9));
    let (mut y, mut workspace) = (u.clone(), Workspace::new(1));
    let projection = Projection::new(Level::detect(), d, &w, &w[..d]).expect("fits");
    group.bench_function("fast", |bencher| {
        bencher.iter(|| projection.apply(&u, &mut y, &mut workspace).expect("fits"));
    });
    let stride = d as isize;
    group.bench_function("matrixmultiply", |bencher| {
        bencher.iter(|| {
            // SAFETY: row-major slices of rows x d, d x d (transposed by its strides), rows x d.
            unsafe {
                let (u, w, y) = (u.as_ptr(), w.as_ptr(), y.as_mut_ptr());
                matrixmultiply::sgemm(
                    rows, d, d, 1.0, u, stride, 1, w, 1, stride, 0.0, y, stride, 1,
                );
            }
        });
    });
    group.finish();
}

/// A training step of the recall task's model: 32 sequences of 22 tokens, 10 words, two H3 blocks of 32
/// channels.
fn training(criterion: &mut Criterion) {
    let mut config = ModelPreset::Tiny.config();
    (config.vocab_size, config.h3.d_state) = (10, 64);
    config.attn_layer_idx.clear();
    let parameters = ModelParameters::new(config.clone(), |name| {
        let of = Rng::named(11, &name.official());
        Ok(initial_values(&config, name, of).collect())
    });
    let parameters = parameters.expect("values for every parameter");
    let groups = official_groups(&config, &OptimizerOptions::official(5e-4));
    let mut rng = Rng::new(10);
    let (batch, len) = (32, 22);
    let ids: Vec<usize> = (0..batch * len).map(|_| rng.below(10)).collect();
    let targets: Vec<Option<usize>> = ids.iter().copied().map(Some).collect();
    let dropout = Dropout {
        embedding: 0.1,
        ..Dropout::default()
    };
    let mut group = criterion.benchmark_group("training f32");
    group.throughput(Throughput::Elements((batch * len) as u64));
    for threads in [1, 2] {
        let trainer = Trainer::<f32>::new(Level::detect(), &parameters, &groups, None, threads);
        let mut trainer = trainer.expect("a model");
        group.bench_function(BenchmarkId::new("recall, threads", threads), |bencher| {
            bencher.iter(|| {
                let step = trainer.step(&ids, &targets, (batch, len), 1.0, &dropout);
                step.expect("a step").loss
            });
        });
    }
    group.finish();
}

criterion_group!(kernels, convolution, models, shift, product, training);
criterion_main!(kernels);
