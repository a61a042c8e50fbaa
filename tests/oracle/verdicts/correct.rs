//! Correct ports refused: none. Every form, in f64 and f32, in random orders of summation, with
//! chunks, with parameters rounded first; and the official float64 and float32 outputs.

use super::{
    LONG, OFFICIAL, Stages, committed, committed_one, dumped, is_exhaustive, judge, layer, named,
    official,
};
use crate::common::data;
use core::fmt;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{ComplexScalar, FloatFormat, Real, Rng, RootsOfUnity};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::fourier::real::{inverse_real_fft, real_fft};
use hungry_hippos::h3::{Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, Format, Golden, LayerCase, Precision, Report, Verdict};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex64;
use std::collections::BTreeMap;

fn assert_pass(what: &str, report: &Report) {
    assert_ne!(report.verdict(), Verdict::Refused, "{what}: {report}");
}

fn forms(golden: &Golden) -> Vec<Form> {
    let len = layer(golden).input().shape()[1];
    let cut = layer(golden).parameters().config().l_max;
    let mut forms = Form::all([Chunking::Uniform(5), Chunking::Uniform(16)]);
    if cut.is_some_and(|l_max| l_max < len) && layer(golden).state().is_none() {
        forms.retain(|form| !form.passes_state());
    }
    forms
}

/// A port that computes a golden file's layer in one form and precision.
fn in_a_form(name: &str, golden: &Golden, form: &Form, precision: Precision, format: Format) {
    let with_gradients = golden.stages().iter().any(|s| s.name() == "grad.input");
    let case = Case::from(layer(golden).clone());
    let stages = case.run(form, precision, with_gradients).expect("runs");
    let report = judge(golden, &dumped(&named(&stages), precision.dtype()), format);
    assert!(
        report.stages.len() >= stages.len() - 1,
        "all stages are compared"
    );
    assert_pass(&format!("{name}, {form}, {}", format.name()), &report);
}

#[test]
fn every_form_in_f64_and_f32_passes() {
    let mut ports = 0;
    let precisions = [(Precision::F64, Format::F64), (Precision::F32, Format::F32)];
    let committed = committed();
    if is_exhaustive() {
        let official = OFFICIAL.map(|name| (name, official(name)));
        for (name, golden) in committed.iter().chain(&official) {
            for form in forms(golden) {
                for (precision, format) in precisions {
                    in_a_form(name, golden, &form, precision, format);
                    ports += 1;
                }
            }
        }
        assert!(ports > 600, "{ports}");
    } else {
        // Every form on some layer, in both precisions.
        for (turn, (name, golden)) in committed.iter().step_by(4).enumerate() {
            let forms = forms(golden);
            let form = &forms[turn % forms.len()];
            let (precision, format) = precisions[turn / 2 % 2];
            in_a_form(name, golden, form, precision, format);
            ports += 1;
        }
    }
    println!("{ports} ports accepted");
}

/// Gradients over 1024 tokens: by FFT and, with `HIPPOS_EXHAUSTIVE` set, by the recurrence and in chunks.
#[test]
fn a_long_case_passes() {
    let golden = committed_one(LONG);
    let case = Case::from(layer(&golden).clone());
    let chunks = Form::FlashConv(Chunking::Uniform(64));
    let runs = [(Precision::F32, Format::F32), (Precision::F64, Format::F64)];
    let (forms, runs) = match is_exhaustive() {
        true => (&[Form::RealFft, Form::Recurrence, chunks][..], &runs[..]),
        false => (&[Form::RealFft][..], &runs[..1]),
    };
    for form in forms {
        for &(precision, format) in runs {
            let stages = case.run(form, precision, true).expect("runs");
            let report = judge(&golden, &dumped(&named(&stages), precision.dtype()), format);
            assert_eq!(report.stages.len(), stages.len());
            assert_pass(&format!("{LONG}, {form}, {}", format.name()), &report);
        }
    }
}

