//! Every tolerance and every word of a report at its bound, just inside it and just outside.

use super::{committed_one, dumped, first_finding, is_exhaustive, judge, layer, named, stage};
use hungry_hippos::Tensor;
use hungry_hippos::h3::{Name, Parameters};
use hungry_hippos::oracle::{Case, Format, Golden, LayerCase, Report, default_chunk_len};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

/// What chapter 13 says underflow may add, at `least` for each operation.
fn underflow(golden: &Golden, least: f64) -> f64 {
    let case = layer(golden);
    let config = case.parameters().config();
    let operations = case.input().shape()[1] * (config.d_state + config.d_model);
    let parameters = Name::ALL.into_iter();
    let largest = parameters
        .flat_map(|name| case.parameters().get(name))
        .fold(1.0, |largest: f64, x| largest.max(x.abs()));
    least * operations as f64 * largest * largest
}

/// The tolerances of a stage stored in f64, by chapter 13.
fn tolerances(golden: &Golden, name: &str, format: Format) -> Vec<f64> {
    let least = match format.name() {
        "f64" => f64::MIN_POSITIVE,
        "f16" => 2f64.powi(-24),
        _ => f64::from(f32::MIN_POSITIVE),
    };
    let underflow = underflow(golden, least);
    let stage = stage(golden, name);
    let pairs = stage.values.data().iter().zip(stage.scale.data());
    pairs
        .map(|(x, scale)| scale * format.unit_roundoff() + x.abs() * 2f64.powi(-53) + underflow)
        .collect()
}

fn with(right: &Tensor<f64>, change: impl FnOnce(&mut [f64])) -> Tensor<f64> {
    let mut values = right.data().to_vec();
    change(&mut values);
    Tensor::new(right.shape(), values).expect("fits")
}

/// One stage of the golden file, changed and stored in f64, judged at a format.
fn changed(golden: &Golden, name: &str, format: Format, change: impl FnOnce(&mut [f64])) -> Report {
    let wrong = with(&stage(golden, name).values, change);
    judge(golden, &dumped(&[(name, &wrong)], Dtype::F64), format)
}

/// The first tokens of a case with other parameters, certified.
fn certified_with(change: impl Fn(Name, &mut [f64])) -> Golden {
    let plain = committed_one("26-batch");
    let parameters = layer(&plain).parameters();
    let changed = Parameters::new(parameters.config().clone(), |name| {
        let mut values = parameters.get(name).to_vec();
        change(name, &mut values);
        Ok(values)
    });
    let input = layer(&plain).input().data()[..12].to_vec();
    let input = Tensor::new([1, 4, 3], input).expect("fits");
    let case = LayerCase::new(changed.expect("sizes fit"), input).expect("a case");
    Golden::certify(case).expect("certified")
}

fn said(report: &Report) -> String {
    first_finding(report).pattern.clone()
}

/// Taps past the shift model's last are zero, and right ports compute them so: their tolerance is what
/// underflow may add and nothing else, so that a candidate can be at it exactly.
#[test]
fn what_is_at_its_tolerance_is_within_it() {
    let golden = committed_one("16-prime");
    let bound = underflow(&golden, f64::MIN_POSITIVE);
    let judged =
        |change: &dyn Fn(&mut [f64])| changed(&golden, "shift_kernel", Format::F64, change);
    let report = judged(&|_| {});
    assert_eq!(report.stages[0].worst, 0.0);
    assert_eq!(
        (&report.stages[0].at[..], report.stages[0].bits),
        (&[0, 0][..], 53.0)
    );

    // Of two as far out the first is shown.
    let at_it = |x: &mut [f64]| (x[31 + 20], x[93 + 30]) = (bound, -bound);
    let report = judged(&at_it);
    assert!(report.pass() && report.findings.is_empty());
    assert_eq!(
        (report.stages[0].worst, &report.stages[0].at[..]),
        (1.0, &[1, 20][..])
    );

    let report = judged(&|x| x[31 + 20] = bound.next_up());
    assert!(!report.pass());
    assert_eq!(report.stages[0].worst, 1.0f64.next_up());
    assert_eq!(
        said(&report),
        "wrong in channel 1 alone (of 0 to 3); wrong in time step 20 alone (of 0 to 30)"
    );
    // What is at its tolerance is not counted as wrong.
    let report = judged(&|x| {
        at_it(x);
        x[62 + 25] = 2.0 * bound;
    });
    assert_eq!(
        said(&report),
        "wrong in channel 2 alone (of 0 to 3); wrong in time step 25 alone (of 0 to 30)"
    );
}

