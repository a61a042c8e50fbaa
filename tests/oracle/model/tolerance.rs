//! Claim: what a port may be off by is the scale in units of its format, and what underflow may add; a little
//! less is accepted, a little more refused.

use super::support::{Stages, certified, config, verdicts};
use crate::common::is_exhaustive;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::model::{BlockName, ModelName, ModelParameters};
use hungry_hippos::oracle::{Format, Golden};
use hungry_hippos::safetensors::Dtype;

/// A model whose first MLP returns nothing but zeros: no roundings, no scale.
fn golden(epsilon: f64, largest: f64) -> Golden {
    let mut config = config(2, &[1], 1, 3);
    (config.d_inner, config.h3.d_state) = (5, 2);
    config.layer_norm_epsilon = epsilon;
    let mut rng = Rng::new(47);
    let parameters = ModelParameters::new(config.clone(), |name| {
        let size: usize = name.shape(&config).iter().product();
        let mut values: Vec<f64> = (0..size).map(|_| 0.5 * rng.unit()).collect();
        match name {
            ModelName::NormBias => values[1] = -largest,
            ModelName::Block(0, BlockName::Fc2Weight | BlockName::Fc2Bias) => values.fill(0.0),
            _ => {}
        }
        Ok(values)
    });
    let ids = Tensor::new([1, 4], vec![0, 1, 2, 3]).expect("fits");
    certified(parameters.expect("a model"), ids)
}

/// Whether a port that is off everywhere in one stage by this much is within the bound (it may be refused all the
/// same, since roundings do not all have one sign); and how many times the probable error it is off.
fn judged(golden: &Golden, name: &str, off: &[f64], format: Format) -> (bool, f64) {
    let stage = golden.stages().iter().find(|stage| stage.name() == name);
    let values = &stage.expect("a stage").values;
    let moved = values.data().iter().zip(off).map(|(x, off)| x + off);
    let moved = Tensor::new(values.shape(), moved.collect()).expect("fits");
    let stages: Stages = vec![(name.into(), moved)];
    let report = verdicts(golden, &stages, Dtype::F64, format);
    let within = report.stages[0].worst <= 1.0;
    assert!(within || !report.stages[0].pass, "{name}");
    (within, report.stages[0].probable)
}

/// The units roundoff of a format, and what an operation may lose: what is flushed to zero, in F16 what
/// rounds to it.
fn formats() -> [(Format, f64, f64); 4] {
    let smallest = f64::from(f32::MIN_POSITIVE);
    [
        (Format::F64, 2f64.powi(-53), f64::MIN_POSITIVE),
        (Format::F32, 2f64.powi(-24), smallest),
        (Format::F16, 2f64.powi(-11), 2f64.powi(-24)),
        (Format::BF16, 2f64.powi(-8), smallest),
    ]
}

/// Of two blocks, each with 4 tokens of 2 numbers of state and 3 channels, and 5 hidden channels:
/// 2 (4 (2 + 3) + 5) = 50 operations, times the largest parameter twice (but 1 at least), over the root of
/// epsilon (but 1e-6 at least).
#[test]
fn what_underflow_may_add() {
    for (epsilon, largest, magnified) in [
        (1.0 / 1024.0, 4.0, 16.0 * 32.0),
        (1.0 / 1024.0, 0.25, 32.0),
        (0.0, 3.0, 9e6),
    ] {
        let golden = golden(epsilon, largest);
        let stage = &golden.stages()[1];
        assert_eq!(stage.name(), "block0.hidden");
        let nothing = |x: &[f64]| x.iter().all(|x| *x == 0.0);
        assert!(nothing(stage.values.data()) && nothing(stage.scale.data()));
        for (format, _, lost) in formats() {
            let allowed = 50.0 * lost * magnified;
            for (factor, right) in [(1.0 - 1e-9, true), (1.0 + 1e-9, false)] {
                let off = vec![factor * allowed; 12];
                let accepted = judged(&golden, "block0.hidden", &off, format).0;
                let what = format!("{epsilon}, {largest}, {}", format.name());
                assert_eq!(accepted, right, "{what}: {factor} of {allowed:e}");
            }
        }
    }
}

/// One unit roundoff times the scale, for what is stored in F64 half of its last place, and what the golden value
/// itself is rounded by. Of every stage in two formats, of the next one in the other two; with `HIPPOS_EXHAUSTIVE` set
/// in all.
#[test]
fn what_rounding_may_add() {
    let golden = golden(1.0 / 1024.0, 0.25);
    for (turn, stage) in golden.stages().iter().enumerate() {
        for (at, (format, unit, lost)) in formats().into_iter().enumerate() {
            if (turn + at) % 2 == 1 && !is_exhaustive() {
                continue;
            }
            let pairs = stage.values.data().iter().zip(stage.scale.data());
            let allowed: Vec<f64> = pairs
                .map(|(x, scale)| {
                    let underflow = 50.0 * 32.0 * lost;
                    scale * unit + 2.0 * x.abs() * 2f64.powi(-53) + underflow
                })
                .collect();
            // What is off by units of F64 is itself rounded to one.
            let margin = if format == Format::F64 { 0.5 } else { 1e-6 };
            for (factor, right) in [(1.0 - margin, true), (1.0 + margin, false)] {
                let off: Vec<f64> = allowed.iter().map(|x| factor * x).collect();
                let (accepted, probable) = judged(&golden, stage.name(), &off, format);
                let what = format!("{}, {}", stage.name(), format.name());
                assert_eq!(accepted, right, "{what}: {factor}");
                // Of sums as short as these nothing is improbable; but the worst is rounded up to eight bits,
                // and underflow is no part of what is probable. (In f64 the reference has errors of its own.)
                let ratio = probable / factor;
                let exact = stage.scale.data().iter().all(|scale| *scale == 0.0);
                let expected = f64::from(u8::from(!exact));
                let margin = if format == Format::F16 {
                    0.1
                } else {
                    1.0 / 64.0
                } + margin;
                assert!(
                    format == Format::F64 || (ratio - expected).abs() <= margin,
                    "{what}: {ratio}"
                );
            }
        }
    }
}
