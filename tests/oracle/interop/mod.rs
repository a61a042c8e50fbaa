//! Claim: every form computes, stage by stage, what the official PyTorch code computed.
//!
//! The cases in `tests/data` were made by running HazyResearch/H3 at commit 5c4d06b in float64
//! (`layer-v6` in float32) on random parameters; see `tests/data/README.md`.

mod plain;

use crate::common::{assert_close, close, data, largest, saved};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Config, Form, HeadOrder, Layer, LayerStream, Parameters};
use hungry_hippos::oracle::{Format, Golden, LayerCase};
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos::ssm::Discretization;

const FLOAT64_CASES: [&str; 5] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
];

/// A case, and the file it is in, which holds what the official code computed.
fn open(name: &str) -> (LayerCase, SafeTensors) {
    let file = SafeTensors::open(&data(name)).expect("a file");
    (LayerCase::read(&file).expect("a well-formed case"), file)
}

fn forms(seq_len: usize) -> Vec<Form> {
    Form::all([
        Chunking::Uniform(1),
        Chunking::Uniform(13),
        Chunking::Uniform(seq_len),
    ])
}

/// What two float64 computations may differ by: 1e-12 of the stage's largest magnitude. Against
/// certified values both are off by 1e-14 of the diagonal kernel at most (chapter 09), and by less
/// elsewhere.
const FLOAT64_BOUND: f64 = 1e-12;

#[test]
fn every_stage_of_every_form_in_float64() {
    for name in FLOAT64_CASES {
        let (case, file) = open(name);
        let (layer, input, state) = case.in_precision::<f64>().expect("discretizes");
        for form in forms(input.shape()[1]) {
            let stages = layer
                .forward(&form, &input, state.as_ref())
                .expect("shapes fit");
            let named = stages.clone().named();
            assert!(named.len() >= 11, "all stages are there");
            for (stage, tensor) in named {
                let saved = saved(&file, stage, tensor.shape());
                let bound = FLOAT64_BOUND * largest(saved.data());
                let what = format!("{name}, {form}, {stage}");
                assert_close(&what, tensor.data(), saved.data(), bound);
            }
            let longdouble = saved(&file, "output_longdouble", input.shape());
            // An independent 80-bit evaluation, so nothing but our own rounding: a hundred units.
            let bound = 100.0 * f64::EPSILON * largest(longdouble.data());
            let what = format!("{name}, {form}, against 80 bits");
            assert_close(&what, stages.output.data(), longdouble.data(), bound);
        }
    }
}

/// The official one-token path, `step()`.
#[test]
fn streaming_is_the_official_step() {
    for name in FLOAT64_CASES {
        let (case, file) = open(name);
        let (layer, input, _) = case.in_precision::<f64>().expect("discretizes");
        let &[batch, len, d] = input.shape() else {
            panic!("an input has three axes")
        };
        let saved = saved(&file, "step_output", input.shape());
        let bound = FLOAT64_BOUND * largest(saved.data());
        let mut stream = LayerStream::new(&layer, batch);
        for i in 0..len {
            let token = |x: &Tensor<f64>| -> Vec<f64> {
                (0..batch)
                    .flat_map(|b| x.data()[(b * len + i) * d..][..d].to_vec())
                    .collect()
            };
            let y = stream.step(&token(&input)).expect("a token");
            assert_close(&format!("{name}, token {i}"), &y, &token(&saved), bound);
        }
    }
}

/// The same layer with another configuration.
fn reconfigured(case: &LayerCase, change: impl Fn(&mut Config)) -> Layer<f64> {
    let parameters = case.parameters();
    let mut config = parameters.config().clone();
    change(&mut config);
    Parameters::new(config, |name| Ok(parameters.get(name).to_vec()))
        .and_then(|parameters| parameters.discretize())
        .expect("still a layer")
}

