//! Claim: known mistakes tried on some heads of a case are named as on all, and what is wrong elsewhere is
//! refused all the same.

use crate::common::golden_file;
use hungry_hippos::oracle::{
    Case, Format, Golden, GoldenStage, Mistake, Report, StageVerdict, check_on_heads,
};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

/// A report on the stages of a port in f32 that makes these mistakes; after the mistakes every stage goes
/// through `edit`.
fn report(
    mistakes: &[&str],
    heads: Option<[usize; 2]>,
    edit: impl Fn(&GoldenStage, &mut [f64]),
) -> Report {
    let golden = Golden::open(&golden_file("01-basic")).expect("a golden file");
    let case = Case::from(golden.layer().expect("a layer's").clone());
    let run = case.run_with(mistakes, Some(7)).expect("runs");
    let mut writer = Writer::new();
    for stage in golden.stages() {
        if stage.name().starts_with("grad.") {
            continue;
        }
        let mut found = run.iter();
        let (name, values) = found.find(|(name, _)| name == stage.name()).expect("one");
        let (shape, mut values) = (values.shape(), values.data().to_vec());
        edit(stage, &mut values);
        let added = writer.add(name, Dtype::F32, shape, &values);
        added.expect("fits");
    }
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    let candidate = golden.candidate(&file).expect("can be judged");
    check_on_heads(&golden, &candidate, Format::F32, heads)
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
