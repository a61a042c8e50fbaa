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
    /// Whether pairs of mistakes were tried, or not needed; on a large layer they would take too
    /// long.
    pub pairs_tried: bool,
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

/// Multiplications that trying pairs of mutants may cost in all: a few seconds.
const PAIR_WORK: usize = 1_000_000_000;

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
    let (mut suspects, explaining) = runs.singles(first)?;
    let mut pairs_tried = true;
    if suspects.is_empty() {
        let pairs = runs.pairs(first, explaining)?;
        pairs_tried = pairs.is_some();
        suspects = pairs.unwrap_or_default();
    }
    suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
    Ok(Diagnosis {
        first_stage: stage.name.to_string(),
        pattern: pattern::describe(stage),
        suspects,
        pairs_tried,
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
    // A state saved one token early looks like a last chunk of one token.
    lens.push(seq_len.saturating_sub(1));
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
    /// The mutants that reproduce every stage, and those that reproduce the first one that departs.
    fn singles(&self, first: usize) -> Result<(Vec<Suspect>, Vec<Mutant>), Error> {
        let mut suspects: Vec<Suspect> = Vec::new();
        let mut explaining = Vec::new();
        for mutant in Mutant::ALL {
            let lens = match mutant.needs_chunks() {
                true => &self.chunk_lens[..],
                false => &self.chunk_lens[..1],
            };
            for &len in lens {
                let fractions = self.fractions(&[mutant], len)?;
                if fractions[first].is_none_or(|fraction| fraction > 1.0) {
                    continue;
                }
                if !explaining.contains(&mutant) {
                    explaining.push(mutant);
                }
                let worst = worst(&fractions);
                if worst <= 1.0 && !suspects.iter().any(|s| s.mutants == [mutant]) {
                    suspects.push(Suspect {
                        mutants: vec![mutant],
                        worst,
                    });
                }
            }
        }
        Ok((suspects, explaining))
    }

    /// Pairs: one mutant that explains the first stage that departs, with any other; or, where none
    /// does and the layer is small enough, any two. `None` if that would take too long.
    fn pairs(&self, first: usize, explaining: Vec<Mutant>) -> Result<Option<Vec<Suspect>>, Error> {
        let (len, all) = (self.chunk_lens[0], Mutant::ALL.len());
        let explaining = match explaining.is_empty() {
            true => Mutant::ALL.to_vec(),
            false => explaining,
        };
        if self.cost().saturating_mul(explaining.len() * all) > PAIR_WORK {
            return Ok(None);
        }
        let mut suspects: Vec<Suspect> = Vec::new();
        for &one in &explaining {
            for other in Mutant::ALL {
                let pair = [one.min(other), one.max(other)];
                if one == other || suspects.iter().any(|s| s.mutants == pair) {
                    continue;
                }
                let fractions = self.fractions(&pair, len)?;
                let worst = worst(&fractions);
                if fractions[first].is_some() && worst <= 1.0 {
                    suspects.push(Suspect {
                        mutants: pair.to_vec(),
                        worst,
                    });
                }
            }
        }
        Ok(Some(suspects))
    }

    /// Multiplications of one mutated run: projections and direct convolutions.
    fn cost(&self) -> usize {
        let case = self.golden.case();
        let (batch, len) = (case.input().shape()[0], case.input().shape()[1]);
        let (d, d_h) = (
            case.parameters().config().d_model,
            case.parameters().config().head_dim,
        );
        let convolutions = d
            .saturating_mul(d_h + 1)
            .saturating_mul(len.saturating_mul(len) / 2);
        let projections = len.saturating_mul(4 * d * d);
        batch.saturating_mul(convolutions.saturating_add(projections))
    }

    /// How far the candidate is from the mutated layer, stage by stage, as fractions of the
    /// tolerance; infinite where the mutant does not apply or gives another shape, `None` for what
    /// is no stage of the forward pass (gradients), of which mutants say nothing.
    fn fractions(&self, mutants: &[Mutant], chunk_len: usize) -> Result<Vec<Option<f64>>, Error> {
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
        let none = vec![Some(f64::INFINITY); self.compared.len()];
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
                let (_, values) = stage?;
                if values.shape() != compared.golden.shape() {
                    return Some(f64::INFINITY);
                }
                Some(compared.worst_against(values.data(), true).0)
            })
            .collect())
    }
}

/// The largest of the fractions there are.
fn worst(fractions: &[Option<f64>]) -> f64 {
    fractions.iter().flatten().copied().fold(0.0, f64::max)
}