/// Where the window is longer than the sequence, taps beyond it have gradients that are exactly 0; the
/// official code's shift kernel is a product of spectra of length 2m, and on the way back from it an
/// FFT leaves its error there too. With `B` the first unit vector the gradient of `C` is the
/// kernel's cotangent, so that the way back can be gone once more here.
#[test]
fn gradients_of_taps_by_transforms_pass() {
    let golden = committed_one("13-short");
    let case = layer(&golden);
    let config = case.parameters().config();
    let (d, m, len) = (config.d_model, config.d_state, case.input().shape()[1]);
    assert!(len < m);
    let parameters = Parameters::new(config.clone(), |name| {
        let values = case.parameters().get(name).iter().enumerate();
        let unit = |at: usize| f64::from(u8::from(at.is_multiple_of(m)));
        let is_b = name == Name::ShiftB;
        Ok(values
            .map(|(at, &x)| if is_b { unit(at) } else { x })
            .collect())
    });
    let parameters = parameters.expect("as many");
    let taps_c = parameters.get(Name::ShiftC).to_vec();
    let g = case.cotangent().expect("in every case").clone();
    let case = LayerCase::new(parameters, case.input().clone());
    let case = case.and_then(|case| case.with_cotangent(g)).expect("fits");
    let golden = Golden::certify(case.clone()).expect("certified");

    let [of_b, of_c] = ["B", "C"].map(|x| format!("grad.ssm_k_kernel.kernel.{x}"));
    for (precision, format) in [(Precision::F64, Format::F64), (Precision::F32, Format::F32)] {
        let run = Case::from(case.clone()).run(&Form::RealFft, precision, true);
        let mut stages: Stages = run.expect("runs");
        let at = |stages: &Stages, name: &str| {
            stages.iter().position(|(n, _)| n == name).expect("there")
        };
        let mut of_kernel = stages[at(&stages, &of_c)].1.data().to_vec();
        for taps in of_kernel.chunks_mut(m) {
            taps[len..].fill(0.0);
        }
        let transformed = match precision {
            Precision::F32 => through_spectra::<f32>(&of_kernel, &taps_c, m),
            _ => through_spectra::<f64>(&of_kernel, &taps_c, m),
        };
        let beyond = |x: &[f64]| x.chunks(m).flat_map(|taps| &taps[len..]).any(|x| *x != 0.0);
        assert!(transformed.iter().all(|x| beyond(x)), "an FFT's error");
        for (name, values) in [&of_b, &of_c].into_iter().zip(transformed) {
            let at = at(&stages, name);
            let shape = stages[at].1.shape();
            assert_eq!(shape.iter().product::<usize>(), d * m);
            stages[at].1 = Tensor::new(shape, values).expect("fits");
        }
        let file = dumped(&named(&stages), precision.dtype());
        assert_pass(format.name(), &judge(&golden, &file, format));
        // More than an FFT leaves.
        let place = at(&stages, &of_c);
        let mut values = stages[place].1.data().to_vec();
        values[m - 1] = 1e5 * format.unit_roundoff();
        stages[place].1 = Tensor::new(stages[place].1.shape(), values).expect("fits");
        let report = judge(&golden, &dumped(&named(&stages), precision.dtype()), format);
        let failed: Vec<&str> = report
            .stages
            .iter()
            .filter(|s| !s.pass)
            .map(|s| &s.name[..])
            .collect();
        assert_eq!(failed, [of_c.as_str()], "{}", format.name());
    }
}