/// The order of channels of the official fused kernel; the other order is refused.
#[test]
fn the_fused_order_is_the_other_head_order() {
    for name in ["layer-v2-hd4-L32", "layer-v3-hd8-L90", "layer-v5-hd4-L1"] {
        let (case, file) = open(name);
        let saved = saved(&file, "output_fast_order", case.input().shape());
        let bound = FLOAT64_BOUND * largest(saved.data());
        let run = |order| {
            let layer = reconfigured(&case, |config| config.head_order = order);
            let stages = layer.forward(&Form::Fft, case.input(), None);
            stages.expect("shapes fit").output.into_data()
        };
        assert_close(name, &run(HeadOrder::HD2), saved.data(), bound);
        assert!(close(name, &run(HeadOrder::D2H), saved.data(), bound).is_err());
    }
}

/// The bound can fail: layers that differ in one choice are refused on every case it touches.
#[test]
fn a_wrong_choice_is_refused() {
    for name in FLOAT64_CASES {
        let (case, file) = open(name);
        let saved = saved(&file, "output", case.input().shape());
        let bound = FLOAT64_BOUND * largest(saved.data());
        let refused = |what: &str, layer: Layer<f64>| {
            let stages = layer.forward(&Form::Convolution, case.input(), None);
            let output = stages.expect("shapes fit").output;
            assert!(
                close(what, output.data(), saved.data(), bound).is_err(),
                "{name}: {what} must be refused"
            );
        };
        let other = match case.parameters().config().disc {
            Discretization::Bilinear => Discretization::ZeroOrderHold,
            _ => Discretization::Bilinear,
        };
        refused("discretization", reconfigured(&case, |c| c.disc = other));
        let sigmoid = hungry_hippos::h3::RealType::Sigmoid;
        refused("real_type", reconfigured(&case, |c| c.real_type = sigmoid));
        if case.input().shape()[1] > 1 {
            refused("l_max", reconfigured(&case, |c| c.l_max = Some(1)));
        }
    }
}

/// The official float32 run against what a float32 port may get: every element of every stage
/// within the tolerance derived by first-order rounding error analysis, around certified values.
#[test]
fn the_float32_case_is_within_what_float32_allows() {
    let (case, file) = open("layer-v6-f32-hd1-L32");
    let golden = Golden::certify(case.clone()).expect("decided");
    let zoh = reconfigured(&case, |c| c.disc = Discretization::ZeroOrderHold);
    let wrong = zoh.forward(&Form::Fft, case.input(), None).expect("fits");
    let wrong = wrong.named();
    assert_eq!(wrong.len(), 12, "all stages are there");
    for (stage, (name, wrong)) in golden.stages().iter().zip(wrong) {
        assert_eq!(stage.name(), name, "stages in one order");
        let saved = saved(&file, name, stage.scale.shape());
        let scales = stage.scale_at(Format::F32).into_iter();
        let bounds: Vec<f64> = scales
            .map(|scale| scale * Format::F32.unit_roundoff())
            .collect();
        let share = |values: &[f64]| {
            let errors = values.iter().zip(stage.values.data());
            let shares = errors.zip(&bounds).map(|((x, golden), bound)| {
                let error = (x - golden).abs();
                assert!(error.is_finite(), "{name}: {x:e}");
                if error > 0.0 { error / bound } else { 0.0 }
            });
            shares.fold(0.0, f64::max)
        };
        let used = share(saved.data());
        println!("{name}: {:.1} % of the tolerance", 100.0 * used);
        assert!(used <= 1.0, "{name}: {used} of the tolerance");
        // The tolerance has teeth: the other discretization is outside it from its stage on.
        if ["ssm_kernel", "ssm_out", "gated", "output"].contains(&name) {
            let used = share(wrong.data());
            assert!(used > 1.0, "{name} of the wrong discretization: {used}");
            println!("  the wrong discretization: {used:.0} times the tolerance");
        }
    }
}
