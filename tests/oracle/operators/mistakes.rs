//! Ports of the suite's operators: right ones pass in every form, wrong ones are refused and named.

use super::super::verdicts::{committed_one, dumped};
use super::files;
use crate::common::{close, is_exhaustive, largest};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Axis, Case, Format, Golden, Precision, Report, SUITE_SEED, suite};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use std::collections::BTreeSet;

/// A case and its golden file.
struct Judged {
    name: String,
    case: Case,
    golden: Golden,
}

fn cases() -> Vec<Judged> {
    let mut cases = Vec::new();
    for row in suite().into_iter().filter(|case| case.name >= "90") {
        cases.push(Judged {
            name: row.name.into(),
            case: row.build(SUITE_SEED).expect("built"),
            golden: committed_one(row.name),
        });
    }
    if is_exhaustive() {
        for path in files() {
            let file = SafeTensors::open(&path).expect("a file");
            cases.push(Judged {
                name: path.display().to_string(),
                case: Case::read(&file).expect("a case"),
                golden: Golden::read(&file).expect("certified"),
            });
        }
    }
    cases
}

impl Judged {
    fn check(&self, stages: &[(String, Tensor<f64>)], format: Format) -> Report {
        let dtype = match format.name() {
            "f64" => Dtype::F64,
            "bf16" => Dtype::BF16,
            _ => Dtype::F32,
        };
        let stages: Vec<(&str, &Tensor<f64>)> = stages
            .iter()
            .map(|(name, stage)| (&name[..], stage))
            .collect();
        let dump = dumped(&stages, dtype);
        let candidate = self.golden.candidate(&dump).expect("a dump");
        self.golden.check(&candidate, format)
    }
}

/// Every second form on every case, the others on the next; with `HIPPOS_EXHAUSTIVE` set, every form on all.
#[test]
fn right_ports_pass_in_every_form() {
    for (number, judged) in cases().into_iter().enumerate() {
        for (at, form) in Form::all([Chunking::Uniform(5)]).into_iter().enumerate() {
            if (number + at) % 2 == 1 && !is_exhaustive() {
                continue;
            }
            let run = judged.case.run(&form, Precision::F32, true).expect("runs");
            let report = judged.check(&run, Format::F32);
            assert!(report.pass(), "{}, {form}: {report:?}", judged.name);
        }
        // Stored in 16 bits, every stage is right in these.
        let run = judged.case.run(&Form::Fft, Precision::F32, true);
        let report = judged.check(&run.expect("runs"), Format::BF16);
        assert!(report.pass(), "{}, bf16: {report:?}", judged.name);
    }
}

/// Taps that meet no input have no gradient; a port by FFT leaves its rounding there, in proportion to the taps that
/// have one, and what is larger is none of it.
#[test]
fn what_a_transform_leaves_in_taps_beyond_the_sequence_is_rounding() {
    let mut seen = 0;
    for judged in cases() {
        let right = judged.case.run(&Form::Fft, Precision::F64, true);
        let right = right.expect("runs");
        for stage in judged.golden.stages() {
            let (name, axes) = (stage.name(), &stage.spec.axes);
            if !name.starts_with("grad.") || !axes.iter().any(|&(axis, _)| axis == Axis::Tap) {
                continue;
            }
            let at = right.iter().position(|(known, _)| known == name);
            let at = at.expect("computed");
            let size = largest(right[at].1.data());
            let is_beyond = |&x: &f64| x.abs() <= 1e-13 * size;
            if !right[at].1.data().iter().any(is_beyond) {
                continue;
            }
            seen += 1;
            for (format, u) in [(Format::F64, 1e-16), (Format::F32, 6e-8)] {
                for (left, is_rounding) in [(u, true), (1e4 * u, false)] {
                    let mut stages = right.clone();
                    let mut values = right[at].1.data().to_vec();
                    for x in values.iter_mut().filter(|x| is_beyond(x)) {
                        *x = left * size;
                    }
                    stages[at].1 = Tensor::new(right[at].1.shape(), values).expect("fits");
                    let report = judged.check(&stages, format);
                    let of = format!("{} {name} {left:e}", judged.name);
                    assert_eq!(report.pass(), is_rounding, "{of}: {report}");
                }
            }
        }
    }
    assert!(seen >= 3, "{seen} cases have such taps");
}

/// A port that makes one known mistake and works in f32 else: what it stores, with all stages before the
/// first wrong one as they are. Each mistake is made in cases of a kind until it is named; with
/// `HIPPOS_EXHAUSTIVE` set, in all of them.
#[test]
fn mistakes_are_refused_and_named_in_f32() {
    let (mut ports, mut named) = (0, 0);
    let mut missed = Vec::new();
    let (mut tried, mut done) = (BTreeSet::new(), BTreeSet::new());
    for judged in cases() {
        let right = judged.case.run_with(&[], None).expect("runs");
        for mistake in judged.case.mistakes() {
            let of_kind = (judged.case.kind(), mistake.id);
            if done.contains(&of_kind) && !is_exhaustive() {
                continue;
            }
            // Rounding to 16 bits has a claim of its own.
            let Ok(mut wrong) = judged.case.run_with(&[mistake.id], None) else {
                continue;
            };
            let differs = |stages: &[(String, Tensor<f64>)]| {
                stages.iter().any(|(name, stage)| {
                    let of = right.iter().find(|(known, _)| known == name);
                    of.is_none_or(|(_, of)| {
                        let bound = 1e-9 * largest(of.data());
                        close(name, stage.data(), of.data(), bound).is_err()
                    })
                })
            };
            if mistake.first_stage.starts_with("grad.") {
                // Of the way back alone: the forward pass is right.
                wrong.extend(right.iter().cloned());
            } else if !differs(&wrong) {
                continue;
            }
            let report = judged.check(&wrong, Format::F32);
            let what = format!("{} {}", judged.name, mistake.id);
            if mistake.first_stage.starts_with("grad.") && report.pass() {
                // It changes nothing here.
                continue;
            }
            assert!(!report.pass(), "{what} accepted: {report:?}");
            ports += 1;
            tried.insert(of_kind);
            let mut suspects = report.findings.iter().flat_map(|found| &found.suspects);
            match suspects.any(|suspect| suspect.mistakes.iter().any(|m| m.id == mistake.id)) {
                true => {
                    named += 1;
                    done.insert(of_kind);
                }
                false => missed.push(what),
            }
        }
    }
    println!("{named} of {ports} named; missed {missed:?}");
    let least = if is_exhaustive() { 300 } else { 110 };
    assert!(ports >= least, "{ports}");
    assert!(100 * named >= 97 * ports, "{named} of {ports}: {missed:?}");
    let never: Vec<_> = tried.difference(&done).collect();
    assert!(never.is_empty(), "named in no case: {never:?}");
}