/// The gradients of the taps `B` and `C` from that of the kernel `f_j = sum_n C_n B_{n-j}`, `B` a unit
/// vector, through spectra of length 2m.
fn through_spectra<T>(of_kernel: &[f64], c: &[f64], m: usize) -> [Vec<f64>; 2]
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let padded = |x: &[f64]| {
        let mut x: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
        x.resize(2 * m, T::ZERO);
        real_fft(&x).expect("a power of two")
    };
    let back = |bins: Vec<T::Complex>| {
        let x: Vec<T> = inverse_real_fft(&bins, 2 * m).expect("a power of two");
        x[..m].iter().map(|x| x.to_f64()).collect::<Vec<f64>>()
    };
    let mut unit = vec![0.0; m];
    unit[0] = 1.0;
    let unit: Vec<T::Complex> = padded(&unit);
    let (mut of_b, mut of_c) = (Vec::new(), Vec::new());
    for (g, c) in of_kernel.chunks(m).zip(c.chunks(m)) {
        let (g, c): (Vec<T::Complex>, Vec<T::Complex>) = (padded(g), padded(c));
        // B_i: sum_j g_j C_{i+j}; C_i: sum_j g_j B_{i-j}.
        of_b.extend(back(
            g.iter().zip(&c).map(|(&g, &c)| g.conj() * c).collect(),
        ));
        of_c.extend(back(g.iter().zip(&unit).map(|(&g, &b)| g * b).collect()));
    }
    [of_b, of_c]
}

#[test]
fn the_official_outputs_pass() {
    for name in OFFICIAL {
        // Those that take longest to certify.
        if !is_exhaustive() && ["layer-v3-hd8-L90", "layer-v4-hd1-L100"].contains(&name) {
            continue;
        }
        let golden = official(name);
        let format = match name {
            "layer-v6-f32-hd1-L32" => Format::F32,
            _ => Format::F64,
        };
        let file = SafeTensors::open(&data(name)).expect("a file");
        let report = judge(&golden, &file, format);
        assert!(report.stages.len() > 25, "stages and gradients");
        assert_pass(name, &report);
    }
}

/// A port that sums in a random order, every operation rounded to a format: the layer written
/// once more, by hand, from its definition, with explicit sums.
struct Port<'a> {
    golden: &'a Golden,
    format: FloatFormat,
    rng: Rng,
}

impl Port<'_> {
    fn r(&self, x: f64) -> f64 {
        self.format.round(x)
    }

    /// The sum of the terms in a random order, every addition rounded.
    fn sum(&mut self, mut terms: Vec<f64>) -> f64 {
        let mut sum = 0.0;
        while !terms.is_empty() {
            let term = terms.swap_remove(self.rng.below(terms.len()));
            sum = self.r(sum + term);
        }
        sum
    }

    fn project(&mut self, x: &[f64], weight: Name, bias: Name) -> Vec<f64> {
        let parameters = layer(self.golden).parameters();
        let (w, b) = (parameters.get(weight), parameters.get(bias));
        let d = b.len();
        (0..d)
            .map(|i| {
                let mut terms: Vec<f64> = (0..d)
                    .map(|j| self.r(self.r(w[i * d + j]) * self.r(x[j])))
                    .collect();
                terms.push(self.r(b[i]));
                self.sum(terms)
            })
            .collect()
    }

    /// The stages q, k, v, shift_k, kv of a layer without initial state.
    fn front(&mut self) -> Vec<(&'static str, Tensor<f64>)> {
        let case = layer(self.golden);
        let parameters = case.parameters();
        let config = parameters.config().clone();
        let (u, d, m) = (case.input(), config.d_model, config.d_state);
        let (batch, len) = (u.shape()[0], u.shape()[1]);
        let window = config.l_max.map_or(len, |l| l.min(len));
        let mut stages = Vec::new();
        for (name, weight, bias) in [
            ("q", Name::QWeight, Name::QBias),
            ("k", Name::KWeight, Name::KBias),
            ("v", Name::VWeight, Name::VBias),
        ] {
            let mut stage = vec![0.0; batch * d * len];
            for b in 0..batch {
                for t in 0..len {
                    let token = u.data()[(b * len + t) * d..][..d].to_vec();
                    for (c, y) in self.project(&token, weight, bias).into_iter().enumerate() {
                        stage[(b * d + c) * len + t] = y;
                    }
                }
            }
            stages.push((name, Tensor::new([batch, d, len], stage).expect("fits")));
        }
        let (k, v) = (stages[1].1.data().to_vec(), stages[2].1.data().to_vec());
        let [tap_b, tap_c, skip] = [Name::ShiftB, Name::ShiftC, Name::ShiftD].map(|name| {
            parameters
                .get(name)
                .iter()
                .map(|&x| self.r(x))
                .collect::<Vec<_>>()
        });
        let mut shift_k = vec![0.0; batch * d * len];
        for c in 0..d {
            let kernel: Vec<f64> = (0..window.min(m))
                .map(|j| {
                    let terms = (j..m).map(|n| self.r(tap_c[c * m + n] * tap_b[c * m + n - j]));
                    let terms = terms.collect();
                    self.sum(terms)
                })
                .collect();
            for b in 0..batch {
                let at = (b * d + c) * len;
                for t in 0..len {
                    let mut terms: Vec<f64> = kernel
                        .iter()
                        .take(t + 1)
                        .enumerate()
                        .map(|(j, &f)| self.r(f * k[at + t - j]))
                        .collect();
                    terms.push(self.r(skip[c] * k[at + t]));
                    shift_k[at + t] = self.sum(terms);
                }
            }
        }
        let (d_h, heads) = (config.head_dim, config.n_heads());
        let mut kv = Vec::new();
        for b in 0..batch {
            for d1 in 0..d_h {
                for d2 in 0..d_h {
                    for h in 0..heads {
                        for t in 0..len {
                            let row = |c: usize| (b * d + h * d_h + c) * len + t;
                            kv.push(self.r(shift_k[row(d1)] * v[row(d2)]));
                        }
                    }
                }
            }
        }
        stages.push((
            "shift_k",
            Tensor::new([batch, d, len], shift_k).expect("fits"),
        ));
        let shape = [batch, d_h, d_h, heads, len];
        stages.push(("kv", Tensor::new(shape, kv).expect("fits")));
        stages
    }
}

