//! The Mamba-2 layer (`mamba_ssm/modules/mamba2.py`, transformers' Mamba2Mixer).

use super::{
    assert_named, assert_official, bound, is_met_with, judged, official_float32_passes, open,
};
use crate::common::{assert_close, close, golden_file};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Golden, Precision};
use hungry_hippos::safetensors::{SafeTensors, Writer};

const LIMITED: &str = "mamba2-v3-G2-limit-bias-L23";

/// Options between them: groups, limits of dt hit at both ends, biases, steps; an MLP half, no norm, D
/// per channel; the norm before the gate. Gradients are those of the recurrence, whatever the form.
#[test]
fn every_stage_state_step_and_gradient_is_the_official_one() {
    for (name, stages) in [
        (LIMITED, 25),
        ("mamba2-v6-mlp-nonorm-hdim-L17", 18),
        ("mamba2-v7-mlp-before-gate-L11", 22),
    ] {
        let chunks = Form::FlashConv(Chunking::Uniform(7));
        for form in [Form::Recurrence, Form::Scan, Form::Attention, chunks] {
            assert_eq!(assert_official(name, &form), stages, "{name}");
        }
    }
}

/// Where public codes disagree, each is a named mistake of the reference to within rounding.
#[test]
fn what_other_codes_compute_is_reproduced() {
    let (case, file) = open(LIMITED);
    for (mistake, stage, theirs) in [
        ("S02", "output", "output.hf"),
        ("S02", "normed", "normed.hf"),
        ("S01c", "output", "output.fla"),
        ("S04a", "step_output", "step_output.official"),
        ("S04a", "step.ssm_state", "step.ssm_state.official"),
    ] {
        let saved = file.tensor(theirs).and_then(|t| t.to_f64()).expect("saved");
        let of = |mistakes: &[&str]| {
            let stages = case.run_with(mistakes, None).expect("runs");
            let found = stages.into_iter().find(|(name, _)| name == stage);
            found.expect("a stage").1.into_data()
        };
        assert_close(theirs, &of(&[mistake]), &saved, bound(stage, &saved));
        assert!(close(theirs, &of(&[]), &saved, bound(stage, &saved)).is_err());
    }
}

#[test]
fn a_wrong_layer_is_outside() {
    for (mistake, stage) in [
        ("S03", "normed"),
        ("S04b", "dt"),
        ("S05d", "dt"),
        ("S06c", "y_d"),
        ("S08a", "xBC_conv"),
        ("S08c", "xBC_conv"),
        ("S11c", "conv_state"),
        ("S13b", "a"),
        ("S14a", "y"),
        ("S17", "normed"),
    ] {
        assert!(!is_met_with(LIMITED, mistake, stage), "{mistake}");
    }
}

#[test]
fn the_official_float32_run_passes() {
    assert_eq!(official_float32_passes("mamba2-v8-f32-G2-L29"), 3);
}

#[test]
fn mistakes_are_refused_and_named() {
    let mut acted = Vec::new();
    let names = ["84-mamba2", "85-mamba2-packed", "85b-mamba2-near-limits"];
    for (number, name) in names.into_iter().enumerate() {
        let golden = Golden::open(&golden_file(name)).expect("committed");
        let case = Case::open(&golden_file(name)).expect("a case");
        let right = case.run(&Form::Scan, Precision::F32, true).expect("runs");
        let report = judged(&golden, &right);
        assert!(report.pass(), "{name}: {report}");
        acted.extend(assert_named((number, name), &case, &golden));
    }
    // What rounds alone, or has an effect below a part in ten thousand here, is not asked for.
    let (case, _) = open(LIMITED);
    let quiet: Vec<&str> = case
        .mistakes()
        .iter()
        .map(|mistake| mistake.id)
        .filter(|id| !acted.contains(id))
        .collect();
    assert_eq!(quiet, ["S05f", "S32"], "act nowhere");
}

/// A port whose steps rounding takes to the other side of a limit clamps what the reference does not, or
/// the other way round: the gradient is not there, or is, and both ports are right. (At some tokens, perhaps;
/// the sizes of their gradients add up to eight times the gradient at most.) One whose gradient there is far
/// from both, or that loses the gradient of another head, is not.
#[test]
fn a_step_within_rounding_of_a_limit_may_be_clamped_or_not() {
    let path = golden_file("85b-mamba2-near-limits");
    let (golden, file) = (
        Golden::open(&path).expect("committed"),
        SafeTensors::open(&path).expect("a file"),
    );
    let run = |head: usize, off: f64| {
        let mut writer = Case::open(&path)
            .and_then(|case| case.writer())
            .expect("a case");
        let bytes = writer.to_bytes().expect("small");
        let given = SafeTensors::from_bytes(bytes).expect("valid");
        writer = Writer::new();
        for (key, value) in given.metadata() {
            writer.metadata(key, value).expect("new");
        }
        for tensor in given.tensors() {
            let mut values = tensor.to_f64().expect("floats");
            if tensor.name == "dt_bias" {
                values[head] += off;
            }
            let added = writer.add(tensor.name, tensor.dtype, tensor.shape, &values);
            added.expect("new");
        }
        let bytes = writer.to_bytes().expect("small");
        let case = Case::read(&SafeTensors::from_bytes(bytes).expect("valid"));
        let form = Form::Recurrence;
        case.expect("a case")
            .run(&form, Precision::F64, true)
            .expect("runs")
    };
    let right = file
        .tensor("grad.dt_bias")
        .and_then(|t| t.to_f64())
        .expect("saved");
    for (head, off) in [(0, -3e-8), (1, -2e-6), (2, 3e-6)] {
        let stages = run(head, off);
        let (_, gradient) = stages
            .iter()
            .find(|(name, _)| name == "grad.dt_bias")
            .expect("there");
        // Past a limit there is none.
        let lost = gradient.data()[head] == 0.0;
        assert!(
            lost == (head != 1) && right[head].abs() > 1e-3,
            "{head}: {gradient:?}"
        );
        let report = judged(&golden, &stages);
        assert!(report.pass(), "{head}: {report}");
        for (at, factor) in [(head, -8.0), (head, 10.0), (3, 0.0)] {
            let mut changed = stages.clone();
            let mut found = changed.iter_mut();
            let (_, gradient) = found
                .find(|(name, _)| name == "grad.dt_bias")
                .expect("there");
            let mut wrong = gradient.data().to_vec();
            wrong[at] = factor * right[at];
            *gradient = Tensor::new(gradient.shape(), wrong).expect("fits");
            assert!(!judged(&golden, &changed).pass(), "{head}: {at}, {factor}");
        }
    }
}

