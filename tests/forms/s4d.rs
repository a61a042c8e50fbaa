//! An S4D layer is its definition, from the stored parameters.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Form, Name, documents_of, join};
use hungry_hippos::model::{
    BlockName, Mixer, ModelConfig, ModelName, ModelParameters, ModelPreset, S4d, SsmMixer,
    exact_gelu, gelu, initial_parameters,
};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;
use std::ops::Range;

const LEN: usize = 7;
const D: usize = 5;

fn config() -> ModelConfig {
    let mut config = ModelPreset::Tiny.config();
    (config.n_layer, config.attn_layer_idx, config.ssm) = (1, Vec::new(), SsmMixer::S4d);
    (config.h3.d_model, config.h3.n_ssm, config.h3.d_state) = (D, 1, 6);
    config.h3.disc = Discretization::ZeroOrderHold;
    config
}

/// Weights large enough that the activation bends, and steps that decay within the sequence.
fn parameters() -> ModelParameters<f64> {
    let mut rng = Rng::new(3);
    let config = config();
    ModelParameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        let center = match name {
            ModelName::Block(_, BlockName::S4d(Name::LogDt)) => -1.0,
            _ => 0.0,
        };
        Ok((0..size).map(|_| center + rng.unit()).collect())
    })
    .expect("shapes of the model")
}

fn layer() -> S4d<f64> {
    let model = parameters().build::<f64>().expect("a model");
    match &model.blocks()[0].mixer {
        Mixer::S4d(layer) => layer.clone(),
        other => panic!("{other:?}"),
    }
}

fn input() -> Tensor<f64> {
    let mut rng = Rng::new(8);
    let values = (0..2 * LEN * D).map(|_| rng.unit()).collect();
    Tensor::new([2, LEN, D], values).expect("fits")
}

/// `y_t = W gelu(sum_s f_{t-s} u_s + D u_t) + b`, `f_j = factor re(sum_n C_n (e^{dt w_n} - 1)/w_n e^{dt w_n j})`.
fn by_definition(u: &Tensor<f64>, factor: f64, activation: fn(f64) -> f64) -> Vec<f64> {
    let parameters = parameters();
    let of = |name| parameters.get(ModelName::Block(0, BlockName::S4d(name)));
    let kernel = |channel: usize, lag: usize| -> f64 {
        let dt = of(Name::LogDt)[channel].exp();
        let modes = (0..3).map(|n| {
            let w = Complex::new(-of(Name::InvAReal)[n].exp(), of(Name::AImag)[n]);
            let at = 2 * (channel * 3 + n);
            let c = Complex::new(of(Name::C)[at], of(Name::C)[at + 1]);
            (c * ((w * dt).exp() - 1.0) / w * (w * dt * lag as f64).exp()).re
        });
        factor * modes.sum::<f64>()
    };
    let mut outputs = Vec::new();
    for b in 0..2 {
        for t in 0..LEN {
            let at = |s: usize, c: usize| u.data()[(b * LEN + s) * D + c];
            let active = |c: usize| {
                let past = (0..=t).map(|s| kernel(c, t - s) * at(s, c)).sum::<f64>();
                activation(past + of(Name::D)[c] * at(t, c))
            };
            let active: Vec<f64> = (0..D).map(active).collect();
            for (row, bias) in of(Name::OutputWeight).chunks(D).zip(of(Name::OutputBias)) {
                let products = row.iter().zip(&active).map(|(w, x)| w * x);
                outputs.push(bias + products.sum::<f64>());
            }
        }
    }
    outputs
}

/// Some tokens of both sequences.
fn tokens(u: &Tensor<f64>, range: Range<usize>) -> Tensor<f64> {
    let shape = [2, range.len(), D];
    let sequences = u.data().chunks_exact(LEN * D);
    let some = sequences.flat_map(|of| &of[range.start * D..range.end * D]);
    Tensor::new(shape, some.copied().collect()).expect("fits")
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    pairs.fold(0.0, f64::max)
}

#[test]
fn the_layer_is_its_definition() {
    let (layer, u) = (layer(), input());
    let documents = documents_of(&u);
    for form in [Form::Recurrence, Form::Convolution, Form::Fft, Form::Scan] {
        let (output, _) = layer.respond(&form, (&u, &documents), None).expect("runs");
        let off = |expected: &[f64]| apart(output.data(), expected);
        assert!(off(&by_definition(&u, 2.0, exact_gelu)) < 1e-13, "{form}");
        assert!(off(&by_definition(&u, 1.0, exact_gelu)) > 1e-3, "{form}");
        assert!(off(&by_definition(&u, 2.0, gelu)) > 1e-5, "{form}");
    }
}

#[test]
fn a_state_is_passed_on() {
    let (layer, u) = (layer(), input());
    let run = |u: &Tensor<f64>, state: Option<&_>| {
        let rows = (u, &documents_of(u));
        layer.respond(&Form::Recurrence, rows, state).expect("runs")
    };
    let (whole, after) = run(&u, None);
    let (first, between) = run(&tokens(&u, 0..3), None);
    let rest = tokens(&u, 3..LEN);
    let (second, end) = run(&rest, Some(&between));
    let parts = [&first, &second];
    let joined = join(&parts, |_| 1);
    assert!(joined == whole && end == after);
    assert!(run(&rest, None).0 != second);
    let other = Tensor::new([3, D, 3], vec![Complex::new(0.0, 0.0); 3 * D * 3]).expect("fits");
    let rows = (&u, &documents_of(&u));
    assert!(layer.respond(&Form::Scan, rows, Some(&other)).is_err());
}

#[test]
fn what_no_s4d_layer_has_is_refused() {
    let refused = |change: fn(&mut ModelConfig)| {
        let mut config = config();
        change(&mut config);
        let parameters = initial_parameters(&config, 0);
        parameters.map(|_| ()).expect_err("refused").to_string()
    };
    initial_parameters(&config(), 0).expect("a model");
    assert!(refused(|config| config.h3.d_state = 5).contains("d_state: 5"));
    assert!(refused(|config| config.h3.l_max = Some(4)).contains("l_max: 4"));
    assert!(refused(|config| config.h3.head_dim = 5).contains("head_dim: 5"));
}
