//! The stages of a layer's case by the fast path.

use crate::algebra::Real;
use crate::error::Error;
use crate::fast::{Element, FastAdjoint, FastLayer, Level, Workspace};
use crate::h3::{LayerState, Name};
use crate::oracle::{LayerCase, Precision};
use crate::tensor::Tensor;

/// Arrays under their names in files, widened to f64.
type Stages = Vec<(String, Tensor<f64>)>;

/// What the fast path keeps of a layer's case: `output`, `final_state_k`, `final_state`, and with
/// `gradients` those too; computed in `f32` or `f64` and widened to f64.
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
    let input = case.input().map(T::from_f64);
    let state = case.state().map(|state| state.map(T::from_f64));
    let state = state.as_ref();
    let mut workspace = Workspace::new(threads);
    if !gradients {
        let layer = FastLayer::<T>::new(level, case.parameters())?;
        let (output, last) = layer.forward(&input, state, &mut workspace)?;
        return Ok(outputs(&output, &last));
    }
    let adjoint = FastAdjoint::<T>::new(level, case.parameters())?;
    let g = case.cotangent()?.map(T::from_f64);
    let found = adjoint.gradients(&input, state, &g, None, &mut workspace)?;
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
