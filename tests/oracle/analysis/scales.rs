//! The analysis of a model by other means: its derivatives by dual numbers, and its sums written out.

use super::{assert_bound, model, model_of, text};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Dual, ErrorBound};
use hungry_hippos::h3::{Form, documents_of};
use hungry_hippos::model::{Model, ModelName};
use hungry_hippos::oracle::model_analysis::{
    OwnErrors, STEP, column, deviation, model_error_scales, own_errors, stages_after,
};

fn moves(own: &OwnErrors) -> Vec<(usize, usize)> {
    let batch = own.sums[0].shape()[0];
    let of_sum = |k: usize| (0..own.sums[k].data().len() / batch).map(move |at| (k, at));
    (0..own.sums.len()).flat_map(of_sum).collect()
}

/// The derivatives of all later stages, exact but for rounding.
fn exact(
    model: &Model<Dual<f64>>,
    own: &OwnErrors,
    (k, at): (usize, usize),
) -> Vec<(String, Tensor<f64>)> {
    let sum = own.sums[k].map(Dual::constant);
    let of_sequence = sum.data().len() / sum.shape()[0];
    let mut data = sum.data().to_vec();
    for sequence in data.chunks_exact_mut(of_sequence) {
        sequence[at].derivative = 1.0;
    }
    let sum = Tensor::new(sum.shape(), data).expect("as before");
    let documents = documents_of(&sum);
    let stages = stages_after(model, None, &documents, k, sum);
    let named = stages.expect("runs").into_iter();
    named
        .map(|(name, stage)| (name, stage.map(|x| x.derivative)))
        .collect()
}

/// Whatever the size of the tokens: the step is in units of the deviation of the one that is moved.
#[test]
fn columns_are_derivatives() {
    let small = 2f64.powi(-30);
    for sizes in [
        [small; 4],
        [1.0; 4],
        [2f64.powi(30); 4],
        [small, 1.0, 1.0, 1.0],
    ] {
        let (parameters, ids) = model_of(sizes);
        let text = text(&ids);
        let own = own_errors(&parameters, &text).expect("runs");
        let plain = parameters.build::<f64>().expect("a model");
        let dual = parameters.build().expect("a model");
        for moved in moves(&own) {
            let run = (&plain, &Form::Recurrence, text.documents());
            let got = column(run, &own, moved).expect("runs");
            let expected = exact(&dual, &own, moved);
            assert_eq!(got.len(), expected.len());
            for ((name, got), (stage, expected)) in got.iter().zip(&expected) {
                assert_eq!(name, stage);
                let largest = expected.data().iter().fold(0.0, |a: f64, x| a.max(x.abs()));
                for (got, expected) in got.data().iter().zip(expected.data()) {
                    // A difference over a step of 2^-16 is off by some 2^-32, or by 2^-53 over 2^-16.
                    let off = (got - expected).abs();
                    assert!(
                        off <= 1e-7 * largest,
                        "{sizes:?}, {moved:?}, {name}: {got:e}, exactly {expected:e}"
                    );
                }
            }
        }
    }
}

/// A stage is off by its own errors and, for every channel of every sum, the sum's error times the
/// derivative with respect to it, of the same sequence.
#[test]
fn scales_are_the_sum_over_all_errors() {
    let (parameters, ids) = model(1.0);
    let own = own_errors(&parameters, &text(&ids)).expect("runs");
    let dual = parameters.build().expect("a model");
    let stages = own.stages.iter();
    let mut expected: Vec<_> = stages
        .map(|(name, stage)| (name.clone(), stage.data().to_vec()))
        .collect();
    for (k, at) in moves(&own) {
        let error = own.errors[k].data();
        for (name, slopes) in exact(&dual, &own, (k, at)) {
            let stage = expected.iter_mut().find(|(known, _)| *known == name);
            let (_, stage) = stage.expect("of this name");
            let half = slopes.data().len() / 2;
            for (e, slope) in slopes.data().iter().enumerate() {
                let sequence = e / half;
                let ErrorBound { worst, probable } = error[sequence * error.len() / 2 + at];
                let scale = &mut stage[e];
                scale.worst += worst * slope.abs();
                scale.probable += probable * slope.abs();
            }
        }
    }
    let got = model_error_scales(&parameters, &text(&ids)).expect("runs");
    let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "block0.hidden",
            "block0.residual",
            "block1.hidden",
            "block1.residual",
            "logits"
        ]
    );
    for ((name, got), (_, expected)) in got.iter().zip(&expected) {
        for (got, expected) in got.data().iter().zip(expected) {
            assert_bound(name, *got, *expected, 1e-7);
            assert!(got.worst > 0.0, "{name}: no error");
        }
    }
}

