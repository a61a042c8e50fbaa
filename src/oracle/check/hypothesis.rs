//! Mistakes that may have been made in a step, and which of them are named.

use super::super::mistake::Mistake;
use super::judged::Fit;
use super::report::Suspect;
use crate::into_vec::IntoVec as _;

/// A mistake that leaves more of an error than this unexplained is not named for it.
pub(super) const MOST_UNEXPLAINED: f64 = 0.5;

/// Mistakes made in one step, and how they fit every stage.
pub(super) struct Hypothesis {
    pub(super) mistakes: Vec<&'static Mistake>,
    /// The chunk length, if one of them sits between chunks.
    pub(super) chunk_len: Option<usize>,
    pub(super) fits: Vec<Option<Fit>>,
    pub(super) fit: Fit,
    /// Stages at which they would show and do not.
    pub(super) contradicted: usize,
    /// The other wrong stages that they explain.
    pub(super) explained: Vec<usize>,
}

impl Hypothesis {
    /// What a report says of it.
    pub(super) fn suspect(&self) -> Suspect {
        let acting = self.explained.iter().filter_map(|&at| self.fits[at]);
        Suspect {
            mistakes: self.mistakes.clone(),
            share: self.fit.evidence.share,
            worst: acting.map(|fit| fit.left).fold(self.fit.left, f64::max),
        }
    }

    /// True if the same mistakes are made.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let ids =
            |h: &Self| -> Vec<&str> { h.mistakes.iter().map(|mistake| mistake.id).into_vec() };
        ids(self) == ids(other)
    }
}

/// Shares that differ by less are told apart by the order of sums alone: two ways to compute one stage in f64 differ by less
/// than 1e-12 of it within some thousand operations, and the share of an error of its size by twice that.
const SAME_SHARE: f64 = 1e-11;

/// The share of an error that is left, in steps of what the order of sums decides: of two names for one thing
/// the catalogue's first counts.
pub(super) fn unexplained(h: &Hypothesis) -> f64 {
    let steps = (1.0 - h.fit.evidence.share) / SAME_SHARE;
    steps.round().max(0.1) * SAME_SHARE
}

/// The best of them, and those that cannot be told apart from it: contradicted nowhere, explaining
/// most of the wrong stages, and most of this one.
pub(super) fn best(mut found: Vec<Hypothesis>, generic: f64) -> Vec<Hypothesis> {
    let least = found.iter().map(unexplained).fold(1.0 - generic, f64::min);
    found.retain(|h| unexplained(h) <= (4.0 * least + 0.1).min(MOST_UNEXPLAINED));
    found.sort_by(|a, b| {
        let order = a.contradicted.cmp(&b.contradicted);
        let order = order.then(b.explained.len().cmp(&a.explained.len()));
        order.then(unexplained(a).total_cmp(&unexplained(b)))
    });
    let Some(first) = found.first() else {
        return found;
    };
    let (contradicted, explained) = (first.contradicted, first.explained.len());
    let limit = 4.0 * unexplained(first) + 0.02;
    // Of those that explain this stage as well, others may be explained by another mistake.
    let least = unexplained(first);
    found.retain(|h| {
        let is_as_good = h.explained.len() == explained || unexplained(h) <= least;
        h.contradicted == contradicted && is_as_good && unexplained(h) <= limit
    });
    let mut told: Vec<Hypothesis> = Vec::new();
    for hypothesis in found {
        if !told.iter().any(|known| known.is_same(&hypothesis)) {
            told.push(hypothesis);
        }
    }
    told
}
