//! The analysis of the way back by other means: its derivatives by dual numbers, its sums written out.

use super::super::analysis::tests::assert_bound;
use super::super::scales::tests::{model, text};
use super::*;
use crate::algebra::Dual;
use crate::h3::Plain;

type Number = Dual<f64>;

/// The reference, with one channel of one sum the variable in every sequence.
struct Seeded {
    sum: usize,
    at: usize,
}

impl Seeded {
    fn seeded(&self, mut computed: Tensor<Number>) -> Tensor<Number> {
        let of_sequence = computed.data().len() / computed.shape()[0];
        for sequence in computed.data_mut().chunks_exact_mut(of_sequence) {
            sequence[self.at].derivative += 1.0;
        }
        computed
    }
}

impl ModelHooks<Number> for Seeded {
    fn h3(
        &self,
        block: usize,
        layer: &Layer<Number>,
        u: Rows<'_, Number>,
        state: Option<&LayerState<Number>>,
    ) -> Result<Mixed<Number>, Error> {
        Form::Recurrence.h3(block, layer, u, state)
    }

    fn models(&self) -> &dyn Evaluate<Number> {
        &Plain::Recurrence
    }

    fn embedded(&self, computed: Tensor<Number>) -> Tensor<Number> {
        match self.sum {
            0 => self.seeded(computed),
            _ => computed,
        }
    }

    fn stage(&self, block: usize, which: BlockStage, computed: Tensor<Number>) -> Tensor<Number> {
        let sum = match which {
            BlockStage::Residual => 2 * block + 1,
            BlockStage::Hidden => 2 * block + 2,
        };
        match sum == self.sum {
            true => self.seeded(computed),
            false => computed,
        }
    }
}

impl ModelBackward<Number> for Seeded {
    fn h3_back(
        &self,
        block: usize,
        layer: &Layer<Number>,
        u: Rows<'_, Number>,
        g: &Tensor<Number>,
    ) -> Result<LayerGradients<Number>, Error> {
        Form::Recurrence.h3_back(block, layer, u, g)
    }

    fn models_back(&self) -> &dyn Backward<Number> {
        &Plain::Recurrence
    }
}

fn derivatives(of: &Tensor<Number>) -> Vec<f64> {
    of.data().iter().map(|x| x.derivative).collect()
}

/// The derivatives of every sum but the first, and of the cotangents of the same.
fn exact(
    parameters: &ModelParameters<f64>,
    rows: Rows<'_, usize>,
    targets: &Targets,
    seeded: &Seeded,
) -> [Vec<Vec<f64>>; 2] {
    let parameters = parameters.map(Dual::constant);
    let ran = parameters.gradients_by(seeded, rows, targets);
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
    let rows = text.rows();
    let targets = Tensor::new(ids.shape(), [1, 3, 3, 0, 2, 2].map(Some).to_vec()).expect("fits");
    let scales = parameters.map(ErrorScale::from_f64);
    let own = OwnErrors::of_model(&scales.model().expect("a model"), rows).expect("runs");
    let without_errors = ModelAnalysis(OwnCotangents(RefCell::new(Vec::new())));
    scales
        .gradients_by(&without_errors, rows, &targets)
        .expect("runs");
    let count = own.sums.len();
    let mut gammas = vec![Vec::new(); count];
    for (of, error) in without_errors.0.0.into_inner() {
        if let Some(k) = sum_of(of) {
            gammas[k] = error.data().to_vec();
        }
    }
    assert!(gammas[1..].iter().flatten().all(|error| error.worst > 0.0));
    let half = own.sums[0].data().len() / 2;
    let none = vec![vec![ErrorBound::ZERO; 2 * half]; count];
    let (mut of_cotangents, mut of_sums) = (none.clone(), none);
    for k in 0..count {
        for at in 0..half {
            let [moved, back] = exact(&parameters, rows, &targets, &Seeded { sum: k, at });
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
    let found = gradient_errors(&scales, rows, &targets).expect("runs");
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
