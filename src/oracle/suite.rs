//! The golden suite: small cases, each for a reason, made from a seed.

use super::case::Case;
use super::subject::Subject;
use super::subjects::{dense, layer, model};
use crate::error::Error;
use core::fmt;

/// The seed of the suite that is kept in the repository.
pub const SUITE_SEED: u64 = 0x4833;

/// One case of the suite.
pub struct SuiteCase {
    /// The file's name without its ending.
    pub name: &'static str,
    /// Why the case is there.
    pub stresses: &'static str,
    build: Box<dyn Fn(u64) -> Result<Case, Error> + Send + Sync>,
}

impl SuiteCase {
    /// The case that a function makes from a seed.
    pub(crate) fn new<S: Subject>(
        name: &'static str,
        stresses: &'static str,
        build: impl Fn(u64) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            stresses,
            build: Box::new(move |seed| build(seed).map(Case::of)),
        }
    }

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
            .field("stresses", &self.stresses)
            .finish_non_exhaustive()
    }
}

/// The cases of the suite, in order.
#[must_use]
pub fn suite() -> Vec<SuiteCase> {
    let mut cases = layer::suite();
    cases.extend(model::suite());
    cases.extend(dense::suite());
    cases
}
