//! The SSD operator (`ssd_minimal_discrete`, fla's naive forms).

use super::{assert_named, assert_official, is_met_with, judged, official_float32_passes, open};
use crate::common::golden_file;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Golden, Precision};

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

/// Gradients are those of the recurrence, whatever the form.
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
    assert_eq!(official_float32_passes("ssd-v8-f32-G2-L35"), 2);
}

#[test]
fn mistakes_are_refused_and_named() {
    let mut acted = Vec::new();
    let names = ["80-ssd", "81-ssd-packed", "82b-ssd-padded"];
    for (number, name) in names.into_iter().enumerate() {
        let golden = Golden::open(&golden_file(name)).expect("committed");
        let case = Case::open(&golden_file(name)).expect("a case");
        let grads = case.run(&Form::Scan, Precision::F32, true).expect("runs");
        let report = judged(&golden, &grads);
        assert!(report.pass(), "{name}: {report}");
        acted.extend(assert_named((number, name), &case, &golden));
    }
    let (case, _) = open("ssd-v4-gla-L19");
    for mistake in case.mistakes() {
        assert!(acted.contains(&mistake.id), "{} acts nowhere", mistake.id);
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let gla = "ssd-v4-gla-L19";
    for (key, value, said) in [
        ("operator", "retnet", "expected one of ssd"),
        ("operator", "ssd", "metadata operator"),
        ("decay", "one", "metadata decay"),
        ("scale", "10", "metadata scale"),
        ("scale", "0.5 (C is scaled)", "metadata scale"),
        ("D", "present", "metadata D"),
    ] {
        let error = super::edited(gla, key, value).expect_err(key);
        assert!(error.to_string().contains(said), "{key}: {error}");
    }
    assert!(super::edited(gla, "scale", "1.0 (as it stands)").is_ok());
}