/// Complex numbers, both parts of every operation rounded.
impl Port<'_> {
    fn round(&self, z: Complex64) -> Complex64 {
        Complex64::new(self.r(z.re), self.r(z.im))
    }

    fn times(&self, a: Complex64, b: Complex64) -> Complex64 {
        let re = self.r(self.r(a.re * b.re) - self.r(a.im * b.im));
        Complex64::new(re, self.r(self.r(a.re * b.im) + self.r(a.im * b.re)))
    }

    /// `a conj(b) / |b|^2`.
    fn over(&self, a: Complex64, b: Complex64) -> Complex64 {
        let size = self.r(self.r(b.re * b.re) + self.r(b.im * b.im));
        let above = self.times(a, b.conj());
        Complex64::new(self.r(above.re / size), self.r(above.im / size))
    }

    fn exp(&self, z: Complex64) -> Complex64 {
        let size = self.r(z.re.exp());
        Complex64::new(
            self.r(size * self.r(z.im.cos())),
            self.r(size * self.r(z.im.sin())),
        )
    }

    /// Poles and weights `c b` of a head's model, decoded and discretized.
    fn diagonal(&self, head: usize) -> Vec<[Complex64; 2]> {
        let parameters = layer(self.golden).parameters();
        let config = parameters.config();
        let modes = config.d_state / 2;
        let dt = self.r(self.r(parameters.get(Name::LogDt)[head]).exp());
        let pair = |name: Name, at: usize| {
            let values = &parameters.get(name)[2 * at..];
            self.round(Complex64::new(values[0], values[1]))
        };
        (0..modes)
            .map(|n| {
                let at = head % config.n_ssm * modes + n;
                let x = self.r(parameters.get(Name::InvAReal)[at]);
                let re = match config.real_type {
                    RealType::None => -x,
                    RealType::Exp => -x.exp(),
                    RealType::Relu => -x.max(0.0) - 1e-4,
                    RealType::Sigmoid => -1.0 / self.r(1.0 + self.r((-x).exp())),
                    RealType::Softplus => -self.r(x.exp()).ln_1p(),
                    other => panic!("no {other} in this port"),
                };
                let im = self.r(parameters.get(Name::AImag)[at]);
                let lambda = Complex64::new(self.r(re), im);
                let z = self.round(lambda * dt);
                let b = pair(Name::B, at);
                let one = Complex64::new(1.0, 0.0);
                let (a, b) = match config.disc {
                    Discretization::Bilinear => {
                        let below = self.round(one - z / 2.0);
                        let above = self.round(one + z / 2.0);
                        (
                            self.over(above, below),
                            self.over(self.round(b * dt), below),
                        )
                    }
                    Discretization::ZeroOrderHold => {
                        let a = self.exp(z);
                        let grown = self.round(a - one);
                        (a, self.times(b, self.over(grown, lambda)))
                    }
                    other => panic!("no {other} in this port"),
                };
                let c = pair(Name::C, head * modes + n);
                [a, self.times(c, b)]
            })
            .collect()
    }

    /// All stages of a layer without initial state, but for the final states.
    fn layer(&mut self) -> Vec<(&'static str, Tensor<f64>)> {
        let case = layer(self.golden);
        let parameters = case.parameters();
        let config = parameters.config().clone();
        let (d, d_h, heads) = (config.d_model, config.head_dim, config.n_heads());
        let (batch, len) = (case.input().shape()[0], case.input().shape()[1]);
        let window = config.l_max.map_or(len, |l| l.min(len));
        let mut stages = self.front();
        let kv = stages[4].1.data().to_vec();
        let mut kernels = Vec::new();
        for head in 0..heads {
            let models = self.diagonal(head);
            let mut powers = vec![Complex64::new(1.0, 0.0); models.len()];
            for _ in 0..window {
                let mut terms = Vec::new();
                for ([a, weight], power) in models.iter().zip(&mut powers) {
                    terms.push(2.0 * self.times(*weight, *power).re);
                    *power = self.times(*power, *a);
                }
                kernels.push(self.sum(terms));
            }
        }
        let mut ssm_out = Vec::with_capacity(kv.len());
        for (series, u) in kv.chunks(len).enumerate() {
            let head = series % heads;
            let kernel = &kernels[head * window..][..window];
            let skip = self.r(parameters.get(Name::D)[head]);
            for t in 0..len {
                let taps = (0..=t.min(window - 1)).map(|j| self.r(kernel[j] * u[t - j]));
                let mut terms: Vec<f64> = taps.collect();
                terms.push(self.r(skip * u[t]));
                let y = self.sum(terms);
                ssm_out.push(y);
            }
        }
        let q = stages[0].1.data().to_vec();
        let mut gated = vec![0.0; batch * len * d];
        for (b, h, d2) in
            (0..batch * heads * d_h).map(|i| (i / d_h / heads, i / d_h % heads, i % d_h))
        {
            let channel = match config.head_order {
                HeadOrder::D2H => d2 * heads + h,
                HeadOrder::HD2 => h * d_h + d2,
            };
            for t in 0..len {
                let terms = (0..d_h).map(|d1| {
                    let y = ssm_out[(((b * d_h + d1) * d_h + d2) * heads + h) * len + t];
                    self.r(q[(b * d + h * d_h + d1) * len + t] * y)
                });
                let terms = terms.collect();
                gated[(b * len + t) * d + channel] = self.sum(terms);
            }
        }
        let output: Vec<f64> = gated
            .chunks(d)
            .flat_map(|token| self.project(token, Name::OutputWeight, Name::OutputBias))
            .collect();
        let tensor = |shape: &[usize], values| Tensor::new(shape.to_vec(), values).expect("fits");
        stages.extend([
            ("ssm_kernel", tensor(&[heads, window], kernels)),
            ("ssm_out", tensor(&[batch, d_h, d_h, heads, len], ssm_out)),
            ("gated", tensor(&[batch, len, d], gated)),
            ("output", tensor(&[batch, len, d], output)),
        ]);
        stages
    }
}

