//! The error bound of the loss and the gradients of a port of a language model.
//!
//! As the forward pass is a path of sums `x_0, x_1, ...`, the backward pass is one of cotangents `g_k`, the
//! derivatives of the loss by them. What a port adds to the error of `g_k` by its own roundings, `gamma_k`,
//! is a run of the reference's text on [`ErrorScale`] from sums and cotangents without error. The
//! cotangents are linear in those after them, and are moved by the errors `delta_j` of all sums:
//!
//! ```text
//! x_k is off by   sum_{j <= k} |J_kj| delta_j                             J_kj  = d x_k / d x_j
//! g_k is off by   sum_{j >= k} |J_jk|^T gamma_j + sum_j |H_kj| delta_j    H_kj  = d g_k / d x_j
//! ```
//!
//! Both J and H are central differences of the f64 run, forwards and back, with one channel of one sum
//! moved (in all sequences at once: the loss is a sum over them). The gradients of a part's parameters, the
//! loss and the logits' cotangent are then the part's own run on [`ErrorScale`], from sums and cotangents with
//! these errors.

use super::analysis::{Followed, ModelAnalysis, Path};
use super::scales::{OwnErrors, moved, steps_of};
use crate::algebra::{ErrorBound, ErrorScale, Real};
use crate::error::Error;
use crate::h3::{Backward, Evaluate, Form, Layer, LayerGradients, LayerState};
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockStage, Cotangent, Mixed, ModelBackward, ModelGradients, ModelHooks, ModelName,
    ModelParameters, Rows, Targets,
};
use crate::tensor::Tensor;
use crate::threads;
use std::cell::RefCell;

/// The loss and every gradient with the error of a port, in units of its unit roundoff, given the
/// parameters with theirs.
///
/// # Errors
///
/// As [`ModelParameters::gradients`].
pub(crate) fn gradient_errors(
    parameters: &ModelParameters<ErrorScale>,
    rows: Rows<'_, usize>,
    targets: &Targets,
) -> Result<ModelGradients<ErrorScale>, Error> {
    let own = OwnErrors::of_model(&parameters.model()?, rows)?;
    let sums = own.sums.len();
    let mut gammas: Vec<Option<Tensor<ErrorBound>>> = vec![None; sums];
    for (k, error) in own_cotangents(parameters, rows, targets)? {
        gammas[k] = Some(error);
    }
    let mut errors = PathErrors {
        sums: own.errors.clone(),
        cotangents: gammas.clone(),
    };
    let values = parameters.map(Real::to_f64);
    let form = parameters.config().h3.default_form(rows.1.longest());
    let run = Run {
        parameters: &values,
        form: &form,
        rows,
        targets,
        own: &own,
    };
    let of_sequence = own.sums[0].data().len() / own.sums[0].shape()[0].max(1);
    for k in 0..sums {
        let channels: Vec<usize> = (0..of_sequence).into_vec();
        let columns = threads::map(&channels, |&at| run.column(k, at));
        for (at, column) in columns.into_iter().enumerate() {
            errors.add(&column?, (k, at), &own.errors[k], &gammas);
        }
    }
    let (_, mut gradients) = parameters.gradients_by(&ModelAnalysis(errors), rows, targets)?;
    lookup_as_rest(&mut gradients);
    Ok(gradients)
}

/// What a port adds to the cotangent of every sum but the first.
pub(super) fn own_cotangents(
    parameters: &ModelParameters<ErrorScale>,
    rows: Rows<'_, usize>,
    targets: &Targets,
) -> Result<Vec<(usize, Tensor<ErrorBound>)>, Error> {
    let without_errors = ModelAnalysis(OwnCotangents(RefCell::new(Vec::new())));
    parameters.gradients_by(&without_errors, rows, targets)?;
    let ModelAnalysis(OwnCotangents(found)) = without_errors;
    let found = found.into_inner().into_iter();
    let of_sums = found.filter_map(|(of, error)| Some((sum_of(of)?, error)));
    Ok(of_sums.into_vec())
}

/// [`gradient_errors`] with errors followed through the whole model by absolute values, part by part: quick, and wide.
///
/// # Errors
///
/// As [`ModelParameters::gradients`].
pub(crate) fn followed_gradients(
    parameters: &ModelParameters<ErrorScale>,
    rows: Rows<'_, usize>,
    targets: &Targets,
) -> Result<ModelGradients<ErrorScale>, Error> {
    Ok(parameters
        .gradients_by(&ModelAnalysis(Followed), rows, targets)?
        .1)
}

