//! Claim: every stage, state and gradient of documents packed into a row, of padded rows and from
//! cotangents of final states is what the official code computed of each sequence alone, in every form;
//! what balls certify is both.

use super::Parts;
use crate::common::{assert_close, close, data, largest, saved};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Precision};
use hungry_hippos::safetensors::SafeTensors;
use std::collections::BTreeSet;

const CASES: [&str; 3] = [
    "layer-packed-p3-hd4-T19",
    "layer-padded-p2-left-hd2-L19",
    "layer-cotangent-c4-hd2-initial-L3",
];

/// Relative to the tensor's largest magnitude. Two evaluations in float64; the official ones are within
/// 3e-15 of 80 bits, gradients within 1e-13 (metadata `rel_*` of the files).
fn bound(name: &str) -> f64 {
    if name.starts_with("grad.") {
        1e-11
    } else {
        1e-12
    }
}

fn open(name: &str) -> (Case, SafeTensors) {
    let file = SafeTensors::open(&data(name)).expect("a file");
    (Case::read(&file).expect("a well-formed case"), file)
}

/// The tensors that the official code computed: all that the case is not given.
fn computed(case: &Case, file: &SafeTensors) -> BTreeSet<String> {
    let given = case.writer().and_then(|writer| writer.to_bytes());
    let given = SafeTensors::from_bytes(given.expect("small")).expect("valid");
    let is_given = |name: &&str| given.get(name).is_some();
    let names = file.names().filter(|name| !is_given(name));
    names.map(String::from).collect()
}

/// Stages against what is saved under their names; returns those compared.
fn compare(what: &str, file: &SafeTensors, stages: &[(String, Tensor<f64>)]) -> BTreeSet<String> {
    let is_saved = |(name, _): &&(String, Tensor<f64>)| file.get(name).is_some();
    let compare = |(name, ours): &(String, Tensor<f64>)| {
        let saved = saved(file, name, ours.shape());
        let bound = bound(name) * largest(saved.data());
        let what = format!("{what}, {name}");
        assert_close(&what, ours.data(), saved.data(), bound);
        name.clone()
    };
    stages.iter().filter(is_saved).map(compare).collect()
}

#[test]
fn every_tensor_in_every_form() {
    for name in CASES {
        let (case, file) = open(name);
        let computed = computed(&case, &file);
        assert!(computed.len() >= 20, "{name}: {computed:?}");
        for form in Form::all([1, 4, 40].map(Chunking::Uniform)) {
            let stages = case.run(&form, Precision::F64, true).expect("runs");
            let compared = compare(&format!("{name}, {form:?}"), &file, &stages);
            let missing: Vec<_> = computed.difference(&compared).collect();
            match form {
                // It never makes that stage.
                Form::Attention => assert!(missing.iter().all(|name| *name == "ssm_out")),
                _ => assert!(missing.is_empty(), "{name}, {form:?}: {missing:?}"),
            }
        }
    }
}

/// The certified values are within their radius of the exact ones, whatever the form; all else is within
/// its bound of them.
#[test]
fn certified_values_are_between_both() {
    for name in CASES {
        let (case, file) = open(name);
        let form = Form::FlashConv(Chunking::Uniform(4));
        let certified = case.certified(&form, true).expect("certified");
        let plain = case.run(&Form::Fft, Precision::F64, true).expect("runs");
        let mut compared = BTreeSet::new();
        for (stage, (plain_name, plain)) in certified.stages.iter().zip(&plain) {
            let (of, values) = (&stage.name, stage.values.data());
            assert_eq!(of, plain_name, "stages in one order");
            let scale = largest(values);
            let what = format!("{name}, {of}");
            assert_close(&what, plain.data(), values, bound(of) * scale);
            assert!(
                largest(stage.radii.data()) <= 1e-24 * scale,
                "{what}: radii"
            );
            // What no ball decides is an exact zero: at padding, of taps beyond the longest sequence.
            for &at in &stage.undecided {
                assert_eq!(values[at], 0.0, "{what}[{at}]");
            }
            if file.get(of).is_some() {
                let saved = saved(&file, of, stage.values.shape());
                assert_close(&what, saved.data(), values, bound(of) * scale);
                compared.insert(of.clone());
            }
        }
        assert_eq!(compared, computed(&case, &file), "{name}");
    }
}

/// The bound can fail: the same file read as another case, and numbers a little off, are refused.
#[test]
fn another_case_is_refused() {
    let refused = |name: &str, stage: &str, other: Parts| {
        let (_, file) = open(name);
        let case = Case::read(&other.file()).expect("a well-formed case");
        let stages = case.run(&Form::Scan, Precision::F64, true).expect("runs");
        let (_, wrong) = stages.iter().find(|(of, _)| of == stage).expect("there");
        let right = saved(&file, stage, wrong.shape());
        let bound = bound(stage) * largest(right.data());
        assert!(
            close(stage, wrong.data(), right.data(), bound).is_err(),
            "{name}, {stage}"
        );
    };
    let [packed, padded, cotangent] = CASES;
    let whole = Parts::of(packed).without("sequence").without("cu_seqlens");
    for stage in [
        "shift_k",
        "ssm_out",
        "output",
        "grad.input",
        "grad.k_proj.weight",
    ] {
        refused(packed, stage, whole.clone());
    }
    // A boundary one token late, the same number of documents.
    let late = Parts::of(packed).counts("cu_seqlens", &[0, 1, 13, 14, 19]);
    for stage in [
        "shift_k",
        "output",
        "final_state_k",
        "final_state",
        "grad.input",
    ] {
        refused(packed, stage, late.clone());
    }
    let right = Parts::of(padded).with("padding", "right");
    let unpadded = ["sequence", "padding", "lengths"].iter();
    let unpadded = unpadded.fold(Parts::of(padded), |parts, name| parts.without(name));
    for stage in ["shift_k", "output", "final_state", "grad.input"] {
        refused(padded, stage, right.clone());
        refused(padded, stage, unpadded.clone());
    }
    let mut exchanged = Parts::of(cotangent);
    let (_, shape, bytes) = exchanged.tensors["g.final_state_k"].clone();
    let half = bytes.len() / shape[0];
    let bytes = [&bytes[half..], &bytes[..half]].concat();
    exchanged = exchanged.tensor(
        "g.final_state_k",
        hungry_hippos::safetensors::Dtype::F64,
        &shape,
        bytes,
    );
    let mut without = Parts::of(cotangent).without("sequence");
    for name in ["g.final_state_k", "g.final_state"] {
        without = without.without(name);
    }
    for stage in ["grad.input", "grad.initial_state_k", "grad.k_proj.weight"] {
        refused(cotangent, stage, exchanged.clone());
        refused(cotangent, stage, without.clone());
    }
    for name in CASES {
        let (case, file) = open(name);
        for (stage, ours) in case.run(&Form::Fft, Precision::F64, true).expect("runs") {
            if file.get(&stage).is_some() {
                let right = saved(&file, &stage, ours.shape());
                let bound = bound(&stage) * largest(right.data());
                let off: Vec<f64> = ours.data().iter().map(|x| x * (1.0 + 1e-10)).collect();
                assert!(
                    close(&stage, &off, right.data(), bound).is_err(),
                    "{name}, {stage}"
                );
            }
        }
    }
}
