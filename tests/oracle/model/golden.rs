//! Golden models: right ports pass, whatever way they compute; every known mistake is refused and
//! named.

use super::support::{Stages, case, certified, file, judge, model_of, verdicts};
use crate::common::{golden_file, is_exhaustive};
use hungry_hippos::Tensor;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::model::{BlockName, ModelName, ModelParameters};
use hungry_hippos::oracle::{
    Case, Format, Golden, Mistake, ModelCase, Precision, StageReport, StageVerdict,
};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

/// The committed golden models over whole sequences, by name.
fn committed() -> Vec<(&'static str, Golden)> {
    opened(&[
        "39-model-hybrid",
        "40-model-h3",
        "41b-model-s4d",
        "41-model-attention",
    ])
}

/// Those over documents in a row, and beside padding.
fn served() -> Vec<(&'static str, Golden)> {
    opened(&["70-model-packed", "71-model-padded"])
}

fn opened(names: &[&'static str]) -> Vec<(&'static str, Golden)> {
    let open = |name: &&'static str| {
        let golden = Golden::open(&golden_file(name));
        (*name, golden.expect("a golden file"))
    };
    names.iter().map(open).collect()
}

/// The mistakes in what stands around a model's H3 layers.
fn mistakes() -> Vec<&'static Mistake> {
    let (_, golden) = committed().swap_remove(0);
    let mut mistakes = Case::from(model_of(&golden).clone()).mistakes();
    mistakes.retain(|mistake| mistake.id.starts_with('L'));
    mistakes
}

const FLOATS: [(Dtype, Format); 2] = [(Dtype::F64, Format::F64), (Dtype::F32, Format::F32)];

fn run(golden: &Golden, prompt: usize, form: Form, precision: Precision) -> Stages {
    let case = model_of(golden).clone().with_prompt(prompt);
    let case = Case::from(case.expect("whole sequences"));
    case.run(&form, precision, false).expect("runs")
}

#[test]
fn right_ports_are_accepted() {
    for (name, golden) in &committed() {
        let len = model_of(golden).ids().shape()[1];
        let in_f64 = [
            run(golden, len, Form::Fft, Precision::F64),
            run(golden, 0, Form::Scan, Precision::F64),
        ];
        let in_f32 = [
            run(golden, 0, Form::Fft, Precision::F32),
            run(golden, len, Form::Recurrence, Precision::F32),
        ];
        for ((dtype, format), ports) in FLOATS.into_iter().zip([in_f64, in_f32]) {
            for (at, stages) in ports.iter().enumerate() {
                let report = judge(golden, stages, dtype, format);
                assert!(report.pass(), "{name}, {at}");
                // Far from the limit: the analysis is of the worst case.
                let worst = report.stages.iter().map(|stage| stage.worst);
                assert!(worst.fold(0.0, f64::max) < 0.1, "{name}, {at}");
                assert_eq!(
                    report.stages.len(),
                    stages.len(),
                    "{name}: every stage judged"
                );
            }
        }
    }
}

/// Whatever a port holds at padding; and every leak between documents is named, those of the layers too: each in
/// one of the two models, with `HIPPOS_EXHAUSTIVE` set in both.
#[test]
fn documents_are_judged() {
    for (turn, (name, golden)) in served().iter().enumerate() {
        let case = Case::from(model_of(golden).clone());
        let in_f64 = case.run(&Form::Fft, Precision::F64, false).expect("runs");
        let in_f32 = case.run(&Form::Scan, Precision::F32, false).expect("runs");
        for ((dtype, format), mut stages) in FLOATS.into_iter().zip([in_f64, in_f32]) {
            for (_, stage) in &mut stages {
                let &[batch, len, width] = stage.shape() else {
                    panic!("three axes")
                };
                let mut values = stage.data().to_vec();
                for row in (0..batch * len).filter(|_| *name == "71-model-padded") {
                    let values = &mut values[row * width..][..width];
                    if values.iter().all(|&x| x == 0.0) {
                        values.fill(1e6);
                    }
                }
                *stage = Tensor::new([batch, len, width], values).expect("fits");
            }
            let report = judge(golden, &stages, dtype, format);
            assert!(report.pass(), "{name}: {report}");
            let worst = report.stages.iter().map(|stage| stage.worst);
            assert!(worst.fold(0.0, f64::max) < 0.1, "{name}");
        }
        for (place, mistake) in ["L20a", "L20b", "L20c", "L20d"].into_iter().enumerate() {
            if (turn + place) % 2 == 0 && !is_exhaustive() {
                continue;
            }
            let stages = case.run_with(&[mistake], None).expect("computed");
            let report = judge(golden, &stages, Dtype::F32, Format::F32);
            let finding = report.findings.first();
            let finding = finding.unwrap_or_else(|| panic!("{name}, {mistake}: accepted"));
            let named = finding
                .suspects
                .iter()
                .flat_map(|suspect| &suspect.mistakes);
            let named: Vec<_> = named.map(|m| m.id).collect();
            assert!(named.contains(&mistake), "{name}, {mistake}: {named:?}");
        }
    }
}