/// The formats in which every operation is rounded, and how they are dumped and judged.
const ROUNDED: [(FloatFormat, Dtype, Format); 3] = [
    (FloatFormat::F32, Dtype::F32, Format::F32),
    (FloatFormat::F16, Dtype::F16, Format::F16),
    (FloatFormat::BF16, Dtype::BF16, Format::BF16),
];

/// The golden files that [`Port`] has a layer for.
fn without_state() -> Vec<(&'static str, Golden)> {
    let official = OFFICIAL.map(|name| (name, official(name)));
    let mut goldens: Vec<_> = committed().into_iter().chain(official).collect();
    goldens.retain(|(_, golden)| layer(golden).state().is_none());
    goldens
}

/// True if a format holds all that a layer is given, so that a port need not round it first.
fn is_held(golden: &Golden, format: FloatFormat) -> bool {
    let case = layer(golden);
    let parameters = Name::ALL
        .into_iter()
        .flat_map(|name| case.parameters().get(name));
    let mut given = parameters.chain(case.input().data());
    given.all(|&x| format.round(x) == x)
}

/// Right ports of a kind: how many, and how much of their errors something explains.
#[derive(Default)]
struct Tally {
    ports: usize,
    /// By the logarithm (base 2) of the number of elements over which an error is spread: the stages
    /// that something could be told from, the largest share, and the largest as a part of the limit.
    buckets: BTreeMap<u32, (usize, f64, f64)>,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.ports += 1;
        for explained in report.stages.iter().filter_map(|stage| stage.explained) {
            let bucket = self
                .buckets
                .entry(explained.elements.max(1.0).log2() as u32);
            let (stages, share, of_limit) = bucket.or_default();
            *stages += 1;
            *share = share.max(explained.share);
            *of_limit = of_limit.max(explained.share / explained.limit);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ports", self.ports)?;
        for (bucket, (stages, share, of_limit)) in &self.buckets {
            let from = 1_u64 << bucket;
            writeln!(f, "{from:>6} {stages:>8} {share:>8.3} {of_limit:>8.3}")?;
        }
        Ok(())
    }
}

