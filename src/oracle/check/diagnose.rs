//! The diagnosis of a port that was refused: step by step, from the own error of each step.

use super::super::golden::Reference;
use super::super::mistake::Mistake;
use super::evidence::{ALL, NEARLY_ALL};
use super::hypothesis::{Hypothesis, MOST_UNEXPLAINED, best, unexplained};
use super::judged::{Fit, Grid, Judged};
use super::pattern;
use super::report::{Finding, StageReport, StageVerdict};
use super::trials::{ProbeTrial, Trial, Trials, default_chunk_len};
use crate::into_vec::IntoVec as _;
use std::cell::Cell;

/// At one stage so many of the mistakes that explain most are tried with every other.
const PAIRED: usize = 6;

/// One finding for every step that is wrong; `parts` are those in which the port says it ran.
pub(super) fn diagnose(
    golden: Reference<'_>,
    stages: &[Judged<'_>],
    (reports, probes): (&[StageReport], &[Vec<ProbeTrial>]),
    trials: &Trials<'_>,
    known: &[Trial],
    parts: &[usize],
) -> Vec<Finding> {
    let is = |verdict| move |&at: &usize| reports[at].verdict == verdict;
    let mut wrong: Vec<usize> = (0..stages.len()).filter(is(StageVerdict::Fail)).into_vec();
    let Some(&first) = wrong.first() else {
        let follows = (0..stages.len()).find(is(StageVerdict::Follows));
        return follows
            .map(|at| added_up(&stages[at]))
            .into_iter()
            .into_vec();
    };
    // Gradients come last: where the forward pass is wrong, theirs follow.
    let backward = stages[first].spec.is_gradient();
    wrong.retain(|&at| stages[at].spec.is_gradient() == backward);
    let cost = match backward {
        true => golden.case.cost(golden.case.seq_len()),
        false => trials.cost(),
    }
    .max(1);
    let mut search = Search {
        stages,
        reports,
        probes,
        trials,
        all: known.iter().into_vec(),
        backward,
        pairs: false,
        settled: Vec::new(),
        cost,
        runs_left: Cell::new((STEPS * WORK / cost).max(PAIRED * PAIRED)),
    };
    let mut made = Vec::new();
    let (findings, settled) = search.findings(&wrong, &mut made);
    if settled {
        return findings;
    }
    let of_direction = golden.case.mistakes(backward);
    let is_of_it = |one: &Mistake| of_direction.iter().any(|known| core::ptr::eq(*known, one));
    let between: Vec<&'static Mistake> = known
        .iter()
        .filter(|trial| trial.needs_chunks && is_of_it(trial.mistake))
        .map(|trial| trial.mistake)
        .into_vec();
    let begins = wrong
        .iter()
        .filter_map(|&at| pattern::first_wrong_token(&stages[at]));
    let likely = parts.iter().copied().chain(begins);
    let mut lens = chunk_lens(golden.case.seq_len(), likely);
    lens.truncate((WORK / search.cost / between.len().max(1)).max(2));
    let more = trials.mistakes(&between, &lens, backward);
    search.all.extend(&more);
    search.pairs = true;
    search.findings(&wrong, &mut made).0
}

/// The finding if every step is right but the whole is not.
fn added_up(stage: &Judged<'_>) -> Finding {
    Finding {
        stage: stage.spec.name.clone(),
        pattern:
            "every step is right as computed from the stages before it; their errors add up to \
                  more than the tolerance"
                .into(),
        suspects: Vec::new(),
        reproduced: false,
        also_at: Vec::new(),
    }
}

/// Multiplications that trying mistakes at other chunk lengths may cost, and trying them in pairs at a step: some
/// three seconds of one core.
const WORK: usize = 800_000_000;

/// Pairs are tried at as many steps as take so many times the work of one: a wrong training run has hundreds.
const STEPS: usize = 2;

/// The chunk lengths at which a mistake between chunks may have happened, but for the first one,
/// the likeliest first: the parts in which the port says it ran, the places at which a stage begins to be
/// wrong, the few tokens by which a state can be old or padded, one chunk (a state that was given can be
/// read early), and the usual ones.
fn chunk_lens(seq_len: usize, likely: impl Iterator<Item = usize>) -> Vec<usize> {
    // A state saved one token early looks like a last chunk of one token.
    let parts = [
        seq_len.saturating_sub(1),
        seq_len,
        seq_len / 2,
        seq_len / 3,
        seq_len / 4,
    ];
    let usual = [1, 2, 3, 4].into_iter().chain(parts);
    let usual = usual.chain([8, 16, 32, 64, 128]).chain(5..=32);
    let first = default_chunk_len(seq_len);
    let mut lens = Vec::new();
    for len in likely.chain(usual) {
        if (1..=seq_len).contains(&len) && len != first && !lens.contains(&len) {
            lens.push(len);
        }
    }
    lens
}

struct Search<'a> {
    stages: &'a [Judged<'a>],
    reports: &'a [StageReport],
    /// Of every stage.
    probes: &'a [Vec<ProbeTrial>],
    trials: &'a Trials<'a>,
    all: Vec<&'a Trial>,
    backward: bool,
    /// True if two mistakes made in one step are looked for.
    pairs: bool,
    /// The stages that are settled so far.
    settled: Vec<Settled>,
    /// Multiplications of one run.
    cost: usize,
    /// Runs that trying mistakes in pairs may still take, at all steps together.
    runs_left: Cell<usize>,
}