/// A schedule changes no stage; what is forgotten after a prompt is forgotten after its own.
#[test]
fn schedules_say_where_states_are_handed_on() {
    let whole = Case::open(&golden_file("40-model-h3")).expect("a case");
    let mut writer = whole.writer().expect("small");
    for (key, value) in [
        ("sequence", "schedule"),
        ("schedule", "prompt=5,steps=2,chunk=7"),
    ] {
        writer.metadata(key, value).expect("once");
    }
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    let parts = Case::read(&file).expect("a case");
    let run = |case: &Case| case.run(&Form::Fft, Precision::F64, false).expect("runs");
    for ((name, one), (_, other)) in run(&whole).iter().zip(&run(&parts)) {
        let size = 1e-13 * crate::common::largest(one.data());
        crate::common::assert_close(name, one.data(), other.data(), size);
    }
    let right = parts.run_with(&[], None).expect("runs");
    for mistake in [
        "prompt_state_lost",
        "prompt_window_lost",
        "prompt_states_lost",
    ] {
        let wrong = parts.run_with(&[mistake], None).expect("runs");
        let (right, wrong) = (&right[0].1, &wrong[0].1);
        let differs = |at: &usize| (right.data()[*at] - wrong.data()[*at]).abs() > 1e-9;
        let first = (0..right.data().len()).find(differs);
        assert_eq!(first.map(|at| at / right.shape()[2]), Some(5), "{mistake}");
    }
}

/// Stages of which each is stored in the format of the projections are those of a right port in the mixed format,
/// step by step too, and of none in f32.
#[test]
fn each_step_in_a_mixed_format_is_of_the_coarser_one() {
    let rounded = |x: f64, bits: i32| {
        let unit = 2f64.powi(x.abs().log2().floor() as i32 + 1 - bits);
        (x / unit).round_ties_even() * unit
    };
    for (name, golden) in &committed() {
        for (format, bits) in [
            (Format::MIXED_TF32, 11),
            (Format::MIXED_F16, 11),
            (Format::MIXED_BF16, 8),
        ] {
            let stages = golden.stages().iter().map(|stage| {
                let values = stage.values.map(|x| rounded(x, bits));
                (stage.name().to_string(), values)
            });
            let stages: Stages = stages.collect();
            let report = judge(golden, &stages, Dtype::F32, format);
            assert!(report.pass(), "{name} in {}: {report}", format.name());
            // The stages of both formats of 11 bits are the same.
            if format == Format::MIXED_F16 {
                continue;
            }
            let report = verdicts(golden, &stages, Dtype::F32, Format::F32);
            let wrong = |stage: &&StageReport| stage.verdict == StageVerdict::Fail;
            let refused = report.stages.iter().filter(wrong).count();
            assert!(2 * refused > stages.len(), "{name}: {report}");
        }
    }
}

/// In a mixed format a model's scale is in units of the projections throughout: errors of some of these are within
/// bounds there and nowhere finer, and more of them nowhere.
#[test]
fn mixed_formats_are_the_coarser_one() {
    let (_, golden) = committed().swap_remove(2);
    let stages = run(
        &golden,
        model_of(&golden).ids().shape()[1],
        Form::Fft,
        Precision::F64,
    );
    let name = "block0.hidden";
    let stage = golden.stages().iter().find(|stage| stage.name() == name);
    let scale = &stage.expect("a stage").scale;
    let within = |units: f64, format: Format| {
        let (_, right) = stages.iter().find(|(stage, _)| stage == name).expect("run");
        let moved = right.data().iter().zip(scale.data());
        let moved = moved.map(|(x, scale)| x + units * 2f64.powi(-11) * scale);
        let moved = Tensor::new(right.shape(), moved.collect()).expect("fits");
        let report = verdicts(&golden, &vec![(name.into(), moved)], Dtype::F64, format);
        report.stages[0].worst <= 1.0
    };
    assert!(within(0.5, Format::TF32) && within(0.5, Format::MIXED_TF32));
    assert!(!within(0.5, Format::F32) && !within(2.0, Format::TF32));
    assert!(within(2.0, Format::MIXED_BF16) && !within(16.0, Format::MIXED_BF16));
}

