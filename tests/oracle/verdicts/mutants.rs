//! Mutants accepted: none, at f64 and f32, on any case where the mutant applies; and the right
//! one is named first.

use super::{committed, dumped, judge};
use hungry_hippos::Tensor;
use hungry_hippos::h3::Name;
use hungry_hippos::oracle::mutants::{Mutant, applies, mutated_forward};
use hungry_hippos::oracle::{Format, Golden};
use hungry_hippos::safetensors::Dtype;

/// Whether some mode decays below `size` within the sequence.
fn decays_below(golden: &Golden, size: f64) -> bool {
    let steps = golden.case().input().shape()[1] as i32;
    let layer = golden.case().parameters().discretize().expect("a layer");
    let models = layer.parts().diagonal.iter();
    models
        .flat_map(|model| model.poles())
        .any(|a| a.norm().powi(steps) < size)
}

/// Whether only one of the layer's models does anything.
fn stands_alone(golden: &Golden) -> bool {
    let parameters = golden.case().parameters();
    parameters.get(Name::QWeight).iter().all(|x| *x == 0.0)
}

fn mutated(
    golden: &Golden,
    mutant: Mutant,
    format: Format,
) -> Option<Vec<(&'static str, Tensor<f64>)>> {
    let case = golden.case();
    let (batch, len) = (case.input().shape()[0], case.input().shape()[1]);
    let state = case.state();
    if !applies(mutant, case.parameters(), len, batch, state.is_some()) {
        return None;
    }
    // This one errs by a relative 1e-10 / |a^t|: until a mode has decayed, by less than float32
    // rounds, and no comparison of float32 outputs can tell.
    let hidden = format == Format::F32 && !decays_below(golden, 1e-6);
    if mutant == Mutant::ScanUnderflow && hidden {
        return None;
    }
    let run = |mutants: &[Mutant]| mutated_forward(case.parameters(), case.input(), state, mutants);
    let stages = run(&[mutant]).ok()?;
    // Where one model stands alone the others are ones and zeros, and some mistakes with them the
    // same numbers, but for the order of a sum.
    let same = |a: &Tensor<f64>, b: &Tensor<f64>| {
        let mut pairs = a.data().iter().zip(b.data());
        pairs.all(|(a, b)| (a - b).abs() <= 1e-14)
    };
    let right = run(&[]).ok()?;
    let mut pairs = stages.iter().zip(&right);
    if stands_alone(golden) && pairs.all(|((_, a), (_, b))| same(a, b)) {
        return None;
    }
    // A port cannot dump what is not a number; such a candidate is refused before it is judged.
    let finite = stages
        .iter()
        .all(|(_, stage)| stage.data().iter().all(|x| x.is_finite() && x.abs() < 1e30));
    finite.then_some(stages)
}

/// The cases run by default, on which every mutant applies at least once. With
/// `HIPPOS_EXHAUSTIVE` set, all of them are run (some minutes).
const SUBSET: [&str; 9] = [
    "02-zoh",
    "04-heads-hd2",
    "07-shared-all",
    "09-cut-short",
    "13-short",
    "20-real-relu",
    "21-real-sigmoid",
    "25-resumed-heads",
    "28-fast",
];

/// Runs every applicable mutant on every case as a port of one type: refused, and named first
/// (or tied with one that computes the same).
fn refused_and_named(dtype: Dtype, format: Format) {
    let all = std::env::var_os("HIPPOS_EXHAUSTIVE").is_some();
    let (mut runs, mut first, mut accepted, mut misnamed) = (0, 0, Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for (name, golden) in &committed() {
        if !all && !SUBSET.contains(name) {
            continue;
        }
        for mutant in Mutant::ALL {
            let Some(stages) = mutated(golden, mutant, format) else {
                continue;
            };
            let named: Vec<_> = stages.iter().map(|(n, s)| (*n, s)).collect();
            let report = judge(golden, &dumped(&named, dtype), format);
            runs += 1;
            seen.push(mutant);
            if report.pass() {
                accepted.push(format!("{} {} on {name}", mutant.id(), mutant.name()));
                continue;
            }
            let diagnosis = report.diagnosis.expect("a failed check has one");
            let top = diagnosis.suspects.first().map(|suspect| suspect.worst);
            let own = diagnosis
                .suspects
                .iter()
                .find(|suspect| suspect.mutants == [mutant]);
            if own.map(|suspect| suspect.worst) == top && top.is_some() {
                first += 1;
            } else {
                misnamed.push(format!(
                    "{} on {name}: {:?}",
                    mutant.id(),
                    diagnosis.suspects.first().map(|s| s.mutants.clone())
                ));
            }
        }
    }
    println!("{}: {runs} runs, named first {first}", format.name());
    println!("accepted: {accepted:#?}\nmisnamed: {misnamed:#?}");
    let unseen = Mutant::ALL.iter().filter(|m| !seen.contains(m));
    let unseen: Vec<_> = unseen.map(|m| m.id()).collect();
    assert!(unseen.is_empty(), "mutants that ran on no case: {unseen:?}");
    assert!(accepted.is_empty(), "mutants accepted: {accepted:#?}");
    assert!(first * 100 >= runs * 99, "named first in {first} of {runs}");
}

#[test]
fn mutants_are_refused_and_named_in_f32() {
    refused_and_named(Dtype::F32, Format::F32);
}

#[test]
fn mutants_are_refused_and_named_in_f64() {
    refused_and_named(Dtype::F64, Format::F64);
}
