//! Claim: stages in memory, of a port that is called, are judged as a file of them is.

use super::{committed_one, dumped, judge, stage};
use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Candidate, Format, Golden, PortNumber, StageVerdict, Verdict};
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
        ("29-one-channel", ["q", "output"]),
        ("41-model-attention", ["block0.residual", "logits"]),
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
    refused(
        &[("output", output), ("output", output)],
        &["\"output\"", "twice"],
    );
    refused(&[], &["any of q, k, v"]);
}

/// A number that is none is a wrong one, and its place is said; what is computed from the others is judged
/// as ever.
#[test]
fn what_is_no_number_is_wrong() {
    let golden = committed_one("03-heads");
    let gated = stage(&golden, "gated").values.data().to_vec();
    let right = stage(&golden, "output").values.data();
    let report = |output: &[f64]| {
        let stages = [("gated", &gated[..]), ("output", output)];
        let in_f64 = Candidate::from_stages(&golden, stages).expect("fits");
        let narrow = stages.map(|(name, x)| (name, x.iter().map(|&x| x as f32).collect()));
        let narrow: [(&str, Vec<f32>); 2] = narrow;
        let narrow = narrow.each_ref().map(|(name, x)| (*name, &x[..]));
        let in_f32 = Candidate::from_stages(&golden, narrow).expect("fits");
        [
            golden.check(&in_f64, Format::F64),
            golden.check(&in_f32, Format::F32),
        ]
    };
    for (number, says) in [
        (f64::NAN, "holds NaN; expected finite numbers"),
        (f64::INFINITY, "holds inf; expected finite numbers"),
        (f64::NEG_INFINITY, "holds -inf; expected finite numbers"),
    ] {
        let mut output = right.to_vec();
        // The second sequence's fourth token.
        (output[19 * 6 + 3 * 6 + 2], output[227]) = (number, number);
        for report in report(&output) {
            assert_eq!(report.verdict(), Verdict::Refused);
            let [gated, output] = &report.stages[..] else {
                panic!("two stages")
            };
            assert_eq!(gated.verdict, StageVerdict::Pass);
            assert_eq!(output.verdict, StageVerdict::Fail);
            assert_eq!(output.note.as_deref(), Some(says));
            assert_eq!(output.at, [1, 3, 2]);
            let [finding] = &report.findings[..] else {
                panic!("{:?}", report.findings)
            };
            assert_eq!(finding.stage, "output");
            assert_eq!(finding.pattern, "2 of 228 elements are not finite");
            assert!(finding.suspects.is_empty());
        }
    }
}
