//! The committed suite is what its seed makes, bit for bit, and says so.

use hungry_hippos::oracle::{Golden, SUITE_SEED, dense_suite, model_suite, suite};

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