/// The fraction a report gives, to its digits, of elements of every size and in a uniform format each: none
/// of the tolerance's terms is too small to be seen in one of them. Of every stage and format two elements, the others
/// in the next format; with `HIPPOS_EXHAUSTIVE` set, all.
#[test]
fn fractions_are_those_of_the_formula() {
    let golden = committed_one("03-heads");
    let formats = [Format::F64, Format::F32, Format::F16, Format::BF16];
    for (turn, format) in formats.into_iter().enumerate() {
        for name in ["q", "shift_kernel", "ssm_kernel", "final_state"] {
            let bounds = tolerances(&golden, name, format);
            let right = &stage(&golden, name).values;
            let elements = [0, 17, 29, bounds.len() - 1];
            for (place, at) in elements.into_iter().enumerate() {
                if (turn + place) % 2 == 1 && !is_exhaustive() {
                    continue;
                }
                let off = right.data()[at] + 0.9 * bounds[at];
                let report = changed(&golden, name, format, |x| x[at] = off);
                let expected = (off - right.data()[at]).abs() / bounds[at];
                let found = report.stages[0].worst;
                assert!(
                    (found - expected).abs() <= 1e-14 * expected,
                    "{name}[{at}], {}: {found} but {expected}",
                    format.name()
                );
            }
        }
    }
}

/// Gradients have no analysis in two formats: the golden scale, in units of the coarser one, throughout.
#[test]
fn gradients_in_mixed_formats_are_the_coarser_ones() {
    let golden = committed_one("03-heads");
    for (format, coarser) in [
        (Format::TF32, Format::TF32),
        (Format::MIXED_TF32, Format::F16),
        (Format::MIXED_F16, Format::F16),
        (Format::MIXED_BF16, Format::BF16),
    ] {
        for name in ["grad.input", "grad.D"] {
            let right = stage(&golden, name);
            let (x, scale) = (right.values.data(), right.scale.data());
            // Products of errors of binary32 come in with underflow.
            let least = f64::from(f32::MIN_POSITIVE) + 2f64.powi(-48);
            for at in [0, x.len() - 1] {
                let bound = scale[at] * coarser.unit_roundoff()
                    + x[at].abs() * 2f64.powi(-53)
                    + underflow(&golden, least);
                let off = x[at] + 0.9 * bound;
                let report = changed(&golden, name, format, |x| x[at] = off);
                let expected = (off - x[at]).abs() / bound;
                let found = report.stages[0].worst;
                assert!(
                    (found - expected).abs() <= 1e-12 * expected,
                    "{name}[{at}], {}: {found} but {expected}",
                    format.name()
                );
            }
        }
    }
}

/// A factor is said where it explains nearly all of the error, and is said to do so nearly where a
/// tolerance (grown with the factor, if that is larger than one) does not hold the rest.
#[test]
fn a_factor_is_said_where_it_explains_the_error() {
    let golden = committed_one("16-prime");
    let bounds = tolerances(&golden, "grad.v_proj.weight", Format::F64);
    let values = stage(&golden, "grad.v_proj.weight").values.data();
    // The smallest element: what is done to it does not move the factor that fits best.
    let smallest = (0..values.len()).min_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
    let at = smallest.expect("not empty");
    let largest = |x: &[f64]| x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let relative = largest(&bounds) / largest(values);
    for (factor, off, sentence) in [
        (1.25, 0.9, "the right stage times 1.250000"),
        (1.25, 1.1, "the right stage times 1.250000, nearly"),
        (-0.5, 0.9, "the right stage times -0.500000"),
        (-0.5, 1.1, "the right stage times -0.500000, nearly"),
        (0.001, -0.9, "the right stage times 0.001000"),
        (0.001, -1.1, "the right stage times 0.001000, nearly"),
        (1.0 + 2e-4, 0.0, "the right stage times 1.000200"),
        (1.0 + 5e-5, 0.0, "the right stage times (1 + 5.0e-5)"),
        (1.0 - 5e-5, 0.0, "the right stage times (1 - 5.0e-5)"),
        (
            1.0,
            1.5,
            "wrong in row 0 alone (of 0 to 3); wrong in column 2 alone (of 0 to 3)",
        ),
    ] {
        let held = bounds[at] * f64::max(factor, 1.0) + relative * (factor * values[at]).abs();
        let report = changed(&golden, "grad.v_proj.weight", Format::F64, |x| {
            x.iter_mut().for_each(|x| *x *= factor);
            x[at] += off * held;
        });
        assert_eq!(said(&report), sentence, "{factor}, {off}");
    }
}

