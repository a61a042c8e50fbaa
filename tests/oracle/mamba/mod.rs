//! Claims about SSD and the Mamba-2 layer: the reference is what public code computes, right ports
//! pass, mistakes are refused and named.

mod mamba2;
mod served;
mod ssd;

use crate::common::{assert_close, close, data, is_exhaustive, largest};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Candidate, Case, Format, Golden, Precision, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::{Error, Tensor};

type Stages = Vec<(String, Tensor<f64>)>;

fn open(name: &str) -> (Case, SafeTensors) {
    let file = SafeTensors::open(&data(name)).expect("a file");
    (Case::read(&file).expect("a well-formed case"), file)
}

/// What two float64 computations may differ by: stages 1e-12 of their largest magnitude, gradients
/// 1e-11.
fn bound(name: &str, saved: &[f64]) -> f64 {
    let relative = if name.starts_with("grad.") {
        1e-11
    } else {
        1e-12
    };
    relative * largest(saved)
}

/// Every stage and gradient of a case that its file holds, in a form, against the file; returns the
/// number of them.
fn assert_official(name: &str, form: &Form) -> usize {
    let (case, file) = open(name);
    let stages = case.run(form, Precision::F64, true).expect("runs");
    let mut compared = 0;
    for (stage, values) in &stages {
        if let Some(saved) = file.get(stage) {
            assert_eq!(saved.shape, values.shape(), "{name}, {stage}");
            let saved = saved.to_f64().expect("floats");
            let what = format!("{name}, {form}, {stage}");
            assert_close(&what, values.data(), &saved, bound(stage, &saved));
            compared += 1;
        }
    }
    compared
}

/// True if what a mistake computes of a stage is within the bound that right forms meet.
fn is_met_with(name: &str, mistake: &str, stage: &str) -> bool {
    let (case, file) = open(name);
    let stages = case.run_with(&[mistake], None).expect("runs");
    let (_, values) = stages
        .iter()
        .find(|(known, _)| known == stage)
        .expect("a stage");
    let saved = file.tensor(stage).and_then(|t| t.to_f64()).expect("saved");
    close(stage, values.data(), &saved, bound(stage, &saved)).is_ok()
}

/// A candidate whose stages are rounded to f32.
fn in_f32(golden: &Golden, stages: &Stages) -> Candidate {
    let rounded: Vec<(&str, Vec<f32>)> = stages
        .iter()
        .filter(|(name, _)| golden.stages().iter().any(|stage| stage.name() == name))
        .map(|(name, x)| (name.as_str(), x.data().iter().map(|&x| x as f32).collect()))
        .collect();
    let arrays = rounded.iter().map(|(name, x)| (*name, &x[..]));
    Candidate::from_stages(golden, arrays).expect("stages")
}

fn judged(golden: &Golden, stages: &Stages) -> Report {
    golden.check(&in_f32(golden, stages), Format::F32)
}

/// Every known mistake that moves a case by more than rounding (every sixth, unless all is tried, others on the next
/// case, which is one of a number) is refused at f32 and named, with all stages dumped; returns those that moved it.
fn assert_named((number, file): (usize, &str), case: &Case, golden: &Golden) -> Vec<&'static str> {
    let mut stages = golden.stages().iter();
    let back = stages.any(|stage| stage.name().starts_with("grad."));
    let whole = case.run(&case.default_form(), Precision::F64, back);
    let whole = whole.expect("runs");
    let (mut acted, mut missed) = (Vec::new(), Vec::new());
    for (at, mistake) in case.mistakes().into_iter().enumerate() {
        let Ok(wrong) = case.run_with(&[mistake.id], None) else {
            continue;
        };
        let mut moved = false;
        let mut stages = whole.clone();
        for (name, values) in &mut stages {
            let Some((_, wrong)) = wrong.iter().find(|(known, _)| known == name) else {
                continue;
            };
            let same_shape = wrong.shape() == values.shape();
            if same_shape && wrong.data().iter().all(|x| x.abs() < 1e30) {
                let pairs = wrong.data().iter().zip(values.data());
                let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                moved |= apart > 1e-4 * largest(values.data());
                *values = wrong.clone();
            }
        }
        if !moved {
            continue;
        }
        acted.push(mistake.id);
        if (at + number) % 6 != 0 && !is_exhaustive() {
            continue;
        }
        let report = judged(golden, &stages);
        let named = report.findings.iter().any(|finding| {
            let suspects = finding
                .suspects
                .iter()
                .flat_map(|suspect| &suspect.mistakes);
            suspects.map(|known| known.id).any(|id| id == mistake.id)
        });
        if report.pass() || !named {
            println!("{file}: {}: {report}", mistake.id);
            missed.push(mistake.id);
        }
    }
    assert!(
        missed.is_empty(),
        "{file}: {missed:?} pass or are not named"
    );
    acted
}