/// Every operation of the layer rounded to f32, f16 or bf16, sums in random orders: nothing is refused,
/// with all stages or with the output alone, and nothing known or generic explains as much of a right
/// port's error as refuses one, by a margin. With `HIPPOS_EXHAUSTIVE` set, some 2,000 dumps of every
/// format; chapter 13 has their table.
#[test]
fn no_mistake_explains_what_right_ports_round() {
    let goldens = without_state();
    // All: every layer by so many ports; else every fifteenth by one, another in each format, in turn with all stages
    // and with the output alone.
    let (seeds, step) = if is_exhaustive() { (20, 1) } else { (1, 15) };
    for (turn, (format, dtype, judged)) in ROUNDED.into_iter().enumerate() {
        let mut tallies = [Tally::default(), Tally::default()];
        let layers = goldens.iter().skip(3 * turn).step_by(step);
        for (number, (name, golden)) in layers.enumerate() {
            for seed in 0..seeds {
                let mut port = Port {
                    golden,
                    format,
                    rng: Rng::new(1000 + seed),
                };
                let stages = port.layer();
                let named: Vec<_> = stages.iter().map(|(n, s)| (*n, s)).collect();
                let dumps = [&named[..], &named[named.len() - 1..]];
                let dumps = match is_exhaustive() {
                    true => &dumps[..],
                    false => &dumps[(turn + number) % 2..][..1],
                };
                for &kept in dumps {
                    let report = judge(golden, &dumped(kept, dtype), judged);
                    assert_eq!(report.stages.len(), kept.len());
                    assert_pass(&format!("{name}, {}, seed {seed}", judged.name()), &report);
                    tallies[usize::from(is_held(golden, format))].add(&report);
                }
            }
        }
        for (tally, what) in tallies.iter().zip(["rounded first", "held"]) {
            println!("{}, parameters {what}: {tally}", judged.name());
            for (bucket, (_, share, of_limit)) in &tally.buckets {
                assert!(
                    *of_limit <= 0.8,
                    "{}, 2^{bucket} elements: {share}",
                    judged.name()
                );
            }
        }
    }
}
