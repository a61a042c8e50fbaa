//! What cannot be judged is said in one line, and what no mistake covers is described.

use super::{
    committed_one as golden, dumped, first_finding, is_exhaustive, judge, layer, official, verdicts,
};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::Name;
use hungry_hippos::oracle::{Format, Golden, Verdict};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

fn stage(golden: &Golden, name: &str) -> Tensor<f64> {
    super::stage(golden, name).values.clone()
}

fn refused(golden: &Golden, file: &SafeTensors, fragment: &str) {
    let said = golden.candidate(file).expect_err("cannot be judged");
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

/// What a candidate's metadata says of its case must be what the golden file says; where it handed over
/// its states, and strings that are not about the case, are its own affair.
#[test]
fn a_candidate_that_says_otherwise_is_of_another_case() {
    let with = |golden: &Golden, key: &str, value: &str| {
        let mut writer = Writer::new();
        let output = stage(golden, "output");
        writer
            .add("output", Dtype::F64, output.shape(), output.data())
            .expect("fits");
        writer.metadata(key, value).expect("a key");
        SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid")
    };
    let (whole, packed) = (golden("03-heads"), golden("72-packed"));
    let scheduled = golden("77-schedule");
    // Kernels of 9 taps in sequences of 24, and of 64 in sequences of 18: the second are not cut.
    let (cut, uncut) = (golden("08-cut"), golden("10-uncut"));
    for (golden, key, value) in [
        (&whole, "kind", "model"),
        (&whole, "sequence", "packed"),
        (&whole, "initial_state", "given"),
        (&whole, "disc", "zoh"),
        (&whole, "head_dim", "1"),
        (&packed, "sequence", "padded"),
        (&cut, "l_max", "8"),
        (&cut, "l_max", "1024"),
        (&uncut, "l_max", "17"),
        (&scheduled, "schedule", "prompt=8,steps=2,chunk=4,steps=2"),
    ] {
        let said = format!("metadata {key}: {value:?}, where the golden file says");
        refused(golden, &with(golden, key, value), &said);
    }
    let short = with(&whole, "schedule", "prompt=10,chunk=8");
    refused(&whole, &short, "covers 18 tokens; the sequence has 19");
    for (golden, key, value) in [
        (&whole, "kind", "layer"),
        // What another program calls its own kinds says nothing.
        (&whole, "kind", "h3"),
        (&uncut, "l_max", "1024"),
        (&uncut, "l_max", "18"),
        (&whole, "sequence", "schedule"),
        (&whole, "initial_state", "zero"),
        (&whole, "disc", "bilinear"),
        (&whole, "made_by", "a port"),
        (&packed, "sequence", "packed"),
        // One part of one token is one step.
        (
            &scheduled,
            "schedule",
            "chunk=7,steps=3,prompt=4,steps=1, chunk=1",
        ),
        (&whole, "schedule", "prompt=10,chunk=9"),
        (&whole, "schedule", "cosine"),
    ] {
        assert!(judge(golden, &with(golden, key, value), Format::F64).pass());
    }
}

/// The tolerance is the one of chapter 13, and the report says where it is exceeded most, what stands
/// there, and how many bits are right.
#[test]
fn a_report_says_where_and_by_how_much() {
    let golden = golden("03-heads");
    let kv = super::stage(&golden, "kv");
    let case = layer(&golden);
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
    let report = verdicts(&golden, &file, Format::F16);
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

/// What is said of a stage changed in a way of no catalogue.
fn described(golden: &Golden, name: &str, change: &dyn Fn(&mut Vec<f64>)) -> String {
    let right = stage(golden, name);
    let mut values = right.data().to_vec();
    change(&mut values);
    let wrong = Tensor::new(right.shape(), values).expect("fits");
    let report = judge(golden, &dumped(&[(name, &wrong)], Dtype::F32), Format::F32);
    let found = first_finding(&report);
    assert_eq!(found.stage, name);
    found.pattern.clone()
}

/// A mistake of no catalogue: the shape of its error, in a sentence. (Some that others are like, with
/// `HIPPOS_EXHAUSTIVE` set.)
#[test]
fn unknown_mistakes_are_described() {
    let golden = golden("16-prime");
    // shift_k is (1, 4, 31): four series of 31 steps.
    let check = |change: &dyn Fn(&mut Vec<f64>), sentence: &str| {
        assert_eq!(described(&golden, "shift_k", change), sentence);
    };
    let each = |change: fn(&mut [f64])| move |x: &mut Vec<f64>| x.chunks_mut(31).for_each(change);
    let times = |factor: f64| move |x: &mut Vec<f64>| x.iter_mut().for_each(|x| *x *= factor);
    // Factors nearer to one are among the thresholds.
    check(&times(16.0), "the right stage times 16.000000");
    check(&times(0.0), "all zero");
    check(
        &each(|s| {
            s.rotate_right(2);
            s[..2].fill(0.0);
        }),
        "the right stage 2 time steps late",
    );
    check(
        &each(|s| {
            s.rotate_left(1);
            s[30] = 0.0;
        }),
        "the right stage 1 time step early",
    );
    if is_exhaustive() {
        check(
            &each(|s| s.rotate_left(4)),
            "the right stage 4 time steps early, nearly",
        );
    }
    check(&each(<[f64]>::reverse), "the right stage reversed in time");
    check(
        &|x| (0..31).for_each(|t| x.swap(31 + t, 62 + t)),
        "channels 1 and 2 exchanged",
    );
    // Three in a ring are no exchange.
    check(
        &|x| x[31..].rotate_right(31),
        "channels 2 and 3 exchanged, nearly; right up to channel 0, wrong from channel 1 on",
    );
    check(
        &each(|s| s.iter_mut().for_each(|x| *x -= 0.6)),
        "the right stage with a constant added along time",
    );
    check(
        &|x| x[62..93].iter_mut().for_each(|x| *x -= 0.6),
        "the right stage with a constant added along time; wrong in channel 2 alone (of 0 to 3)",
    );
    if is_exhaustive() {
        check(
            &|x| x[31..].iter_mut().for_each(|x| *x -= 0.6),
            "the right stage with a constant added along time; right up to channel 0, wrong from \
             channel 1 on",
        );
    }
    check(
        &each(|s| s[19..].iter_mut().for_each(|x| *x += 0.7)),
        "right up to time step 18, wrong from time step 19 on",
    );
    check(
        &each(|s| s[..5].iter_mut().for_each(|x| *x += 0.7)),
        "wrong up to time step 4, right from time step 5 on",
    );
    check(
        &each(|s| s[5..9].iter_mut().for_each(|x| *x += 0.7)),
        "wrong in time steps 5 to 8 (of 0 to 30)",
    );
    check(
        &each(|s| [8, 16, 24].iter().for_each(|&t| s[t] += 0.9)),
        "wrong only in stretches that begin at multiples of 8 time steps, as where something is \
         carried between chunks",
    );
    // The same, but not at multiples; and at every second step, which are no chunks.
    check(
        &each(|s| [8, 17, 24].iter().for_each(|&t| s[t] += 0.9)),
        "wrong in 3 of 31 time steps (8, 17, 24), right in the others",
    );
    if is_exhaustive() {
        check(
            &each(|s| [0, 10, 30].iter().for_each(|&t| s[t] += 0.9)),
            "wrong in 3 of 31 time steps (0, 10, 30), right in the others",
        );
    }
    // Every element, in no form.
    let mut rng = Rng::new(3);
    let off: Vec<f64> = (0..124).map(|_| 0.5 + rng.unit().abs()).collect();
    check(
        &|x| {
            for (at, (x, off)) in x.iter_mut().zip(&off).enumerate() {
                *x += if at % 3 == 1 { -off } else { *off };
            }
        },
        "124 of 124 elements outside their tolerance",
    );

    // More places than are listed: q is (1, 16, 13).
    let many = super::committed_one("05-heads-8");
    let wrong = |places: &'static [usize]| {
        move |x: &mut Vec<f64>| {
            for &c in places {
                x[13 * c..][..13]
                    .iter_mut()
                    .enumerate()
                    .for_each(|(t, x)| *x += 0.3 * t as f64 - 1.0);
            }
        }
    };
    for (places, said) in [
        (
            &[0, 2, 4, 6, 8, 10][..],
            "6 of 16 channels (0, 2, 4, 6, 8, 10)",
        ),
        (
            &[0, 2, 4, 6, 8, 10, 12],
            "7 of 16 channels (0, 2, 4, 6, 8, 10, ...)",
        ),
    ] {
        assert_eq!(
            described(&many, "q", &wrong(places)),
            format!("wrong in {said}, right in the others")
        );
    }
}

/// Every stage is described along the axis that is meant: all of them back to front.
#[test]
fn every_stage_has_its_axis() {
    let cases = [
        (
            "16-prime",
            "q k v shift_k kv ssm_out shift_kernel ssm_kernel",
            1,
            "time",
        ),
        ("16-prime", "gated output grad.input", 4, "time"),
        (
            "16-prime",
            "final_state_k grad.ssm_k_kernel.kernel.B grad.ssm_k_kernel.kernel.C",
            1,
            "taps",
        ),
        (
            "16-prime",
            "final_state grad.kernel.kernel.B grad.kernel.kernel.C",
            2,
            "modes",
        ),
        (
            "16-prime",
            "grad.kernel.kernel.inv_A_real grad.kernel.kernel.A_imag",
            1,
            "modes",
        ),
        ("16-prime", "grad.kernel.kernel.log_dt grad.D", 1, "heads"),
        (
            "16-prime",
            "grad.ssm_k_D grad.q_proj.bias grad.output_linear.bias",
            1,
            "channels",
        ),
        ("16-prime", "grad.v_proj.weight", 1, "columns"),
        ("36-chunks", "chunk_states_k chunk_states", 0, "chunks"),
    ];
    for (case, names, inner, step) in cases {
        let golden = golden(case);
        for name in names.split(' ') {
            let shape = stage(&golden, name).shape().to_vec();
            // How many numbers lie side by side at a step, and how many steps there are.
            let inner = if inner == 0 {
                shape[1..].iter().product()
            } else {
                inner
            };
            let len = match step {
                "chunks" => shape[0],
                "time" if inner > 1 => shape[1],
                "modes" if inner > 1 => shape[shape.len() - 2],
                _ => shape[shape.len() - 1],
            };
            let said = described(&golden, name, &|x| {
                for series in x.chunks_mut(len * inner) {
                    for t in 0..len / 2 {
                        for i in 0..inner {
                            series.swap(t * inner + i, (len - 1 - t) * inner + i);
                        }
                    }
                }
            });
            let expected = match step {
                "time" => "the right stage reversed in time".to_string(),
                steps => format!("the right stage with its {steps} in reverse"),
            };
            assert_eq!(said, expected, "{name} of {case}");
        }
    }
}

/// What the stored type rounds is allowed on top of the format's tolerance, and no more than that: near
/// zero, half of its smallest number.
#[test]
fn stored_types_round_once() {
    let golden = golden("01-basic");
    let right = stage(&golden, "q");
    for (dtype, digits, smallest) in [
        (Dtype::F32, 24, -149),
        (Dtype::F16, 11, -24),
        (Dtype::BF16, 8, -133),
    ] {
        let judged = |values: Vec<f64>| {
            let stage = Tensor::new(right.shape(), values).expect("fits");
            verdicts(&golden, &dumped(&[("q", &stage)], dtype), Format::F64)
        };
        assert!(
            judged(right.data().to_vec()).pass(),
            "{dtype}: rounded once"
        );
        // Two units in the last place further.
        let off = |x: &f64| x + 2f64.powi(2 - digits) * x;
        let report = judged(right.data().iter().map(off).collect());
        assert!(!report.pass(), "{dtype}: {}", report.stages[0].worst);
        // The tolerance of the element of largest fraction, from the fraction itself.
        let said = &report.stages[0];
        let tolerance = (said.candidate - said.golden).abs() / said.worst;
        let at = said
            .at
            .iter()
            .zip(right.shape())
            .fold(0, |at, (i, axis)| at * axis + i);
        let scale = super::stage(&golden, "q").scale.data()[at];
        let size = said.golden.abs();
        let expected =
            2f64.powi(-digits) * size + 2f64.powi(smallest - 1) + 2f64.powi(-53) * (scale + size);
        let allowed = (tolerance / expected - 1.0).abs();
        assert!(allowed < 1e-6, "{dtype}: {tolerance} but {expected}");
    }
}

/// What the formats are, and what a mixed one does to the tolerance: the models' unit is the scale's, and
/// what the projections add is theirs.
#[test]
fn formats_by_their_units() {
    for (name, models, projections) in [
        ("f64", 53, 53),
        ("f32", 24, 24),
        ("tf32", 11, 11),
        ("mixed-tf32", 24, 11),
        ("mixed-f16", 24, 11),
        ("mixed-bf16", 24, 8),
        ("f16", 11, 11),
        ("bf16", 8, 8),
    ] {
        let format = Format::from_name(name).expect("a format");
        assert_eq!(format.name(), name);
        assert_eq!(format.unit_roundoff(), 2f64.powi(-models), "{name}");
        assert_eq!(
            format.projection_unit_roundoff(),
            2f64.powi(-projections),
            "{name}"
        );
    }
    assert_eq!(Format::ALL.len(), 8);
    assert!(Format::from_name("f8").is_none());

    // A projection off by some of its own roundings: too much for binary32, not for TF32. A gradient's
    // scale in a mixed format is the coarser one throughout.
    let golden = golden("01-basic");
    for name in ["q", "grad.q_proj.weight"] {
        let found = super::stage(&golden, name);
        let (right, scale) = (&found.values, &found.scale);
        let passes = |units: f64, u: i32, format: Format| {
            // Of signs that point in no direction: a port that is off so everywhere rounds.
            let mut rng = Rng::new(1);
            let pairs = right.data().iter().zip(scale.data());
            let data = pairs.map(|(x, scale)| {
                let sign = if rng.below(2) == 0 { 1.0 } else { -1.0 };
                x + sign * units * 2f64.powi(-u) * scale
            });
            let changed = Tensor::new(right.shape(), data.collect()).expect("fits");
            let report = verdicts(&golden, &dumped(&[(name, &changed)], Dtype::F64), format);
            report.verdict() != Verdict::Refused
        };
        assert!(!passes(0.5, 11, Format::F32), "{name}");
        assert!(
            passes(0.5, 11, Format::MIXED_TF32) && passes(0.5, 11, Format::MIXED_F16),
            "{name}"
        );
        assert!(
            !passes(2.0, 11, Format::MIXED_TF32) && passes(2.0, 11, Format::MIXED_BF16),
            "{name}"
        );
        assert!(
            passes(0.5, 11, Format::TF32) && !passes(2.0, 11, Format::TF32),
            "{name}"
        );
        assert!(!passes(2.0, 8, Format::MIXED_BF16), "{name}");
    }
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
        let candidate = golden.candidate(&file).expect("readable");
        let format = candidate.format().expect("one type");
        assert_eq!(format.name(), name);
        assert!(judge(&golden, &file, format).pass(), "{name}");
    }
}

/// A stage of zeros alone is decided by its bound: what it comes to by the port's own stages before it is their
/// rounding, and an error as large as that is none.
#[test]
fn zeros_alone_are_decided_by_the_bound() {
    let golden = golden("61-exact-pole-i");
    assert_eq!(stage(&golden, "grad.k_proj.bias").data(), [0.0]);
    let verdict = |error: f64| {
        let mut keys = stage(&golden, "grad.k").into_data();
        keys[0] += 1e-6;
        let keys = Tensor::new([1, 1, 20], keys).expect("fits");
        let bias = Tensor::new([1], vec![error]).expect("fits");
        let stages = [("grad.k", &keys), ("grad.k_proj.bias", &bias)];
        verdicts(&golden, &dumped(&stages, Dtype::F32), Format::F32).verdict()
    };
    assert_eq!(verdict(-3.8e-6), Verdict::Pass);
    assert_eq!(verdict(-0.1), Verdict::Refused);
}
