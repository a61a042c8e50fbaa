//! The search for the mistakes that reproduce a candidate.
//!
//! Most mistakes are causal: what they make of the first tokens does not depend on later ones. So a
//! mutant is run on the first tokens that are wrong before it is run on all; nearly all of them are
//! out by then, and only those left are run whole.

use super::super::golden::Golden;
use super::super::mutants::{Mutant, mutated_forward_in_chunks};
use super::super::parallel;
use super::Compared;
use super::diagnosis::Suspect;
use crate::error::Error;
use crate::tensor::Tensor;
use std::collections::HashSet;

/// Multiplications that trying pairs of mutants may cost in all: about a second.
pub(super) const PAIR_WORK: usize = 1_200_000_000;

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
    /// would take too long, `limit` multiplications in all, are not.
    pub(super) fn pairs(&self, singles: &Singles, limit: usize) -> (Vec<Suspect>, bool) {
        let any = singles.possible.iter().map(|&m| (m, self.chunk_lens[0]));
        let one_of: Vec<_> = match singles.explaining.is_empty() {
            true => any.collect(),
            false => singles.explaining.clone(),
        };
        let mut pairs = Vec::new();
        for (one, len) in one_of {
            let others = singles.possible.iter().filter(|&&other| other != one);
            pairs.extend(others.map(|&other| ([one.min(other), one.max(other)], len)));
        }
        let mut seen = HashSet::new();
        pairs.retain(|&pair| seen.insert(pair));
        // Those that can be run in short first.
        pairs.sort_by_key(|(pair, _)| self.shortest(pair));
        let mut suspects: Vec<Suspect> = Vec::new();
        let mut work = 0_usize;
        for (pair, len) in pairs {
            work = work.saturating_add(self.cost(&self.beginnings[self.shortest(&pair)]));
            if work > limit {
                return (suspects, false);
            }
            let Some(fractions) = self.fractions(&pair, len, None) else {
                continue;
            };
            if fractions[self.first].is_some() {
                suspect(&mut suspects, &pair, worst(&fractions));
            }
        }
        (suspects, true)
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
    /// say nothing. Nothing at all where the mutants change nothing here, or one does not reproduce
    /// the first stage that departs, or a pair not every stage.
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
            if off.any(out) {
                return None;
            }
        }
        let stages = match begun {
            Some(stages) => stages,
            None => self.run(mutants, chunk_len, whole)?,
        };
        // What is within tolerance of the right layer explains nothing that is not.
        let mut pairs = self.compared.iter().map(|c| (c, c.of(&stages)));
        if !pairs.any(|(compared, found)| found.is_some_and(|x| compared.differs(x.data()))) {
            return None;
        }
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
        off.any(out) || own().is_some_and(out)
    }

    /// Multiplications of one mutated run, or what takes as long: projections, convolutions and
    /// states, and a model's memory at some 500 (measured).
    fn cost(&self, input: &Tensor<f64>) -> usize {
        let config = self.golden.case().parameters().config();
        let (batch, len) = (input.shape()[0], input.shape()[1]);
        let each = len.saturating_mul(len / 2 + config.d_state);
        let models = each.saturating_add(500).saturating_mul(config.head_dim + 1);
        let projections = len.saturating_mul(4 * config.d_model);
        let channels = batch.saturating_mul(config.d_model);
        models.saturating_add(projections).saturating_mul(channels)
    }
}

impl Singles {
    fn add(&mut self, mutant: Mutant, len: usize, fractions: &[Option<f64>], first: usize) {
        if fractions[first].is_some_and(|fraction| fraction <= 1.0) {
            self.explaining.push((mutant, len));
            suspect(&mut self.suspects, &[mutant], worst(fractions));
        }
    }
}

/// Adds mutants that reproduce every stage, unless they are there already with another chunk length.
fn suspect(suspects: &mut Vec<Suspect>, mutants: &[Mutant], worst: f64) {
    if worst <= 1.0 && suspects.iter().all(|s| s.mutants != mutants) {
        suspects.push(Suspect {
            mutants: mutants.to_vec(),
            gradient: None,
            model: None,
            worst,
        });
    }
}