/// The lookup's part of the embedding's gradient as a port has it that takes the head's off the whole.
pub(super) fn lookup_as_rest(gradients: &mut ModelGradients<ErrorScale>) {
    let whole = gradients.parameters.get(ModelName::Embeddings);
    let parts = gradients.head.data().iter().zip(gradients.lookup.data());
    let rest = whole.iter().zip(parts).map(|(&whole, (&head, &lookup))| {
        let one = |x: ErrorScale| ErrorScale::new(x.value(), x.error() + x.value().abs());
        let rest = one(whole) - one(head);
        lookup.with_error(lookup.error().max(rest.error()))
    });
    gradients.lookup = Tensor::known(gradients.lookup.shape(), rest.into_vec());
}

/// The sum whose cotangent this is.
pub(super) fn sum_of(cotangent: Cotangent) -> Option<usize> {
    match cotangent {
        Cotangent::Logits => None,
        Cotangent::Block(i, BlockStage::Residual) => Some(2 * i + 1),
        Cotangent::Block(i, BlockStage::Hidden) => Some(2 * i + 2),
    }
}

/// Sums and cotangents without error; what each part adds to a cotangent is kept.
struct OwnCotangents(RefCell<Vec<(Cotangent, Tensor<ErrorBound>)>>);

impl Path for OwnCotangents {
    fn cotangent(&self, of: Cotangent, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        if sum_of(of).is_none() {
            return computed;
        }
        self.0
            .borrow_mut()
            .push((of, computed.map(ErrorScale::error)));
        computed.map(|x| ErrorScale::new(x.value(), ErrorBound::ZERO))
    }

    fn on_residual(&self, x: ErrorScale) -> ErrorScale {
        ErrorScale::new(x.value(), ErrorBound::ZERO)
    }
}

/// The errors of all sums, and of the cotangents of all but the first.
struct PathErrors {
    sums: Vec<Tensor<ErrorBound>>,
    cotangents: Vec<Option<Tensor<ErrorBound>>>,
}

impl PathErrors {
    /// Adds what a column makes of the errors: of the sum moved to those after it and to all cotangents; of
    /// the cotangents after the sum to its own.
    fn add(
        &mut self,
        column: &Column,
        (k, at): (usize, usize),
        delta: &Tensor<ErrorBound>,
        gammas: &[Option<Tensor<ErrorBound>>],
    ) {
        let batch = delta.shape()[0];
        let of_sequence = delta.data().len() / batch.max(1);
        for b in 0..batch {
            let places = b * of_sequence..(b + 1) * of_sequence;
            let delta = delta.data()[b * of_sequence + at];
            let add = |errors: &mut Tensor<ErrorBound>, slopes: &[f64]| {
                let errors = &mut errors.data_mut()[places.clone()];
                for (error, slope) in errors.iter_mut().zip(&slopes[places.clone()]) {
                    *error = *error + delta * slope.abs();
                }
            };
            let mut back = ErrorBound::ZERO;
            for (j, slopes) in column.sums.iter().enumerate().skip(k + 1) {
                add(&mut self.sums[j], slopes);
                if let Some(gamma) = &gammas[j] {
                    let pairs = gamma.data()[places.clone()].iter();
                    for (&gamma, slope) in pairs.zip(&slopes[places.clone()]) {
                        back = back + gamma * slope.abs();
                    }
                }
            }
            for (errors, slopes) in self.cotangents.iter_mut().zip(&column.cotangents) {
                if let Some(errors) = errors {
                    add(errors, slopes);
                }
            }
            if let Some(errors) = &mut self.cotangents[k] {
                let own = &mut errors.data_mut()[b * of_sequence + at];
                *own = *own + back;
            }
        }
    }
}

/// Numbers with these errors in the place of their own.
fn with_errors(x: &Tensor<ErrorScale>, errors: &Tensor<ErrorBound>) -> Tensor<ErrorScale> {
    let pairs = x.data().iter().zip(errors.data());
    let with = pairs.map(|(x, &error)| ErrorScale::new(x.value(), error));
    Tensor::known(x.shape(), with.into_vec())
}

impl Path for PathErrors {
    fn embedded(&self, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        with_errors(&computed, &self.sums[0])
    }

