//! Mistakes accepted: none, at f64 and f32, on any case that the mistake changes; and the right one is
//! named first.

use super::{Mistaken, committed, dumped, forward_mistakes, judge, layer, named, served};
use hungry_hippos::oracle::{Case, Format, Golden, Mistake, Verdict};
use hungry_hippos::safetensors::Dtype;

/// True if some mode decays below `size` within the sequence.
fn decays_below(golden: &Golden, size: f64) -> bool {
    let steps = layer(golden).input().shape()[1] as i32;
    let layer = layer(golden).parameters().discretize().expect("a layer");
    let models = layer.parts().diagonal.iter();
    models
        .flat_map(|model| model.poles())
        .any(|a| a.norm().powi(steps) < size)
}

/// True if a mistake errs by less than a format rounds: one by a relative 1e-10 / |a^t|, which
/// no comparison of float32 outputs can tell until a mode has decayed, and one by a rounding to
/// float32.
fn is_hidden(golden: &Golden, name: &str, format: Format) -> bool {
    let f32 = format == Format::F32;
    let underflow = name == "scan_underflow" && !decays_below(golden, 1e-6);
    f32 && (underflow || name == "shift_kernel_f32")
}

/// The cases run by default, on which every mistake changes something at least once. Each mistake is run on
/// one of them: in f32 on the first that it changes, in f64 on the last. With `HIPPOS_EXHAUSTIVE` set, each is
/// run on all cases there are (some minutes).
const SUBSET: [&str; 14] = [
    "02-zoh",
    "04-heads-hd2",
    "06-shared",
    "07-shared-all",
    "09-cut-short",
    "13-short",
    "20-real-relu",
    "21-real-sigmoid",
    "25-resumed-heads",
    "28-fast",
    "72-packed",
    "73-packed-heads",
    "75-padded-right",
    "76-padded-left",
];

/// Runs every mistake on a case that it changes (on all, if all are asked for) as a port of one type: refused, and
/// named alone at a stage, or with those that compute the same.
fn refused_and_named(dtype: Dtype, format: Format) {
    let all = std::env::var_os("HIPPOS_EXHAUSTIVE").is_some();
    let (mut runs, mut named_at_all, mut accepted, mut misnamed) = (0, 0, Vec::new(), Vec::new());
    let mut seen: Vec<&str> = Vec::new();
    let (layers, served) = (committed(), served());
    let mut cases: Vec<_> = layers.iter().chain(&served).collect();
    if format == Format::F64 {
        cases.reverse();
    }
    for (name, golden) in cases {
        if !all && !SUBSET.contains(name) {
            continue;
        }
        let mistaken = Mistaken::new(golden);
        for mistake in forward_mistakes(&mistaken.case) {
            let is_done = !all && seen.contains(&mistake.id);
            if is_done || is_hidden(golden, mistake.name, format) {
                continue;
            }
            let Some(stages) = mistaken.stages(&[mistake.id]) else {
                continue;
            };
            let report = judge(golden, &dumped(&named(&stages), dtype), format);
            runs += 1;
            seen.push(mistake.id);
            if report.verdict() != Verdict::Refused {
                accepted.push(format!("{} {} on {name}", mistake.id, mistake.name));
                continue;
            }
            let mut suspects = report.findings.iter().flat_map(|found| &found.suspects);
            if suspects.any(|s| s.mistakes == [mistake]) {
                named_at_all += 1;
            } else {
                let said = report.findings.iter().map(|found| {
                    let ids = found.suspects.iter().flat_map(|s| &s.mistakes);
                    let ids: Vec<_> = ids.map(|known| known.id).collect();
                    format!("{} {:?}: {}", found.stage, ids, found.pattern)
                });
                let said: Vec<_> = said.collect();
                misnamed.push(format!("{} on {name}: {said:?}", mistake.id));
            }
        }
    }
    println!("{}: {runs} runs, named {named_at_all}", format.name());
    let (_, golden) = &layers[0];
    let known = forward_mistakes(&Case::from(layer(golden).clone()));
    let always_hidden = |m: &&&Mistake| m.name == "shift_kernel_f32" && format == Format::F32;
    let unseen: Vec<_> = known
        .iter()
        .filter(|m| !always_hidden(m) && !seen.contains(&m.id))
        .map(|m| m.id)
        .collect();
    assert!(
        unseen.is_empty(),
        "mistakes that ran on no case: {unseen:?}"
    );
    assert!(accepted.is_empty(), "mistakes accepted: {accepted:#?}");
    assert!(misnamed.is_empty(), "not named: {misnamed:#?}");
}

#[test]
fn mistakes_are_refused_and_named_in_f32() {
    refused_and_named(Dtype::F32, Format::F32);
}

#[test]
fn mistakes_are_refused_and_named_in_f64() {
    refused_and_named(Dtype::F64, Format::F64);
}
