//! The committed suite is what its seed makes, bit for bit, and says so.

use hungry_hippos::oracle::{Golden, SUITE_SEED, dense_suite, model_suite, suite};
use hungry_hippos::safetensors::{SafeTensors, Writer};
use std::path::Path;

/// The bytes made, if they are the committed ones.
fn up_to_date(name: &str, writer: &Writer) -> usize {
    let folder = format!("{}/tests/golden/v2", env!("CARGO_MANIFEST_DIR"));
    let bytes = writer.to_bytes().expect("small");
    let committed = std::fs::read(format!("{folder}/{name}.safetensors"));
    assert!(
        committed.expect("committed") == bytes,
        "{name}: regenerate with `hippos golden --out tests/golden/v2`"
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
    let names: Vec<&str> = dense_suite().iter().map(|case| case.name).collect();
    assert_eq!(names, ["42-dense", "43-dense-resumed"]);
    let sizes = dense_suite().into_iter().map(|case| {
        let golden = case.certify(SUITE_SEED).expect("certified");
        up_to_date(case.name, &golden.writer().expect("a file"))
    });
    let total: usize = sizes.sum();
    assert!(total < 1_000_000, "{total} bytes");
}

#[test]
fn nothing_else_is_committed() {
    let folder = format!("{}/tests/golden/v2", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).expect("committed").count();
    assert_eq!(
        files,
        suite().len() + model_suite().len() + dense_suite().len() + 1,
        "the cases and a README, nothing else"
    );
}

/// What each case of a layer gives is in its committed file, and no other number; certifying it is
/// another matter.
#[test]
fn cases_give_what_is_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2");
    for case in &suite() {
        let path = folder.join(format!("{}.safetensors", case.name));
        let committed = SafeTensors::open(&path).expect("committed");
        let built = case.build(SUITE_SEED).expect("built");
        let bytes = built.writer().and_then(|w| w.to_bytes()).expect("small");
        let given = SafeTensors::from_bytes(bytes).expect("valid");
        for (key, value) in given.metadata() {
            assert_eq!(committed.metadata()[key], *value, "{}, {key}", case.name);
        }
        assert_eq!(committed.metadata().len(), given.metadata().len() + 1);
        for tensor in given.tensors() {
            let theirs = committed.tensor(tensor.name).expect("committed");
            let same = theirs.shape == tensor.shape && theirs.bytes == tensor.bytes;
            assert!(same, "{}, {}", case.name, tensor.name);
        }
        let g = built.cotangent().expect("in every case");
        let theirs = committed.tensor("g").and_then(|g| g.to_f64());
        assert_eq!(theirs.expect("committed"), g.data(), "{}", case.name);
    }
}
