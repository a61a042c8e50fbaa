//! The SSD operator (`ssd_minimal_discrete`, fla's naive forms).

use super::{assert_named, assert_official, is_met_with, judged, open};
use crate::common::golden_file;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Golden, Precision};

/// The forms that there are without a kernel.
fn forms() -> Vec<Form> {
    vec![
        Form::Recurrence,
        Form::Scan,
        Form::Attention,
        Form::FlashConv(Chunking::Uniform(1)),
        Form::FlashConv(Chunking::Uniform(8)),
    ]
}

#[test]
fn every_stage_and_gradient_is_the_official_one() {
    for (name, stages) in [("ssd-v3-G2-H6-ragged-reset-L27", 9), ("ssd-v4-gla-L19", 7)] {
        for form in forms() {
            assert_eq!(assert_official(name, &form), stages, "{name}");
        }
    }
    let (case, _) = open("ssd-v4-gla-L19");
    let refused = case
        .run(&Form::Fft, Precision::F64, false)
        .expect_err("no kernel");
    assert!(
        refused.to_string().contains("expected recurrence, scan"),
        "{refused}"
    );
}

/// The bound can fail.
#[test]
fn a_wrong_operator_is_outside() {
    for mistake in [
        "S01a", "S05a", "S06a", "S12a", "S12b", "S14a", "S15a", "S15c", "S18a", "S19",
    ] {
        let name = "ssd-v3-G2-H6-ragged-reset-L27";
        assert!(!is_met_with(name, mistake, "y"), "{mistake}");
    }
}

/// The official run in float32 is within what float32 allows, by bound and by evidence.
#[test]
fn the_official_float32_run_passes() {
    let (case, file) = open("ssd-v8-f32-G2-L35");
    let golden = case.certify().expect("decided");
    let candidate = golden.candidate(&file).expect("stages");
    let report = golden.check(&candidate, Format::F32);
    assert!(report.pass(), "{report}");
    for stage in golden.stages() {
        if let Some(longdouble) = file.get(&format!("{}_longdouble", stage.name())) {
            let saved = longdouble.to_f64().expect("floats");
            let bound = 1e-15 * crate::common::largest(&saved);
            crate::common::assert_close(stage.name(), stage.values.data(), &saved, bound);
        }
    }
}

#[test]
fn mistakes_are_refused_and_named() {
    let mut acted = Vec::new();
    for name in ["80-ssd", "81-ssd-packed"] {
        let golden = Golden::open(&golden_file(name)).expect("committed");
        let case = Case::open(&golden_file(name)).expect("a case");
        let grads = case.run(&Form::Scan, Precision::F32, true).expect("runs");
        let report = judged(&golden, &grads);
        assert!(report.pass(), "{name}: {report}");
        acted.extend(assert_named(name, &case, &golden));
    }
    let (case, _) = open("ssd-v4-gla-L19");
    for mistake in case.mistakes() {
        assert!(acted.contains(&mistake.id), "{} acts nowhere", mistake.id);
    }
}
