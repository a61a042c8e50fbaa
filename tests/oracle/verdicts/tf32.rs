//! Products of factors rounded to TF32, summed in binary32: what PyTorch does where it is allowed,
//! in a port that calls itself f32.

use super::{Stages, committed_one, dumped, judge, layer, named, stage};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::h3::Name;
use hungry_hippos::oracle::{Format, Golden, suite};
use hungry_hippos::safetensors::Dtype;

/// The cases of numbers of 24 bits.
fn fine() -> Vec<(&'static str, Golden)> {
    let mut names: Vec<_> = suite().iter().map(|case| case.name).collect();
    names.retain(|name| name.contains("-fine"));
    assert!(names.len() >= 4, "{names:?}");
    let golden = |name| (name, committed_one(name));
    names.into_iter().map(golden).collect()
}

/// A layer of one channel a head, written once more by its formulas, whose products round their
/// factors to a format and are summed in f32.
struct Port<'a> {
    golden: &'a Golden,
    factors: FloatFormat,
}

impl Port<'_> {
    /// The sum of products, in their order.
    fn sum<'x>(&self, products: impl Iterator<Item = (&'x f64, &'x f64)>) -> f32 {
        let round = |x: &f64| self.factors.round(*x) as f32;
        products.fold(0.0, |sum, (a, b)| sum + round(a) * round(b))
    }

    fn parameter(&self, name: Name) -> &[f64] {
        layer(self.golden).parameters().get(name)
    }

    /// A projection of one sequence of tokens, channel by channel.
    fn project(&self, tokens: &[f64], weight: Name, bias: Name) -> Vec<f64> {
        let (weight, bias) = (self.parameter(weight), self.parameter(bias));
        let d = bias.len();
        let channels = weight.chunks(d).zip(bias).flat_map(|(row, &bias)| {
            let tokens = tokens.chunks(d);
            tokens.map(move |token| f64::from(self.sum(row.iter().zip(token)) + bias as f32))
        });
        channels.collect()
    }

    /// `y = f * u + D u` of every channel.
    fn convolve(&self, kernels: &[f64], skips: &[f64], u: &[f64]) -> Vec<f64> {
        let len = u.len() / skips.len();
        let mut all = Vec::new();
        for ((f, d), u) in kernels.chunks(len).zip(skips).zip(u.chunks(len)) {
            all.extend((0..len).map(|i| {
                let skipped = (d, &u[i]);
                let past = f.iter().zip(u[..=i].iter().rev());
                f64::from(self.sum(past.chain([skipped])))
            }));
        }
        all
    }

    /// Elementwise products.
    fn multiply(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        let pairs = a.iter().zip(b);
        pairs
            .map(|pair| f64::from(self.sum([pair].into_iter())))
            .collect()
    }

    /// The stages of one sequence, the diagonal model's kernel given.
    fn stages(&self) -> Stages {
        let input = layer(self.golden).input();
        let [1, len, d] = *input.shape() else {
            panic!("one sequence")
        };
        let u = input.data();
        let q = self.project(u, Name::QWeight, Name::QBias);
        let k = self.project(u, Name::KWeight, Name::KBias);
        let v = self.project(u, Name::VWeight, Name::VBias);
        let (taps_b, taps_c) = (self.parameter(Name::ShiftB), self.parameter(Name::ShiftC));
        let m = taps_b.len() / d;
        let mut kernels = Vec::new();
        for (b, c) in taps_b.chunks(m).zip(taps_c.chunks(m)) {
            kernels.extend((0..len).map(|j| f64::from(self.sum(c.iter().skip(j).zip(b)))));
        }
        let shift_k = self.convolve(&kernels, self.parameter(Name::ShiftD), &k);
        let kv = self.multiply(&shift_k, &v);
        let ssm_kernel = stage(self.golden, "ssm_kernel").values.data();
        let ssm_out = self.convolve(ssm_kernel, self.parameter(Name::D), &kv);
        let gated = self.multiply(&q, &ssm_out);
        let transpose = |x: &[f64], rows: usize| -> Vec<f64> {
            let cols = x.len() / rows;
            (0..x.len())
                .map(|at| x[at % rows * cols + at / rows])
                .collect()
        };
        let gated = transpose(&gated, d);
        let output = self.project(&gated, Name::OutputWeight, Name::OutputBias);
        let output = transpose(&output, d);
        let stages = [
            ("q", q),
            ("k", k),
            ("v", v),
            ("shift_kernel", kernels),
            ("shift_k", shift_k),
            ("kv", kv),
            ("ssm_out", ssm_out),
            ("gated", gated),
            ("output", output),
        ];
        stages
            .into_iter()
            .map(|(name, values)| {
                let shape = stage(self.golden, name).values.shape();
                (name.into(), Tensor::new(shape, values).expect("fits"))
            })
            .collect()
    }
}

