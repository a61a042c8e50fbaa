//! Products of factors rounded to TF32, summed in binary32: what PyTorch does where it is allowed,
//! in a port that calls itself f32.

use super::{committed, dumped, judge, layer, named, stage};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::h3::Name;
use hungry_hippos::oracle::{Format, Golden, Report};
use hungry_hippos::safetensors::Dtype;

/// The cases of numbers of 24 bits.
fn fine() -> Vec<(&'static str, Golden)> {
    let mut fine = committed();
    fine.retain(|(name, _)| name.contains("-fine"));
    assert!(fine.len() >= 4, "{}", fine.len());
    fine
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
    fn stages(&self) -> Vec<(String, Tensor<f64>)> {
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

fn failed(report: &Report) -> Vec<&str> {
    let failed = report.stages.iter().filter(|stage| !stage.pass);
    failed.map(|stage| stage.name.as_str()).collect()
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
        let q = |factors| {
            let port = Port { golden, factors };
            let q = port.project(layer(golden).input().data(), Name::QWeight, Name::QBias);
            let shape = stage(golden, "q").values.shape();
            let q = Tensor::new(shape, q).expect("fits");
            dumped(&[("q", &q)], Dtype::F32)
        };
        let right = judge(golden, &q(FloatFormat::F32), Format::F32);
        assert!(right.pass(), "{name}");
        let coarse = q(FloatFormat::TF32);
        let report = judge(golden, &coarse, Format::F32);
        assert_eq!(failed(&report), ["q"], "{name}");
        assert!(report.stages[0].worst > 100.0, "{name}");
        for format in [Format::MIXED_TF32, Format::TF32] {
            let report = judge(golden, &coarse, format);
            assert!(report.pass(), "{name}, {}", format.name());
        }
    }
}

/// Products in TF32 throughout are `tf32`; what the models make of them is more than `mixed-tf32` allows
/// for. Factors of 8 bits are no TF32.
#[test]
fn products_in_tf32_throughout() {
    let fine = fine();
    let (_, golden) = fine
        .iter()
        .find(|(name, _)| *name == "44-fine")
        .expect("kept");
    let judged = |factors, format| {
        let stages = Port { golden, factors }.stages();
        let report = judge(golden, &dumped(&named(&stages), Dtype::F32), format);
        assert_eq!(report.stages.len(), stages.len());
        failed(&report)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert!(judged(FloatFormat::F32, Format::F32).is_empty());
    assert!(judged(FloatFormat::TF32, Format::TF32).is_empty());
    let mixed = judged(FloatFormat::TF32, Format::MIXED_TF32);
    assert_eq!(mixed[0], "shift_kernel", "{mixed:?}");
    assert_eq!(judged(FloatFormat::TF32, Format::F32)[0], "q");
    assert_eq!(judged(FloatFormat::BF16, Format::TF32)[0], "q");
}
