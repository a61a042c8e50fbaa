//! The stages of a layer's case by the fast path.

use crate::algebra::Real;
use crate::error::Error;
use crate::fast::{
    Element, FastAdjoint, FastLayer, FastLayerGradients, FastState, Level, SavedStates, Workspace,
};
use crate::h3::{LayerState, Name};
use crate::oracle::{LayerCase, Precision};
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// Arrays under their names in files, widened to f64.
type Stages = Vec<(String, Tensor<f64>)>;

/// The stages of a layer's case that the fast path computes: `output`, `final_state_k`,
/// `final_state`, and with `gradients` those too; computed in `f32` or `f64` and widened to f64.
///
/// # Errors
///
/// As [`FastLayer::forward`] and [`FastAdjoint::gradients`]; if `precision` is certified, or there is
/// no cotangent to run back from.
pub fn fast_stages(
    case: &LayerCase,
    level: Level,
    threads: usize,
    precision: Precision,
    gradients: bool,
) -> Result<Stages, Error> {
    match precision {
        Precision::F32 => stages_in::<f32>(case, level, threads, gradients),
        Precision::F64 => stages_in::<f64>(case, level, threads, gradients),
        Precision::Certified => Err(Error::unsupported(
            "the fast path runs in f64 or f32; certified digits are the reference's",
        )),
    }
}

fn stages_in<T: Element>(
    case: &LayerCase,
    level: Level,
    threads: usize,
    gradients: bool,
) -> Result<Stages, Error> {
    if case.is_scheduled() {
        return Err(Error::unsupported(
            "the fast path runs a sequence at once; a schedule's states at marks are the reference's",
        ));
    }
    let (input, documents) = (case.input().map(T::from_f64), case.documents());
    let state = case.state().map(|state| state.map(T::from_f64));
    let state = state.as_ref();
    let mut workspace = Workspace::new(threads);
    if !gradients {
        let layer = FastLayer::<T>::new(level, case.parameters())?;
        if documents.is_whole() {
            let (output, last) = layer.forward(&input, state, &mut workspace)?;
            return Ok(outputs(&output, &last));
        }
        let mut running = begin(&layer, state, documents.count())?;
        let mut output = vec![T::ZERO; input.data().len()];
        let (u, out) = (input.data(), &mut output[..]);
        layer.run_documents(u, out, &documents, &mut running, &mut workspace)?;
        let output = Tensor::new(input.shape(), output)?;
        return Ok(outputs(&output, &layer.state_to(&running)?));
    }
    let adjoint = FastAdjoint::<T>::new(level, case.parameters())?;
    let (g, g_state) = case.cotangents::<T>()?;
    let g_state = g_state.as_ref();
    let found = match documents.is_whole() {
        true => adjoint.gradients(&input, state, &g, g_state, &mut workspace)?,
        false => {
            let states = [state, g_state];
            gradients_of(&adjoint, (&input, &documents), &g, states, &mut workspace)?
        }
    };
    let mut stages = outputs(&found.output, &found.final_state);
    stages.push(("grad.input".into(), found.input.map(Real::to_f64)));
    for name in Name::ALL {
        let shape = name.shape(case.parameters().config());
        let values = Tensor::new(shape, found.parameters.get(name).to_vec())?;
        stages.push((format!("grad.{}", name.official()), values));
    }
    if state.is_some() {
        let [k, diagonal] = states(&found.state);
        stages.push(("grad.initial_state_k".into(), k));
        stages.push(("grad.initial_state".into(), diagonal));
    }
    Ok(stages)
}

/// The state that documents begin from, or that cotangents begin from in the backward pass.
fn begin<T: Element>(
    layer: &FastLayer<T>,
    state: Option<&LayerState<T>>,
    documents: usize,
) -> Result<FastState<T>, Error> {
    match state {
        Some(state) => layer.state_from(state),
        None => Ok(layer.zero_state(documents)),
    }
}

/// Forwards and backwards over rows of documents.
fn gradients_of<T: Element>(
    adjoint: &FastAdjoint<T>,
    (input, documents): (&Tensor<T>, &Documents),
    g: &Tensor<T>,
    [state, g_state]: [Option<&LayerState<T>>; 2],
    workspace: &mut Workspace<T>,
) -> Result<FastLayerGradients<T>, Error> {
    let (layer, u) = (adjoint.layer(), input.data());
    let mut running = begin(layer, state, documents.count())?;
    let mut cotangent = begin(layer, g_state, documents.count())?;
    let mut saved = SavedStates::new();
    let (mut output, mut of_u) = (vec![T::ZERO; u.len()], vec![T::ZERO; u.len()]);
    let mut sums = adjoint.zero_gradients();
    let out = &mut output[..];
    adjoint.forward_documents(u, out, documents, &mut running, &mut saved, workspace)?;
    let (g, of_input) = (g.data(), &mut of_u[..]);
    adjoint.backward(u, g, &saved, &mut cotangent, of_input, &mut sums, workspace)?;
    Ok(FastLayerGradients {
        output: Tensor::new(input.shape(), output)?,
        final_state: layer.state_to(&running)?,
        input: Tensor::new(input.shape(), of_u)?,
        state: layer.state_to(&cotangent)?,
        parameters: adjoint.official(&sums)?,
    })
}

/// The stages that the fast path keeps, widened.
pub(super) fn outputs<T: Element>(output: &Tensor<T>, last: &LayerState<T>) -> Stages {
    let [k, diagonal] = states(last);
    vec![
        ("output".into(), output.map(Real::to_f64)),
        ("final_state_k".into(), k),
        ("final_state".into(), diagonal),
    ]
}

/// The two states in the shapes of the files.
fn states<T: Element>(state: &LayerState<T>) -> [Tensor<f64>; 2] {
    [
        state.shift.map(Real::to_f64),
        state.flat_diagonal().map(Real::to_f64),
    ]
}
