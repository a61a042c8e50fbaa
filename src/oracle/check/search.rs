//! The search for the mistakes that reproduce a candidate.
//!
//! Most mistakes are causal: what they make of the first tokens does not depend on later ones. So a
//! mutant is run on the first tokens that are wrong before it is run on all; nearly all of them are
//! out by then, and only those left are run whole.

use super::super::golden::Golden;
use super::super::mutants::{Mutant, applies_in_chunks, mutated_forward_in_chunks};
use super::super::parallel;
use super::Compared;
use super::diagnosis::Suspect;
use crate::error::Error;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Multiplications that trying pairs of mutants may cost in all: about a second.
const PAIR_WORK: usize = 1_200_000_000;

/// By how much more than its tolerance a beginning may be off. What is out here is out for good, so
/// the doubt (the tolerance of a mutant grows with what it makes of the whole stage) is given to it.
const DOUBT: f64 = 2.0;

/// The stages of one run.
type Stages = Vec<(&'static str, Tensor<f64>)>;

/// Runs of mutants on the case of a golden file, whole and of its first tokens.
pub(super) struct Search<'a> {
    golden: &'a Golden,
    compared: &'a [Compared<'a>],
    /// The first stage that departs, and how many of its time steps are right before it does.
    first: usize,
    right: usize,
    chunk_lens: Vec<usize>,
    /// The first tokens of the input, the fewest first, all of them last.
    beginnings: Vec<Tensor<f64>>,
    applies: Mutex<HashMap<(Mutant, usize), bool>>,
}