/// A case whose metadata says something else.
fn edited(name: &str, key: &str, value: &str) -> Result<Case, Error> {
    let file = SafeTensors::open(&data(name)).expect("a file");
    let mut writer = Writer::new();
    for (known, stated) in file.metadata() {
        let stated = if known == key { value } else { stated };
        writer.metadata(known, stated)?;
    }
    for tensor in file.tensors() {
        let values = tensor.to_f64().expect("floats");
        writer.add(tensor.name, tensor.dtype, tensor.shape, &values)?;
    }
    Case::read(&SafeTensors::from_bytes(writer.to_bytes()?)?)
}

/// What a file says of its rows.
enum Said {
    Nothing,
    Packed(Vec<usize>),
    /// Lengths, and whether padding stands on the left.
    Padded(Vec<usize>, bool),
}

/// A layer of a file on other rows of tokens.
fn rows(
    file: &SafeTensors,
    input: &[f64],
    g: &[f64],
    batch: usize,
    said: &Said,
) -> Result<Case, Error> {
    let mut writer = Writer::new();
    for key in ["kind", "ngroups", "headdim", "norm_before_gate", "dt_limit"] {
        writer.metadata(key, &file.metadata()[key])?;
    }
    let parameters = [
        "in_proj", "out_proj", "conv1d", "norm", "dt_bias", "A_log", "D",
    ];
    for tensor in file.tensors() {
        if parameters
            .iter()
            .any(|of| tensor.name.split('.').next() == Some(of))
        {
            writer.add(tensor.name, tensor.dtype, tensor.shape, &tensor.to_f64()?)?;
        }
    }
    let d = file.tensor("input")?.shape[2];
    let shape = [batch, input.len() / batch / d, d];
    writer.add("input", Dtype::F64, &shape, input)?;
    writer.add("g", Dtype::F64, &shape, g)?;
    let counts = |of: &[usize]| of.iter().map(|&x| x as i64).collect::<Vec<_>>();
    match said {
        Said::Nothing => {}
        Said::Packed(ends) => {
            writer.metadata("sequence", "packed")?;
            writer.add_i64("cu_seqlens", &[ends.len()], &counts(ends))?;
        }
        Said::Padded(lengths, left) => {
            writer.metadata("sequence", "padded")?;
            writer.metadata("padding", if *left { "left" } else { "right" })?;
            writer.add_i64("lengths", &[lengths.len()], &counts(lengths))?;
        }
    }
    Case::read(&SafeTensors::from_bytes(writer.to_bytes()?)?)
}

/// The official run in float32 is within what float32 allows, by bound and by evidence, and the golden
/// values are those of its run in long doubles; how many of these there are.
fn official_float32_passes(name: &str) -> usize {
    let (case, file) = open(name);
    let golden = case.certify().expect("decided");
    let candidate = golden.candidate(&file).expect("stages");
    let report = golden.check(&candidate, Format::F32);
    assert!(report.pass(), "{report}");
    let mut compared = 0;
    for stage in golden.stages() {
        if let Some(longdouble) = file.get(&format!("{}_longdouble", stage.name())) {
            let saved = longdouble.to_f64().expect("floats");
            let bound = 1e-15 * largest(&saved);
            assert_close(stage.name(), stage.values.data(), &saved, bound);
            compared += 1;
        }
    }
    compared
}