/// The first stage of which an element lies outside its tolerance, stored in f32, by the formula alone:
/// no mistake is searched for.
fn first_outside(golden: &Golden, stages: &Stages, format: Format) -> Option<String> {
    let is_outside = |(name, found): &&(String, Tensor<f64>)| {
        let golden = stage(golden, name);
        let pairs = golden.values.data().iter().zip(found.data());
        let mut elements = pairs.zip(golden.scale_at(format));
        elements.any(|((golden, found), scale)| {
            let tolerance = format.unit_roundoff() * scale + 2f64.powi(-24) * golden.abs();
            (found - golden).abs() > tolerance
        })
    };
    stages.iter().find(is_outside).map(|(name, _)| name.clone())
}

#[test]
fn fine_cases_need_every_bit() {
    for (name, golden) in &fine() {
        let case = layer(golden);
        let parameters = Name::ALL
            .into_iter()
            .map(|name| case.parameters().get(name));
        for x in parameters.flatten().chain(case.input().data()) {
            let float = *x as f32;
            assert_eq!(f64::from(float), *x, "{name}");
            assert_eq!(float.to_bits() & 1, 1, "{name}: {x}");
        }
    }
}

/// Projections in TF32 alone are seen at q, whatever follows.
#[test]
fn products_in_tf32_are_no_f32() {
    for (name, golden) in &fine() {
        let q = |factors| -> Stages {
            let port = Port { golden, factors };
            let q = port.project(layer(golden).input().data(), Name::QWeight, Name::QBias);
            let shape = stage(golden, "q").values.shape();
            vec![("q".into(), Tensor::new(shape, q).expect("fits"))]
        };
        let outside = |factors, format| first_outside(golden, &q(factors), format);
        assert_eq!(outside(FloatFormat::F32, Format::F32), None, "{name}");
        let refused = outside(FloatFormat::TF32, Format::F32);
        assert_eq!(refused.as_deref(), Some("q"), "{name}");
        for format in [Format::MIXED_TF32, Format::TF32] {
            assert_eq!(outside(FloatFormat::TF32, format), None, "{name}");
        }
        if *name == "44-fine" {
            let file = dumped(&named(&q(FloatFormat::TF32)), Dtype::F32);
            assert!(!judge(golden, &file, Format::F32).pass());
            assert!(judge(golden, &file, Format::TF32).pass());
        }
    }
}

/// Products in TF32 throughout are `tf32`; what the models make of them is more than `mixed-tf32` allows
/// for.
#[test]
fn products_in_tf32_throughout() {
    let golden = &committed_one("44-fine");
    let outside = |factors, format, factor: f64| {
        let mut stages = Port { golden, factors }.stages();
        stages[0].1 = stages[0].1.map(|x| factor * x);
        first_outside(golden, &stages, format)
    };
    let at = |name: &str| Some(name.to_string());
    let (f32, tf32) = (FloatFormat::F32, FloatFormat::TF32);
    assert_eq!(outside(f32, Format::F32, 1.0), None);
    assert_eq!(outside(tf32, Format::TF32, 1.0), None);
    assert_eq!(outside(tf32, Format::MIXED_TF32, 1.0), at("shift_kernel"));
    assert_eq!(outside(tf32, Format::F32, 1.0), at("q"));
    assert_eq!(outside(tf32, Format::TF32, 1.05), at("q"));
    let stages = Port {
        golden,
        factors: tf32,
    }
    .stages();
    let report = judge(golden, &dumped(&named(&stages), Dtype::F32), Format::TF32);
    assert!(report.pass() && report.stages.len() == stages.len());
}
