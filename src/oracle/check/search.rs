//! The search for the mistakes that reproduce a candidate.
//!
//! Most mistakes are causal: what they make of the first tokens does not depend on later ones. So
//! the reference is run with a mistake on the first tokens that are wrong before it is run on all;
//! nearly all mistakes are out by then, and only those left are run whole.

use super::super::golden::GoldenOf;
use super::super::mistake::Row;
use super::super::parallel;
use super::super::subject::{Named, Setting, Subject};
use super::compare::Compared;
use super::report::Suspect;
use std::collections::HashSet;

/// Multiplications that trying pairs of mistakes may cost in all: one to four seconds of one core.
pub(super) const PAIR_WORK: usize = 1_200_000_000;

/// Multiplications that trying one group of mistakes singly may cost in all, after the first group:
/// some ten seconds.
const GROUP_WORK: usize = 20_000_000_000;

/// Discarding a mistake for its beginning is final, so twice the tolerance is allowed (that of a
/// mistake grows with what it makes of the whole stage).
const DOUBT: f64 = 2.0;

/// The rows of a subject's catalogue.
pub(super) type Rows<S> = [&'static Row<<S as Subject>::Hook>];

/// Runs of the reference with mistakes on the subject of a golden file, whole and on its first
/// tokens.
pub(super) struct Search<'a, S: Subject> {
    golden: &'a GoldenOf<S>,
    compared: &'a [Compared<'a>],
    /// The first stage that departs, and the number of its time steps that are right before it does.
    first: usize,
    right: usize,
    chunk_lens: Vec<usize>,
    /// Numbers of first tokens to run on, ascending; all tokens last.
    beginnings: Vec<usize>,
}

/// The outcome of trying mistakes singly.
pub(super) struct Singles<S: Subject> {
    pub(super) suspects: Vec<Suspect>,
    /// Those that reproduce the first stage that departs, with their chunk length.
    explaining: Vec<(&'static Row<S::Hook>, usize)>,
    /// Those that leave right what is right in the candidate, so that they may be one of two.
    possible: Vec<&'static Row<S::Hook>>,
}

impl<S: Subject> Default for Singles<S> {
    fn default() -> Self {
        Self {
            suspects: Vec::new(),
            explaining: Vec::new(),
            possible: Vec::new(),
        }
    }
}

impl<'a, S: Subject> Search<'a, S> {
    pub(super) fn new(
        golden: &'a GoldenOf<S>,
        compared: &'a [Compared<'a>],
        first: usize,
        chunk_lens: Vec<usize>,
    ) -> Self {
        let len = golden.subject.seq_len();
        let right = super::pattern::first_wrong_token(&compared[first]).unwrap_or(0);
        let mut beginnings = vec![right + 2, right + 16, right.saturating_mul(2) + 64];
        beginnings.retain(|&tokens| tokens < len);
        beginnings.push(len);
        Self {
            golden,
            compared,
            first,
            right,
            chunk_lens,
            beginnings,
        }
    }

    /// Each mistake of a group on its own; nothing where that would take too long, which only a group
    /// after the first can.
    pub(super) fn singles(&self, group: &Rows<S>, is_first: bool) -> Option<Singles<S>> {
        let whole = self.golden.subject.cost(self.golden.subject.seq_len());
        if !within_limit(whole, group.len(), is_first) {
            return None;
        }
        let mut singles = Singles::default();
        let runs: Vec<_> = group
            .iter()
            .flat_map(|&row| {
                let lens = match S::needs_chunks(row) {
                    true => &self.chunk_lens[..],
                    false => &self.chunk_lens[..1],
                };
                lens.iter().map(move |&len| (row, len))
            })
            .collect();
        let found = parallel::map(&runs, |&(row, len)| {
            let stages = self.run(&[row], len, self.shortest(&[row]))?;
            match self.spoils(&stages) {
                true => None,
                false => Some(self.fractions(&[row], len, Some(stages))),
            }
        });
        for (&(row, len), found) in runs.iter().zip(found) {
            let Some(fractions) = found else {
                continue;
            };
            if !singles.possible.iter().any(|other| same(other, row)) {
                singles.possible.push(row);
            }
            if let Some(fractions) = fractions {
                singles.add(row, len, &fractions, self.first);
            }
        }
        Some(singles)
    }

    /// Pairs: one mistake that explains the first stage that departs, with any other that may be one
    /// of two; or, where none does, any two such. Says too whether all pairs were tried: those that
    /// would take too long, `limit` multiplications in all, are not.
    pub(super) fn pairs(&self, singles: &Singles<S>, limit: usize) -> (Vec<Suspect>, bool) {
        let any = singles
            .possible
            .iter()
            .map(|&row| (row, self.chunk_lens[0]));
        let one_of: Vec<_> = match singles.explaining.is_empty() {
            true => any.collect(),
            false => singles.explaining.clone(),
        };
        let mut pairs = Vec::new();
        for (one, len) in one_of {
            let others = singles.possible.iter().filter(|other| !same(other, one));
            pairs.extend(others.map(|&other| (in_order(one, other), len)));
        }
        let mut seen = HashSet::new();
        pairs.retain(|(pair, len)| seen.insert((pair.map(|row| row.mistake.id), *len)));
        // Those that can be run in short first.
        pairs.sort_by_key(|(pair, _)| self.shortest(pair));
        let mut work = 0_usize;
        let affordable = pairs.iter().take_while(|(pair, _)| {
            let tokens = self.beginnings[self.shortest(pair)];
            work = work.saturating_add(self.golden.subject.cost(tokens));
            work <= limit
        });
        let affordable = affordable.count();
        let all = affordable == pairs.len();
        pairs.truncate(affordable);
        let found = parallel::map(&pairs, |(pair, len)| self.fractions(pair, *len, None));
        let mut suspects: Vec<Suspect> = Vec::new();
        for ((pair, _), fractions) in pairs.iter().zip(found) {
            let fractions = fractions.filter(|fractions| fractions[self.first].is_some());
            if let Some(fractions) = fractions {
                suspect(&mut suspects, pair, worst(&fractions));
            }
        }
        (suspects, all)
    }

