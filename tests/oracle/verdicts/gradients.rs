//! Mistakes in the backward pass: refused, and named first.

use super::{committed, dumped, judge};
use hungry_hippos::Tensor;
use hungry_hippos::oracle::mutants::{GradientMutant, mutated_gradients};
use hungry_hippos::oracle::{Format, Golden};
use hungry_hippos::safetensors::Dtype;

/// On these every mutant of the backward pass changes something.
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
        let Some((_, found)) = gradients.iter().find(|(name, _)| *name == stage.name) else {
            continue;
        };
        let largest = stage
            .values
            .data()
            .iter()
            .fold(0.0, |m: f64, x| m.max(x.abs()));
        for (a, b) in stage.values.data().iter().zip(found.data()) {
            assert!(b.is_finite(), "{}", stage.name);
            worst = f64::max(worst, (a - b).abs() / largest.max(1e-300));
        }
    }
    worst
}

#[test]
fn gradient_mutants_are_refused_and_named() {
    let mut seen = Vec::new();
    let (mut runs, mut first, mut accepted) = (0, 0, Vec::new());
    for (name, golden) in &committed() {
        if !CASES.contains(name) {
            continue;
        }
        for mutant in GradientMutant::ALL {
            let gradients = mutated_gradients(golden.case(), mutant).expect("runs");
            if departure(golden, &gradients) < 1e-12 {
                continue;
            }
            seen.push(mutant);
            let forward = golden
                .stages()
                .iter()
                .filter(|s| !s.name.starts_with("grad."));
            let mut stages: Vec<_> = forward.map(|s| (s.name.as_str(), &s.values)).collect();
            stages.extend(
                gradients
                    .iter()
                    .map(|(name, values)| (name.as_str(), values)),
            );
            for (dtype, format) in [(Dtype::F64, Format::F64), (Dtype::F32, Format::F32)] {
                let report = judge(golden, &dumped(&stages, dtype), format);
                runs += 1;
                let Some(diagnosis) = report.diagnosis else {
                    accepted.push(format!("{} on {name}, {}", mutant.id(), format.name()));
                    continue;
                };
                assert!(diagnosis.first_stage.starts_with("grad."));
                // Gradients come in the order of their names; a given state's is before the input's.
                if format == Format::F64 && golden.case().state().is_none() {
                    assert_eq!(diagnosis.first_stage, mutant.first_stage(), "{name}");
                }
                let top = diagnosis
                    .suspects
                    .first()
                    .and_then(|suspect| suspect.gradient);
                first += usize::from(top == Some(mutant));
            }
        }
    }
    println!("{runs} runs, named first {first}; accepted: {accepted:#?}");
    for mutant in GradientMutant::ALL {
        assert!(seen.contains(&mutant), "{} ran on no case", mutant.id());
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(first * 100 >= runs * 99, "named first in {first} of {runs}");
}

/// The way back from a forward pass that is right, by the reference and by no mistake: the same.
#[test]
fn only_the_mistake_differs() {
    let (_, golden) = committed().swap_remove(0);
    // M72 changes the sign of imaginary parts and nothing else: twice is nothing.
    let wrong = mutated_gradients(golden.case(), GradientMutant::ComplexGradConj).expect("runs");
    for stage in golden
        .stages()
        .iter()
        .filter(|s| s.name.starts_with("grad."))
    {
        let (_, found) = wrong
            .iter()
            .find(|(name, _)| *name == stage.name)
            .expect("there");
        let complex = ["grad.kernel.kernel.B", "grad.kernel.kernel.C"].contains(&&*stage.name);
        for (i, (a, b)) in stage.values.data().iter().zip(found.data()).enumerate() {
            let b = if complex && i % 2 == 1 { -b } else { *b };
            assert!(
                (a - b).abs() <= 1e-12 * a.abs().max(1.0),
                "{}[{i}]",
                stage.name
            );
        }
    }
}
