//! What tests see of the analysis of a model: parts one by one, the errors that a port adds, derivatives by
//! differences, and runs in which sums are changed.

pub use super::analysis::Rises;
use super::analysis::{ModelAnalysis, WithoutErrors};
use super::gradient_scales::{gradient_errors, own_cotangents as cotangents_of_rows, sum_of};
pub use super::scales::{OwnErrors, STEP, deviation};
use super::scales::{column as column_of_rows, error_scales};
use crate::algebra::{ErrorBound, ErrorScale, Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Backward, Evaluate, Form, Layer, LayerGradients, LayerState, Plain};
use crate::model::{
    BlockStage, Cotangent, LayerNorm, Mixed, Model, ModelBackward, ModelGradients, ModelHooks,
    ModelParameters, ModelStages, Rows, Targets, Text,
};
use crate::ssm::Documents;
use crate::tensor::Tensor;

type Named<T> = Vec<(String, Tensor<T>)>;

/// Causal attention.
pub fn attend(
    q: &Matrix<ErrorScale>,
    k: &Matrix<ErrorScale>,
    v: &Matrix<ErrorScale>,
    scale: ErrorScale,
) -> Result<Matrix<ErrorScale>, Error> {
    ModelAnalysis(WithoutErrors).attend(q, k, v, scale)
}

/// A LayerNorm of one token.
pub fn norm(norm: &LayerNorm<ErrorScale>, x: &[ErrorScale]) -> Result<Vec<ErrorScale>, Error> {
    ModelAnalysis(WithoutErrors).norm(norm, false, x)
}

/// The activation of the MLPs.
#[must_use]
pub fn activation(x: ErrorScale) -> ErrorScale {
    ModelAnalysis(WithoutErrors).activation(x)
}

/// The errors that a port adds, of exact parameters.
pub fn own_errors(parameters: &ModelParameters<f64>, text: &Text) -> Result<OwnErrors, Error> {
    OwnErrors::of(parameters, text.rows())
}

/// The errors that a port adds, of a model whose parameters have errors.
pub fn own_errors_of(model: &Model<ErrorScale>, text: &Text) -> Result<OwnErrors, Error> {
    OwnErrors::of_model(model, text.rows())
}

/// The derivatives of all later stages by channel `at` of sum `k`, by differences.
pub fn column(
    run: (&Model<f64>, &Form, &Documents),
    own: &OwnErrors,
    (k, at): (usize, usize),
) -> Result<Named<f64>, Error> {
    column_of_rows(run, own, (k, at))
}

/// The stages after a sum, in a form, or by the plain recurrence.
pub fn stages_after<T>(
    model: &Model<T>,
    form: Option<&Form>,
    documents: &Documents,
    k: usize,
    sum: Tensor<T>,
) -> Result<Named<T>, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let stages = match form {
        Some(form) => model.forward_after(form, documents, k, sum),
        None => model.forward_after(&Plain::Recurrence, documents, k, sum),
    };
    Ok(stages?.named_from(k / 2))
}

/// The error scale of every stage.
pub fn model_error_scales(
    parameters: &ModelParameters<f64>,
    text: &Text,
) -> Result<Named<ErrorBound>, Error> {
    error_scales(parameters, text.rows())
}

/// The loss and every gradient with the error of a port.
pub fn model_gradient_errors(
    parameters: &ModelParameters<ErrorScale>,
    text: &Text,
    targets: &Targets,
) -> Result<ModelGradients<ErrorScale>, Error> {
    gradient_errors(parameters, text.rows(), targets)
}

/// What a port adds to the cotangent of every sum but the first.
pub fn own_cotangents(
    parameters: &ModelParameters<ErrorScale>,
    text: &Text,
    targets: &Targets,
) -> Result<Vec<(usize, Tensor<ErrorBound>)>, Error> {
    cotangents_of_rows(parameters, text.rows(), targets)
}

/// What is done to a sum, given its number.
type Change<'a, T> = &'a dyn Fn(usize, Tensor<T>) -> Tensor<T>;

/// A run forwards and back by the recurrence in which every sum is changed once it is computed.
pub fn changed_gradients<T>(
    parameters: &ModelParameters<T>,
    text: &Text,
    targets: &Targets,
    change: Change<'_, T>,
) -> Result<(ModelStages<T>, ModelGradients<T>), Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    parameters.gradients_by(&Changed(change), text.rows(), targets)
}

/// The reference with changed sums.
struct Changed<'a, T>(Change<'a, T>);

impl<T> ModelHooks<T> for Changed<'_, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3(
        &self,
        block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        state: Option<&LayerState<T>>,
    ) -> Result<Mixed<T>, Error> {
        Form::Recurrence.h3(block, layer, u, state)
    }

    fn models(&self) -> &dyn Evaluate<T> {
        &Plain::Recurrence
    }

    fn embedded(&self, computed: Tensor<T>) -> Tensor<T> {
        self.0(0, computed)
    }

    fn stage(&self, block: usize, which: BlockStage, computed: Tensor<T>) -> Tensor<T> {
        match sum_of(Cotangent::Block(block, which)) {
            Some(sum) => self.0(sum, computed),
            None => computed,
        }
    }
}

impl<T> ModelBackward<T> for Changed<'_, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    fn h3_back(
        &self,
        block: usize,
        layer: &Layer<T>,
        u: Rows<'_, T>,
        g: &Tensor<T>,
    ) -> Result<LayerGradients<T>, Error> {
        Form::Recurrence.h3_back(block, layer, u, g)
    }

    fn models_back(&self) -> &dyn Backward<T> {
        &Plain::Recurrence
    }
}
