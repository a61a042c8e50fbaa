//! Claim: what is exactly zero is decided by the recurrence, which keeps zeros exact, whatever form was asked
//! for.

use super::support::{config, parameters};
use hungry_hippos::Tensor;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::model::{BlockName, ModelName, ModelParameters};
use hungry_hippos::oracle::{Case, ModelCase};

#[test]
fn zeros_are_decided_by_the_recurrence() {
    let config = config(1, &[], 0, 2);
    let some = parameters(&config);
    // Of a first token that is zero, and shift models that answer one token late, nothing is left of the
    // first token before the MLP.
    let parameters = ModelParameters::new(config.clone(), |name| {
        let mut values = some.get(name).to_vec();
        match name {
            ModelName::Embeddings => values[..2].fill(0.0),
            ModelName::Block(_, BlockName::H3(name)) => match name {
                Name::ShiftB => values.copy_from_slice(&[1.0, 0.0, 0.0, 0.0].repeat(2)),
                Name::ShiftC => values.copy_from_slice(&[0.0, 1.0, 0.5, 0.25].repeat(2)),
                Name::ShiftD | Name::OutputBias => values.fill(0.0),
                _ => {}
            },
            _ => {}
        }
        Ok(values)
    });
    let parameters = parameters.expect("a model");
    let ids = Tensor::new([1, 3], vec![0, 1, 2]).expect("fits");
    let case = Case::from(ModelCase::new(parameters, ids).expect("tokens"));
    assert_eq!(case.default_form(), Form::Recurrence);
    let run = |form: &Form| case.certified(form, false);
    let certified = run(&Form::Recurrence).expect("decided");
    let residual = certified
        .stages
        .iter()
        .find(|stage| stage.name == "block0.residual");
    let first = &residual.expect("a stage").values.data()[..2];
    assert_eq!(first, [0.0, 0.0]);
    assert_eq!(certified.words, 2);
    // By transforms they are sums of rounded numbers: what these leave open the recurrence decides.
    let transformed = run(&Form::Fft).expect("decided");
    assert_eq!(transformed.words, 4);
    for (one, other) in certified.stages.iter().zip(&transformed.stages) {
        assert_eq!(one.values, other.values, "{}", one.name);
        let open = match one.name.as_str() {
            "block0.residual" => &[0, 1][..],
            _ => &[],
        };
        assert_eq!(other.retried, open, "{}", one.name);
    }
}
