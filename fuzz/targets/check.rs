//! Any file as a candidate: judged or refused, never a panic; what differs from the golden file
//! by more than its tolerance never passes.
#![no_main]

use hungry_hippos::oracle::{Case, Format, Golden, StageVerdict, Verdict};
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos_fuzz::{Counting, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use std::path::Path;
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/golden/v2/29-one-channel.safetensors"
    );
    Golden::open(Path::new(path)).expect("a golden file")
});

fuzz_mutator!(|data: &mut [u8], len: usize, max_len: usize, seed: u32| {
    mutate(data, len, max_len, seed)
});

fuzz_target!(|data: &[u8]| {
    let Ok(file) = SafeTensors::from_bytes(data.to_vec()) else {
        return;
    };
    let Ok(candidate) = GOLDEN.candidate(&file) else {
        return;
    };
    let format = candidate.format().unwrap_or(Format::F32);
    let report = GOLDEN.check(&candidate, format);
    for stage in &report.stages {
        assert!(!stage.worst.is_nan() && !stage.local.is_nan());
        let refused = matches!(stage.verdict, StageVerdict::Fail | StageVerdict::Follows);
        assert_eq!(stage.pass, !refused, "{stage:?}");
        assert!(refused || stage.worst <= 1.0, "{stage:?}");
    }
    let refused = report.verdict() == Verdict::Refused;
    assert_eq!(refused, report.stages.iter().any(|stage| !stage.pass));
    assert_eq!(refused, !report.findings.is_empty());
    assert_eq!(refused, report.power.is_none());
    // A golden file made of the candidate itself is no business of the check, but must not panic.
    let _ = Case::read(&file);
});