/// The sums are those of the model: the tokens, then what every mixer and MLP adds.
#[test]
fn sums_are_the_models() {
    let (parameters, ids) = model(1.0);
    let own = own_errors(&parameters, &text(&ids)).expect("runs");
    let model = parameters.build::<f64>().expect("a model");
    let words = parameters.get(ModelName::Embeddings).chunks(3);
    let words: Vec<_> = words.collect();
    let tokens: Vec<_> = ids.data().iter().map(|&id| words[id]).collect();
    let mut expected = vec![tokens.concat()];
    for [hidden, residual] in model.forward(&Form::Recurrence, &ids).expect("runs").blocks {
        expected.push(residual.data().to_vec());
        let pairs = hidden.data().iter().zip(residual.data());
        expected.push(pairs.map(|(h, r)| h + r).collect());
    }
    assert_eq!(own.sums.len(), expected.len());
    for (k, (sum, expected)) in own.sums.iter().zip(&expected).enumerate() {
        for (x, y) in sum.data().iter().zip(expected) {
            assert!((x - y).abs() < 1e-13, "sum {k}: {x} but {y}");
        }
    }
    // And from each of them on, the rest of the model.
    let whole = model
        .forward(&Form::Recurrence, &ids)
        .expect("runs")
        .named();
    for (k, sum) in own.sums.iter().enumerate() {
        let documents = documents_of(sum);
        let rest = stages_after(&model, Some(&Form::Recurrence), &documents, k, sum.clone());
        let rest = rest.expect("runs");
        assert_eq!(rest.len(), whole.len() - 2 * (k / 2), "from sum {k}");
        for ((name, stage), (_, expected)) in rest.iter().zip(&whole[2 * (k / 2)..]) {
            for (x, y) in stage.data().iter().zip(expected.data()) {
                assert!((x - y).abs() < 1e-12, "from sum {k}, {name}: {x} but {y}");
            }
        }
    }
    // An embedding is one rounding of a random number, a residual's error comes in as that of a sum.
    for (x, error) in own.sums[0].data().iter().zip(own.errors[0].data()) {
        assert_eq!(*error, ErrorBound::both(x.abs()));
    }
    for (name, stage) in &own.stages {
        let none = stage.data().iter().all(|error| *error == ErrorBound::ZERO);
        assert_eq!(none, name.ends_with(".residual"), "{name}");
    }
}

#[test]
fn deviations() {
    // Of -3, -1, 1, 3 from 4: the root of (9 + 1 + 1 + 9) / 4.
    let far = 2f64.powi(52);
    let cases: [(&[f64], f64); 6] = [
        (&[1.0, 3.0, 5.0, 7.0], 5f64.sqrt()),
        (&[-2.0, 2.0], 2.0),
        // The squares of these numbers are not known to 1.
        (&[far, far + 2.0], 1.0),
        // Nothing to be in units of but the number itself, or one.
        (&[-3.0, -3.0], 3.0),
        (&[0.5], 0.5),
        (&[0.0, 0.0], STEP),
    ];
    for (token, expected) in cases {
        assert_eq!(deviation(token), expected, "{token:?}");
    }
    assert_eq!(STEP.log2(), -16.0);
}
