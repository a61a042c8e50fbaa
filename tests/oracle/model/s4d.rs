//! Models with S4D layers: the official layer's run is accepted, ports with mistakes and wrong gradients are
//! refused, and so are files that hold no such model.

use super::refusals::{Parts, parts, with, written};
use super::support::{Stages, case, verdicts};
use crate::common::{data, is_exhaustive};
use hungry_hippos::Tensor;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::model::{BlockName, ModelName, ModelParameters, SsmMixer};
use hungry_hippos::oracle::{Case, Format, Golden, ModelCase, Precision, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use std::sync::LazyLock;

const OFFICIAL: &str = "lm-grad-s4d";

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let case = Case::open(&data(OFFICIAL)).expect("a case");
    case.certify().expect("certified")
});

/// What a port computes of these parameters in f64.
fn port(parameters: ModelParameters<f64>, form: Form) -> Stages {
    let file = case(OFFICIAL).case().expect("a case");
    let ids = file.ids().clone();
    let targets = SafeTensors::open(&data(OFFICIAL)).expect("a file");
    let targets = targets.get("targets").expect("there");
    let targets: Vec<_> = targets
        .to_i64()
        .expect("integers")
        .into_iter()
        .map(|id| usize::try_from(id).ok())
        .collect();
    let targets = Tensor::new(ids.shape(), targets).expect("fits");
    let wrong = ModelCase::new(parameters, ids).expect("a case");
    let wrong = Case::from(wrong.with_targets(targets));
    wrong.run(&form, Precision::F64, true).expect("runs")
}

fn right_parameters() -> ModelParameters<f64> {
    case(OFFICIAL).parameters().expect("parameters")
}

/// A change of a parameter's element, by its place.
type Change = fn(usize, f64) -> f64;

/// The parameters with those of one name changed in every block.
fn with_changed(changed: Name, change: Change) -> ModelParameters<f64> {
    let right = right_parameters();
    let edited = ModelParameters::new(right.config().clone(), |name| {
        let values = right.get(name).iter().copied();
        Ok(match name {
            ModelName::Block(_, BlockName::S4d(name)) if name == changed => {
                values.enumerate().map(|(i, x)| change(i, x)).collect()
            }
            _ => values.collect(),
        })
    });
    edited.expect("the same shapes")
}

fn judged(stages: &Stages) -> [Report; 2] {
    [(Dtype::F64, Format::F64), (Dtype::F32, Format::F32)]
        .map(|(dtype, format)| verdicts(&GOLDEN, stages, dtype, format))
}

#[test]
fn the_official_layer_and_every_form_are_accepted() {
    assert_eq!(right_parameters().config().ssm, SsmMixer::S4d);
    let file = SafeTensors::open(&data(OFFICIAL)).expect("a file");
    let report = GOLDEN.check(&GOLDEN.candidate(&file).expect("stages"), Format::F64);
    assert!(report.pass() && report.stages.len() == 46, "{report}");
    for form in [Form::Recurrence, Form::Fft, Form::Scan] {
        for report in judged(&port(right_parameters(), form)) {
            assert!(report.pass() && report.stages.len() == 46, "{report}");
        }
    }
}

/// Without the factor 2 of conjugate pairs, with the conjugated `C`, without `D`, with poles that do not decay, with
/// all time steps alike, without the projection's bias.
#[test]
fn wrong_ports_are_refused_at_the_first_layer() {
    let wrong: [(Name, Change); 6] = [
        (Name::C, |_, x| x / 2.0),
        (Name::C, |i, x| if i % 2 == 1 { -x } else { x }),
        (Name::D, |_, _| 0.0),
        (Name::InvAReal, |_, _| -40.0),
        (Name::LogDt, |_, _| -1.0),
        (Name::OutputBias, |_, _| 0.0),
    ];
    for (name, change) in wrong {
        for report in judged(&port(with_changed(name, change), Form::Recurrence)) {
            assert!(!report.pass(), "{name:?}");
            let first = report
                .stages
                .iter()
                .find(|stage| stage.name == "block0.residual");
            assert!(!first.expect("judged").pass, "{name:?}: {report}");
        }
    }
}

/// Every gradient of an S4D layer, wrong by itself: in one way, with `HIPPOS_EXHAUSTIVE` set in three.
#[test]
fn wrong_gradients_are_refused_where_they_are() {
    let right = port(right_parameters(), Form::Recurrence);
    let edits: [fn(f64) -> f64; 3] = [|_| 0.0, |x| -x, |x| x / 2.0];
    for (turn, name) in BlockName::S4D_NAMES.into_iter().enumerate() {
        let gradient = ModelName::Block(0, BlockName::S4d(name)).official();
        let gradient = format!("grad.{gradient}");
        let edits = match is_exhaustive() {
            true => &edits[..],
            false => &edits[turn % 3..][..1],
        };
        for edit in edits {
            let mut stages = right.clone();
            let of_name = stages.iter_mut().find(|(known, _)| *known == gradient);
            let (_, stage) = of_name.expect("a gradient");
            *stage = stage.map(edit);
            for report in judged(&stages) {
                let failed = report.stages.iter().filter(|stage| !stage.pass);
                let failed: Vec<_> = failed.map(|stage| &stage.name[..]).collect();
                assert_eq!(failed, [&gradient[..]]);
            }
        }
    }
}

#[test]
fn files_without_such_a_model_are_refused() {
    let refused = |fragment: &str, change: &dyn Fn(&mut Parts)| {
        let mut parts = parts(&data(OFFICIAL));
        change(&mut parts);
        let path = written("s4d-refused", &parts);
        let said = Case::open(&path).map(|_| ()).expect_err(fragment);
        let said = said.to_string();
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
    };
    let of_block = |name: &str| format!("backbone.layers.0.mixer.{name}");
    for name in [
        "D",
        "kernel.kernel.C",
        "kernel.kernel.log_dt",
        "kernel.kernel.log_w_real",
        "kernel.kernel.w_imag",
        "output_linear.weight",
        "output_linear.bias",
    ] {
        let name = of_block(name);
        refused(&format!("tensor {name:?} is missing"), &|parts| {
            parts.tensors.remove(&name).expect("there");
        });
    }
    let reshaped = |name: &str, shape: &'static [usize]| {
        let name = of_block(name);
        move |parts: &mut Parts| parts.tensors.get_mut(&name).expect("there").1 = shape.to_vec()
    };
    refused("expected shape [1, 4], got [4]", &reshaped("D", &[4]));
    refused(
        "expected shape [2, 3], got [3, 2]",
        &reshaped("kernel.kernel.w_imag", &[3, 2]),
    );
    refused(
        "expected 4 axes, got shape [4, 3, 2]",
        &reshaped("kernel.kernel.C", &[4, 3, 2]),
    );
    refused("l_max: 4; expected none", &with("l_max", "4"));
    refused("metadata n_ssm: says \"1\"", &with("n_ssm", "1"));
}
