//! The M_xy table: each set of matrices against the recurrence it is meant to compute.

use crate::table::aligned;
use hungry_hippos::Error;
use hungry_hippos::algebra::{M61, Rng, Sample};
use hungry_hippos::flashconv::{Chunking, Convention, MatrixSet};
use hungry_hippos::ssm::{Dense, Diagonal, Shift, StateSpace};

/// For each set: chunks compared and chunks that were equal, the first of a sequence and the
/// later ones.
#[derive(Default)]
pub(super) struct RowSets([Tally; 4]);

#[derive(Clone, Copy, Default)]
struct Tally {
    first: usize,
    first_equal: usize,
    later: usize,
    later_equal: usize,
}

/// Dense, diagonal and shift models of random sizes, from the zero state.
pub(super) fn run(seed: u64, trials: usize) -> Result<RowSets, Error> {
    let mut tallies = RowSets::default();
    for trial in 0..trials {
        let rng = &mut Rng::new(seed ^ ((trial as u64 + 1) << 32));
        let (n, m) = (2 + rng.below(199), 1 + rng.below(16));
        let chunk = 1 + rng.below(n / 2);
        let u: Vec<M61> = (0..n).map(|_| M61::sample(rng)).collect();
        tallies.compare(&Dense::sample(m, rng), &u, chunk)?;
        tallies.compare(&Diagonal::sample(m, rng), &u, chunk)?;
        tallies.compare(&Shift::sample(m, rng), &u, chunk)?;
    }
    Ok(tallies)
}

impl RowSets {
    fn compare<S: StateSpace<Scalar = M61>>(
        &mut self,
        ssm: &S,
        u: &[M61],
        chunk: usize,
    ) -> Result<(), Error> {
        for (set, tally) in MatrixSet::ALL.into_iter().zip(&mut self.0) {
            let outputs = set.outputs(ssm, u, None, &Chunking::Uniform(chunk))?;
            let expected = set.convention().recurrence(ssm, u, None)?;
            for (c, (y, expected)) in outputs
                .chunks(chunk)
                .zip(expected.chunks(chunk))
                .enumerate()
            {
                let equal = usize::from(y == expected);
                if c == 0 {
                    tally.first += 1;
                    tally.first_equal += equal;
                } else {
                    tally.later += 1;
                    tally.later_equal += equal;
                }
            }
        }
        Ok(())
    }

    pub(super) fn comparisons(&self) -> usize {
        self.0.iter().map(|tally| tally.first + tally.later).sum()
    }

    /// Chunks that are not as they must be: wrong ones of the consistent sets, and later chunks
    /// of the inconsistent one that come out right.
    pub(super) fn failures(&self) -> usize {
        MatrixSet::ALL
            .into_iter()
            .zip(&self.0)
            .map(|(set, tally)| {
                let later = match set {
                    MatrixSet::EarlyRows => tally.later_equal,
                    _ => tally.later - tally.later_equal,
                };
                tally.first - tally.first_equal + later
            })
            .sum()
    }

    pub(super) fn text(&self) -> String {
        let mut rows = vec![
            [
                "rows of M_xy",
                "columns of M_ux",
                "kernel",
                "output reads",
                "first chunk",
                "later chunks",
            ]
            .map(String::from)
            .to_vec(),
        ];
        for (set, tally) in MatrixSet::ALL.into_iter().zip(&self.0) {
            let judged = |equal: usize, of: usize| match equal {
                _ if equal == of => format!("right, {equal} of {of}"),
                0 => format!("WRONG, {of} of {of}"),
                _ => format!("right in {equal} of {of}"),
            };
            rows.push(vec![
                set.rows().into(),
                set.columns().into(),
                set.kernel().into(),
                match set.convention() {
                    Convention::ReadsAfter => "x_i".into(),
                    Convention::ReadsBefore => "x_(i-1)".into(),
                },
                judged(tally.first_equal, tally.first),
                judged(tally.later_equal, tally.later),
            ]);
        }
        format!(
            "\nthe M_xy question, exactly: chunks of T against the recurrence y_i = C x_i + D u_i\n{}\
             verdict: where the state after a chunk's last input is passed on, M_xy = [CA; ...; CA^T]; the\n\
             rows C, ..., CA^(T-1) are one step early, right in the first chunk and wrong in every later\n\
             one, unless M_ux or the kernel moves with them\n",
            aligned(&rows, false)
        )
    }
}
