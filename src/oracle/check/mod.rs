//! The check of a port against golden outputs (chapter 13, [`book::golden`](crate::book::golden)).

mod compare;
mod pattern;
mod report;
mod search;
mod series;
mod words;

pub use report::{Diagnosis, Report, StageReport, Suspect};

use super::candidate::Candidate;
use super::format::Format;
use super::golden::GoldenOf;
use super::subject::Subject;
use compare::{Compared, compare};
use search::{PAIR_WORK, Search, Singles};

/// Checks a candidate's stages against a golden file at a format.
///
/// The tolerance of an element is `u scale`, plus the rounding of the candidate's own storage type
/// and of the golden value to f64, and what underflow may add: each of the operations behind an
/// element may lose a number as large as the smallest normal one (ports flush to zero), or in F16,
/// where that would be coarse, as the smallest there is; magnified by what it is multiplied with on
/// its way.
pub(super) fn check<S: Subject>(
    golden: &GoldenOf<S>,
    candidate: &Candidate,
    format: Format,
) -> Report {
    let judged = S::judged_in(format);
    let underflow = format.underflow() * golden.subject.underflow_growth();
    let (compared, stages) = compare(&golden.stages, candidate, judged, underflow);
    let first = stages.iter().position(|stage| !stage.pass);
    Report {
        format,
        stages,
        diagnosis: first.map(|first| diagnose(golden, &compared, first)),
    }
}

/// What is wrong with a candidate that failed: the first stage that departs, the mistakes that
/// reproduce it, and the error in words.
fn diagnose<S: Subject>(
    golden: &GoldenOf<S>,
    compared: &[Compared<'_>],
    first: usize,
) -> Diagnosis {
    let stage = &compared[first];
    let chunk_lens = chunk_lens(golden.subject.seq_len(), stage);
    let search = Search::new(golden, compared, first, chunk_lens);
    let mut tried = Singles::default();
    let mut pairs_tried = true;
    // Gradients come last: where one is the first to depart, the forward pass is right.
    let groups = S::mistakes(stage.spec.is_gradient());
    for (place, group) in groups.into_iter().enumerate() {
        match search.singles(&group, place == 0) {
            Some(singles) => tried.extend(singles),
            None => pairs_tried = false,
        }
        if !tried.suspects.is_empty() {
            break;
        }
    }
    let mut suspects = tried.suspects.clone();
    if suspects.is_empty() {
        let (found, all) = search.pairs(&tried, PAIR_WORK);
        suspects = found;
        pairs_tried &= all;
    }
    suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
    Diagnosis {
        first_stage: stage.spec.name.clone(),
        pattern: pattern::describe(stage),
        suspects,
        pairs_tried,
    }
}

/// The chunk length at which mistakes between chunks are tried first: the largest up to 16 that
/// makes at least three chunks, the last of them shorter than the others; where there is none, the
/// largest up to 16 that makes at least three; else 1.
#[must_use]
pub fn default_chunk_len(seq_len: usize) -> usize {
    let three = |t: &usize| seq_len.div_ceil(*t) >= 3;
    let lengths = || (1..=16).rev().filter(three);
    let ragged = lengths().find(|t| !seq_len.is_multiple_of(*t));
    ragged.or_else(|| lengths().next()).unwrap_or(1)
}

/// The chunk lengths at which a mistake between chunks may have happened: the catalogue's own, the
/// place where the first error of the stage stands, one chunk (a state that was given can be read
/// early), and the usual ones.
fn chunk_lens(seq_len: usize, stage: &Compared<'_>) -> Vec<usize> {
    // A state saved one token early looks like a last chunk of one token.
    let parts = [
        seq_len.saturating_sub(1),
        seq_len,
        seq_len / 2,
        seq_len / 3,
        seq_len / 4,
    ];
    let usual = parts.into_iter().chain([4, 8, 16, 32, 64, 128]);
    let mut lens = vec![default_chunk_len(seq_len)];
    for len in pattern::first_wrong_token(stage).into_iter().chain(usual) {
        if (1..=seq_len).contains(&len) && !lens.contains(&len) {
            lens.push(len);
        }
    }
    lens
}
