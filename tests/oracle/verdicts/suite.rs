//! The committed suite is what its seed makes, bit for bit, and says so.

use super::is_cotangent;
use crate::common::golden_file;
use hungry_hippos::oracle::{Golden, SUITE_SEED, suite};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// The number of bytes of the cases of a kind, which are the committed ones.
fn up_to_date(kind: &str) -> usize {
    let mut total = 0;
    for case in suite().iter().filter(|case| case.kind == kind) {
        let built = case.build(SUITE_SEED).expect("built");
        let golden = Golden::certify(built).expect("certified");
        let bytes = golden.writer().and_then(|w| w.to_bytes()).expect("small");
        let committed = std::fs::read(golden_file(case.name)).expect("committed");
        assert!(
            committed == bytes,
            "{}: regenerate with `hippos golden --out tests/golden/v2`",
            case.name
        );
        total += bytes.len();
    }
    total
}

#[test]
fn the_committed_layers_are_up_to_date() {
    let total = up_to_date("layer");
    assert!((1..4_500_000).contains(&total), "{total} bytes");
}

#[test]
fn the_committed_models_are_up_to_date() {
    let total = up_to_date("model") + up_to_date("training");
    assert!((1..1_000_000).contains(&total), "{total} bytes");
}

#[test]
fn the_committed_dense_cases_are_up_to_date() {
    let total = up_to_date("dense-ssm");
    assert!((1..1_000_000).contains(&total), "{total} bytes");
}

#[test]
fn the_committed_operators_are_up_to_date() {
    let kinds = [
        "convolution",
        "h3-operator",
        "hyena",
        "striped-hyena",
        "ssd",
        "mamba2",
    ];
    let total: usize = kinds.into_iter().map(up_to_date).sum();
    assert!((1..1_000_000).contains(&total), "{total} bytes");
}

#[test]
fn every_kind_has_its_cases() {
    let names = |kind: &str| -> Vec<&'static str> {
        let cases = suite().into_iter().filter(|case| case.kind == kind);
        cases.map(|case| case.name).collect()
    };
    assert!(names("layer").len() >= 24, "{:?}", names("layer"));
    assert_eq!(
        names("model"),
        [
            "39-model-hybrid",
            "40-model-h3",
            "41-model-attention",
            "41b-model-s4d",
            "70-model-packed",
            "71-model-padded",
            "86-model-loss",
            "89-model-recall"
        ]
    );
    assert_eq!(names("training"), ["87-training-warmup", "88-training"]);
    assert_eq!(names("dense-ssm"), ["42-dense", "43-dense-resumed"]);
    assert_eq!(
        names("convolution"),
        [
            "90-convolution",
            "90b-convolution-packed",
            "91-exact-convolution"
        ]
    );
    assert_eq!(
        names("h3-operator"),
        [
            "92-h3-operator",
            "92b-h3-operator-padded",
            "93-exact-h3-operator"
        ]
    );
    let hyena = ["94-hyena", "95-hyena-order-3", "95b-hyena-packed"];
    assert_eq!(names("hyena"), hyena);
    let striped = [
        "96-sh1",
        "96b-sh1-packed",
        "97-hcl",
        "97b-hcl-padded",
        "98-hcm",
        "99-hcs",
        "99b-hcs-schedule",
    ];
    assert_eq!(names("striped-hyena"), striped);
    assert_eq!(
        names("ssd"),
        [
            "80-ssd",
            "81-ssd-packed",
            "82-ssd-exact-bf16",
            "82b-ssd-padded"
        ]
    );
    let mamba2 = ["84-mamba2", "85-mamba2-packed", "85b-mamba2-near-limits"];
    assert_eq!(names("mamba2"), mamba2);
}

#[test]
fn nothing_else_is_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2");
    let files = std::fs::read_dir(folder).expect("committed").count();
    assert_eq!(
        files,
        suite().len() + 1,
        "the cases and a README, nothing else"
    );
}

/// Every tensor and every word of version 1 is in version 2, bit for bit: what is given, the values and
/// the scales, but for those of gradients and windows, which version 1 derived otherwise. Version 2 adds the parts of the scales that version 1 left to be derived.
#[test]
fn version_2_holds_version_1() {
    for name in ["01-basic", "39-model-hybrid"] {
        let first = SafeTensors::open(&super::version_1(name)).expect("kept");
        let second = SafeTensors::open(&golden_file(name)).expect("committed");
        for tensor in first.tensors() {
            let now = second.tensor(tensor.name).expect("still there");
            let same =
                now.dtype == tensor.dtype && now.shape == tensor.shape && now.bytes == tensor.bytes;
            let derived = ["scale.grad.", "scale.final_state_k"];
            let derived_anew = derived.iter().any(|part| tensor.name.starts_with(part));
            assert!(same || derived_anew, "{name}, {}", tensor.name);
        }
        for (key, value) in first.metadata() {
            let now = &second.metadata()[key];
            match key.as_str() {
                "golden" => assert_eq!(
                    (value.as_str(), now.as_str()),
                    ("hippos-golden/1", "hippos-golden/2")
                ),
                // A layer's kind went without saying.
                _ => assert_eq!(value, now, "{name}, {key}"),
            }
        }
        for tensor in second.tensors() {
            let added = ["probable.", "projections."]
                .iter()
                .any(|part| tensor.name.starts_with(part))
                || is_cotangent(tensor.name);
            assert_eq!(
                added,
                first.get(tensor.name).is_none(),
                "{name}, {}",
                tensor.name
            );
            let is_value = tensor.name.starts_with("grad.");
            assert!(
                !added || is_value || tensor.dtype == Dtype::F32,
                "{name}, {}",
                tensor.name
            );
        }
    }
}
