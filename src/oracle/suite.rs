//! The golden suite: small cases, each for a reason, made from a seed.

use super::case::Case;
use super::subject::{Subject, SuiteRow};
use super::subjects::graph::{GraphCase, Operator};
use super::subjects::{
    convolution, dense, h3_operator, hyena, layer, mamba2, model, ssd, striped_hyena, training,
};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::fmt;

/// The seed of the suite that is kept in the repository.
pub const SUITE_SEED: u64 = 0x4833;

/// One case of the suite.
pub struct SuiteCase {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The kind of the case, as in its file.
    pub kind: &'static str,
    /// The purpose of the case.
    pub stresses: &'static str,
    build: Box<dyn Fn(u64) -> Result<Case, Error> + Send + Sync>,
}

impl<S: Subject> From<SuiteRow<S>> for SuiteCase {
    fn from(row: SuiteRow<S>) -> Self {
        Self {
            name: row.name,
            kind: S::KIND,
            stresses: row.stresses,
            build: Box::new(move |seed| (row.build)(seed).map(Case::of)),
        }
    }
}

impl SuiteCase {
    /// The case made from a seed: the same on every machine.
    ///
    /// # Errors
    ///
    /// Never for the cases of [`suite`]; what the subject says is passed on.
    pub fn build(&self, seed: u64) -> Result<Case, Error> {
        (self.build)(seed)
    }
}

impl fmt::Debug for SuiteCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SuiteCase")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("stresses", &self.stresses)
            .finish_non_exhaustive()
    }
}

/// The cases of the suite, in the order of their names.
#[must_use]
pub fn suite() -> Vec<SuiteCase> {
    let layers = layer::suite().into_iter().map(SuiteCase::from);
    let models = model::suite().into_iter().map(SuiteCase::from);
    let training = training::suite().into_iter().map(SuiteCase::from);
    let dense = dense::suite().into_iter().map(SuiteCase::from);
    let exact = layer::exact_suite().into_iter().map(SuiteCase::from);
    let convolutions = convolution::suite().into_iter().map(SuiteCase::from);
    let h3_operators = h3_operator::suite().into_iter().map(SuiteCase::from);
    let hyenas = hyena::suite().into_iter().map(SuiteCase::from);
    let striped = striped_hyena::suite().into_iter().map(SuiteCase::from);
    let ssd = ssd::suite().into_iter().map(SuiteCase::from);
    let mamba2 = mamba2::suite().into_iter().map(SuiteCase::from);
    let all = layers
        .chain(models)
        .chain(training)
        .chain(dense)
        .chain(exact);
    let all = all.chain(convolutions).chain(h3_operators).chain(hyenas);
    let mut cases: Vec<SuiteCase> = all.chain(striped).chain(ssd).chain(mamba2).into_vec();
    cases.sort_by_key(|case| case.name);
    cases
}

/// The operators of the suite whose computation is a graph.
///
/// # Errors
///
/// As [`SuiteCase::build`].
pub(crate) fn operators_of_the_suite(seed: u64) -> Result<Vec<Operator>, Error> {
    fn all<K: GraphCase>(rows: Vec<SuiteRow<K>>, seed: u64) -> Result<Vec<Operator>, Error> {
        let operator = |row: SuiteRow<K>| Ok(Operator::of(&(row.build)(seed)?));
        rows.into_iter().map(operator).collect()
    }
    let operators = [
        all(convolution::suite(), seed)?,
        all(h3_operator::suite(), seed)?,
        all(hyena::suite(), seed)?,
        all(striped_hyena::suite(), seed)?,
    ];
    Ok(operators.into_iter().flatten().into_vec())
}