/// Documents packed into a row, or beside padding of large numbers, are what each is alone: outputs,
/// states and gradients; `cu_seqlens` or `lengths` say where they are.
#[test]
fn documents_know_nothing_of_each_other() {
    let (_, file) = open(LIMITED);
    let of = |name: &str| file.tensor(name).and_then(|t| t.to_f64()).expect("there");
    let (input, g, d) = (of("input"), of("g"), 8);
    let run = |input: &[f64], g: &[f64], batch: usize, said: &super::Said| {
        let case = super::rows(&file, input, g, batch, said).expect("a case");
        case.run(&Form::Recurrence, Precision::F64, true)
            .expect("runs")
    };
    let find = |stages: &super::Stages, name: &str| {
        let found = stages.iter().find(|(known, _)| known == name);
        found.expect("a stage").1.data().to_vec()
    };
    // Documents of 5, 1 and 17 tokens.
    let cuts = [0, 5, 6, 23];
    let row = |x: &[f64], from: usize, to: usize| x[from * d..to * d].to_vec();
    let alone: Vec<super::Stages> = cuts
        .windows(2)
        .map(|w| {
            run(
                &row(&input, w[0], w[1]),
                &row(&g, w[0], w[1]),
                1,
                &super::Said::Nothing,
            )
        })
        .collect();
    let joined = |name: &str| {
        alone
            .iter()
            .flat_map(|of| find(of, name))
            .collect::<Vec<_>>()
    };
    let summed = |name: &str| {
        let mut parts = alone.iter().map(|of| find(of, name));
        let first = parts.next().expect("three");
        parts.fold(first, |sum, of| {
            sum.iter().zip(&of).map(|(a, b)| a + b).collect()
        })
    };
    let packed = super::Said::Packed(cuts.to_vec());
    let packed = run(&row(&input, 0, 23), &row(&g, 0, 23), 1, &packed);
    for name in ["output", "y", "conv_state", "ssm_state", "grad.input"] {
        let expected = joined(name);
        assert_close(
            name,
            &find(&packed, name),
            &expected,
            bound(name, &expected),
        );
    }
    for name in [
        "grad.in_proj.weight",
        "grad.A_log",
        "grad.conv1d.weight",
        "grad.dt_bias",
    ] {
        let expected = summed(name);
        assert_close(
            name,
            &find(&packed, name),
            &expected,
            bound(name, &expected),
        );
    }
    for left in [false, true] {
        let (mut x, mut of_g) = (vec![1e3; 3 * 17 * d], vec![7.0; 3 * 17 * d]);
        let mut places = Vec::new();
        for (i, w) in cuts.windows(2).enumerate() {
            let at = i * 17 + if left { 17 - (w[1] - w[0]) } else { 0 };
            let tokens = at * d..(at + w[1] - w[0]) * d;
            x[tokens.clone()].copy_from_slice(&row(&input, w[0], w[1]));
            of_g[tokens.clone()].copy_from_slice(&row(&g, w[0], w[1]));
            places.push(tokens);
        }
        let padded = run(&x, &of_g, 3, &super::Said::Padded(vec![5, 1, 17], left));
        for name in ["output", "grad.input"] {
            let found = find(&padded, name);
            let found: Vec<f64> = places
                .iter()
                .flat_map(|at| found[at.clone()].to_vec())
                .collect();
            let expected = joined(name);
            assert_close(name, &found, &expected, bound(name, &expected));
        }
        for name in ["conv_state", "ssm_state"] {
            let expected = joined(name);
            assert_close(
                name,
                &find(&padded, name),
                &expected,
                bound(name, &expected),
            );
        }
        let expected = summed("grad.in_proj.weight");
        let found = find(&padded, "grad.in_proj.weight");
        assert_close("grad", &found, &expected, bound("grad.", &expected));
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let (case, _) = open(LIMITED);
    let refused = case
        .run(&Form::Fft, Precision::F64, false)
        .expect_err("no kernel");
    assert!(
        refused.to_string().contains("expected recurrence, scan"),
        "{refused}"
    );
    for (key, value, said) in [
        ("dt_limit", "1.1", "metadata dt_limit"),
        ("dt_limit", "2,1", "metadata dt_limit"),
        ("ngroups", "3", "groups that divide the heads"),
        ("rmsnorm", "false", "metadata rmsnorm"),
        ("headdim", "5", "metadata headdim"),
        ("activation", "gelu", "metadata activation"),
        ("norm_before_gate", "perhaps", "metadata norm_before_gate"),
        ("steps", "2", "metadata steps"),
    ] {
        let error = super::edited(LIMITED, key, value).expect_err(key);
        assert!(error.to_string().contains(said), "{key}: {error}");
    }
}
