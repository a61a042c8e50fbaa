//! Mistakes in the backward pass: refused, and named first.

use super::{committed, dumped, is_exhaustive, judge, layer};
use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Case, Format, Golden, Mistake};
use hungry_hippos::safetensors::Dtype;

/// The mistakes of the backward pass.
fn backward_mistakes(case: &Case) -> Vec<&'static Mistake> {
    let mut mistakes = case.mistakes();
    mistakes.retain(|mistake| mistake.first_stage.starts_with("grad."));
    mistakes
}

/// On these every mistake of the backward pass changes something.
const CASES: [&str; 5] = [
    "01-basic",
    "05-heads-8",
    "08-cut",
    "21-real-sigmoid",
    "25-resumed-heads",
];

/// The largest difference from the golden gradients, relative to each one's largest value.
fn departure(golden: &Golden, gradients: &[(String, Tensor<f64>)]) -> f64 {
    let mut worst = 0.0;
    for stage in golden.stages() {
        let Some((_, found)) = gradients.iter().find(|(name, _)| *name == stage.name()) else {
            continue;
        };
        let largest = stage
            .values
            .data()
            .iter()
            .fold(0.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in stage.values.data().iter().zip(found.data()) {
            assert!(b.is_finite(), "{}", stage.name());
            worst = f64::max(worst, (a - b).abs() / largest.max(1e-300));
        }
    }
    worst
}

/// By default each on the first case that it changes, in one of two formats; with `HIPPOS_EXHAUSTIVE` set on all
/// in both (a minute).
#[test]
fn gradient_mistakes_are_refused_and_named() {
    let exhaustive = is_exhaustive();
    let mut seen: Vec<&str> = Vec::new();
    let (mut runs, mut first, mut accepted) = (0, 0, Vec::new());
    for (name, golden) in &committed() {
        if !CASES.contains(name) {
            continue;
        }
        let case = Case::from(layer(golden).clone());
        for (at, mistake) in backward_mistakes(&case).into_iter().enumerate() {
            if seen.contains(&mistake.id) && !exhaustive {
                continue;
            }
            let mut gradients = case.run_with(&[mistake.id], None).expect("runs");
            gradients.retain(|(name, _)| name.starts_with("grad."));
            if departure(golden, &gradients) < 1e-12 {
                continue;
            }
            seen.push(mistake.id);
            let forward = golden
                .stages()
                .iter()
                .filter(|s| !s.name().starts_with("grad."));
            let mut stages: Vec<_> = forward.map(|s| (s.name(), &s.values)).collect();
            stages.extend(
                gradients
                    .iter()
                    .map(|(name, values)| (name.as_str(), values)),
            );
            let formats = [(Dtype::F64, Format::F64), (Dtype::F32, Format::F32)];
            let formats = match exhaustive {
                true => &formats[..],
                false => &formats[at % 2..][..1],
            };
            for &(dtype, format) in formats {
                let report = judge(golden, &dumped(&stages, dtype), format);
                runs += 1;
                let what = format!("{} on {name}, {}", mistake.id, format.name());
                let Some(finding) = report.findings.first() else {
                    accepted.push(what);
                    continue;
                };
                assert!(finding.stage.starts_with("grad."), "{what}");
                // Gradients come in the order of their names; a given state's is before the input's.
                if format == Format::F64 && layer(golden).state().is_none() {
                    assert_eq!(finding.stage, mistake.first_stage, "{what}");
                }
                let top = finding.suspects.first();
                let named = top.is_some_and(|top| top.mistakes == [mistake]);
                match named {
                    true => first += 1,
                    false => println!("{what}: {finding:?}"),
                }
            }
        }
    }
    println!("{runs} runs, named first {first}; accepted: {accepted:#?}");
    let (_, golden) = &committed()[0];
    for mistake in backward_mistakes(&Case::from(layer(golden).clone())) {
        // These need cotangents of states.
        if mistake.id.starts_with("M104") {
            continue;
        }
        assert!(seen.contains(&mistake.id), "{} ran on no case", mistake.id);
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(first * 100 >= runs * 99, "named first in {first} of {runs}");
}

/// The way back from a forward pass that is right, by the reference and by no mistake: the same.
#[test]
fn only_the_mistake_differs() {
    let (_, golden) = committed().swap_remove(0);
    // M72 changes the sign of imaginary parts and nothing else: twice is nothing.
    let case = Case::from(layer(&golden).clone());
    let wrong = case.run_with(&["complex_grad_conj"], None).expect("runs");
    for stage in golden
        .stages()
        .iter()
        .filter(|s| s.name().starts_with("grad."))
    {
        let (_, found) = wrong
            .iter()
            .find(|(name, _)| *name == stage.name())
            .expect("there");
        let complex = ["grad.kernel.kernel.B", "grad.kernel.kernel.C"].contains(&stage.name());
        for (i, (a, b)) in stage.values.data().iter().zip(found.data()).enumerate() {
            let b = if complex && i % 2 == 1 { -b } else { *b };
            assert!(
                (a - b).abs() <= 1e-12 * a.abs().max(1.0),
                "{}[{i}]",
                stage.name()
            );
        }
    }
}