/// The official float64 and float32 stages are within tolerance of what is certified here, of the first tokens: what
/// comes later does not change them.
#[test]
fn the_official_stages_are_accepted() {
    const TOKENS: usize = 5;
    let cases = [("lm-tiny", 0), ("lm-choices", 0), ("lm-older-f32", 1)];
    for (name, precision) in cases {
        let (dtype, format) = FLOATS[precision];
        let case = case(name);
        let first = |stage: &Tensor<f64>| {
            let &[batch, len, width] = stage.shape() else {
                panic!("three axes")
            };
            let sequences = stage.data().chunks_exact(len * width);
            let first = sequences.flat_map(|sequence| &sequence[..TOKENS * width]);
            Tensor::new([batch, TOKENS, width], first.copied().collect()).expect("fits")
        };
        let (parameters, ids) = (
            case.parameters().expect("read"),
            case.ids().expect("tokens"),
        );
        let (batch, len) = (ids.shape()[0], ids.shape()[1]);
        let few = ids.data().chunks_exact(len).flat_map(|ids| &ids[..TOKENS]);
        let few = Tensor::new([batch, TOKENS], few.copied().collect()).expect("fits");
        let golden = certified(parameters, few);
        let mut stages = Vec::new();
        for stage in golden.stages() {
            let width = stage.values.shape()[2];
            let saved = case
                .saved(stage.name(), &[batch, len, width])
                .expect("a stage");
            stages.extend(saved.map(|saved| (stage.name().to_string(), first(&saved))));
        }
        assert!(!stages.is_empty(), "{name}");
        let report = judge(&golden, &stages, dtype, format);
        assert!(report.pass(), "{name}");
    }
}

/// The largest part of the bound by which any stage is off.
fn departure(golden: &Golden, stages: &Stages, format: Format) -> f64 {
    let mut worst: f64 = 0.0;
    for (name, found) in stages {
        let mut golden = golden.stages().iter();
        let stage = golden.find(|stage| stage.name() == *name).expect("known");
        let scale = stage.scale_at(format).into_iter();
        let pairs = found.data().iter().zip(stage.values.data());
        for ((x, golden), scale) in pairs.zip(scale) {
            let bound = scale * format.unit_roundoff() + golden.abs() * f64::EPSILON;
            worst = worst.max((x - golden).abs() / bound.max(f64::MIN_POSITIVE));
        }
    }
    worst
}

/// Every mistake is far outside the bound on some model. Each is named: on one model, by default some of them
/// (with `HIPPOS_EXHAUSTIVE` set all, on all models where they act; a minute).
#[test]
fn every_known_mistake_is_refused_and_named_first() {
    // In some case, at each precision, by how many times the tolerance.
    let known = mistakes();
    let mut refused = vec![[0.0f64; 2]; known.len()];
    // The smallest model first.
    for (name, golden) in committed().iter().rev().chain(&served()) {
        let case = Case::from(model_of(golden).clone());
        let right = case.run_with(&[], None).expect("computed");
        for (at, (mistake, refused)) in known.iter().zip(&mut refused).enumerate() {
            let stages = case.run_with(&[mistake.id], None).expect("computed");
            if stages == right {
                continue;
            }
            let is_first = *refused == [0.0; 2];
            for (which, (dtype, format)) in FLOATS.into_iter().enumerate() {
                refused[which] = departure(golden, &stages, format).max(refused[which]);
                if !(is_exhaustive() || is_first && at % 4 == 2 * which) {
                    continue;
                }
                let report = judge(golden, &stages, dtype, format);
                let what = format!("{name}, {}, {}", mistake.name, format.name());
                let Some(finding) = report.findings.first() else {
                    // No case of the suite is wide enough to hide a mistake in float64.
                    assert_eq!(format.name(), "f32", "{what}: accepted");
                    continue;
                };
                let first = finding.suspects.first().map(|s| &s.mistakes[..]);
                assert_eq!(first, Some(&[*mistake][..]), "{what}: {finding:?}");
            }
        }
    }
    for (mistake, [in_f64, in_f32]) in known.iter().zip(refused) {
        println!("{}: {in_f64:.1e} {in_f32:.1e}", mistake.name);
        assert!(
            in_f32 > 10.0 && in_f64 > 1e9,
            "{}: {in_f64:e}, {in_f32:e}",
            mistake.name
        );
    }
}

