//! A golden file is sufficient in itself: what is checked with it is what it holds, and nothing is
//! certified or derived again. Version 1, which holds less, is still read, and judges alike.

use super::{
    Stages, committed_one, dumped, is_cotangent, judge, named, stage, verdicts, version_1,
};
use crate::common::golden_file;
use hungry_hippos::Tensor;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Golden, Precision, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

/// The case that a golden file was made from.
fn case_of(golden: &Golden) -> Case {
    match golden.layer() {
        Some(layer) => layer.clone().into(),
        None => golden.model().expect("a model").clone().into(),
    }
}

#[test]
fn version_1_judges_as_version_2() {
    for (name, mistake) in [("01-basic", "no_d"), ("39-model-hybrid", "erf_gelu")] {
        let first = Golden::open(&version_1(name)).expect("version 1");
        // Cotangents of stages are in no file of version 1.
        let second = without(name, is_cotangent);
        assert_eq!(first.kind(), second.kind());
        assert_eq!(first.stages(), second.stages(), "{name}");
        let case = case_of(&second);
        let right: Stages = case.run(&Form::Fft, Precision::F32, false).expect("runs");
        let wrong = case.run_with(&[mistake], None).expect("runs");
        for (stages, names) in [(right, ""), (wrong, mistake)] {
            let file = dumped(&named(&stages), Dtype::F32);
            let formats = [Format::F32, Format::MIXED_BF16];
            let formats = match first.kind() {
                "layer" => &formats[..],
                _ => &formats[..1],
            };
            for &format in formats {
                let reports = [&first, &second].map(|golden| judge(golden, &file, format));
                let [one, other] = reports.each_ref().map(Report::to_json);
                assert_eq!(one, other, "{name}, {}", format.name());
                let [one, other] = reports.each_ref().map(ToString::to_string);
                assert_eq!(one, other, "{name}, {}", format.name());
                if format == Format::F32 {
                    assert_eq!(reports[0].pass(), names.is_empty(), "{name}");
                    assert!(one.contains(names), "{name}: {one}");
                }
            }
        }
        // Written again it is a file of version 2.
        let [bytes, committed] = [&first, &second]
            .map(|golden| golden.writer().and_then(|w| w.to_bytes()).expect("small"));
        assert!(bytes == committed, "{name}");
    }
}

/// A golden file of the suite without some of its tensors.
fn without(name: &str, left_out: impl Fn(&str) -> bool) -> Golden {
    let file = SafeTensors::open(&golden_file(name)).expect("committed");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        writer.metadata(key, value).expect("once");
    }
    for view in file.tensors().filter(|view| !left_out(view.name)) {
        let added = writer.add_bytes(view.name, view.dtype, view.shape, view.bytes);
        added.expect("fits");
    }
    let bytes = writer.to_bytes().expect("small");
    Golden::read(&SafeTensors::from_bytes(bytes).expect("valid")).expect("a golden file")
}

/// A golden file of the suite with one tensor changed.
fn with(name: &str, tensor: &str, change: impl Fn(&mut [f64])) -> Golden {
    let file = SafeTensors::open(&golden_file(name)).expect("committed");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        writer.metadata(key, value).expect("once");
    }
    let mut changed = false;
    for view in file.tensors() {
        if view.name == tensor {
            let mut values = view.to_f64().expect("floats");
            change(&mut values);
            let added = writer.add(view.name, view.dtype, view.shape, &values);
            added.expect("fits");
            changed = true;
        } else {
            let added = writer.add_bytes(view.name, view.dtype, view.shape, view.bytes);
            added.expect("fits");
        }
    }
    assert!(changed, "{name} has no {tensor}");
    let bytes = writer.to_bytes().expect("small");
    Golden::read(&SafeTensors::from_bytes(bytes).expect("valid")).expect("a golden file")
}

