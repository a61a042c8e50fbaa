//! The committed suite is what its seed makes, bit for bit, and says so.

use hungry_hippos::oracle::{Golden, SUITE_SEED, dense_suite, model_suite, suite};
use hungry_hippos::safetensors::SafeTensors;
use std::path::Path;

#[test]
fn the_committed_suite_is_up_to_date() {
    let folder = format!("{}/tests/golden/v1", env!("CARGO_MANIFEST_DIR"));
    let cases = suite();
    assert!(cases.len() >= 24, "{} cases", cases.len());
    let models = model_suite();
    let mut total = 0;
    let mut compare = |name: &str, bytes: Vec<u8>| {
        let committed = std::fs::read(format!("{folder}/{name}.safetensors"));
        assert!(
            committed.expect("committed") == bytes,
            "{name}: regenerate with `hippos golden --out tests/golden/v1`"
        );
        total += bytes.len();
    };
    for case in &cases {
        let golden = Golden::certify(case.build(SUITE_SEED).expect("built")).expect("certified");
        let writer = golden.writer().expect("a file");
        compare(case.name, writer.to_bytes().expect("small"));
    }
    for case in &models {
        let golden = case.certify(SUITE_SEED).expect("certified");
        let writer = golden.writer().expect("a file");
        compare(case.name, writer.to_bytes().expect("small"));
    }
    let dense = dense_suite();
    for case in &dense {
        let golden = case.certify(SUITE_SEED).expect("certified");
        let writer = golden.writer().expect("a file");
        compare(case.name, writer.to_bytes().expect("small"));
    }
    assert!(total < 3_000_000, "{total} bytes");
    let files = std::fs::read_dir(folder).expect("committed").count();
    assert_eq!(
        files,
        cases.len() + models.len() + dense.len() + 1,
        "the cases and a README, nothing else"
    );
}

/// What each case of a layer gives is in its committed file, and no other number; certifying it is
/// another matter.
#[test]
fn cases_give_what_is_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
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

/// The dense models alone, to the byte.
#[test]
fn dense_models_are_what_is_committed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let names: Vec<&str> = dense_suite().iter().map(|case| case.name).collect();
    assert_eq!(names, ["42-dense", "43-dense-resumed"]);
    for case in dense_suite() {
        let golden = case.certify(SUITE_SEED).expect("certified");
        let bytes = golden.writer().and_then(|w| w.to_bytes()).expect("small");
        let committed = std::fs::read(folder.join(format!("{}.safetensors", case.name)));
        assert!(committed.expect("committed") == bytes, "{}", case.name);
    }
}
