//! The analysis of the way back by other means: its derivatives by dual numbers, its sums written out.

use super::{assert_bound, model, text};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Dual, ErrorBound, ErrorScale, Real};
use hungry_hippos::model::{ModelParameters, Targets, Text};
use hungry_hippos::oracle::model_analysis::{
    changed_gradients, model_gradient_errors, own_cotangents, own_errors_of,
};

type Number = Dual<f64>;

/// The reference, with one channel of one sum the variable in every sequence.
struct Seeded {
    sum: usize,
    at: usize,
}

impl Seeded {
    fn seeded(&self, computed: Tensor<Number>) -> Tensor<Number> {
        let of_sequence = computed.data().len() / computed.shape()[0];
        let mut data = computed.data().to_vec();
        for sequence in data.chunks_exact_mut(of_sequence) {
            sequence[self.at].derivative += 1.0;
        }
        Tensor::new(computed.shape(), data).expect("as before")
    }
}

fn derivatives(of: &Tensor<Number>) -> Vec<f64> {
    of.data().iter().map(|x| x.derivative).collect()
}

/// The derivatives of every sum but the first, and of the cotangents of the same.
fn exact(
    parameters: &ModelParameters<f64>,
    text: &Text,
    targets: &Targets,
    seeded: &Seeded,
) -> [Vec<Vec<f64>>; 2] {
    let parameters = parameters.map(Dual::constant);
    let ran = changed_gradients(
        &parameters,
        text,
        targets,
        &|sum, computed| match sum == seeded.sum {
            true => seeded.seeded(computed),
            false => computed,
        },
    );
    let (stages, gradients) = ran.expect("runs");
    let (mut sums, mut cotangents) = (vec![Vec::new()], vec![Vec::new()]);
    for [hidden, residual] in &stages.blocks {
        let (hidden, residual) = (derivatives(hidden), derivatives(residual));
        let sum = hidden.iter().zip(&residual).map(|(h, r)| h + r).collect();
        sums.extend([residual, sum]);
    }
    for [hidden, residual] in &gradients.blocks {
        cotangents.extend([derivatives(residual), derivatives(hidden)]);
    }
    [sums, cotangents]
}

/// A cotangent is off by its own errors, by those of the cotangents after it times the derivatives of their
/// sums by its own, and by those of all sums times its derivatives by them: of the same sequence.
#[test]
fn cotangents_are_off_by_all_errors() {
    let (parameters, ids) = model(1.0);
    let text = text(&ids);
    let targets = Tensor::new(ids.shape(), [1, 3, 3, 0, 2, 2].map(Some).to_vec()).expect("fits");
    let scales = parameters.map(ErrorScale::from_f64);
    let own = own_errors_of(&scales.model().expect("a model"), &text).expect("runs");
    let cotangents = own_cotangents(&scales, &text, &targets).expect("runs");
    let count = own.sums.len();
    let mut gammas = vec![Vec::new(); count];
    for (k, error) in cotangents {
        gammas[k] = error.data().to_vec();
    }
    assert!(gammas[1..].iter().flatten().all(|error| error.worst > 0.0));
    let half = own.sums[0].data().len() / 2;
    let none = vec![vec![ErrorBound::ZERO; 2 * half]; count];
    let (mut of_cotangents, mut of_sums) = (none.clone(), none);
    for k in 0..count {
        for at in 0..half {
            let [moved, back] = exact(&parameters, &text, &targets, &Seeded { sum: k, at });
            for (b, j, e) in (0..2).flat_map(|b| {
                (1..count).flat_map(move |j| (0..half).map(move |e| (b, j, b * half + e)))
            }) {
                let here = b * half + at;
                let error = &mut of_sums[j][e];
                *error = *error + own.errors[k].data()[here] * back[j][e].abs();
                if j > k {
                    let error = &mut of_cotangents[k][here];
                    *error = *error + gammas[j][e] * moved[j][e].abs();
                }
            }
        }
    }
    let found = model_gradient_errors(&scales, &text, &targets).expect("runs");
    let found = found.blocks.into_iter();
    let found = found.flat_map(|[hidden, residual]| [residual, hidden]);
    for (found, k) in found.zip(1..) {
        for (e, found) in found.data().iter().enumerate() {
            let (own, after, sums) = (gammas[k][e], of_cotangents[k][e], of_sums[k][e]);
            // A difference over a step of 2^-16 is off by some 2^-32.
            let what = format!("sum {k}, element {e}");
            assert_bound(&what, found.error(), own + after + sums, 1e-6);
            // Neither kind is too small to be missed; after the last sum there is no cotangent of another.
            assert!(sums.worst > 1e-3 * found.error().worst, "{what}");
            assert!(
                k + 1 == count || after.worst > 1e-3 * found.error().worst,
                "{what}"
            );
        }
    }
}
