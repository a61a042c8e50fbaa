//! Ports in 16 bits that PyTorch ran: right ones pass, and one mistake in their results is not passed.

use super::super::verdicts::{committed_one, dumped};
use crate::common::golden_file;
use hungry_hippos::Tensor;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Precision, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Dumps are named after a case of the suite and a format, as `94-hyena.bf16`.
#[test]
fn right_ports_pass_and_wrong_results_do_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ports-16");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let (mut judged, mut missed) = (0, Vec::new());
    for path in entries.map(|entry| entry.expect("readable").path()) {
        let stem = path.file_stem().and_then(|name| name.to_str());
        let (case, format) = stem.and_then(|name| name.split_once('.')).expect("two");
        let golden = committed_one(case);
        let format = Format::from_name(format).expect("a format");
        let check = |file: &SafeTensors| -> Report {
            golden.check(&golden.candidate(file).expect("a dump"), format)
        };
        let port = SafeTensors::open(&path).expect("a dump");
        let report = check(&port);
        assert!(report.pass(), "{case}: {report}");
        judged += 1;

        // The same with the second half of its result a fifth too large.
        let mut names = ["output", "y", "gated"].into_iter();
        let result = names.find(|name| port.get(name).is_some());
        let dtype = match format.name() {
            "f16" => Dtype::F16,
            "bf16" => Dtype::BF16,
            _ => Dtype::F32,
        };
        let stages: Vec<(&str, Tensor<f64>)> = port
            .tensors()
            .map(|stage| {
                let mut values = stage.to_f64().expect("floats");
                if Some(stage.name) == result {
                    let half = values.len() / 2;
                    values[half..].iter_mut().for_each(|x| *x *= 1.2);
                }
                let values = Tensor::new(stage.shape, values);
                (stage.name, values.expect("fits"))
            })
            .collect();
        let stages: Vec<_> = stages.iter().map(|(name, x)| (*name, x)).collect();
        if check(&dumped(&stages, dtype)).pass() {
            missed.push(format!("{case}, {}", format.name()));
        }
    }
    assert!(judged >= 20, "{judged}");
    assert!(missed.is_empty(), "{missed:?}");
}

/// A float32 port that says it works in a mixed format is told the format it works in, in whatever units the kind is
/// judged.
#[test]
fn the_precision_seen_is_that_of_the_port() {
    for name in ["42-dense", "80-ssd", "90-convolution"] {
        let golden = committed_one(name);
        let case = Case::open(&golden_file(name)).expect("a case");
        let run = case
            .run(&Form::Recurrence, Precision::F32, false)
            .expect("runs");
        let stages: Vec<_> = run.iter().map(|(name, x)| (&name[..], x)).collect();
        let dump = dumped(&stages, Dtype::F32);
        for format in [Format::MIXED_BF16, Format::BF16] {
            let report = golden.check(&golden.candidate(&dump).expect("a dump"), format);
            let said = report.to_string();
            assert!(
                said.contains("like f32"),
                "{name}, {}: {said}",
                format.name()
            );
        }
    }
}
