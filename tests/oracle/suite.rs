//! The committed suite is what its seed makes, bit for bit, and says so.

use hungry_hippos::oracle::{Golden, SUITE_SEED, dense_suite, model_suite, suite};
use hungry_hippos::safetensors::Writer;

/// The bytes made, if they are the committed ones.
fn up_to_date(name: &str, writer: &Writer) -> usize {
    let folder = format!("{}/tests/golden/v1", env!("CARGO_MANIFEST_DIR"));
    let bytes = writer.to_bytes().expect("small");
    let committed = std::fs::read(format!("{folder}/{name}.safetensors"));
    assert!(
        committed.expect("committed") == bytes,
        "{name}: regenerate with `hippos golden --out tests/golden/v1`"
    );
    bytes.len()
}

#[test]
fn the_committed_layers_are_up_to_date() {
    let cases = suite();
    assert!(cases.len() >= 24, "{} cases", cases.len());
    let sizes = cases.iter().map(|case| {
        let golden = Golden::certify(case.build(SUITE_SEED).expect("built")).expect("certified");
        up_to_date(case.name, &golden.writer().expect("a file"))
    });
    let total: usize = sizes.sum();
    assert!(total < 3_000_000, "{total} bytes");
}

#[test]
fn the_committed_models_are_up_to_date() {
    let sizes = model_suite().into_iter().map(|case| {
        let golden = case.certify(SUITE_SEED).expect("certified");
        up_to_date(case.name, &golden.writer().expect("a file"))
    });
    let total: usize = sizes.sum();
    assert!(total < 1_000_000, "{total} bytes");
}

#[test]
fn the_committed_dense_cases_are_up_to_date() {
    let sizes = dense_suite().into_iter().map(|case| {
        let golden = case.certify(SUITE_SEED).expect("certified");
        up_to_date(case.name, &golden.writer().expect("a file"))
    });
    let total: usize = sizes.sum();
    assert!(total < 1_000_000, "{total} bytes");
}

#[test]
fn nothing_else_is_committed() {
    let folder = format!("{}/tests/golden/v1", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("committed").count();
    assert_eq!(
        files,
        suite().len() + model_suite().len() + dense_suite().len() + 1,
        "the cases and a README, nothing else"
    );
}
