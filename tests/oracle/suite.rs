//! The committed suite is what its seed makes, bit for bit, and says so.

use hungry_hippos::oracle::{Golden, SUITE_SEED, suite};

#[test]
fn the_committed_suite_is_up_to_date() {
    let folder = format!("{}/tests/golden/v1", env!("CARGO_MANIFEST_DIR"));
    let cases = suite();
    assert!(cases.len() >= 24, "{} cases", cases.len());
    let mut total = 0;
    for case in &cases {
        let golden = Golden::certify(case.build(SUITE_SEED).expect("built")).expect("certified");
        let bytes = golden.writer().expect("a file").to_bytes().expect("small");
        let committed = std::fs::read(format!("{folder}/{}.safetensors", case.name));
        assert!(
            committed.expect("committed") == bytes,
            "{}: regenerate with `hippos golden --out tests/golden/v1`",
            case.name
        );
        total += bytes.len();
    }
    assert!(total < 3_000_000, "{total} bytes");
    let files = std::fs::read_dir(folder).expect("committed").count();
    assert_eq!(
        files,
        cases.len() + 1,
        "the cases and a README, nothing else"
    );
}
