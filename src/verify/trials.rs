//! Independent trials, shared out among the machine's cores.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::threads::map;

/// The outcomes of trials 0, 1, ..., in this order. Each draws from a seed of its own, so that they are
/// the same on any number of threads.
///
/// # Errors
///
/// The error of the first trial that has one.
pub(super) fn outcomes<R: Send>(
    trials: usize,
    of: impl Fn(usize) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let trials: Vec<usize> = (0..trials).into_vec();
    map(&trials, |&trial| of(trial)).into_iter().collect()
}
