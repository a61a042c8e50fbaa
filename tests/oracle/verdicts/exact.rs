//! Claims about exact cases: a right port gets the golden values in every bit, in whatever order it
//! adds, and golden files say in which formats.

use super::{committed, committed_one, layer, stage};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Bf16, Emulated, FloatFormat, Real, Rng};
use hungry_hippos::h3::{Form, Name, Parameters};
use hungry_hippos::oracle::{Golden, GoldenStage, LayerCase};
use hungry_hippos::safetensors::{SafeTensors, Writer};

const BF16: FloatFormat = FloatFormat::BF16;

fn is_forward(stage: &GoldenStage) -> bool {
    !stage.name().starts_with("grad.")
}

/// Every exact case says what its name does of the forward pass, and that its gradients are exact in
/// f32; other cases say nothing.
#[test]
fn the_suite_says_what_is_exact() {
    let mut exact = 0;
    for (name, golden) in committed() {
        let all = |format, kind: fn(&GoldenStage) -> bool| {
            let stages = golden.stages().iter();
            stages
                .filter(|s| kind(s))
                .all(|s| s.exact.contains(&format))
        };
        if !name.contains("-exact-") {
            assert!(golden.stages().iter().all(|s| s.exact.is_empty()), "{name}");
            continue;
        }
        exact += 1;
        let forward = |format| all(format, is_forward);
        assert!(all(FloatFormat::F32, |_| true), "{name}");
        assert_eq!(forward(FloatFormat::F16), !name.contains("-f32"), "{name}");
        let narrow = !name.contains("-f32") && !name.contains("-f16");
        assert_eq!(forward(BF16), narrow, "{name}");
    }
    assert!(exact >= 12, "{exact}");
}

/// What one says of itself is read back and written again; nonsense is an error that names the key.
#[test]
fn the_key_is_read_and_checked() {
    let golden = committed_one("50-exact-basic");
    let bytes = golden.writer().and_then(|w| w.to_bytes()).expect("small");
    let path = crate::common::golden_file("50-exact-basic");
    assert!(bytes == std::fs::read(path).expect("committed"));
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    for (said, error) in [("ouput=f32", "\"ouput\""), ("output=f8", "\"f8\"")] {
        let mut writer = Writer::new();
        for (key, value) in file.metadata() {
            let value = if key == "exact" { said } else { value };
            writer.metadata(key, value).expect("once");
        }
        for tensor in file.tensors() {
            let values = tensor.to_f64().expect("floats");
            let added = writer.add(tensor.name, tensor.dtype, tensor.shape, &values);
            added.expect("fits");
        }
        let bytes = writer.to_bytes().expect("small");
        let read = Golden::read(&SafeTensors::from_bytes(bytes).expect("valid"));
        let message = read.expect_err("refused").to_string();
        assert!(
            message.contains("metadata exact") && message.contains(error),
            "{message}"
        );
    }
}

/// The numbers of a stage in bf16, all of them its own.
fn in_bf16(golden: &Golden, name: &str) -> Tensor<Emulated<Bf16>> {
    let stage = stage(golden, name);
    assert!(stage.exact.contains(&BF16), "{name}");
    stage.values.map(Emulated::from_f64)
}

/// The sum `D u_i + sum_j f_j u_{i-j}`, every term a product in bf16, added two by two in random order:
/// the golden bits of `ssm_out`.
#[test]
fn sums_in_random_order_are_the_golden_ones() {
    for name in ["50-exact-basic", "51-exact-heads", "60-exact-decays"] {
        let golden = committed_one(name);
        let (kv, kernel) = (in_bf16(&golden, "kv"), in_bf16(&golden, "ssm_kernel"));
        let expected = &stage(&golden, "ssm_out").values;
        let heads = kernel.shape()[0];
        let parameters = layer(&golden).parameters();
        for seed in 0..4 {
            let rng = &mut Rng::new(seed);
            let len = kernel.shape()[1];
            for (row, u) in kv.data().chunks(len).enumerate() {
                let h = row % heads;
                let f = &kernel.data()[h * len..(h + 1) * len];
                let d = Emulated::<Bf16>::from_f64(parameters.get(Name::D)[h]);
                for i in 0..u.len() {
                    let mut terms: Vec<_> = (0..=i).map(|j| f[j] * u[i - j]).collect();
                    terms.push(d * u[i]);
                    while terms.len() > 1 {
                        let one = terms.swap_remove(rng.below(terms.len()));
                        let other = rng.below(terms.len());
                        terms[other] = terms[other] + one;
                    }
                    let place = format!("{name}, seed {seed}, row {row}, token {i}");
                    assert_eq!(terms[0].to_f64(), expected.data()[row * len + i], "{place}");
                }
            }
        }
    }
}

/// The stages in the scalars `T`, and those that are not the golden ones in every bit.
fn differing<T: Real>(golden: &Golden, case: &LayerCase) -> Vec<&'static str>
where
    T::Complex: hungry_hippos::algebra::RootsOfUnity,
{
    let (layer, input, state) = case.in_precision::<T>().expect("discretized");
    let by = case.parameters().config().default_form(input.shape()[1]);
    let stages = layer.forward(&by, &input, state.as_ref()).expect("runs");
    let stages = stages.named().into_iter();
    let differs = |(name, numbers): &(&'static str, Tensor<T>)| {
        let pairs = numbers.data().iter().zip(stage(golden, name).values.data());
        pairs.clone().any(|(x, golden)| x.to_f64() != *golden)
    };
    let names = stages.filter(differs).map(|(name, _)| name);
    names.collect()
}

/// In every format a case says it is exact in, nothing differs; and one weight off by a factor of 1.001
/// is seen, which no tolerance of 16 bits could.
#[test]
fn a_factor_of_1_001_differs() {
    for (name, golden) in committed() {
        let case = layer(&golden);
        let nothing: [&str; 0] = [];
        if golden.stages().iter().any(|s| s.exact.is_empty()) {
            continue;
        }
        assert_eq!(differing::<f32>(&golden, case), nothing, "{name}");
        if golden
            .stages()
            .iter()
            .filter(|s| is_forward(s))
            .all(|s| s.exact.contains(&BF16))
        {
            assert_eq!(
                differing::<Emulated<Bf16>>(&golden, case),
                nothing,
                "{name}"
            );
        }
        let parameters = case.parameters();
        let edited = Parameters::new(parameters.config().clone(), |name| {
            let mut values = parameters.get(name).to_vec();
            if name == Name::QWeight {
                let weight = values.iter_mut().find(|x| **x != 0.0);
                weight.into_iter().for_each(|x| *x *= 1.001);
            }
            Ok(values)
        });
        let mut wrong = LayerCase::new(edited.expect("same sizes"), case.input().clone());
        if let Some(state) = case.state() {
            wrong = wrong.and_then(|wrong| wrong.with_state(state.clone()));
        }
        let differ = differing::<f32>(&golden, &wrong.expect("fits"));
        assert!(differ.contains(&"q"), "{name}: {differ:?}");
    }
}

/// Forms by FFT round; the recurrence on the same file does not.
#[test]
fn an_fft_is_not_exact() {
    let golden = committed_one("50-exact-basic");
    let (layer, input, _) = layer(&golden).in_precision::<f32>().expect("discretized");
    let stages = layer.forward(&Form::Fft, &input, None).expect("runs");
    let by_fft = stages.ssm_out.expect("no attention").map(f64::from);
    assert_ne!(by_fft, stage(&golden, "ssm_out").values);
}