/// A layer's mistake in all H3 layers is named too. The ports are made of other parameters, not by the
/// mutants: without the skip D; with the conjugate of C.
#[test]
fn mistakes_inside_the_layers_are_named() {
    type Change = fn(&mut [f64]);
    let cases: [(Name, Change, &str); 2] = [
        (Name::D, |d| d.fill(0.0), "M34"),
        (
            Name::C,
            |c| c.chunks_mut(2).for_each(|z| z[1] = -z[1]),
            "M45a",
        ),
    ];
    for (name, golden) in &committed()[1..2] {
        let right = model_of(golden).parameters();
        for (changed, change, id) in cases {
            let parameters = ModelParameters::new(right.config().clone(), |name| {
                let mut values = right.get(name).to_vec();
                if matches!(name, ModelName::Block(_, BlockName::H3(part)) if part == changed) {
                    change(&mut values);
                }
                Ok(values)
            });
            let parameters = parameters.expect("of the same shapes");
            let case = ModelCase::new(parameters, model_of(golden).ids().clone()).expect("tokens");
            let stages = Case::from(case).run_with(&[], None).expect("runs");
            for (dtype, format) in FLOATS {
                let report = judge(golden, &stages, dtype, format);
                let finding = report.findings.first().expect("refused");
                assert_eq!(finding.stage, "block0.residual", "{name}");
                let suspect = finding.suspects.first().expect("named");
                let ids: Vec<_> = suspect.mistakes.iter().map(|m| m.id).collect();
                assert_eq!(ids, [id], "{name}: {finding:?}");
            }
        }
    }
}

/// The table of chapter 17 is the catalogue.
#[test]
fn the_chapter_lists_the_catalogue() {
    let page = include_str!("../../../docs/17-language-model.md");
    let row = |m: &&Mistake| format!("| {} | `{}` | {} |", m.id, m.name, m.formula());
    let known = mistakes();
    let rows: Vec<String> = known.iter().map(row).collect();
    let listed: Vec<&str> = page
        .lines()
        .filter(|line| {
            ["| L0", "| L1", "| L2"]
                .iter()
                .any(|id| line.starts_with(id))
        })
        .collect();
    assert_eq!(listed, rows);
    // What they advise names what is missing.
    for (name, named) in [
        ("no_positions", "backbone.embeddings.position_embeddings"),
        ("no_final_norm", "backbone.ln_f"),
        ("epsilon_1e6", "layer_norm_epsilon"),
        ("no_scale", "sqrt(head channels)"),
    ] {
        let mut known = known.iter();
        let fix = known
            .find(|m| m.name == name)
            .expect("in the catalogue")
            .fix;
        assert!(fix.contains(named), "{fix}");
    }
}

/// What is in no catalogue is placed: at the step that is wrong, and at no other.
#[test]
fn unknown_mistakes_are_placed() {
    let (_, golden) = committed().remove(0);
    let mut stages = run(
        &golden,
        model_of(&golden).ids().shape()[1],
        Form::Fft,
        Precision::F64,
    );
    for (name, stage) in &mut stages {
        if name == "block1.hidden" {
            *stage = stage.map(|x| 1.5 * x);
        }
    }
    let report = judge(&golden, &stages, Dtype::F64, Format::F64);
    let [finding] = &report.findings[..] else {
        panic!("{:?}", report.findings)
    };
    assert_eq!(finding.stage, "block1.hidden");
    assert_eq!(finding.pattern, "the right stage times 1.500000");
    assert!(finding.suspects.is_empty(), "{finding:?}");
    // What is computed from it is right as computed from it.
    let verdicts = report
        .stages
        .iter()
        .map(|stage| (&stage.name[..], stage.verdict));
    let verdicts: Vec<_> = verdicts.collect();
    let wrong = verdicts
        .iter()
        .filter(|(_, verdict)| *verdict == StageVerdict::Fail);
    assert_eq!(wrong.count(), 1, "{verdicts:?}");
    let order: Vec<&str> = report.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        order[..3],
        ["block0.residual", "block0.hidden", "block1.residual"]
    );
}

/// Another model's stages, tokens or weights are refused in one line.
#[test]
fn other_cases_are_refused() {
    let (_, golden) = committed().remove(0);
    let refused = |file: &SafeTensors, fragment: &str| {
        let said = golden.candidate(file).expect_err("refused").to_string();
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
        assert_eq!(said.lines().count(), 1, "one line: {said}");
    };
    refused(&file(&Vec::new(), Dtype::F64), "block0.residual");
    let (_, other) = committed().remove(1);
    let stages = run(&other, 14, Form::Fft, Precision::F64);
    refused(&file(&stages, Dtype::F64), "block0");
    let mut writer = Writer::new();
    writer
        .add_i64("input_ids", &[2, 11], &[1; 22])
        .expect("fits");
    let ids = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    refused(&ids, "another case");
    let name = "backbone.ln_f.bias";
    let weight = Tensor::new([8], vec![0.25; 8]).expect("fits");
    refused(
        &file(&vec![(name.into(), weight)], Dtype::F32),
        "another case",
    );
}
