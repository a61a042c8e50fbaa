//! The M_xy question: each set of FlashConv's matrices against the recurrence it is meant to compute.

use super::trials::outcomes;
use crate::algebra::{M61, Rng, Sample};
use crate::error::Error;
use crate::flashconv::{Chunking, MatrixSet};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Dense, Diagonal, Shift, StateSpace};

/// Chunks compared, and how many of them were equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkCount {
    /// Chunks compared with the recurrence.
    pub compared: usize,
    /// Those that were equal to it.
    pub equal: usize,
}

impl ChunkCount {
    fn add(&mut self, others: Self) {
        self.compared += others.compared;
        self.equal += others.equal;
    }
}

/// A set of matrices, judged over the prime field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatrixSetReport {
    /// The set.
    pub set: MatrixSet,
    /// The first chunk of each sequence, whose incoming state is zero.
    pub first: ChunkCount,
    /// All later chunks.
    pub later: ChunkCount,
}

impl MatrixSetReport {
    /// Number of chunks compared.
    #[must_use]
    pub fn comparisons(&self) -> usize {
        self.first.compared + self.later.compared
    }

    /// Number of unexpected chunks: wrong chunks of a consistent set, and right later chunks of the
    /// inconsistent one.
    #[must_use]
    pub fn failures(&self) -> usize {
        let later = match self.set {
            MatrixSet::EarlyRows => self.later.equal,
            _ => self.later.compared - self.later.equal,
        };
        self.first.compared - self.first.equal + later
    }
}

/// Every set of matrices on `trials` random dense, diagonal and shift models each, from the zero state.
///
/// # Errors
///
/// If a set refuses a model, which none should.
pub fn matrix_sets(seed: u64, trials: usize) -> Result<Vec<MatrixSetReport>, Error> {
    let report = |set| MatrixSetReport {
        set,
        first: ChunkCount::default(),
        later: ChunkCount::default(),
    };
    let mut reports: Vec<_> = MatrixSet::ALL.into_iter().map(report).into_vec();
    let fresh = reports.clone();
    let found = outcomes(trials, |trial| {
        let mut reports = fresh.clone();
        let rng = &mut Rng::new(seed ^ ((trial as u64 + 1) << 32));
        let (n, m) = (2 + rng.below(199), 1 + rng.below(16));
        let chunk = 1 + rng.below(n / 2);
        let u: Vec<M61> = (0..n).map(|_| M61::sample(rng)).into_vec();
        compare(&mut reports, &Dense::sample(m, rng), &u, chunk)?;
        compare(&mut reports, &Diagonal::sample(m, rng), &u, chunk)?;
        compare(&mut reports, &Shift::sample(m, rng), &u, chunk)?;
        Ok(reports)
    })?;
    for found in found {
        for (report, found) in reports.iter_mut().zip(found) {
            report.first.add(found.first);
            report.later.add(found.later);
        }
    }
    Ok(reports)
}

fn compare<S: StateSpace<Scalar = M61>>(
    reports: &mut [MatrixSetReport],
    ssm: &S,
    u: &[M61],
    chunk: usize,
) -> Result<(), Error> {
    for report in reports {
        let outputs = report
            .set
            .outputs(ssm, u, None, &Chunking::Uniform(chunk))?;
        let expected = report.set.convention().recurrence(ssm, u, None)?;
        let chunks = outputs.chunks(chunk).zip(expected.chunks(chunk));
        for (c, (y, expected)) in chunks.enumerate() {
            let count = match c {
                0 => &mut report.first,
                _ => &mut report.later,
            };
            count.compared += 1;
            count.equal += usize::from(y == expected);
        }
    }
    Ok(())
}
