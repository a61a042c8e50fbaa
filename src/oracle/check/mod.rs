//! The check of a port against golden outputs (chapter 13, [`book::golden`](crate::book::golden)).

mod diagnose;
mod empty;
mod evidence;
mod html;
mod hypothesis;
mod json;
mod judge;
mod judged;
mod pattern;
mod precision_seen;
mod probe;
mod report;
mod sample;
mod trials;
mod words;

use crate::internals::internals;
use crate::into_vec::IntoVec as _;
pub use report::{
    Equal, Explained, Finding, Power, Report, SampledHeads, StageReport, StageVerdict, Suspect,
    Verdict,
};

use super::candidate::{Candidate, exchanged};
use super::format::Format;
use super::golden::Reference;
use super::mistake::Mistake;
use crate::threads;
use judged::{Fit, Judged, largest};
use sample::Sampled;
pub use trials::default_chunk_len;
use trials::{ProbeTrial, Trial, Trials};

internals!(evidence::{
    BY_CHANCE, CHANCE, Evidence, LARGE, SHARE, SHARE_AT_16_BITS, SHARE_OF_FEW, SHARE_OF_LARGE,
    SHARE_OF_ROUNDED, Scales, Weights,
});
internals!(html::{BINS, LOWEST, PER_DECADE, counts, rows});
internals!(sample::chosen);
internals!(words::{SHOWN, describe, percent, shown});

/// Checks a candidate's stages against a golden file at a format.
///
/// Three judgements can refuse a stage. *Bound*: every element within `u scale` of the golden one,
/// plus the rounding of the candidate's own storage type and of the golden value to f64, and what
/// underflow may add (each of the operations behind an element may lose a number as large as the
/// smallest normal one, or in F16, where that would be coarse, as the smallest there is; magnified by
/// what it is multiplied with on its way). *Local*: the same of the one step that computes the stage
/// from the port's own upstream stages. *Evidence*: no known mistake and nothing generic explains
/// more of that step's error than rounding ever looks like.
///
/// What is refused is searched for the mistakes that explain it, unless only the verdicts are asked for.
pub(super) fn check(
    golden: Reference<'_>,
    candidate: &Candidate,
    format: Format,
    is_explained: bool,
) -> Report {
    check_on(golden, candidate, (format, is_explained), &|judged, own| {
        golden.case.sampled_heads(judged, own)
    })
}

/// The same, with known mistakes tried on so many heads as is said.
pub(super) fn check_on(
    golden: Reference<'_>,
    candidate: &Candidate,
    (format, is_explained): (Format, bool),
    heads: sample::Size<'_>,
) -> Report {
    let padding = golden.case.padding();
    // A mistake may read what a port has at padding; if that is nothing, what the run itself has there.
    let known = |own: f64| own != 0.0 && own.is_finite();
    let read = |_, own| if known(own) { own } else { f64::NAN };
    let given = golden.case.given();
    let read = &candidate.at_padding(golden.stages, &given, &padding, read);
    let right = |golden, _| golden;
    let candidate = &candidate.at_padding(golden.stages, &given, &padding, right);
    let chunk_len = default_chunk_len(golden.case.seq_len());
    let judged_in = golden.case.judged_in(format);
    let (stages, own) = judge::judge(golden, [candidate, read], format, chunk_len);
    let sampled = Sampled::new(golden, &stages, &own, chunk_len, heads);
    let trials = Trials::new(golden, &stages, &own, sampled.as_ref(), format);
    let mut known: Vec<Trial> = Vec::new();
    for backward in [false, true] {
        if stages
            .iter()
            .any(|stage| stage.spec.is_gradient() == backward)
        {
            let mut mistakes = golden.case.mistakes(backward);
            mistakes.retain(|mistake| visible(mistake, judged_in));
            known.extend(trials.mistakes(&mistakes, &[chunk_len], backward));
        }
    }
    let probes = threads::map(&stages, |stage| trials.probes(stage));
    let places: Vec<_> = stages.iter().zip(&probes).enumerate().into_vec();
    let reports = threads::map(&places, |&(place, (stage, probes))| {
        report_of(place, stage, candidate, probes, &known)
    });
    let refused = reports.iter().any(|stage| !stage.pass);
    let findings = match refused && is_explained {
        true => {
            let parts = candidate.parts();
            diagnose::diagnose(golden, &stages, (&reports, &probes), &trials, &known, parts)
        }
        false => Vec::new(),
    };
    Report {
        format,
        specs: golden
            .stages
            .iter()
            .map(|stage| stage.spec.clone())
            .into_vec(),
        power: (!refused).then(|| power(&known, &stages)),
        sampled: sampled.as_ref().map(Sampled::report),
        precision: precision_seen::describe(&stages, judged_in, candidate, |name| {
            let mut reproduced = findings.iter().filter(|found| found.reproduced);
            reproduced.any(|found| found.stage == name || found.also_at.iter().any(|at| at == name))
        }),
        equal: equal(golden, &stages, format),
        holdings: candidate.holdings(golden.stages),
        findings,
        stages: reports,
    }
}

/// True if a mistake is one in a port of this format: what a coarse format does anyway is none.
fn visible(mistake: &Mistake, format: Format) -> bool {
    mistake
        .rounding
        .is_none_or(|coarse| coarse.unit_roundoff() > 2.0 * format.unit_roundoff())
}