/// The fractions of both tolerances, worst-case and probabilistic, of a stage with one relative error
/// everywhere.
fn fractions(golden: &Golden, values: &Tensor<f64>, name: &str, format: Format) -> [f64; 2] {
    let off = values.map(|x| x * (1.0 + 1e-3));
    let report = verdicts(golden, &dumped(&[(name, &off)], Dtype::F64), format);
    let stage = &report.stages[0];
    [stage.worst, stage.probable]
}

/// The report follows every part of the scale that the file holds, each in the formats it is of.
#[test]
fn the_report_follows_the_file() {
    let close = |a: [f64; 2], b: [f64; 2]| {
        let mut pairs = a.into_iter().zip(b);
        pairs.all(|(a, b)| (a - b).abs() <= 1e-3 * b)
    };
    let twice = |x: &mut [f64]| x.iter_mut().for_each(|x| *x *= 2.0);
    for (name, of) in [
        ("29-one-channel", "q"),
        ("41-model-attention", "logits"),
        ("42-dense", "output"),
    ] {
        let golden = committed_one(name);
        let values = &stage(&golden, of).values;
        let [scale, probable] = ["scale", "probable"].map(|part| format!("{part}.{of}"));
        let wide = with(name, &scale, twice);
        let unlikely = with(name, &probable, twice);
        // In formats in which the rounding of the golden value itself is nothing.
        for format in [Format::F32, Format::BF16] {
            let judged = |golden: &Golden| fractions(golden, values, of, format);
            let [worst, likely] = judged(&golden);
            let (halved, one) = (judged(&wide), judged(&unlikely));
            let what = format!("{name}, {}: {worst}, {likely}", format.name());
            assert!(close(halved, [worst / 2.0, likely]), "{what}: {halved:?}");
            assert!(close(one, [worst, likely / 2.0]), "{what}: {one:?}");
        }
    }

    // Projections as exact as the models: a format with coarser ones is that of its models.
    let golden = committed_one("29-one-channel");
    let values = &stage(&golden, "output").values;
    let exact = with("29-one-channel", "projections.output", |x| x.fill(0.0));
    let judged = |golden: &Golden, format| fractions(golden, values, "output", format);
    assert_eq!(judged(&exact, Format::F32), judged(&golden, Format::F32));
    assert_eq!(
        judged(&exact, Format::MIXED_TF32),
        judged(&golden, Format::F32)
    );
    assert!(judged(&golden, Format::MIXED_TF32)[0] < 0.1 * judged(&golden, Format::F32)[0]);
}

/// The values are the file's, whatever its parameters would give: even where they give nothing.
#[test]
fn nothing_is_certified_again() {
    for (name, parameter) in [
        ("01-basic", "kernel.kernel.log_dt"),
        ("42-dense", "ssm.A"),
        (
            "40-model-h3",
            "backbone.layers.0.mixer.kernel.kernel.log_dt",
        ),
    ] {
        let golden = committed_one(name);
        // Steps of e^(10^300), powers of 10^300: no number holds the stages.
        let huge = with(name, parameter, |x| x.fill(1e300));
        assert_eq!(huge.stages(), golden.stages(), "{name}");
        let right: Vec<_> = golden
            .stages()
            .iter()
            .map(|s| (s.name(), &s.values))
            .collect();
        let file = dumped(&right, Dtype::F64);
        assert!(verdicts(&huge, &file, Format::F64).pass(), "{name}");
        let bytes = huge.writer().and_then(|w| w.to_bytes()).expect("small");
        let case = Case::read(&SafeTensors::from_bytes(bytes).expect("valid")).expect("a case");
        assert!(case.certify().is_err(), "{name}: its stages have values");

        let moved = with(name, golden.stages()[0].name(), |x| x[0] = 5.0);
        assert_eq!(moved.stages()[0].values.data()[0], 5.0, "{name}");
        let report = verdicts(&moved, &file, Format::F64);
        assert!(!report.stages[0].pass, "{name}");
        assert_eq!(report.stages[0].golden, 5.0, "{name}");
    }
}