/// Whether a beginning that is off by this fraction of its tolerance is out.
fn out(off: f64) -> bool {
    off > DOUBT
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

#[cfg(test)]
mod tests {
    use super::super::super::format::Format;
    use super::super::super::suite::{SUITE_SEED, suite};
    use super::super::{Candidate, compare};
    use super::*;
    use crate::safetensors::{Dtype, SafeTensors, Writer};

    const CHUNK_LEN: usize = 7;

    fn golden() -> Golden {
        let case = suite().swap_remove(28).build(SUITE_SEED).expect("built");
        Golden::certify(case).expect("certified")
    }

    fn run(golden: &Golden, mutants: &[Mutant]) -> Stages {
        let case = golden.case();
        let (input, state) = (case.input(), case.state());
        mutated_forward_in_chunks(case.parameters(), input, state, mutants, CHUNK_LEN)
            .expect("runs")
    }

    /// The search for what a port with these mistakes did, which dumped these stages.
    fn search(mutants: &[Mutant], dumped: &[&str], look: impl FnOnce(&Search<'_>, &Golden)) {
        let golden = golden();
        let mut writer = Writer::new();
        for (name, stage) in run(&golden, mutants) {
            if dumped.contains(&name) {
                let added = writer.add(name, Dtype::F64, stage.shape(), stage.data());
                added.expect("fits");
            }
        }
        let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
        let candidate = Candidate::read(&file, &golden).expect("can be judged");
        let format = Format::F64;
        let scales = golden.scales(format).expect("scales");
        let (compared, stages) = compare(golden.stages(), &candidate, format, &scales, 1e-300);
        let first = stages.iter().position(|s| !s.pass).expect("fails");
        let chunk_lens = vec![CHUNK_LEN];
        look(
            &Search::new(&golden, &compared, first, chunk_lens).expect("one shape"),
            &golden,
        );
    }

    fn of<'a>(stages: &'a Stages, name: &str) -> &'a [f64] {
        let found = stages.iter().find(|(stage, _)| *stage == name);
        found.expect("a stage").1.data()
    }

    fn alike(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12)
    }

    /// Pairs are tried up to the limit, and if it was reached it is said.
    #[test]
    fn pairs_end_at_the_limit() {
        let pair = [Mutant::NoD, Mutant::ImagDropped];
        search(&pair, &["q", "ssm_kernel", "ssm_out"], |search, _| {
            let singles = search.singles();
            assert!(singles.suspects.is_empty());
            let (suspects, all) = search.pairs(&singles, usize::MAX);
            let mut sorted = pair;
            sorted.sort();
            assert!(all && suspects.iter().any(|s| s.mutants == sorted));
            // One pair alone, with what it takes and with less.
            let one = Singles {
                suspects: Vec::new(),
                explaining: vec![(Mutant::ImagDropped, CHUNK_LEN)],
                possible: pair.to_vec(),
            };
            let takes = search.cost(&search.beginnings[0]);
            let (suspects, all) = search.pairs(&one, takes);
            assert!(all && suspects.len() == 1);
            let (suspects, all) = search.pairs(&one, takes - 1);
            assert!(suspects.is_empty() && !all);
        });
    }

    /// One of two mistakes explains the first stage that departs, and what stands right before it is right with
    /// either.
    #[test]
    fn one_of_two_explains_the_first_stage() {
        let pair = [Mutant::NoD, Mutant::ImagDropped];
        search(&pair, &["q", "ssm_kernel", "ssm_out"], |search, golden| {
            let singles = search.singles();
            let (right, wrong) = (run(golden, &[]), run(golden, &[Mutant::ImagDropped]));
            assert!(!alike(of(&right, "ssm_kernel"), of(&wrong, "ssm_kernel")));
            for mutant in Mutant::ALL {
                let stages = run(golden, &[mutant]);
                let explains = alike(of(&stages, "ssm_kernel"), of(&wrong, "ssm_kernel"));
                let found = singles.explaining.contains(&(mutant, CHUNK_LEN));
                let spoils = !alike(of(&stages, "q"), of(&right, "q"));
                let possible = singles.possible.contains(&mutant);
                assert_eq!(
                    (found, possible),
                    (explains && !spoils, !spoils),
                    "{mutant:?}"
                );
            }
        });
    }

    /// Where a stage is right up to some step, what is wrong before that step is not looked at further: the
    /// first steps tell.
    #[test]
    fn the_first_steps_tell() {
        search(&[Mutant::CarryDropped], &["q", "ssm_out"], |search, _| {
            assert_eq!(search.right, CHUNK_LEN);
            let singles = search.singles();
            for (mutant, stays) in [
                (Mutant::CarryDropped, true),
                (Mutant::NoD, false),
                (Mutant::NoBiasQkv, false),
            ] {
                assert_eq!(singles.possible.contains(&mutant), stays, "{mutant:?}");
                let fractions = search.fractions(&[mutant], CHUNK_LEN, None);
                assert_eq!(fractions.is_some(), stays, "{mutant:?}");
            }
            let mut found = singles.suspects.iter();
            assert!(found.any(|s| s.mutants == [Mutant::CarryDropped]));
        });
    }

    /// What a mistake that is not causal makes of the first tokens depends on the others: it is run whole.
    #[test]
    fn what_is_not_causal_is_run_whole() {
        let (wraps, causal) = (Mutant::CircularFftLong, Mutant::NoD);
        assert!(causal.is_causal() && !wraps.is_causal());
        search(&[wraps], &["ssm_kernel", "ssm_out"], |search, _| {
            let whole = search.beginnings.len() - 1;
            assert!(whole > 1);
            assert_eq!(search.shortest(&[causal]), 0);
            assert_eq!(search.shortest(&[wraps]), whole);
            assert_eq!(search.shortest(&[causal, wraps]), whole);
            let singles = search.singles();
            let mut found = singles.suspects.iter();
            assert!(found.any(|s| s.mutants == [wraps]));
        });
    }

    /// What a run is taken to cost, against its multiplications one by one.
    #[test]
    fn the_cost_of_a_run_is_counted() {
        // Six channels in heads of two.
        let case = suite().swap_remove(2).build(SUITE_SEED).expect("built");
        let golden = Golden::certify(case).expect("certified");
        let search = Search {
            golden: &golden,
            compared: &[],
            first: 0,
            right: 0,
            chunk_lens: Vec::new(),
            beginnings: Vec::new(),
        };
        let config = golden.case().parameters().config();
        let (batch, len, d) = (3, 41, config.d_model);
        let pairs = config.head_dim * config.head_dim * config.n_heads();
        let mut counted = 0;
        for _sequence in 0..batch {
            for _projection in ["q", "k", "v", "output"] {
                counted += len * d * d;
            }
            // The shift model of every channel, the diagonal one of every pair.
            for _model in 0..d + pairs {
                // Every input with those before it; the state step by step; and its memory.
                counted += (0..len).map(|t| t + config.d_state).sum::<usize>() + 500;
            }
        }
        let input = Tensor::filled([batch, len, d], 0.0);
        assert_eq!(search.cost(&input), counted);
    }

    #[test]
    fn the_doubt_ends_beyond_its_bound() {
        assert!(!out(DOUBT) && out(DOUBT.next_up()) && out(f64::INFINITY));
    }

    /// Suspects are within the tolerance, which includes it, and each is listed once.
    #[test]
    fn suspects_are_listed_once() {
        let (one, other) = ([Mutant::NoD], [Mutant::NoD, Mutant::ImagDropped]);
        let mut suspects = Vec::new();
        suspect(&mut suspects, &one, 1.0f64.next_up());
        assert!(suspects.is_empty());
        for (mutants, worst) in [(&one[..], 1.0), (&other, 0.5), (&one, 0.25)] {
            suspect(&mut suspects, mutants, worst);
        }
        let listed: Vec<_> = suspects.iter().map(|s| (&s.mutants[..], s.worst)).collect();
        assert_eq!(listed, [(&one[..], 1.0), (&other, 0.5)]);
    }
}
