//! Claim: certified stages do not depend on the form, and are the same bits on every machine and
//! in every build; an undecided rounding is decided by more words.

use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Certified, certified};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::Path;

const CASES: [&str; 6] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
    "layer-v6-f32-hd1-L32",
];

fn open(name: &str) -> Case {
    let path = format!(
        "{}/tests/data/{name}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    Case::open(Path::new(&path)).expect("a well-formed case")
}

/// The values' bits, stage by stage, for the stages that both forms make.
fn bits(certified: &Certified) -> Vec<(String, Vec<u64>)> {
    let stages = certified.stages.iter();
    stages
        .map(|s| {
            (
                s.name.clone(),
                s.values.data().iter().map(|x| x.to_bits()).collect(),
            )
        })
        .collect()
}

#[test]
fn the_rounded_values_do_not_depend_on_the_form() {
    for name in CASES {
        let case = open(name);
        let by = |form: Form| bits(&certified(&case, &form, true).expect("decided"));
        let steps = by(Form::Recurrence);
        assert!(steps.len() > 25, "stages and gradients");
        for form in [Form::Fft, Form::FlashConv(Chunking::Uniform(13))] {
            for ((stage, expected), (other, got)) in steps.iter().zip(by(form.clone())) {
                assert_eq!(stage, &other, "stages in one order");
                assert!(expected == &got, "{name}, {form}, {stage}: bits differ");
            }
        }
    }
}

/// FNV-1a over every bit of every certified stage and gradient of every case. It is pinned, so
/// that debug and release builds, one machine and another, give the same digits or fail here.
#[test]
fn the_bits_are_pinned() {
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    for name in CASES {
        for (_, bits) in bits(&certified(&open(name), &Form::Recurrence, true).expect("decided")) {
            for byte in bits.into_iter().flat_map(u64::to_le_bytes) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    assert_eq!(digest, PINNED, "{digest:#x}");
}

/// What [`the_bits_are_pinned`] computed when the digits were first certified.
const PINNED: u64 = 0xdeba_fccf_9f67_bf32;

/// The independent 80-bit evaluation, rounded to f64, differs from the certified values by at
/// most the last bit, and seldom by that.
#[test]
fn eighty_bits_agree() {
    for name in CASES {
        let case = open(name);
        let certified = certified(&case, &Form::Recurrence, false).expect("decided");
        let output = certified.stages.iter().find(|s| s.name == "output");
        let output = output.expect("a stage").values.data();
        let shape = case.input().shape();
        let longdouble = case.tensor("output_longdouble", shape).expect("saved");
        let mut different = 0;
        for (x, y) in output.iter().zip(longdouble.data()) {
            let apart = (x.to_bits() as i64 - y.to_bits() as i64).unsigned_abs();
            // Where terms cancel, 80 bits lose some of their eleven guard bits.
            assert!(apart <= 16, "{name}: {x:e} and {y:e}, {apart} units apart");
            different += usize::from(apart > 0);
        }
        assert!(
            different * 20 <= output.len(),
            "{name}: {different} of {} differ",
            output.len()
        );
    }
}

/// A projection whose exact value is 1 + 2^-53 + 2^-120: a hair above the middle of two floats.
/// Two words do not decide it, four do; and a value exactly in the middle stays undecided only
/// if intermediate results are inexact, which in q they are not.
#[test]
fn what_two_words_leave_open_four_decide() {
    let case = open("layer-v1-hd1-L7");
    let config = case.parameters().config().clone();
    let d = config.d_model;
    let mut writer = Writer::new();
    for (key, value) in case.file().metadata() {
        if !["d_model", "format"].contains(&key.as_str()) {
            writer.metadata(key, value).expect("new");
        }
    }
    for view in case.file().tensors() {
        let mut values = view.to_f64().expect("floats");
        if view.name == "q_proj.weight" {
            values[..d].fill(0.0);
            values[0] = 1.0;
            values[1] = 2f64.powi(-53);
            values[2] = 2f64.powi(-120);
        }
        if view.name == "input" {
            values.fill(1.0);
        }
        if view.name == "q_proj.bias" {
            values[0] = 0.0;
        }
        writer
            .add(view.name, Dtype::F64, view.shape, &values)
            .expect("fits");
    }
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    let case = Case::from_file(file).expect("a case");
    let certified = certified(&case, &Form::Recurrence, false).expect("decided");
    assert_eq!(certified.words, 4, "two words do not decide it");
    let q = &certified.stages[0];
    assert_eq!(q.name, "q");
    assert!(q.retried.contains(&0), "the position is reported");
    assert_eq!(q.values.data()[0], 1.0f64.next_up(), "above the middle: up");
}