/// Words that other words are close to.
#[test]
fn words_that_are_nearly_true_are_not_said() {
    let golden = committed_one("16-prime");
    let check = |name: &str, change: &dyn Fn(&mut [f64]), sentence: &str| {
        assert_eq!(said(&changed(&golden, name, Format::F32, change)), sentence);
    };
    let scattered = "124 of 124 elements outside their tolerance";
    // Eight places are looked at, not nine.
    for by in [8, 9] {
        check(
            "shift_k",
            &|x| {
                for series in x.chunks_mut(31) {
                    series.rotate_right(by);
                    series[..by].fill(0.0);
                }
            },
            match by {
                8 => "the right stage 8 time steps late",
                _ => scattered,
            },
        );
    }
    // One channel twice is no permutation.
    check(
        "shift_k",
        &|x| x.copy_within(31..62, 0),
        "wrong in channel 0 alone (of 0 to 3)",
    );
    // Two elements can only be reversed, or else.
    let two = committed_one("05-heads-8");
    let name = "grad.kernel.kernel.log_dt";
    assert_eq!(stage(&two, name).values.shape(), [2]);
    let report = changed(&two, name, Format::F32, |x| x.swap(0, 1));
    assert_eq!(said(&report), "the right stage with its heads in reverse");

    // Series that are alike stay where they are: two channels of the same query.
    let alike = certified_with(|name, values| match name {
        Name::QWeight => values.copy_within(0..3, 3),
        Name::QBias => values.copy_within(0..1, 1),
        _ => {}
    });
    let report = changed(&alike, "q", Format::F32, |x| {
        (0..4).for_each(|t| x.swap(4 + t, 8 + t));
    });
    assert_eq!(said(&report), "channels 1 and 2 exchanged");
}

/// A mistake between chunks is named whatever the chunks' length, which is read off the error, and a mistake
/// that takes two with it.
#[test]
fn chunks_of_any_length_are_found() {
    let golden = committed_one("16-prime");
    let case = Case::from(layer(&golden).clone());
    let len = 31;
    for chunk_len in [5, 9, 13] {
        assert_ne!(chunk_len, default_chunk_len(len));
        let mut stages = case
            .run_with(&["carry_dropped"], Some(chunk_len))
            .expect("runs");
        stages.retain(|(name, _)| name == "ssm_out");
        let report = judge(&golden, &dumped(&named(&stages), Dtype::F32), Format::F32);
        let first = first_finding(&report).suspects.first().expect("named");
        let names: Vec<_> = first.mistakes.iter().map(|m| m.name).collect();
        assert_eq!(names, ["carry_dropped"], "{chunk_len}");
    }
}

/// Off by one and a half tolerances, in a way of no mistake: nothing is named, not even what changes
/// nothing on this case, although a mutated stage's own tolerance is the wider one.
#[test]
fn what_changes_nothing_is_not_named() {
    let golden = committed_one("01-basic");
    for name in ["ssm_out", "output", "grad.v_proj.weight"] {
        let bounds = tolerances(&golden, name, Format::F32);
        let values = stage(&golden, name).values.data();
        let largest =
            (0..values.len()).max_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
        let at = largest.expect("not empty");
        let report = changed(&golden, name, Format::F32, |x| x[at] += 1.5 * bounds[at]);
        let suspects = &first_finding(&report).suspects;
        assert!(suspects.is_empty(), "{name}: {suspects:?}");
    }
}