/// What the singles told.
#[derive(Default)]
pub(super) struct Singles {
    pub(super) suspects: Vec<Suspect>,
    /// Those that reproduce the first stage that departs, with their chunk length.
    explaining: Vec<(Mutant, usize)>,
    /// Those that leave right what is right in the candidate, so that they may be one of two.
    possible: Vec<Mutant>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        golden: &'a Golden,
        compared: &'a [Compared<'a>],
        first: usize,
        chunk_lens: Vec<usize>,
    ) -> Result<Self, Error> {
        let input = golden.case().input();
        let len = input.shape()[1];
        let right = super::pattern::first_wrong_token(&compared[first]).unwrap_or(0);
        let mut beginnings = Vec::new();
        for tokens in [right + 2, right + 16, right.saturating_mul(2) + 64] {
            if tokens < len {
                beginnings.push(first_tokens(input, tokens)?);
            }
        }
        beginnings.push(input.clone());
        Ok(Self {
            golden,
            compared,
            first,
            right,
            chunk_lens,
            beginnings,
            applies: Mutex::default(),
        })
    }

    /// Every mutant on its own.
    pub(super) fn singles(&self) -> Singles {
        let runs: Vec<_> = Mutant::ALL
            .into_iter()
            .flat_map(|mutant| {
                let lens = match mutant.needs_chunks() {
                    true => &self.chunk_lens[..],
                    false => &self.chunk_lens[..1],
                };
                lens.iter().map(move |&len| (mutant, len))
            })
            .collect();
        let found = parallel::map(&runs, |&(mutant, len)| {
            let stages = self.run(&[mutant], len, self.shortest(&[mutant]))?;
            match self.spoils(&stages) {
                true => None,
                false => Some(self.fractions(&[mutant], len, Some(stages))),
            }
        });
        let mut singles = Singles::default();
        for (&(mutant, len), found) in runs.iter().zip(found) {
            let Some(fractions) = found else {
                continue;
            };
            if !singles.possible.contains(&mutant) {
                singles.possible.push(mutant);
            }
            if let Some(fractions) = fractions {
                singles.add(mutant, len, &fractions, self.first);
            }
        }
        singles
    }

    /// Pairs: one mutant that explains the first stage that departs, with any other that may be one
    /// of two; or, where none does, any two such. Says too whether all pairs were tried: those that
    /// would take too long are not.
    pub(super) fn pairs(&self, singles: &Singles) -> (Vec<Suspect>, bool) {
        let any = singles.possible.iter().map(|&m| (m, self.chunk_lens[0]));
        let one_of = match singles.explaining.is_empty() {
            true => any.collect(),
            false => singles.explaining.clone(),
        };
        let (mut suspects, mut all_tried): (Vec<Suspect>, _) = (Vec::new(), true);
        let mut work = 0_usize;
        // Those that can be run in short first.
        for causal in [true, false] {
            let mut tried = HashSet::new();
            for &(one, len) in &one_of {
                for &other in &singles.possible {
                    let pair = [one.min(other), one.max(other)];
                    let both = pair.iter().all(|m| m.is_causal());
                    if one == other || causal != both || !tried.insert((pair, len)) {
                        continue;
                    }
                    let shortest = self.shortest(&pair);
                    work = work.saturating_add(self.cost(&self.beginnings[shortest]));
                    if work > PAIR_WORK {
                        all_tried = false;
                        break;
                    }
                    let Some(fractions) = self.fractions(&pair, len, None) else {
                        continue;
                    };
                    let worst = worst(&fractions);
                    let known = suspects.iter().any(|s| s.mutants == pair);
                    if fractions[self.first].is_some() && worst <= 1.0 && !known {
                        let mutants = pair.to_vec();
                        suspects.push(Suspect {
                            mutants,
                            gradient: None,
                            model: None,
                            worst,
                        });
                    }
                }
            }
        }
        (suspects, all_tried)
    }

    /// The fewest tokens these mutants can be told by.
    fn shortest(&self, mutants: &[Mutant]) -> usize {
        let whole = self.beginnings.len() - 1;
        match mutants.iter().all(|m| m.is_causal()) {
            true => 0,
            false => whole,
        }
    }

    /// The stages of mutants on a beginning; none where a mutant's discretization has no value.
    fn run(&self, mutants: &[Mutant], chunk_len: usize, beginning: usize) -> Option<Stages> {
        let (case, input) = (self.golden.case(), &self.beginnings[beginning]);
        mutated_forward_in_chunks(case.parameters(), input, case.state(), mutants, chunk_len).ok()
    }

    /// How far the candidate is from the mutated layer, stage by stage, as fractions of the
    /// tolerance; `None` for what is no stage of the forward pass (gradients), of which these mutants
    /// say nothing. Nothing at all where a mutant does not apply, or does not reproduce the first
    /// stage that departs, or a pair not every stage.
    ///
    /// `begun` is the shortest run, if it was made already.
    fn fractions(
        &self,
        mutants: &[Mutant],
        chunk_len: usize,
        mut begun: Option<Stages>,
    ) -> Option<Vec<Option<f64>>> {
        let whole = self.beginnings.len() - 1;
        for beginning in self.shortest(mutants)..whole {
            let stages = match begun.take() {
                Some(stages) => stages,
                None => self.run(mutants, chunk_len, beginning)?,
            };
            // One mutant that gets the first stage right may be one of two; a pair is all there is.
            let asked = match mutants.len() {
                1 => &self.compared[self.first..=self.first],
                _ => self.compared,
            };
            let mut off = asked
                .iter()
                .filter_map(|compared| compared.worst_beginning(compared.of(&stages)?));
            if off.any(|off| off > DOUBT) {
                return None;
            }
        }
        if !mutants.iter().all(|&m| self.applies(m, chunk_len)) {
            return None;
        }
        let stages = match begun {
            Some(stages) => stages,
            None => self.run(mutants, chunk_len, whole)?,
        };
        let of_stage = |compared: &Compared<'_>| {
            let found = compared.of(&stages)?;
            if found.shape() != compared.golden.shape() {
                return Some(f64::INFINITY);
            }
            Some(compared.worst_against(found.data(), true).0)
        };
        Some(self.compared.iter().map(of_stage).collect())
    }

    /// Whether a run is off where the candidate is right: in a stage before the first one that
    /// departs, or before the time step at which that one does.
    fn spoils(&self, stages: &Stages) -> bool {
        let before = self.compared[..self.first].iter();
        let mut off = before.filter_map(|compared| {
            let found = compared.of(stages)?;
            compared.golden_beginning(found, usize::MAX)
        });
        let first = &self.compared[self.first];
        let own = || first.golden_beginning(first.of(stages)?, self.right);
        off.any(|off| off > DOUBT) || own().is_some_and(|off| off > DOUBT)
    }

    fn applies(&self, mutant: Mutant, chunk_len: usize) -> bool {
        // Nothing is left half done in the map, so a poisoned lock is as good as any.
        let known = || self.applies.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = known().get(&(mutant, chunk_len)).copied();
        answer.unwrap_or_else(|| {
            let case = self.golden.case();
            let (batch, len) = (case.input().shape()[0], case.input().shape()[1]);
            let state = case.state().is_some();
            let applies =
                applies_in_chunks(mutant, case.parameters(), len, batch, state, chunk_len);
            known().insert((mutant, chunk_len), applies);
            applies
        })
    }

    /// Multiplications of one mutated run, or what takes as long: projections, convolutions, states
    /// and kernels; a model's discretization and its memory at some 60 and 500 (measured).
    fn cost(&self, input: &Tensor<f64>) -> usize {
        let config = self.golden.case().parameters().config();
        let (batch, len) = (input.shape()[0], input.shape()[1]);
        let (d, d_h, m) = (config.d_model, config.head_dim, config.d_state);
        let models = d.saturating_mul(d_h + 1);
        let each = len.saturating_mul(len) / 2 + m.saturating_mul(len + 2) + 500;
        let projections = len.saturating_mul(4 * d * d);
        let runs = models.saturating_mul(each).saturating_add(projections);
        let kernels = (config.n_heads() * m).saturating_mul(4 * len + 60);
        batch.saturating_mul(runs).saturating_add(kernels)
    }
}

impl Singles {
    fn add(&mut self, mutant: Mutant, len: usize, fractions: &[Option<f64>], first: usize) {
        if fractions[first].is_none_or(|fraction| fraction > 1.0) {
            return;
        }
        self.explaining.push((mutant, len));
        let worst = worst(fractions);
        if worst <= 1.0 && !self.suspects.iter().any(|s| s.mutants == [mutant]) {
            let mutants = vec![mutant];
            self.suspects.push(Suspect {
                mutants,
                gradient: None,
                model: None,
                worst,
            });
        }
    }
}

/// The first tokens of every sequence.
fn first_tokens(input: &Tensor<f64>, tokens: usize) -> Result<Tensor<f64>, Error> {
    let &[batch, len, d] = input.shape() else {
        return Err(Error::shape("input", "three axes", input.shape().len()));
    };
    let kept = (0..batch).flat_map(|b| &input.data()[b * len * d..][..tokens * d]);
    Tensor::new([batch, tokens, d], kept.copied().collect())
}

/// The largest of the fractions there are.
fn worst(fractions: &[Option<f64>]) -> f64 {
    fractions.iter().flatten().copied().fold(0.0, f64::max)
}
