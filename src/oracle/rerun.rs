//! A case run as a check runs it, for tests: with known mistakes, from a port's own stages, on some of its
//! heads.

use super::candidate::Candidate;
use super::case::Case;
use super::check::{Report, check_on, precision_of};
use super::format::Format;
use super::golden_file::Golden;
use super::mistake::Mistake;
use super::stage::{Named, StageSpec};
use super::upstream::{Setting, Upstream};
use crate::algebra::ErrorBound;
use crate::error::Error;

/// A case, with what a check asks of it besides its stages.
#[derive(Clone, Copy, Debug)]
pub struct Rerun<'a>(pub &'a Case);

impl Rerun<'_> {
    /// The known mistakes of the forward pass, or of the way `backward`.
    #[must_use]
    pub fn mistakes(&self, backward: bool) -> Vec<&'static Mistake> {
        self.0.0.mistakes(backward)
    }

    /// True if a mistake sits between chunks.
    #[must_use]
    pub fn needs_chunks(&self, mistake: &'static Mistake) -> bool {
        self.0.0.needs_chunks(mistake)
    }

    /// True if a mistake takes numbers from one head to another.
    #[must_use]
    pub fn is_across_heads(&self, mistake: &'static Mistake) -> bool {
        self.0.0.is_across_heads(mistake)
    }

    /// The elements of a stage that belong to some heads, in the order of a case of these heads alone.
    #[must_use]
    pub fn of_heads(&self, spec: &StageSpec, heads: &[usize]) -> Vec<usize> {
        self.0.0.of_heads(spec, heads)
    }

    /// The stages, in the order of computation; gradients last.
    #[must_use]
    pub fn stages(&self) -> Vec<StageSpec> {
        self.0.0.stages()
    }

    /// Multiplications of one run on this many tokens of each sequence, about.
    #[must_use]
    pub fn cost(&self, tokens: usize) -> usize {
        self.0.0.cost(tokens)
    }

    /// The stages with mistakes made in the reference.
    ///
    /// # Errors
    ///
    /// If a mistake is of another kind, or has no value here.
    pub fn run(
        &self,
        mistakes: &[&'static Mistake],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        self.0.0.run_with(mistakes, setting)
    }

    /// The error scale of every stage computed from a port's own stages, in units of the format's unit
    /// roundoff.
    ///
    /// # Errors
    ///
    /// If the reference cannot run the case.
    pub fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        self.0.0.local_scales(upstream, format)
    }
}

/// The report on a candidate, with known mistakes tried on so many heads of all (`[some, all]`), or on every
/// one.
#[must_use]
pub fn check_on_heads(
    golden: &Golden,
    candidate: &Candidate,
    format: Format,
    heads: Option<[usize; 2]>,
) -> Report {
    check_on(golden.reference(), candidate, (format, true), &|_, _| heads)
}

/// The sentences on the precision a candidate works in, seen in the size of its errors: those of a report in
/// which no mistake reproduces an error.
#[must_use]
pub fn precision_seen(
    golden: &Golden,
    candidate: &Candidate,
    format: Format,
    chunk_len: usize,
) -> Vec<String> {
    precision_of(golden.reference(), candidate, format, chunk_len)
}