/// A candidate may hold what the golden file was made from, rounded once to its type, and nothing else.
#[test]
fn what_a_candidate_was_made_from_is_the_cases() {
    // Thirds, which every type rounds, and zeros, which are zero in each.
    let golden = certified_with(|name, values| match name {
        Name::KWeight => values.iter_mut().for_each(|x| *x /= 3.0),
        Name::QWeight => values.fill(0.0),
        _ => {}
    });
    let case = layer(&golden);
    let output = &stage(&golden, "output").values;
    let name = Name::KWeight;
    let right = case.parameters().get(name).to_vec();
    let (d, input) = (case.parameters().config().d_model, case.input());
    let read = |tensors: &[(&str, Dtype, &[usize], Vec<f64>)]| {
        let mut writer = Writer::new();
        writer
            .add("output", Dtype::F64, output.shape(), output.data())
            .expect("fits");
        for (name, dtype, shape, values) in tensors {
            writer.add(name, *dtype, shape, values).expect("fits");
        }
        let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
        golden
            .candidate(&file)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let zeros = case.parameters().get(Name::QWeight).to_vec();
    for (dtype, digits) in [
        (Dtype::F64, 53),
        (Dtype::F32, 24),
        (Dtype::F16, 11),
        (Dtype::BF16, 8),
    ] {
        let weight = |values: Vec<f64>| read(&[(name.official(), dtype, &[d, d], values)]);
        assert_eq!(weight(right.clone()), Ok(()), "{dtype}");
        let tensor = (Name::QWeight.official(), dtype, &[d, d][..], zeros.clone());
        assert_eq!(read(&[tensor]), Ok(()), "{dtype}");
        for at in [0, d * d - 1] {
            let mut off = right.clone();
            off[at] += 2f64.powi(2 - digits) * off[at].abs();
            let said = weight(off).expect_err("another case");
            assert!(said.contains("another case"), "{dtype}: {said}");
        }
    }
    for shape in [
        [input.shape()[1], input.shape()[0]],
        [1, input.shape()[1] * input.shape()[0]],
    ] {
        let shape = [shape[0], shape[1], input.shape()[2]];
        let said = read(&[("input", Dtype::F64, &shape, input.data().to_vec())]);
        assert_eq!(said.is_ok(), shape == input.shape(), "{shape:?}");
    }
}

/// Shapes that only nearly are another layout of the stage.
#[test]
fn other_shapes_are_refused() {
    let golden = committed_one("03-heads");
    // (2, 19, 6)
    for shape in [
        &[1, 6, 19][..],
        &[4, 6, 19],
        &[2, 38, 3],
        &[2, 6, 38],
        &[2, 3, 38],
        &[6, 19],
        &[19, 2, 6],
        &[228],
        &[38, 6],
    ] {
        let values = vec![0.5; shape.iter().product()];
        let wrong = Tensor::new(shape, values).expect("fits");
        let file = dumped(&[("output", &wrong)], Dtype::F32);
        let said = golden.candidate(&file).expect_err("refused").to_string();
        assert!(
            said.contains("tensor \"output\"") && said.contains("[2, 19, 6]"),
            "{said}"
        );
        assert!(said.contains(&format!("{shape:?}")), "{said}");
    }
    // The same with more axes of length one, anywhere.
    let right = &stage(&golden, "output").values;
    for shape in [
        &[2, 1, 6, 19][..],
        &[1, 2, 6, 19],
        &[2, 19, 1, 6],
        &[2, 19, 6, 1],
    ] {
        let transposed = shape.ends_with(&[6, 19]);
        let value = |at: usize| {
            let (b, c, t) = (at / 114, at / 19 % 6, at % 19);
            right.data()[if transposed { (b * 19 + t) * 6 + c } else { at }]
        };
        let same = Tensor::new(shape, (0..228).map(value).collect()).expect("fits");
        let report = judge(
            &golden,
            &dumped(&[("output", &same)], Dtype::F64),
            Format::F64,
        );
        assert!(report.pass(), "{shape:?}");
        let note = report.stages[0].note.as_deref().expect("said");
        assert_eq!(note.contains("exchanged"), transposed, "{note}");
    }
}

/// Stages of dense models and of language models have axes too.
#[test]
fn other_goldens_are_described_as_well() {
    let back_to_front = |right: &Tensor<f64>, axis: usize| {
        let shape = right.shape();
        let inner: usize = shape[axis + 1..].iter().product();
        let len = shape[axis];
        let values = (0..right.data().len()).map(|at| {
            let (outer, t, i) = (at / inner / len, at / inner % len, at % inner);
            right.data()[(outer * len + len - 1 - t) * inner + i]
        });
        Tensor::new(shape, values.collect()).expect("fits")
    };
    let golden = committed_one("42-dense");
    for (name, axis, sentence) in [
        ("kernel", 0, "the right stage reversed in time"),
        ("output", 1, "the right stage reversed in time"),
        ("final_x", 1, "the right stage with its modes in reverse"),
    ] {
        let wrong = back_to_front(&stage(&golden, name).values, axis);
        let report = judge(&golden, &dumped(&[(name, &wrong)], Dtype::F64), Format::F64);
        assert_eq!(said(&report), sentence, "{name}");
    }
    let golden = committed_one("40-model-h3");
    for name in ["block0.hidden", "block1.residual", "logits"] {
        let wrong = back_to_front(&stage(&golden, name).values, 1);
        let report = judge(&golden, &dumped(&[(name, &wrong)], Dtype::F64), Format::F64);
        assert_eq!(said(&report), "the right stage reversed in time", "{name}");
    }
}
