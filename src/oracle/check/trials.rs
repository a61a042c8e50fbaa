//! Every known mistake and every probe, tried on a port's stages.

use super::super::format::Format;
use super::super::golden::Reference;
use super::super::mistake::Mistake;
use super::super::subject::Named;
use super::judge::{Own, find};
use super::judged::{Fit, Judged, Source};
use super::probe::{Probe, each_probe};
use super::sample::Sampled;
use crate::into_vec::IntoVec as _;
use crate::threads;

/// A mistake, and how it fits every stage: nothing where it changes none of it.
pub(super) struct Trial {
    pub(super) mistake: &'static Mistake,
    /// True if it sits between chunks.
    pub(super) needs_chunks: bool,
    pub(super) chunk_len: usize,
    pub(super) fits: Vec<Option<Fit>>,
}

/// A probe of one stage.
pub(super) struct ProbeTrial {
    pub(super) probe: Probe,
    pub(super) fit: Fit,
    /// The numbers of it that were fitted to the candidate.
    pub(super) fitted: usize,
}

/// The stages of a port, and the runs of the reference on which mistakes are tried.
pub(super) struct Trials<'a> {
    golden: Reference<'a>,
    stages: &'a [Judged<'a>],
    own: &'a Own,
    /// The heads on which mistakes of the forward pass are tried, if not on all.
    sampled: Option<&'a Sampled<'a>>,
    heads: Option<usize>,
    /// From these on a factor is told from one: of a whole stage, and at one place of an axis.
    least_factors: [f64; 2],
}

impl<'a> Trials<'a> {
    pub(super) fn new(
        golden: Reference<'a>,
        stages: &'a [Judged<'a>],
        own: &'a Own,
        sampled: Option<&'a Sampled<'a>>,
        format: Format,
    ) -> Self {
        use super::super::stage::Axis;
        let axes = golden.stages.iter().flat_map(|stage| &stage.spec.axes);
        let mut heads = axes.filter(|(axis, _)| *axis == Axis::Head);
        let heads = heads.next().map(|&(_, len)| len);
        let exact_parameters = stages.iter().all(|stage| stage.scales.exact_parameters);
        Self {
            golden,
            stages,
            own,
            sampled,
            least_factors: [heads.unwrap_or(1), 1]
                .map(|heads| least_factor(format, heads, exact_parameters)),
            heads,
        }
    }

    /// These mistakes, each at these chunk lengths where it sits between chunks and at the first one
    /// else.
    pub(super) fn mistakes(
        &self,
        mistakes: &[&'static Mistake],
        chunk_lens: &[usize],
        backward: bool,
    ) -> Vec<Trial> {
        let mut trials = Vec::new();
        for &mistake in mistakes {
            let needs_chunks = self.golden.case.needs_chunks(mistake);
            let lens = match needs_chunks {
                true => chunk_lens,
                false => &chunk_lens[..chunk_lens.len().min(1)],
            };
            trials.extend(lens.iter().map(|&chunk_len| Trial {
                mistake,
                needs_chunks,
                chunk_len,
                fits: Vec::new(),
            }));
        }
        let fits = threads::map(&trials, |trial| {
            self.fits(&[trial.mistake], trial.chunk_len, backward)
        });
        for (trial, fits) in trials.iter_mut().zip(fits) {
            trial.fits = fits;
        }
        trials
    }

    /// The fit of mistakes made together, at every stage.
    pub(super) fn fits(
        &self,
        mistakes: &[&'static Mistake],
        chunk_len: usize,
        backward: bool,
    ) -> Vec<Option<Fit>> {
        let sources: &[Source] = match backward {
            true => &[Source::Backward],
            false => &[Source::Own, Source::WithoutKernels],
        };
        let stages = self.tried(backward);
        let mut fits: Vec<Option<Fit>> = stages.iter().map(|_| None).into_vec();
        for &source in sources {
            let of = |stage: &Judged<'_>| {
                stage.local.source == source && stage.spec.is_gradient() == backward
            };
            if !stages.iter().any(|stage| of(stage) && stage.is_finite()) {
                continue;
            }
            let found = self.run(mistakes, chunk_len, source);
            for (fit, stage) in fits.iter_mut().zip(stages) {
                if of(stage)
                    && stage.is_finite()
                    && !mistakes.iter().any(|one| stage.hides(one))
                    && let Some(predicted) = find(&found, &stage.spec.name)
                {
                    *fit = stage.fit(predicted.data());
                    if let (
                        Some(fit),
                        &[
                            Mistake {
                                rounding: Some(coarse),
                                ..
                            },
                        ],
                    ) = (fit, mistakes)
                    {
                        fit.grid = stage.grid(*coarse, predicted.data());
                    }
                }
            }
        }
        fits
    }

    /// The stages as far as mistakes are tried on them.
    fn tried(&self, backward: bool) -> &[Judged<'a>] {
        match self.sampled {
            Some(sampled) if !backward => &sampled.stages,
            _ => self.stages,
        }
    }

    /// The multiplications of one run of the forward pass.
    pub(super) fn cost(&self) -> usize {
        let whole = self.golden.case.cost(self.golden.case.seq_len());
        self.sampled.map_or(whole, |sampled| sampled.cost(whole))
    }

    /// The reference with mistakes; nothing where one has no value.
    fn run(&self, mistakes: &[&'static Mistake], chunk_len: usize, source: Source) -> Named<f64> {
        if let Some(sampled) = self.sampled
            && source != Source::Backward
        {
            return sampled.run(self.golden, self.own, mistakes, chunk_len, source);
        }
        let setting = self.own.setting(source, chunk_len);
        let run = self.golden.case.run_with(mistakes, setting);
        run.unwrap_or_default()
    }

    /// The probes of one stage.
    pub(super) fn probes(&self, stage: &Judged<'_>) -> Vec<ProbeTrial> {
        if !stage.is_finite() {
            return Vec::new();
        }
        let (reference, candidate) = (&stage.local.reference, stage.candidate.data());
        let (heads, least_factors) = (self.heads, self.least_factors);
        let mut found = Vec::new();
        let fit = &mut |probe, predicted: &[f64], fitted| {
            let fit = stage.fit_to_reference(predicted);
            found.extend(fit.map(|fit| ProbeTrial { probe, fit, fitted }));
        };
        each_probe(
            stage.spec,
            heads,
            least_factors,
            [reference, candidate],
            fit,
        );
        found
    }
}

/// The least factor, less one, that is a hypothesis on a stage of so many heads. All elements of a head share the
/// roundings of its model on the way from its parameters. Decoding, discretization, the kernel's sum, both gates and
/// their storage are taken to be no more than 16, each anywhere within `u`: `u sqrt(16/3)` in all. Where the format does
/// not hold the parameters, there is that of the step's logarithm too, of magnitude 7 and less. Those of other heads
/// are others. Four standard deviations are taken, and never less than for one head whose parameters are held: steps of a recurrence in 16 bits round alike in all of them.
fn least_factor(format: Format, heads: usize, exact_parameters: bool) -> f64 {
    let one_head = 4.0 * (16.0_f64 / 3.0).sqrt();
    let with_logarithm = 4.0 * ((16.0_f64 + 49.0) / 3.0).sqrt();
    let independent = heads.max(1) as f64;
    let roundings = match exact_parameters {
        true => one_head,
        false => one_head.max(with_logarithm / independent.sqrt()),
    };
    roundings * format.projection_unit_roundoff()
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
