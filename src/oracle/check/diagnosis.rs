//! What is wrong with a candidate that failed: where it departs first, which known mistakes
//! reproduce it, and what the error looks like.

use super::super::golden::Golden;
use super::super::model_mutants::ModelMutant;
use super::super::mutants::{GradientMutant, Mutant, default_chunk_len, mutated_gradients};
use super::search::{PAIR_WORK, Search};
use super::{Compared, pattern, reproduces};
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
    /// Whether all pairs of mistakes were tried, or none was needed; on a large layer some would
    /// take too long.
    pub pairs_tried: bool,
}

/// Known mistakes that together reproduce a candidate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Suspect {
    /// One mutant of the forward pass, or two; none if the forward pass is right.
    pub mutants: Vec<Mutant>,
    /// The mutant of the backward pass, if the forward pass is right.
    pub gradient: Option<GradientMutant>,
    /// The mutant of a language model, if that is what was checked.
    pub model: Option<ModelMutant>,
    /// The largest distance of the candidate from the mutated layer, as a fraction of the
    /// tolerance.
    pub worst: f64,
}

/// A known mistake, in words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownMistake {
    /// The entry of the catalogue.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What is computed, and what should be.
    pub formula: String,
    /// The fix.
    pub advice: &'static str,
}

impl Suspect {
    /// The mistakes in words.
    #[must_use]
    pub fn mistakes(&self) -> Vec<KnownMistake> {
        let forward = self.mutants.iter().map(|m| KnownMistake {
            id: m.id(),
            name: m.name(),
            formula: m.formula(),
            advice: m.advice(),
        });
        let backward = self.gradient.iter().map(|m| KnownMistake {
            id: m.id(),
            name: m.name(),
            formula: m.formula(),
            advice: m.advice(),
        });
        let model = self.model.iter().map(|m| KnownMistake {
            id: m.id(),
            name: m.name(),
            formula: m.formula().to_string(),
            advice: m.advice(),
        });
        forward.chain(backward).chain(model).collect()
    }
}

pub(super) fn diagnose(
    golden: &Golden,
    compared: &[Compared<'_>],
    first: usize,
) -> Result<Diagnosis, Error> {
    let stage = &compared[first];
    let (mut suspects, pairs_tried) = if stage.name.starts_with("grad.") {
        // The forward stages pass: what is wrong is the way back.
        (backward(golden, compared)?, false)
    } else {
        let search = Search::new(golden, compared, first, chunk_lens(golden, stage))?;
        let singles = search.singles();
        match singles.suspects.is_empty() {
            true => search.pairs(&singles, PAIR_WORK),
            false => (singles.suspects, true),
        }
    };
    suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
    Ok(Diagnosis {
        first_stage: stage.name.to_string(),
        pattern: pattern::describe(stage),
        suspects,
        pairs_tried,
    })
}

/// The mutants of the backward pass that reproduce every gradient.
fn backward(golden: &Golden, compared: &[Compared<'_>]) -> Result<Vec<Suspect>, Error> {
    let mut suspects = Vec::new();
    for mutant in GradientMutant::ALL {
        let stages = mutated_gradients(golden.case(), mutant)?;
        if let Some(worst) = reproduces(compared, &stages) {
            suspects.push(Suspect {
                mutants: Vec::new(),
                gradient: Some(mutant),
                model: None,
                worst,
            });
        }
    }
    Ok(suspects)
}

/// The chunk lengths a mistake between chunks may have happened at: the catalogue's own, the place
/// where the first error of the stage stands, and the usual ones.
fn chunk_lens(golden: &Golden, stage: &Compared<'_>) -> Vec<usize> {
    let seq_len = golden.case().input().shape()[1];
    // A state saved one token early looks like a last chunk of one token.
    let usual = [seq_len.saturating_sub(1), 8, 16, 32, 64, 128];
    let others = pattern::first_wrong_token(stage).into_iter().chain(usual);
    std::iter::once(default_chunk_len(seq_len))
        .chain(others.filter(|len| (1..seq_len).contains(len)))
        .collect()
}