/// A mistake that an earlier stage showed.
#[derive(Clone, Copy)]
struct Made {
    mistake: &'static Mistake,
    /// The chunk length, if it sits between chunks.
    chunk_len: Option<usize>,
}

/// A stage of which mistakes explain all.
struct Settled {
    at: usize,
    by: Vec<Made>,
}

/// What is said of a wrong stage.
struct Said {
    finding: Finding,
    /// The wrong stages that it explains, this one among them.
    explained: Vec<usize>,
    /// Those of them at which it leaves more than the tolerance.
    nearly: Vec<usize>,
    /// True if nothing else is left to look for.
    settled: bool,
}

impl Search<'_> {
    /// A finding for every step that is wrong, and whether each is explained, given mistakes that were found to be made
    /// (at later stages, where all is gone through again). Those found are added.
    fn findings(&mut self, wrong: &[usize], made: &mut Vec<Made>) -> (Vec<Finding>, bool) {
        let mut wrong = wrong.to_vec();
        self.settled.clear();
        let (mut findings, mut all_settled) = (Vec::new(), true);
        let mut nearly = Vec::new();
        while let Some(&at) = wrong.first() {
            let said = self.explain(at, &wrong, made);
            nearly.extend(said.nearly.iter().copied());
            wrong.retain(|at| !said.explained.contains(at) || said.nearly.contains(at));
            // What is left there may be a mistake of its own; if none is known, it is no finding.
            if said.finding.reproduced || !nearly.contains(&at) {
                findings.push(said.finding);
                all_settled &= said.settled;
            }
        }
        (findings, all_settled)
    }

    /// What is said of a stage. Mistakes that were `made` at stages before it may act here too; those found are added.
    fn explain(&mut self, at: usize, wrong: &[usize], made: &mut Vec<Made>) -> Said {
        let stage = &self.stages[at];
        let probes = &self.probes[at];
        let probe = probes.iter().rev().max_by(|a, b| {
            // Where both explain all that takes part, the one that leaves less elsewhere.
            let order = adjusted(a).total_cmp(&adjusted(b));
            order.then(b.fit.left.total_cmp(&a.fit.left))
        });
        let generic = probes.iter().map(share).fold(0.0, f64::max);
        let mut found = self.on_grid(at, wrong);
        if found.is_empty() {
            found = best(self.singles(at, wrong, made), generic);
            self.add_siblings(&mut found, made, at, wrong);
        }
        if self.pairs && found.is_empty() && generic < NEARLY_ALL {
            found = self.pairs(at, wrong);
        }
        if found.is_empty() {
            found = self.partial(at, wrong, generic);
        }
        if found.is_empty() {
            found = self.in_few_elements(at, wrong);
        }
        let on_grid = found.first().filter(|h| h.fit.grid == Grid::On);
        let coarse = on_grid.and_then(|h| h.mistakes[0].rounding);
        let pattern = match coarse.filter(|_| stage.wrong().next().is_none()) {
            Some(coarse) => pattern::on_grid(coarse),
            None => pattern::describe(stage, probe),
        };
        let mut explained = vec![at];
        let Some(best) = found.first() else {
            let finding = self.finding(at, pattern, &[], false, &explained);
            let settled = probe.is_some_and(|probe| leaves_nothing(stage, probe));
            return Said {
                finding,
                explained,
                nearly: Vec::new(),
                settled,
            };
        };
        explained.extend(&best.explained);
        let nearly_all = best.fit.left <= 1.0 && best.fit.evidence.share >= NEARLY_ALL;
        // What is generic speaks of one stage; a mistake may explain several at once.
        let more = best.fit.evidence.share > generic || !best.explained.is_empty();
        let is_likely = nearly_all && more;
        // What would show elsewhere too, and does not, explains this stage alone.
        let reproduced = is_likely && best.contradicted == 0 && best.fit.leaves_rounding();
        if is_likely {
            let chunk_len = best.chunk_len;
            for &mistake in &best.mistakes {
                if !made
                    .iter()
                    .any(|known| core::ptr::eq(known.mistake, mistake))
                {
                    made.push(Made { mistake, chunk_len });
                }
            }
        }
        if is_likely && best.fit.evidence.share >= ALL && best.fit.leaves_rounding() {
            let by = best.mistakes.iter().map(|&mistake| Made {
                mistake,
                chunk_len: best.chunk_len,
            });
            let by = by.into_vec();
            self.settled.push(Settled { at, by });
        }
        let is_left = |&at: &usize| best.fits[at].is_some_and(|fit| fit.left > 1.0);
        Said {
            finding: self.finding(at, pattern, &found, reproduced, &explained),
            nearly: best.explained.iter().copied().filter(is_left).into_vec(),
            explained,
            settled: nearly_all,
        }
    }

    fn finding(
        &self,
        at: usize,
        pattern: String,
        found: &[Hypothesis],
        reproduced: bool,
        explained: &[usize],
    ) -> Finding {
        let name = |at: &usize| self.stages[*at].spec.name.clone();
        Finding {
            stage: name(&at),
            pattern,
            suspects: found.iter().map(Hypothesis::suspect).into_vec(),
            reproduced,
            also_at: explained
                .iter()
                .filter(|other| **other != at)
                .map(name)
                .into_vec(),
        }
    }

    /// Mistakes that leave nothing of a stage's error beyond its tolerance: alone, or on top of those that were made
    /// before. These may do nothing here alone: a wrong pole does not matter to a convolution by the port's own kernel, but
    /// to a state that is carried wrongly.
    fn singles(&self, at: usize, wrong: &[usize], made: &[Made]) -> Vec<Hypothesis> {
        let alone = self.all.iter().filter_map(|trial| {
            let fit = trial.fits[at]?;
            (fit.left <= 1.0).then(|| self.of_trial(trial, fit, at, wrong))
        });
        let mut found: Vec<Hypothesis> = alone.into_vec();
        found.retain(|h| h.fit.evidence.share < NEARLY_ALL || self.agrees(h));
        // What explains all alone needs none made before it. It only saves work: what is found on top of others is held
        // against it by the same rule (`best`).
        let explains = |h: &Hypothesis| h.fit.evidence.share >= ALL;
        if !made.is_empty() && !found.iter().any(explains) {
            found.extend(self.on_top(made, at, wrong, &|_| true));
        }
        found
    }

    /// False for what acts at a stage of which other mistakes explain all, and neither explains it as well nor leaves it
    /// explained if it is made together with them.
    fn agrees(&self, hypothesis: &Hypothesis) -> bool {
        self.settled.iter().all(|settled| {
            let Some(fit) = hypothesis.fits[settled.at] else {
                return true;
            };
            let is_in = |made: &Made| {
                let mut own = hypothesis.mistakes.iter();
                own.any(|own| core::ptr::eq(*own, made.mistake))
            };
            let explains = |fit: Fit| fit.left <= 1.0 && fit.evidence.share >= NEARLY_ALL;
            if explains(fit) || !fit.would_show() || settled.by.iter().all(is_in) {
                return true;
            }
            let before = settled.by.iter().filter(|made| !is_in(made));
            let before = before.map(|made| made.mistake);
            let together: Vec<_> = before.chain(hypothesis.mistakes.iter().copied()).into_vec();
            let lens = settled.by.iter().map(|made| made.chunk_len);
            let len = lens.chain([hypothesis.chunk_len]).flatten().next();
            let len = len.unwrap_or(self.usual_len());
            let fits = self.trials.fits(&together, len, self.backward);
            fits[settled.at].is_some_and(explains)
        })
    }

    /// The chunk length at which mistakes are tried first.
    fn usual_len(&self) -> usize {
        self.all.first().map_or(1, |trial| trial.chunk_len)
    }

    /// Adds mistakes of this stage that make the same numbers as what was found if they are made on top of others.
    fn add_siblings(&self, found: &mut Vec<Hypothesis>, made: &[Made], at: usize, wrong: &[usize]) {
        let Some(first) = found.first().filter(|_| !made.is_empty()) else {
            return;
        };
        if first.fit.evidence.share < ALL {
            return;
        }
        let name = &self.stages[at].spec.name;
        let (contradicted, limit) = (first.contradicted, 4.0 * unexplained(first) + 0.02);
        let here = |one: &Mistake| one.first_stage == name;
        for other in self.on_top(made, at, wrong, &here) {
            let is_as_good = other.contradicted <= contradicted && unexplained(&other) <= limit;
            if is_as_good && !found.iter().any(|known| known.is_same(&other)) {
                found.push(other);
            }
        }
    }

    /// Mistakes made before together, and on top of them another one of those asked for. A port has one chunk length.
    fn on_top(
        &self,
        made: &[Made],
        at: usize,
        wrong: &[usize],
        asked: &dyn Fn(&Mistake) -> bool,
    ) -> Vec<Hypothesis> {
        let len = made.iter().find_map(|made| made.chunk_len);
        let before: Vec<_> = made.iter().map(|made| made.mistake).into_vec();
        let is_new = |trial: &&&Trial| !before.iter().any(|one| core::ptr::eq(*one, trial.mistake));
        let in_the_port = |trial: &&&Trial| {
            let is_at = |len| !trial.needs_chunks || trial.chunk_len == len;
            trial.fits[at].is_some() && len.is_none_or(is_at)
        };
        let others = self.all.iter().filter(is_new).filter(in_the_port);
        let others = others.filter(|trial| asked(trial.mistake)).map(Some);
        let none = (before.len() > 1).then_some(None);
        let most = (WORK / self.cost).min(self.runs_left.get());
        let others: Vec<_> = none.into_iter().chain(others).take(most).into_vec();
        self.runs_left.set(self.runs_left.get() - others.len());
        let (trials, backward) = (self.trials, self.backward);
        let usual = self.usual_len();
        let runs = crate::threads::map(&others, |other| {
            let run = |before: &[&'static Mistake]| {
                let other_len = other.map_or(usual, |other| other.chunk_len);
                let other = other.map(|other| other.mistake);
                let together: Vec<_> = before.iter().copied().chain(other).into_vec();
                trials.fits(&together, len.unwrap_or(other_len), backward)
            };
            let all = run(&before);
            let fit = all[at].filter(|fit| fit.left <= 1.0)?;
            if fit.evidence.share < NEARLY_ALL {
                return None;
            }
            // Those that do nothing here are not said, and explain nothing elsewhere.
            let acts = |one: &&'static Mistake| {
                let is_other = |known: &&Mistake| !core::ptr::eq(*known, *one);
                let without: Vec<_> = before.iter().copied().filter(is_other).into_vec();
                run(&without)[at].is_none_or(|other| other.evidence.share != fit.evidence.share)
            };
            let acting: Vec<_> = before.iter().copied().filter(acts).into_vec();
            // Of those made before, two at least; each was tried alone.
            let enough = acting.len() > usize::from(other.is_none());
            enough.then(|| (run(&acting), acting))
        });
        let found = others.into_iter().zip(runs).filter_map(|(other, run)| {
            let (fits, mut together) = run?;
            let fit = fits[at]?;
            together.extend(other.map(|other| other.mistake));
            let chunked = other.filter(|other| other.needs_chunks);
            let len = len.or(chunked.map(|other| other.chunk_len));
            Some(self.hypothesis(together, len, &fits, fit, at, wrong))
        });
        found.into_vec()
    }

    /// The same with what is beyond the tolerance left unexplained.
    fn partial(&self, at: usize, wrong: &[usize], generic: f64) -> Vec<Hypothesis> {
        let found = self.all.iter().filter_map(|trial| {
            let fit = trial.fits[at]?;
            let explains = fit.evidence.share >= NEARLY_ALL;
            explains.then(|| self.of_trial(trial, fit, at, wrong))
        });
        best(found.into_vec(), generic)
    }

    /// Mistakes that no right port would show in the few elements from which they depart, where the rounding
    /// of all others hides them on the whole.
    fn in_few_elements(&self, at: usize, wrong: &[usize]) -> Vec<Hypothesis> {
        let found = self.all.iter().filter_map(|trial| {
            let fit = trial.fits[at]?;
            let evidence = fit.focused.filter(|part| part.convicts(0))?;
            let of_part = Fit { evidence, ..fit };
            Some(self.of_trial(trial, of_part, at, wrong))
        });
        let mut found = best(found.into_vec(), 0.0);
        for hypothesis in &mut found {
            // On the whole it does not explain it.
            hypothesis.fit = hypothesis.fits[at].unwrap_or(hypothesis.fit);
        }
        found
    }

    /// Mistakes that leave none but the numbers of a coarser format, where the port has none but those.
    fn on_grid(&self, at: usize, wrong: &[usize]) -> Vec<Hypothesis> {
        let found = self.all.iter().filter_map(|trial| {
            let fit = trial.fits[at].filter(|fit| fit.grid == Grid::On && fit.left <= 1.0)?;
            Some(self.of_trial(trial, fit, at, wrong))
        });
        found.into_vec()
    }

    /// Two mistakes made in the step.
    fn pairs(&self, at: usize, wrong: &[usize]) -> Vec<Hypothesis> {
        let mut acting: Vec<(&&Trial, Fit)> = self
            .all
            .iter()
            .filter_map(|trial| Some((trial, trial.fits[at]?)))
            .into_vec();
        acting.sort_by(|(_, a), (_, b)| b.evidence.share.total_cmp(&a.evidence.share));
        let mut found = Vec::new();
        let (trials, backward) = (self.trials, self.backward);
        let runs_of_each = (WORK / self.cost / PAIRED).max(PAIRED);
        for (place, (one, _)) in acting.iter().enumerate().take(PAIRED) {
            let others: Vec<_> = acting[place + 1..]
                .iter()
                .filter(|(other, _)| other.mistake.id != one.mistake.id)
                .take(runs_of_each.min(self.runs_left.get()))
                .into_vec();
            self.runs_left.set(self.runs_left.get() - others.len());
            let runs = crate::threads::map(&others, |(other, _)| {
                let len = if one.needs_chunks { one } else { other }.chunk_len;
                trials.fits(&[one.mistake, other.mistake], len, backward)
            });
            for ((other, _), fits) in others.into_iter().zip(runs) {
                if let Some(fit) = fits[at]
                    && fit.left <= 1.0
                    && fit.evidence.share >= NEARLY_ALL
                {
                    let mut mistakes = vec![one.mistake, other.mistake];
                    mistakes.sort_by_key(|mistake| mistake.place());
                    let chunked = [**one, **other]
                        .into_iter()
                        .find(|trial| trial.needs_chunks);
                    let len = chunked.map(|trial| trial.chunk_len);
                    found.push(self.hypothesis(mistakes, len, &fits, fit, at, wrong));
                }
            }
        }
        best(found, 0.0)
    }

    fn is_wrong(&self, at: usize) -> bool {
        self.reports[at].verdict == StageVerdict::Fail
    }

    /// True if a stage is computed from a kernel that is wrong.
    fn has_wrong_kernel(&self, at: usize) -> bool {
        let mut from = self.stages[at].spec.from.iter();
        from.any(|name| {
            let is_it = |other: &usize| self.stages[*other].spec.name == *name;
            let kernel = (0..self.stages.len()).find(is_it);
            kernel
                .is_some_and(|kernel| self.stages[kernel].spec.is_kernel() && self.is_wrong(kernel))
        })
    }

    fn of_trial(&self, trial: &Trial, fit: Fit, at: usize, wrong: &[usize]) -> Hypothesis {
        let len = trial.needs_chunks.then_some(trial.chunk_len);
        self.hypothesis(vec![trial.mistake], len, &trial.fits, fit, at, wrong)
    }

    fn hypothesis(
        &self,
        mistakes: Vec<&'static Mistake>,
        chunk_len: Option<usize>,
        fits: &[Option<Fit>],
        fit: Fit,
        at: usize,
        wrong: &[usize],
    ) -> Hypothesis {
        let contradicts = |&other: &usize| {
            let Some(fit) = fits[other] else {
                return false;
            };
            // A stage that is wrong may be so by this mistake and another one.
            let is_wrong = self.is_wrong(other);
            // What passes on states between chunks does not use kernels: where those of the port are wrong, it departs from
            // what is computed by them, whatever it does else.
            let by_wrong_kernel = chunk_len.is_some() && self.has_wrong_kernel(other);
            // A stage may be right of another one than that which was dumped, as the mistake says.
            let is_predicted = fit.departs > 2.0 && fit.left <= 1.0;
            other != at && !is_wrong && !by_wrong_kernel && !is_predicted && fit.would_show()
        };
        let explains = |&other: &usize| {
            // Within a wide tolerance of what it predicts is much that it does not explain.
            let explained = |fit: Fit| match fit.left <= 1.0 {
                true => fit.evidence.share >= 1.0 - MOST_UNEXPLAINED,
                false => fit.evidence.share >= NEARLY_ALL,
            };
            other != at && fits[other].is_some_and(explained)
        };
        Hypothesis {
            contradicted: (0..fits.len()).filter(contradicts).count(),
            explained: wrong.iter().copied().filter(explains).into_vec(),
            mistakes,
            chunk_len,
            fits: fits.to_vec(),
            fit,
        }
    }
}

/// True if a probe explains all of a stage that is wrong from its first token on: what goes wrong between chunks
/// of other lengths explains no more.
fn leaves_nothing(stage: &Judged<'_>, probe: &ProbeTrial) -> bool {
    let fit = &probe.fit;
    let is_explained = probe.fitted <= 1 && fit.left <= 1.0 && fit.evidence.share >= NEARLY_ALL;
    is_explained && pattern::first_wrong_token(stage) == Some(0)
}

/// The share of an error that a probe explains, less what is explained by chance by what was fitted.
fn share(probe: &ProbeTrial) -> f64 {
    probe.fit.evidence.share - probe.fitted as f64 / probe.fit.evidence.elements.max(1.0)
}

/// The share adjusted for what was fitted: what leaves nothing explains all, whatever it fits.
fn adjusted(probe: &ProbeTrial) -> f64 {
    let (elements, fitted) = (probe.fit.evidence.elements, probe.fitted as f64);
    let left = 1.0 - probe.fit.evidence.share;
    1.0 - left * elements / (elements - fitted).max(0.1)
}
