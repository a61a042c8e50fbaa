//! Claim: stages in memory, of a port that is called, are judged as a file of them is.

use super::{committed_one, dumped, judge, stage};
use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Candidate, Format, Golden, PortNumber};
use hungry_hippos::safetensors::Dtype;

/// The stages of a port in memory and in a file get one report.
fn same_report<T: PortNumber>(
    golden: &Golden,
    stages: &[(&str, &[T])],
    dtype: Dtype,
    format: Format,
) -> bool {
    let candidate = Candidate::from_stages(golden, stages.iter().copied()).expect("fits");
    assert_eq!(candidate.format().expect("one type"), format);
    let report = golden.check(&candidate, format);
    let tensors: Vec<_> = stages
        .iter()
        .map(|(name, x)| {
            let values = x.iter().map(|x| x.widen()).collect();
            let shape = stage(golden, name).values.shape();
            (*name, Tensor::new(shape, values).expect("fits"))
        })
        .collect();
    let named: Vec<_> = tensors.iter().map(|(name, x)| (*name, x)).collect();
    let of_file = judge(golden, &dumped(&named, dtype), format);
    assert_eq!(report.to_json(), of_file.to_json());
    report.pass()
}

#[test]
fn stages_in_memory_are_judged_as_in_a_file() {
    for (name, stages) in [
        ("03-heads", ["q", "output"]),
        ("40-model-h3", ["block0.residual", "logits"]),
        ("43-dense-resumed", ["kernel", "final_x"]),
    ] {
        let golden = committed_one(name);
        let in_f64 = stages.map(|of| stage(&golden, of).values.data().to_vec());
        let in_f32 = in_f64
            .each_ref()
            .map(|x| x.iter().map(|&x| x as f32).collect());
        let in_f32: [Vec<f32>; 2] = in_f32;
        let [a, b] = stages;
        let (one, other) = (&in_f64[0][..], &in_f64[1][..]);
        assert!(same_report(
            &golden,
            &[(a, one), (b, other)],
            Dtype::F64,
            Format::F64
        ));
        // In any order, and not all of them.
        assert!(same_report(
            &golden,
            &[(b, other), (a, one)],
            Dtype::F64,
            Format::F64
        ));
        assert!(same_report(&golden, &[(b, other)], Dtype::F64, Format::F64));
        let (one, other) = (&in_f32[0][..], &in_f32[1][..]);
        assert!(same_report(
            &golden,
            &[(a, one), (b, other)],
            Dtype::F32,
            Format::F32
        ));

        let mut wrong = in_f32[1].clone();
        wrong[3] += 0.25;
        let wrong = [(a, one), (b, &wrong[..])];
        assert!(!same_report(&golden, &wrong, Dtype::F32, Format::F32));
    }
}

#[test]
fn what_is_no_stage_is_refused() {
    let golden = committed_one("03-heads");
    let output = stage(&golden, "output").values.data();
    let shape = "[2, 19, 6]";
    let mut nan = output.to_vec();
    nan[7] = f64::NAN;
    let infinite = vec![f64::INFINITY; output.len()];
    let refused = |stages: &[(&str, &[f64])], fragments: &[&str]| {
        let said = Candidate::from_stages(&golden, stages.iter().copied());
        let said = said.expect_err("refused").to_string();
        for fragment in fragments {
            assert!(said.contains(fragment), "{fragment:?} not in {said}");
        }
        assert_eq!(said.lines().count(), 1, "one line: {said}");
    };
    refused(
        &[("outputs", output)],
        &["\"outputs\"", "q, k, v", "output"],
    );
    let (short, long) = (&output[1..], [output, &[0.0]].concat());
    refused(&[("output", short)], &["\"output\"", shape, "228", "227"]);
    refused(&[("output", &long)], &["\"output\"", shape, "228", "229"]);
    refused(&[("output", &[])], &["\"output\"", shape]);
    refused(&[("output", &nan)], &["\"output\"", "element 7 is NaN"]);
    refused(
        &[("output", &infinite)],
        &["\"output\"", "element 0 is inf"],
    );
    refused(
        &[("output", output), ("output", output)],
        &["\"output\"", "twice"],
    );
    refused(&[], &["any of q, k, v"]);
    // In f32 too.
    let narrow: Vec<f32> = nan.iter().map(|&x| x as f32).collect();
    let said = Candidate::from_stages(&golden, [("output", &narrow[..])]);
    let said = said.expect_err("no number").to_string();
    assert!(said.contains("element 7 is NaN"), "{said}");
}
