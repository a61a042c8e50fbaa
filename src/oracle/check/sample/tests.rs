use super::super::check_on;
use super::*;
use crate::oracle::candidate::Candidate;
use crate::oracle::check::StageVerdict;
use crate::oracle::format::Format;
use crate::oracle::golden::{GoldenStage, stored};
use crate::oracle::subjects::layer::LayerCase;
use crate::safetensors::{Dtype, SafeTensors, Writer};

#[test]
fn heads_are_spread_and_half_are_wrong_ones() {
    let even = chosen(768, &[], 16);
    assert_eq!(even.len(), 16);
    let parts: Vec<usize> = even.iter().map(|head| head / 48).collect();
    assert_eq!(parts, (0..16).collect::<Vec<_>>());
    for period in [2, 3, 4, 6, 8] {
        let places = even.iter().map(|head| head % period);
        let seen = places.collect::<std::collections::BTreeSet<_>>();
        assert!(seen.len() > 1, "all alike modulo {period}");
    }
    // One that is wrong is among them, and no more than half are chosen for that.
    assert!(!even.contains(&701));
    assert!(chosen(768, &[701], 16).contains(&701));
    let last: Vec<usize> = (704..768).collect();
    let found = chosen(768, &last, 16);
    let wrong = found.iter().filter(|head| last.contains(head)).count();
    assert!((8..12).contains(&wrong), "{found:?}");
    assert_eq!(chosen(768, &(0..768).collect::<Vec<_>>(), 16), even);
}

/// A report on the stages of a port in f32 that makes these mistakes; after the mistakes every stage goes
/// through `edit`.
fn report(
    mistakes: &[&str],
    heads: Option<[usize; 2]>,
    edit: impl Fn(&GoldenStage, &mut [f64]),
) -> super::super::Report {
    let (case, stages) = stored::<LayerCase>("01-basic");
    let golden = Reference {
        case: &case,
        stages: &stages,
    };
    let known = golden.case.mistakes(false);
    let made = known.into_iter().filter(|one| mistakes.contains(&one.id));
    let setting = Setting {
        chunk_len: 7,
        upstream: None,
        stored: None,
        memo: None,
        backward: false,
        sample: None,
    };
    let run = golden.case.run_with(&made.collect::<Vec<_>>(), setting);
    let run = run.expect("runs");
    let mut writer = Writer::new();
    for stage in stages.iter().filter(|stage| !stage.spec.is_gradient()) {
        let mut found = run.iter();
        let (name, values) = found.find(|(name, _)| name == stage.name()).expect("one");
        let mut values = values.clone();
        edit(stage, values.data_mut());
        let added = writer.add(name, Dtype::F32, values.shape(), values.data());
        added.expect("fits");
    }
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    let given = golden.case.given();
    let candidate = Candidate::read(&file, &stages, &given, &[], &[]).expect("can be judged");
    check_on(golden, &candidate, (Format::F32, true), &|_, _| heads)
}

/// On half of the heads the same mistakes are named at the same stages as on all, one that takes numbers from one
/// channel to another among them; and a right port passes, with the same power.
#[test]
fn a_sample_names_the_same_mistakes() {
    let half = Some([2, 4]);
    for mistakes in [&[][..], &["M16"], &["M33a"], &["M08", "M34"]] {
        let named = |heads| {
            let report = report(mistakes, heads, |_, _| {});
            assert_eq!(report.sampled.is_some(), heads.is_some());
            let findings = report.findings.iter().map(|finding| {
                let best = finding.suspects.first();
                let best =
                    best.map(|found| found.mistakes.iter().map(|one| one.id).collect::<Vec<_>>());
                (finding.stage.clone(), finding.reproduced, best)
            });
            let power = report.power.as_ref();
            let ids = |known: &[&'static Mistake]| -> Vec<&str> {
                known.iter().map(|one| one.id).collect()
            };
            let power = power.map(|power| [ids(&power.excluded), ids(&power.not_excluded)]);
            (findings.collect::<Vec<_>>(), power)
        };
        let whole = named(None);
        assert_eq!(whole.0.is_empty(), mistakes.is_empty());
        assert_eq!(named(half), whole, "{mistakes:?}");
    }
}

/// What is wrong in one head alone is refused though mistakes are tried on others too, and the mistake is named.
#[test]
fn a_head_outside_the_sample_is_judged() {
    for wrong in [0, 3] {
        let spoilt = |stage: &GoldenStage, values: &mut [f64]| {
            if stage.name() == "ssm_out" {
                let (heads, len) = (4, 21);
                for (at, x) in values.iter_mut().enumerate() {
                    if at / len % heads == wrong {
                        *x += 0.25 * (at as f64).sin();
                    }
                }
            }
        };
        let report = report(&[], Some([1, 4]), spoilt);
        let stage = report.stages.iter().find(|stage| stage.name == "ssm_out");
        assert_eq!(stage.expect("one").verdict, StageVerdict::Fail);
        let found = &report.findings[0];
        let place = format!("wrong in head {wrong} alone");
        assert!(found.pattern.contains(&place), "{}", found.pattern);
    }
}
