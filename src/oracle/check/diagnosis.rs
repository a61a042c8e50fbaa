//! What is wrong with a candidate that failed: where it departs first, which known mistakes
//! reproduce it, and what the error looks like.

use super::super::golden::Golden;
use super::super::mutants::{
    Mutant, applies_in_chunks, default_chunk_len, mutated_forward_in_chunks,
};
use super::{Compared, pattern};
use crate::error::Error;

/// Why a candidate failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The first stage, in the order of computation, that is outside its tolerance.
    pub first_stage: String,
    /// What the error of that stage looks like.
    pub pattern: String,
    /// Mistakes that reproduce every stage of the candidate within tolerance, the closest first.
    pub suspects: Vec<Suspect>,
}

/// Known mistakes that together reproduce a candidate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Suspect {
    /// One mutant, or two.
    pub mutants: Vec<Mutant>,
    /// The largest distance of the candidate from the mutated layer, as a fraction of the
    /// tolerance.
    pub worst: f64,
}

/// Work beyond which pairs of mutants are not tried: elements of all stages times mutated runs.
const PAIR_WORK: usize = 400_000_000;

pub(super) fn diagnose(
    golden: &Golden,
    compared: &[Compared<'_>],
    first: usize,
) -> Result<Diagnosis, Error> {
    let stage = &compared[first];
    let runs = Runs {
        golden,
        compared,
        chunk_lens: chunk_lens(golden, stage),
    };
    let mut suspects = runs.singles()?;
    if suspects.is_empty() {
        suspects = runs.pairs(first)?;
    }
    suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
    Ok(Diagnosis {
        first_stage: stage.name.to_string(),
        pattern: pattern::describe(stage),
        suspects,
    })
}

/// The chunk lengths a mistake between chunks may have happened at: the catalogue's own, the place
/// where the first error of the stage stands, and the usual ones.
fn chunk_lens(golden: &Golden, stage: &Compared<'_>) -> Vec<usize> {
    let seq_len = golden.case().input().shape()[1];
    let mut lens = vec![default_chunk_len(seq_len)];
    if let Some(token) = pattern::first_wrong_token(stage) {
        lens.push(token);
    }
    lens.extend([8, 16, 32, 64, 128]);
    let mut kept = Vec::new();
    for len in lens {
        if len > 0 && len < seq_len && !kept.contains(&len) {
            kept.push(len);
        }
    }
    if kept.is_empty() {
        kept.push(1);
    }
    kept
}

struct Runs<'a> {
    golden: &'a Golden,
    compared: &'a [Compared<'a>],
    chunk_lens: Vec<usize>,
}

impl Runs<'_> {
    fn singles(&self) -> Result<Vec<Suspect>, Error> {
        let mut suspects: Vec<Suspect> = Vec::new();
        for mutant in Mutant::ALL {
            let lens = match mutant.needs_chunks() {
                true => &self.chunk_lens[..],
                false => &self.chunk_lens[..1],
            };
            for &len in lens {
                let fractions = self.fractions(&[mutant], len)?;
                let worst = fractions.iter().copied().fold(0.0, f64::max);
                if worst <= 1.0 && !suspects.iter().any(|s| s.mutants == [mutant]) {
                    suspects.push(Suspect {
                        mutants: vec![mutant],
                        worst,
                    });
                }
            }
        }
        Ok(suspects)
    }

    /// Pairs: one mutant that explains the first stage that departs, with any other; or, where the
    /// layer is small enough, any two.
    fn pairs(&self, first: usize) -> Result<Vec<Suspect>, Error> {
        let len = self.chunk_lens[0];
        let mut explaining = Vec::new();
        for mutant in Mutant::ALL {
            if self
                .fractions(&[mutant], len)?
                .get(first)
                .is_some_and(|f| *f <= 1.0)
            {
                explaining.push(mutant);
            }
        }
        let elements: usize = self.compared.iter().map(|c| c.golden.data().len()).sum();
        let all = Mutant::ALL.len();
        if explaining.is_empty() && elements.saturating_mul(all * all / 2) <= PAIR_WORK {
            explaining = Mutant::ALL.to_vec();
        }
        let mut suspects: Vec<Suspect> = Vec::new();
        for &one in &explaining {
            for other in Mutant::ALL {
                let pair = [one.min(other), one.max(other)];
                if one == other || suspects.iter().any(|s| s.mutants == pair) {
                    continue;
                }
                let fractions = self.fractions(&pair, len)?;
                let worst = fractions.iter().copied().fold(0.0, f64::max);
                if worst <= 1.0 {
                    suspects.push(Suspect {
                        mutants: pair.to_vec(),
                        worst,
                    });
                }
            }
        }
        Ok(suspects)
    }

    /// How far the candidate is from the mutated layer, stage by stage, as fractions of the
    /// tolerance; infinite where the mutant does not apply or gives another shape.
    fn fractions(&self, mutants: &[Mutant], chunk_len: usize) -> Result<Vec<f64>, Error> {
        let case = self.golden.case();
        let (batch, seq_len) = (case.input().shape()[0], case.input().shape()[1]);
        let state = case.state();
        let apply = |&m: &Mutant| {
            applies_in_chunks(
                m,
                case.parameters(),
                seq_len,
                batch,
                state.is_some(),
                chunk_len,
            )
        };
        let none = vec![f64::INFINITY; self.compared.len()];
        if !mutants.iter().all(apply) {
            return Ok(none);
        }
        // A mutant whose discretization has no value reproduces nothing.
        let Ok(stages) =
            mutated_forward_in_chunks(case.parameters(), case.input(), state, mutants, chunk_len)
        else {
            return Ok(none);
        };
        Ok(self
            .compared
            .iter()
            .map(|compared| {
                let stage = stages.iter().find(|(name, _)| *name == compared.name);
                // Gradients and the like are not stages of the forward pass: they say nothing.
                let Some((_, values)) = stage else {
                    return 0.0;
                };
                if values.shape() != compared.golden.shape() {
                    return f64::INFINITY;
                }
                compared.worst_against(values.data(), true).0
            })
            .collect())
    }
}