    /// Of what blocks return a sum is read, whose error is that of both: the residual has its own, and
    /// the hidden values what makes up for the sum's.
    fn stage(
        &self,
        block: usize,
        which: BlockStage,
        computed: Tensor<ErrorScale>,
    ) -> Tensor<ErrorScale> {
        let residual = &self.sums[2 * block + 1];
        match which {
            BlockStage::Residual => with_errors(&computed, residual),
            BlockStage::Hidden => {
                let pairs = self.sums[2 * block + 2].data().iter().zip(residual.data());
                let rest = pairs.map(|(sum, residual)| ErrorBound {
                    worst: (sum.worst - residual.worst).max(0.0),
                    probable: (sum.probable - residual.probable).max(0.0),
                });
                let rest = Tensor::known(computed.shape(), rest.into_vec());
                with_errors(&computed, &rest)
            }
        }
    }

    fn cotangent(&self, of: Cotangent, computed: Tensor<ErrorScale>) -> Tensor<ErrorScale> {
        let errors = sum_of(of).and_then(|k| self.cotangents[k].as_ref());
        match errors {
            None => computed,
            Some(errors) => with_errors(&computed, errors),
        }
    }
}

/// The derivatives by one channel of one sum, which is moved in all sequences at once.
struct Column {
    /// Of every sum, of later ones alone.
    sums: Vec<Vec<f64>>,
    /// Of the cotangent of every sum; none of the first.
    cotangents: Vec<Vec<f64>>,
}

/// The f64 run, forwards and back.
struct Run<'a> {
    parameters: &'a ModelParameters<f64>,
    form: &'a Form,
    rows: Rows<'a, usize>,
    targets: &'a Targets,
    own: &'a OwnErrors,
}

impl Run<'_> {
    fn column(&self, k: usize, at: usize) -> Result<Column, Error> {
        let steps = steps_of(&self.own.sums[k], at, self.parameters.config().d_model());
        let step = |way: f64| -> Result<[Vec<Vec<f64>>; 2], Error> {
            let hooks = Moved {
                form: self.form,
                sum: k,
                at,
                steps: steps.iter().map(|step| way * step).into_vec(),
            };
            let (stages, gradients) =
                self.parameters
                    .gradients_by(&hooks, self.rows, self.targets)?;
            let mut sums = vec![Vec::new()];
            for [hidden, residual] in stages.blocks {
                let pairs = hidden.data().iter().zip(residual.data());
                let sum = pairs.map(|(h, r)| h + r).into_vec();
                sums.extend([residual.data().to_vec(), sum]);
            }
            let mut cotangents = vec![Vec::new()];
            for [hidden, residual] in gradients.blocks {
                cotangents.extend([residual.data().to_vec(), hidden.data().to_vec()]);
            }
            Ok([sums, cotangents])
        };
        let ([up, up_back], [down, down_back]) = (step(1.0)?, step(-1.0)?);
        let slope = |(up, down): (Vec<f64>, Vec<f64>)| -> Vec<f64> {
            let per = up.len() / steps.len();
            let pairs = up.iter().zip(&down).enumerate();
            let slopes = pairs.map(|(n, (up, down))| (up - down) / (2.0 * steps[n / per.max(1)]));
            slopes.into_vec()
        };
        Ok(Column {
            sums: up.into_iter().zip(down).map(slope).into_vec(),
            cotangents: up_back.into_iter().zip(down_back).map(slope).into_vec(),
        })
    }
}

/// The reference with one channel of one sum moved in every sequence.
struct Moved<'a> {
    form: &'a Form,
    sum: usize,
    at: usize,
    steps: Vec<f64>,
}

impl ModelHooks<f64> for Moved<'_> {
    fn h3(
        &self,
        block: usize,
        layer: &Layer<f64>,
        u: Rows<'_, f64>,
        state: Option<&LayerState<f64>>,
    ) -> Result<Mixed<f64>, Error> {
        self.form.h3(block, layer, u, state)
    }

    fn models(&self) -> &dyn Evaluate<f64> {
        self.form
    }

    fn embedded(&self, computed: Tensor<f64>) -> Tensor<f64> {
        match self.sum {
            0 => moved(computed, self.at, &self.steps),
            _ => computed,
        }
    }

    fn stage(&self, block: usize, which: BlockStage, computed: Tensor<f64>) -> Tensor<f64> {
        match sum_of(Cotangent::Block(block, which)) == Some(self.sum) {
            true => moved(computed, self.at, &self.steps),
            false => computed,
        }
    }
}

impl ModelBackward<f64> for Moved<'_> {
    fn h3_back(
        &self,
        block: usize,
        layer: &Layer<f64>,
        u: Rows<'_, f64>,
        g: &Tensor<f64>,
    ) -> Result<LayerGradients<f64>, Error> {
        self.form.h3_back(block, layer, u, g)
    }

    fn models_back(&self) -> &dyn Backward<f64> {
        self.form
    }
}
