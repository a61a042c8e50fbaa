//! Cases of the golden suite and their stages: certified, run in a float type, run with a mistake, and
//! with their error scales. The other files of this crate ask the oracle for nothing else.

use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{
    Case, CertifiedStage, Format, Golden, LayerCase, Mistake, Precision, SUITE_SEED, suite,
};
use hungry_hippos::{Error, Tensor};

/// The stages of a run by name, in the order of computation.
pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// A case of the golden suite.
pub(crate) fn case(name: &str) -> Result<Case, Error> {
    let found = suite().into_iter().find(|case| case.name == name);
    found.ok_or_else(|| missing(name))?.build(SUITE_SEED)
}

/// The layer, the input and what else makes the case of a layer.
pub(crate) fn layer(case: &Case) -> Result<&LayerCase, Error> {
    case.layer().ok_or_else(|| missing("a layer"))
}

/// A mistake of the catalogue.
pub(crate) fn mistake(case: &Case, id: &str) -> Result<&'static Mistake, Error> {
    let mut known = case.mistakes().into_iter();
    known
        .find(|known| known.id == id)
        .ok_or_else(|| missing(id))
}

fn missing(what: &str) -> Error {
    Error::Missing { what: what.into() }
}

/// The stages of a run by recurrence in a precision.
pub(crate) fn run(case: &Case, precision: Precision) -> Result<Stages, Error> {
    case.run(&Form::Recurrence, precision, false)
}

/// The certified stages.
pub(crate) fn truth(case: &Case) -> Result<Vec<CertifiedStage>, Error> {
    Ok(case.certified(&Form::Recurrence, false)?.stages)
}

/// The worst-case error scales of a float32 run, in units of the unit roundoff.
pub(crate) fn scales(case: Case) -> Result<Stages, Error> {
    let golden = Golden::certify(case)?;
    let stages = golden.stages().iter().map(|stage| {
        let scales = Tensor::new(stage.values.shape(), stage.scale_at(Format::F32))?;
        Ok((stage.name().to_string(), scales))
    });
    stages.collect()
}

/// The names of a layer's stages up to its output; the states it leaves come after.
pub(crate) fn outputs(stages: &Stages) -> Vec<String> {
    let names = stages.iter().map(|(name, _)| name.clone());
    names
        .filter(|name| !name.starts_with("final_state"))
        .collect()
}

/// The values of a stage, row-major; none if there is no such stage.
pub(crate) fn values<'a>(stages: &'a Stages, name: &str) -> Option<&'a [f64]> {
    let (_, values) = stages.iter().find(|(stage, _)| stage == name)?;
    Some(values.data())
}
