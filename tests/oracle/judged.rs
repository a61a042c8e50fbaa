//! What cannot be judged is said in one line, and what no mutant covers is described.

use super::{committed, dumped, judge, official};
use hungry_hippos::Tensor;
use hungry_hippos::h3::Name;
use hungry_hippos::oracle::{Candidate, Format, Golden};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

fn golden(name: &str) -> Golden {
    let mut all = committed();
    let at = all.iter().position(|(n, _)| *n == name).expect("a case");
    all.swap_remove(at).1
}

fn stage(golden: &Golden, name: &str) -> Tensor<f64> {
    let found = golden.stages().iter().find(|s| s.name == name);
    found.expect("a stage").values.clone()
}

fn refused(golden: &Golden, file: &SafeTensors, fragment: &str) {
    let said = Candidate::read(file, golden).expect_err("cannot be judged");
    let said = said.to_string();
    assert!(said.contains(fragment), "{fragment:?} not in {said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
}

#[test]
fn bad_candidates_cannot_be_judged() {
    let golden = golden("03-heads");
    let output = stage(&golden, "output");
    let nothing = Tensor::new([1], vec![1.0]).expect("fits");
    refused(
        &golden,
        &dumped(&[("something", &nothing)], Dtype::F32),
        "any of q, k, v",
    );
    refused(&golden, &dumped(&[], Dtype::F32), "any of q, k, v");
    let mut values = output.data().to_vec();
    values[7] = f64::NAN;
    let nan = Tensor::new(output.shape(), values).expect("fits");
    refused(
        &golden,
        &dumped(&[("output", &nan)], Dtype::F32),
        "element 7 is NaN",
    );
    let long = Tensor::new([2, 20, 6], vec![0.5; 240]).expect("fits");
    refused(
        &golden,
        &dumped(&[("output", &long)], Dtype::F32),
        "[2, 19, 6]",
    );
    let mut writer = Writer::new();
    writer
        .add_i64("output", output.shape(), &vec![1; output.data().len()])
        .expect("fits");
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    refused(&golden, &file, "I64");
    // Another case's input beside the stages.
    let other = Tensor::new([2, 19, 6], vec![0.25; 228]).expect("fits");
    refused(
        &golden,
        &dumped(&[("output", &output), ("input", &other)], Dtype::F32),
        "another case",
    );
}

/// The tolerance is the one of chapter 13, and the report says where it is exceeded most, what stands
/// there, and how many bits are right.
#[test]
fn a_report_says_where_and_by_how_much() {
    let golden = golden("03-heads");
    let stages = golden.stages();
    let kv = stages.iter().find(|s| s.name == "kv").expect("a stage");
    let case = golden.case();
    let config = case.parameters().config();
    let largest = Name::ALL
        .into_iter()
        .flat_map(|name| case.parameters().get(name))
        .fold(1.0, |largest: f64, x| largest.max(x.abs()));
    let operations = (case.input().shape()[1] * (config.d_state + config.d_model)) as f64;
    let underflow = 2f64.powi(-24) * operations * largest * largest;
    let tolerance = |at: usize| {
        let size = kv.values.data()[at].abs();
        kv.scale.data()[at] * 2f64.powi(-11) + size * (2f64.powi(-24) + 2f64.powi(-53)) + underflow
    };
    let &[_, d1, d2, heads, len] = kv.values.shape() else {
        panic!("kv has five axes")
    };
    let index = [1, d1 - 1, 0, heads - 1, 5];
    let at = [d1, d2, heads, len]
        .iter()
        .zip(&index[1..])
        .fold(index[0], |at, (axis, place)| at * axis + place);
    let mut values = kv.values.data().to_vec();
    values[at] += 8.0 * tolerance(at);
    values[at - 3] -= 2.0 * tolerance(at - 3);
    let changed = Tensor::new(kv.values.shape(), values).expect("fits");
    let file = dumped(&[("kv", &changed)], Dtype::F32);
    let report = judge(&golden, &file, Format::F16);
    let said = &report.stages[0];
    assert!(!said.pass && !report.pass());
    assert_eq!(said.at, index);
    assert_eq!(said.golden.to_bits(), kv.values.data()[at].to_bits());
    assert_eq!(said.candidate, f64::from(changed.data()[at] as f32));
    // What F32 rounds on the way is some 1e-4 of this tolerance.
    assert!((said.worst - 8.0).abs() < 1e-3, "{}", said.worst);
    let most = kv
        .values
        .data()
        .iter()
        .fold(0.0, |m: f64, x| m.max(x.abs()));
    let errors = kv
        .values
        .data()
        .iter()
        .zip(changed.data())
        .map(|(a, b)| (a - b).abs());
    let bits = -(errors.fold(0.0, f64::max) / most).log2();
    assert!((said.bits - bits).abs() < 1e-3, "{} but {bits}", said.bits);
}

/// Layouts that differ by axes of length one or by (b, l, d) against (b, d, l) are read, and said.
#[test]
fn other_layouts_are_read_and_said() {
    let golden = golden("03-heads");
    let q = stage(&golden, "q");
    let &[batch, d, len] = q.shape() else {
        panic!("q has three axes")
    };
    let exchanged: Vec<f64> = (0..batch * d * len)
        .map(|at| {
            let (b, t, c) = (at / (d * len), at / d % len, at % d);
            q.data()[(b * d + c) * len + t]
        })
        .collect();
    let exchanged = Tensor::new([batch, len, d], exchanged).expect("fits");
    let report = judge(
        &golden,
        &dumped(&[("q", &exchanged)], Dtype::F64),
        Format::F64,
    );
    assert!(report.pass());
    let note = report.stages[0].note.as_deref().expect("said");
    assert!(note.contains("exchanged"), "{note}");
    let leading = Tensor::new([1, batch, d, len], q.data().to_vec()).expect("fits");
    let report = judge(
        &golden,
        &dumped(&[("q", &leading)], Dtype::F64),
        Format::F64,
    );
    assert!(report.pass());
    assert!(report.stages[0].note.is_some(), "said");
}

/// A mistake of no catalogue: the first stage that departs and the shape of its error.
#[test]
fn unknown_mistakes_are_described() {
    let golden = golden("16-prime");
    let check = |name: &str, change: &dyn Fn(&mut Vec<f64>), fragment: &str| {
        let right = stage(&golden, name);
        let mut values = right.data().to_vec();
        change(&mut values);
        let wrong = Tensor::new(right.shape(), values).expect("fits");
        let report = judge(&golden, &dumped(&[(name, &wrong)], Dtype::F32), Format::F32);
        let diagnosis = report.diagnosis.expect("must fail");
        assert_eq!(diagnosis.first_stage, name, "{fragment}");
        assert!(
            diagnosis.pattern.contains(fragment),
            "{fragment:?} not in {:?}",
            diagnosis.pattern
        );
    };
    // shift_k is (1, 4, 31): four series of 31 steps.
    check(
        "shift_k",
        &|x| x.iter_mut().for_each(|x| *x *= 1.25),
        "times 1.25",
    );
    check(
        "shift_k",
        &|x| x.iter_mut().for_each(|x| *x = 0.0),
        "all zero",
    );
    check(
        "shift_k",
        &|x| x.chunks_mut(31).for_each(|s| s.rotate_right(2)),
        "2 time step(s) late",
    );
    check(
        "shift_k",
        &|x| x.chunks_mut(31).for_each(|s| s.rotate_left(1)),
        "1 time step(s) early",
    );
    check(
        "shift_k",
        &|x| x.chunks_mut(31).for_each(<[f64]>::reverse),
        "reversed in time",
    );
    check("shift_k", &|x| x.rotate_right(31), "0 holds 3");
    check(
        "shift_k",
        &|x| {
            x.chunks_mut(31)
                .for_each(|s| s[19..].iter_mut().for_each(|x| *x += 0.7))
        },
        "right up to time step 18, wrong from 19 on",
    );
    check(
        "shift_k",
        &|x| {
            x.chunks_mut(31).for_each(|s| {
                for t in [8, 16, 24] {
                    s[t] += 0.9;
                }
            })
        },
        "multiple of 8 time steps",
    );
    check(
        "shift_k",
        &|x| x[62..93].iter_mut().for_each(|x| *x -= 0.6),
        "wrong in 1 of 4 series (2)",
    );
}

/// The narrowest type among the stages decides the format where none is asked for.
#[test]
fn the_format_follows_the_stored_type() {
    let golden = official("layer-v1-hd1-L7");
    let output = stage(&golden, "output");
    for (dtype, name) in [
        (Dtype::F64, "f64"),
        (Dtype::F32, "f32"),
        (Dtype::F16, "f16"),
        (Dtype::BF16, "bf16"),
    ] {
        let file = dumped(&[("output", &output)], dtype);
        let candidate = Candidate::read(&file, &golden).expect("readable");
        let format = candidate.format().expect("one type");
        assert_eq!(format.name(), name);
        assert!(judge(&golden, &file, format).pass(), "{name}");
    }
}
