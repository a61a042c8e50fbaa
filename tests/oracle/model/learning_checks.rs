//! Golden losses, gradients and training steps: right ports pass, the official one among them; every known
//! mistake that acts is refused and named.

use super::support::{Stages, judge};
use crate::common::{data, golden_file};
use hungry_hippos::Tensor;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Golden, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors};

/// The golden files of losses and of training steps.
const SUITE: [&str; 3] = ["86-model-loss", "87-training", "88-training-warmup"];

/// Mistakes that do nothing in a case of the suite: what they take for granted is right there.
const WITHOUT_EFFECT: [(&str, &[&str]); 3] = [
    ("86-model-loss", &[]),
    (
        "87-training",
        &[
            "T06", "T14a", "T14b", "T14c", "T14d", "T14e", "T16a", "T16b",
        ],
    ),
    ("88-training-warmup", &["T14e"]),
];

fn open(name: &str) -> (Golden, Case) {
    let path = golden_file(name);
    let golden = Golden::open(&path).expect("a golden file");
    (golden, Case::open(&path).expect("a case"))
}

/// The rows of the keys in biases of queries, keys and values, moved by some noise.
fn with_noise(stages: &mut Stages, of: &str, noise: f64) {
    for (name, stage) in stages.iter_mut() {
        if name.contains(of) && name.ends_with("Wqkv.bias") {
            let d = stage.shape()[0] / 3;
            let mut values = stage.data().to_vec();
            for (at, x) in values[d..2 * d].iter_mut().enumerate() {
                *x += if at % 2 == 0 { noise } else { -noise };
            }
            *stage = Tensor::new(stage.shape(), values).expect("fits");
        }
    }
}

/// In every form; and with rounding noise in the gradients of the keys' biases, which are 0, and what
/// AdamW makes of it in their weights.
#[test]
fn right_ports_are_accepted() {
    for name in SUITE {
        let (golden, case) = open(name);
        for (dtype, format, precision, noise) in [
            (Dtype::F64, Format::F64, Precision::F64, [1e-17, 1e-12]),
            (Dtype::F32, Format::F32, Precision::F32, [1e-9, 1e-4]),
        ] {
            for form in [Form::Fft, Form::Recurrence] {
                let mut stages = case.run(&form, precision, true).expect("runs");
                with_noise(&mut stages, "grad.", noise[0]);
                with_noise(&mut stages, "param.", noise[1]);
                let report = judge(&golden, &stages, dtype, format);
                assert!(report.pass(), "{name}, {form:?}: {report}");
                assert_eq!(report.stages.len(), golden.stages().len(), "{name}");
            }
        }
        // No rounding is that large.
        let mut stages = case.run(&Form::Fft, Precision::F64, true).expect("runs");
        with_noise(&mut stages, "grad.", 1e-9);
        let report = judge(&golden, &stages, Dtype::F64, Format::F64);
        assert_eq!(report.pass(), name == "88-training-warmup", "{name}");
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    for (name, without_effect) in WITHOUT_EFFECT {
        let (golden, case) = open(name);
        let mistakes = case.mistakes().into_iter();
        for mistake in mistakes.filter(|mistake| mistake.id.starts_with('T')) {
            let stages = case.run_with(&[mistake.id], None).expect("computed");
            let report = judge(&golden, &stages, Dtype::F32, Format::F32);
            let of = format!("{name}, {}", mistake.id);
            if without_effect.contains(&mistake.id) {
                assert!(report.pass(), "{of}: {report}");
                continue;
            }
            assert!(!report.pass(), "{of}: accepted");
            let suspects = report.findings.iter().flat_map(|found| &found.suspects);
            let named: Vec<_> = suspects
                .flat_map(|suspect| &suspect.mistakes)
                .map(|mistake| mistake.id)
                .collect();
            assert!(named.contains(&mistake.id), "{of}: {named:?}");
        }
    }
}

/// The official code is a right port of its own cases, in float64 and in float32.
#[test]
fn the_official_code_is_accepted() {
    let all = [
        ("lm-grad-v3-attention-ignore", Format::F64),
        ("lm-grad-v2-h3-ignore", Format::F64),
        ("lm-grad-v5-hybrid-f32", Format::F32),
        ("lm-train-v1-hybrid", Format::F64),
        ("lm-train-v2-clip-warmup", Format::F64),
        ("lm-train-v4-hybrid-f32", Format::F32),
    ];
    let few = match std::env::var_os("HIPPOS_EXHAUSTIVE") {
        Some(_) => &all[..],
        None => &all[..1],
    };
    for &(name, format) in few {
        let file = SafeTensors::open(&data(name)).expect("a file");
        let case = Case::read(&file).expect("a case");
        let golden = case.certify().expect("certified");
        let candidate = golden.candidate(&file).expect("can be judged");
        let report = golden.check(&candidate, format);
        assert!(report.pass(), "{name}: {report}");
        assert_eq!(report.stages.len(), golden.stages().len(), "{name}");
    }
}