/// The judgement of one stage.
fn report_of(
    place: usize,
    stage: &Judged<'_>,
    candidate: &Candidate,
    probes: &[ProbeTrial],
    known: &[Trial],
) -> StageReport {
    let (golden, values) = (stage.golden.data(), stage.candidate.data());
    let ((worst, mut at), (local, _)) = (stage.worst(), stage.worst_local());
    // The strongest evidence: what is furthest above what rounding looks like.
    let mut explained: Option<Explained> = None;
    let mut convicted = false;
    let mut weigh = |fit: &Fit, fitted: usize| {
        convicted |= fit.convicts(fitted);
        let of_part = fit.focused.filter(|part| part.convicts(fitted));
        let found = of_part.unwrap_or(fit.evidence);
        let Some(limit) = found.limit(fitted) else {
            return;
        };
        let stronger = |most: Explained| found.share / limit > most.share / most.limit;
        if explained.is_none_or(stronger) {
            explained = Some(Explained {
                share: found.share,
                limit,
                elements: found.elements,
                length: found.length,
            });
        }
    };
    for trial in known {
        if let Some(fit) = &trial.fits[place] {
            weigh(fit, 0);
        }
    }
    for trial in probes {
        weigh(&trial.fit, trial.fitted);
    }
    let note = candidate
        .stage(&stage.spec.name)
        .and_then(|found| found.note.clone());
    let mut note = note.or_else(|| match worst <= 1.0 {
        true => None,
        false => layout_note(stage),
    });
    let verdict = if !stage.is_finite() {
        at = values.iter().position(|x| !x.is_finite()).unwrap_or(at);
        note = Some(format!("holds {}; expected finite numbers", values[at]));
        StageVerdict::Fail
    } else if local > 1.0 || convicted {
        StageVerdict::Fail
    } else if worst > 1.0 {
        StageVerdict::Follows
    } else if let Some((axis, place)) = empty::empty_place(stage) {
        note = Some(format!("zero but for rounding in {axis} {place}"));
        StageVerdict::Undecided
    } else if stage.is_undecided() {
        StageVerdict::Undecided
    } else {
        StageVerdict::Pass
    };
    StageReport {
        name: stage.spec.name.clone(),
        verdict,
        pass: !matches!(verdict, StageVerdict::Fail | StageVerdict::Follows),
        worst,
        local,
        probable: stage.rms(),
        explained,
        of_typical: stage.of_typical(),
        at: index_of(at, stage.golden.shape()),
        golden: golden.get(at).copied().unwrap_or(0.0),
        candidate: values.get(at).copied().unwrap_or(0.0),
        bits: correct_bits(golden, values),
        note,
        fractions: stage.fractions(),
        local_fractions: stage.local_fractions(),
    }
}

/// The stages that are exact in the format, and those of them that the candidate has in every element.
fn equal(golden: Reference<'_>, stages: &[Judged<'_>], format: Format) -> Option<Equal> {
    let exact = stages.iter().filter(|stage| {
        let mut known = golden.stages.iter();
        let known = known.find(|known| known.name() == stage.spec.name);
        known.is_some_and(|known| judge::is_exact(known, golden.case.judged_in(format)))
    });
    let exact: Vec<_> = exact.into_vec();
    let is_equal = |stage: &&&Judged<'_>| stage.golden.data() == stage.candidate.data();
    (!exact.is_empty()).then(|| Equal {
        exact: exact.len(),
        equal: exact.iter().filter(is_equal).count(),
    })
}

/// The power of a passing verdict: the mistakes that would have been refused.
fn power(known: &[Trial], stages: &[Judged<'_>]) -> Power {
    let mut power = Power::default();
    for trial in known {
        let mut fits = trial.fits.iter().flatten().peekable();
        // What is stored as coarsely as a mistake rounds is not looked at for it.
        let mut stored = stages.iter();
        let hidden = stored.any(|stage| stage.stores_as_coarsely(trial.mistake));
        if fits.peek().is_none() && !hidden {
            continue;
        }
        power.known += 1;
        match fits.any(Fit::would_show) {
            true => power.excluded.push(trial.mistake),
            false => power.not_excluded.push(trial.mistake),
        }
    }
    power
}

/// Where the last two of three axes are of one length, the shape cannot tell (b, l, d) from
/// (b, d, l): what to say if it is the other that is within tolerance.
fn layout_note(stage: &Judged<'_>) -> Option<String> {
    let &[_, rows, cols] = stage.golden.shape() else {
        return None;
    };
    if rows != cols {
        return None;
    }
    let other = exchanged(stage.candidate.data(), rows, cols);
    let mut pairs = other.iter().zip(stage.golden.data()).zip(&stage.bounds);
    let fits = pairs.all(|((c, g), bound)| (c - g).abs() <= *bound);
    fits.then(|| format!("within tolerance with its last two axes, both {rows} long, exchanged"))
}

/// The place in a row-major array, axis by axis.
fn index_of(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&axis| {
            let place = rest % axis.max(1);
            rest /= axis.max(1);
            place
        })
        .into_vec();
    index.reverse();
    index
}

fn correct_bits(golden: &[f64], candidate: &[f64]) -> f64 {
    let errors: Vec<f64> = golden.iter().zip(candidate).map(|(a, b)| a - b).into_vec();
    let error = largest(&errors);
    if error <= 0.0 {
        return 53.0;
    }
    // Not a negative zero.
    (-(error / largest(golden)).log2()).clamp(0.0, 53.0) + 0.0
}

/// The sentences on a candidate's precision, where no error is one that a known mistake reproduces.
pub(super) fn precision_of(
    golden: Reference<'_>,
    candidate: &Candidate,
    format: Format,
    chunk_len: usize,
) -> Vec<String> {
    let (stages, _) = judge::judge(golden, [candidate; 2], format, chunk_len);
    precision_seen::describe(&stages, format, candidate, |_| false)
}
