//! Cases of the golden suite and their stages: certified, run in a float type, run with a mistake, and
//! with their error scales. The other files of this crate ask the oracle for nothing else.

use hungry_hippos::algebra::{ErrorBound, Real, RootsOfUnity};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::mutants::{Mutant, mutated_forward, mutated_forward_in_chunks};
use hungry_hippos::oracle::{
    Case, CertifiedStage, Format, SUITE_SEED, certified, error_scales, suite,
};
use hungry_hippos::{Error, Tensor};

/// The stages of a run by name, in the order of computation.
pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// A case of the golden suite.
pub(crate) fn case(name: &str) -> Result<Case, Error> {
    let found = suite().into_iter().find(|case| case.name == name);
    let missing = Error::Missing { what: name.into() };
    found.ok_or(missing)?.build(SUITE_SEED)
}

/// A mistake of the catalogue.
pub(crate) fn mistake(id: &str) -> Result<Mutant, Error> {
    Mutant::find(id).ok_or(Error::Missing { what: id.into() })
}

/// The stages in f64 with mistakes, or the right ones without.
pub(crate) fn mistaken(case: &Case, mistakes: &[Mutant]) -> Result<Stages, Error> {
    let stages = mutated_forward(case.parameters(), case.input(), None, mistakes)?;
    Ok(owned(stages))
}

/// [`mistaken`] in chunks of `chunk_len`.
pub(crate) fn mistaken_in_chunks(
    case: &Case,
    mistakes: &[Mutant],
    chunk_len: usize,
) -> Result<Stages, Error> {
    let (parameters, input) = (case.parameters(), case.input());
    let stages = mutated_forward_in_chunks(parameters, input, None, mistakes, chunk_len)?;
    Ok(owned(stages))
}

fn owned(stages: Vec<(&'static str, Tensor<f64>)>) -> Stages {
    let owned = |(name, values): (&str, _)| (name.to_string(), values);
    stages.into_iter().map(owned).collect()
}

/// The stages of a run by recurrence in `T`.
pub(crate) fn run<T>(case: &Case) -> Result<Stages, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let stages = case.stages::<T>(&Form::Recurrence, false)?;
    let in_f64 = |(name, values): (_, Tensor<T>)| (name, values.map(Real::to_f64));
    Ok(stages.into_iter().map(in_f64).collect())
}

/// The certified stages.
pub(crate) fn truth(case: &Case) -> Result<Vec<CertifiedStage>, Error> {
    Ok(certified(case, &Form::Recurrence, false)?.stages)
}

/// The worst-case error scales of a float32 run, in units of the unit roundoff.
pub(crate) fn scales(case: &Case) -> Result<Stages, Error> {
    let scales = error_scales(case, Format::F32)?;
    let worst = |(name, bounds): (_, Tensor<ErrorBound>)| (name, bounds.map(|bound| bound.worst));
    Ok(scales.into_iter().map(worst).collect())
}

/// The values of a stage, row-major; none if there is no such stage.
pub(crate) fn values<'a>(stages: &'a Stages, name: &str) -> Option<&'a [f64]> {
    let (_, values) = stages.iter().find(|(stage, _)| stage == name)?;
    Some(values.data())
}
