//! Every known mistake and every probe, tried on a port's stages.

use super::super::format::Format;
use super::super::golden::GoldenOf;
use super::super::mistake::{Mistake, Row};
use super::super::parallel;
use super::super::subject::{Named, Subject};
use super::judge::{Own, find};
use super::judged::{Fit, Judged, Source};
use super::probe::{Probe, probes};

/// A mistake, and how it fits every stage: nothing where it changes none of it.
pub(super) struct Trial<S: Subject> {
    pub(super) row: &'static Row<S::Hook>,
    pub(super) chunk_len: usize,
    pub(super) fits: Vec<Option<Fit>>,
}

impl<S: Subject> Trial<S> {
    pub(super) fn mistake(&self) -> &'static Mistake {
        &self.row.mistake
    }
}

/// A probe of one stage.
pub(super) struct ProbeTrial {
    pub(super) probe: Probe,
    pub(super) fit: Fit,
    /// The numbers of it that were fitted to the candidate.
    pub(super) fitted: usize,
}

/// The stages of a port, and the runs of the reference on which mistakes are tried.
pub(super) struct Trials<'a, S: Subject> {
    golden: &'a GoldenOf<S>,
    stages: &'a [Judged<'a>],
    own: &'a Own,
    heads: Option<usize>,
    /// The larger unit roundoff of the port's format.
    unit: f64,
}

impl<'a, S: Subject> Trials<'a, S> {
    pub(super) fn new(
        golden: &'a GoldenOf<S>,
        stages: &'a [Judged<'a>],
        own: &'a Own,
        format: Format,
    ) -> Self {
        use super::super::stage::Axis;
        let axes = golden.stages.iter().flat_map(|stage| &stage.spec.axes);
        let mut heads = axes.filter(|(axis, _)| *axis == Axis::Head);
        Self {
            golden,
            stages,
            own,
            unit: format.projection_unit_roundoff(),
            heads: heads.next().map(|&(_, len)| len),
        }
    }

    /// These mistakes, each at these chunk lengths where it sits between chunks and at the first one
    /// else.
    pub(super) fn mistakes(
        &self,
        rows: &[&'static Row<S::Hook>],
        chunk_lens: &[usize],
        backward: bool,
    ) -> Vec<Trial<S>> {
        let runs: Vec<(&'static Row<S::Hook>, usize)> = rows
            .iter()
            .flat_map(|&row| {
                let lens = match S::needs_chunks(row) {
                    true => chunk_lens,
                    false => &chunk_lens[..chunk_lens.len().min(1)],
                };
                lens.iter().map(move |&len| (row, len))
            })
            .collect();
        let fits = parallel::map(&runs, |&(row, len)| self.fits(&[row], len, backward));
        let trials = runs.into_iter().zip(fits);
        trials
            .map(|((row, chunk_len), fits)| Trial {
                row,
                chunk_len,
                fits,
            })
            .collect()
    }

    /// How mistakes made at once fit every stage.
    pub(super) fn fits(
        &self,
        rows: &[&'static Row<S::Hook>],
        chunk_len: usize,
        backward: bool,
    ) -> Vec<Option<Fit>> {
        let sources: &[Source] = match backward {
            true => &[Source::Backward],
            false => &[Source::Own, Source::WithoutKernels],
        };
        let mut fits: Vec<Option<Fit>> = self.stages.iter().map(|_| None).collect();
        for &source in sources {
            let of = |stage: &Judged<'_>| {
                stage.local.source == source && stage.spec.is_gradient() == backward
            };
            if !self
                .stages
                .iter()
                .any(|stage| of(stage) && stage.is_finite())
            {
                continue;
            }
            let found = self.run(rows, chunk_len, source);
            for (fit, stage) in fits.iter_mut().zip(self.stages) {
                if of(stage)
                    && stage.is_finite()
                    && !rows.iter().any(|row| stage.hides(row.rounding))
                    && let Some(predicted) = find(&found, &stage.spec.name)
                {
                    *fit = stage.fit(predicted.data());
                }
            }
        }
        fits
    }

    /// The reference with mistakes; nothing where one has no value.
    fn run(&self, rows: &[&'static Row<S::Hook>], chunk_len: usize, source: Source) -> Named<f64> {
        let setting = self.own.setting(source, chunk_len);
        self.golden
            .subject
            .run_with(rows, setting)
            .unwrap_or_default()
    }

    /// The probes of one stage.
    pub(super) fn probes(&self, stage: &Judged<'_>) -> Vec<ProbeTrial> {
        if !stage.is_finite() {
            return Vec::new();
        }
        let (reference, candidate) = (&stage.local.reference, stage.candidate.data());
        let found = probes(stage.spec, self.heads, self.unit, reference, candidate).into_iter();
        found
            .filter_map(|(probe, predicted, fitted)| {
                Some(ProbeTrial {
                    probe,
                    fit: stage.fit_to_reference(&predicted)?,
                    fitted,
                })
            })
            .collect()
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