    /// The index of the fewest tokens these mistakes can be told by.
    fn shortest(&self, rows: &Rows<S>) -> usize {
        let whole = self.beginnings.len() - 1;
        match rows.iter().all(|row| S::is_causal(row)) {
            true => 0,
            false => whole,
        }
    }

    /// The stages with these mistakes on a beginning; none where a mistake has no value.
    fn run(&self, rows: &Rows<S>, chunk_len: usize, beginning: usize) -> Option<Named<f64>> {
        let whole = beginning + 1 == self.beginnings.len();
        let setting = Setting {
            chunk_len,
            tokens: (!whole).then_some(self.beginnings[beginning]),
        };
        self.golden.subject.run_with(rows, setting).ok()
    }

    /// The distance of the candidate from the reference with these mistakes, stage by stage, as
    /// fractions of the tolerance; `None` for stages on which they have no effect to be known.
    /// Nothing at all where the mistakes change nothing here, or one does not reproduce the first
    /// stage that departs, or a pair not every stage.
    ///
    /// `begun` is the shortest run, if it was made already.
    fn fractions(
        &self,
        rows: &Rows<S>,
        chunk_len: usize,
        mut begun: Option<Named<f64>>,
    ) -> Option<Vec<Option<f64>>> {
        let whole = self.beginnings.len() - 1;
        for beginning in self.shortest(rows)..whole {
            let stages = match begun.take() {
                Some(stages) => stages,
                None => self.run(rows, chunk_len, beginning)?,
            };
            // One mistake that gets the first stage right may be one of two; a pair is all there is.
            let asked = match rows.len() {
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
            None => self.run(rows, chunk_len, whole)?,
        };
        // A mistake indistinguishable from the reference cannot explain a failure.
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

    /// True if a run is off where the candidate is right: in a stage before the first one that
    /// departs, or before the time step at which that one does.
    fn spoils(&self, stages: &Named<f64>) -> bool {
        let before = self.compared[..self.first].iter();
        let mut off = before.filter_map(|compared| {
            let found = compared.of(stages)?;
            compared.golden_beginning(found, usize::MAX)
        });
        let first = &self.compared[self.first];
        let own = || first.golden_beginning(first.of(stages)?, self.right);
        off.any(out) || own().is_some_and(out)
    }
}

impl<S: Subject> Singles<S> {
    /// What another group of mistakes adds; a pair may be of both.
    pub(super) fn extend(&mut self, other: Self) {
        self.suspects.extend(other.suspects);
        self.explaining.extend(other.explaining);
        self.possible.extend(other.possible);
    }

    fn add(
        &mut self,
        row: &'static Row<S::Hook>,
        len: usize,
        fractions: &[Option<f64>],
        first: usize,
    ) {
        if fractions[first].is_some_and(|fraction| fraction <= 1.0) {
            self.explaining.push((row, len));
            suspect(&mut self.suspects, &[row], worst(fractions));
        }
    }
}

/// True if a group of so many mistakes, each of which takes `cost` multiplications, is tried.
fn within_limit(cost: usize, mistakes: usize, is_first: bool) -> bool {
    is_first || cost.saturating_mul(mistakes) <= GROUP_WORK
}

fn same<H: Copy>(one: &Row<H>, other: &Row<H>) -> bool {
    one.mistake.id == other.mistake.id
}

/// Two rows of a kind's catalogue, in the order of their ids.
fn in_order<H: Copy>(one: &'static Row<H>, other: &'static Row<H>) -> [&'static Row<H>; 2] {
    match one.mistake.id <= other.mistake.id {
        true => [one, other],
        false => [other, one],
    }
}

/// Adds mistakes that reproduce every stage, unless they are there already with another chunk
/// length.
fn suspect<H: Copy>(suspects: &mut Vec<Suspect>, rows: &[&'static Row<H>], worst: f64) {
    let mistakes: Vec<_> = rows.iter().map(|row| &row.mistake).collect();
    if worst <= 1.0 && suspects.iter().all(|s| s.mistakes != mistakes) {
        suspects.push(Suspect { mistakes, worst });
    }
}

/// True if a beginning that is off by this fraction of its tolerance is out.
fn out(off: f64) -> bool {
    off > DOUBT
}

/// The largest of the fractions there are.
fn worst(fractions: &[Option<f64>]) -> f64 {
    fractions.iter().flatten().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
