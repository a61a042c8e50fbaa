//! The stages of a port next to the golden ones: on the whole, and step by step from the port's own.

use super::super::any::CheckedCase;
use super::super::candidate::{Candidate, CandidateStage};
use super::super::format::Format;
use super::super::golden::{GoldenStage, Reference};
use super::super::memo::Memo;
use super::super::subject::{Given, GivenValues, Named, Setting, is_gradient_of_given};
use super::super::upstream::{Upstream, UpstreamStage};
use super::evidence::{SEVERAL, Scales, Weights};
use super::judged::{Judged, Local, Source, distance, rms};
use crate::algebra::ErrorBound;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;
use crate::threads;
use std::borrow::Cow;

/// The port's stages from which a run of the reference continues.
pub(super) struct Own {
    /// All that something is computed from.
    all: Upstream,
    /// All but the kernels, if the port has those: it need not compute from them.
    without_kernels: Option<Upstream>,
    /// The results of runs without mistakes.
    memo: Memo,
}

impl Own {
    /// Those that the candidate holds, as they are read. What is not finite cannot be gone on from.
    fn of(
        golden: Reference<'_>,
        [candidate, read]: [&Candidate; 2],
        exact: impl Fn(&GoldenStage) -> bool,
    ) -> Self {
        let specs = || golden.stages.iter().map(|stage| &stage.spec);
        let is_upstream = |name: &str| specs().any(|spec| spec.from.iter().any(|n| n == name));
        let found = golden.stages.iter().filter_map(|stage| {
            let found = candidate.stage(stage.name())?;
            let finite = found.values.data().iter().all(|x| x.is_finite());
            (finite && is_upstream(stage.name())).then(|| UpstreamStage {
                name: stage.name().into(),
                values: read.stage(stage.name()).unwrap_or(found).values.clone(),
                // A format that holds a number stores it as it is.
                rounding: match exact(stage) {
                    true => 0.0,
                    false => found.unit_roundoff,
                },
            })
        });
        let all = Upstream::new(found.into_vec());
        let is_kernel = |name: &str| specs().any(|spec| spec.name == name && spec.is_kernel());
        let without = all.without(is_kernel);
        Self {
            without_kernels: (without.len() < all.len()).then_some(without),
            memo: Memo::default(),
            all,
        }
    }

    /// The setting of a run that computes the stages of a source.
    pub(super) fn setting(&self, source: Source, chunk_len: usize) -> Setting<'_> {
        Setting {
            chunk_len,
            upstream: match source {
                Source::Own | Source::Backward => Some(&self.all),
                Source::WithoutKernels => self.without_kernels.as_ref(),
            },
            stored: None,
            memo: Some(&self.memo),
            backward: source == Source::Backward,
            sample: None,
        }
    }

    /// All of these stages.
    pub(super) fn all(&self) -> &Upstream {
        &self.all
    }

    /// The same stages with other values.
    pub(super) fn map(&self, values: impl Fn(&UpstreamStage) -> Tensor<f64>) -> Self {
        let without = self.without_kernels.as_ref();
        Self {
            all: self.all.map(&values),
            without_kernels: without.map(|without| without.map(&values)),
            memo: Memo::default(),
        }
    }

    /// True if a stage is computed from one of these, directly or not.
    fn lead_to(&self, golden: Reference<'_>, stage: &GoldenStage) -> bool {
        stage.spec.from.iter().any(|name| {
            let before = golden.stages.iter().find(|stage| stage.name() == name);
            self.all.get(name).is_some() || before.is_some_and(|stage| self.lead_to(golden, stage))
        })
    }
}

impl Own {
    /// True if all of these that lead to a stage are the golden ones in every element.
    fn is_golden_before(&self, golden: Reference<'_>, stage: &GoldenStage) -> bool {
        stage.spec.from.iter().all(|name| {
            let before = golden.stages.iter().find(|stage| stage.name() == name);
            let own = self.all.get(name);
            before.is_none_or(|before| {
                own.is_none_or(|own| own.values == before.values)
                    && self.is_golden_before(golden, before)
            })
        })
    }
}

/// A stage of this name.
pub(super) fn find<'s, T>(stages: &'s Named<T>, name: &str) -> Option<&'s Tensor<T>> {
    let found = stages.iter().find(|(known, _)| known == name);
    found.map(|(_, stage)| stage)
}

/// Every stage that the candidate has, and its own from which others are computed, as they are read.
pub(super) fn judge<'a>(
    golden: Reference<'a>,
    [candidate, read]: [&'a Candidate; 2],
    format: Format,
    chunk_len: usize,
) -> (Vec<Judged<'a>>, Own) {
    let case = golden.case;
    let judged_in = case.judged_in(format);
    let (padding, given) = (case.padding(), case.given());
    let growth = case.underflow_growth();
    // What products of errors leave in a gradient of which a first-order analysis has nothing; the
    // transforms of ports in 16 bits are those of binary32.
    let second_order = judged_in
        .unit_roundoff()
        .min(Format::F32.unit_roundoff())
        .powi(2);
    let underflow = |stage: &GoldenStage| match stage.spec.is_gradient() {
        true => growth * (judged_in.underflow() + second_order),
        false => growth * judged_in.underflow(),
    };
    let exact = |stage: &GoldenStage| judged_in.is_coarse() && is_exact(stage, judged_in);
    let own = Own::of(golden, [candidate, read], exact);
    // Where nothing rounds in the port's own format, what is allowed for is what it may do in binary32
    // on the way: transforms and exponentials.
    // What has no value in f64 is judged on the whole.
    let run = |source| {
        let run = case.run_with(&[], own.setting(source, chunk_len));
        run.unwrap_or_default()
    };
    let whole = Upstream::default();
    let stored = || {
        let setting = Setting {
            upstream: Some(&whole),
            stored: Some(judged_in),
            ..own.setting(Source::Own, chunk_len)
        };
        let run = |setting| case.run_with(&[], setting).unwrap_or_default();
        let exactly = Setting {
            stored: None,
            ..setting
        };
        judged_in.is_coarse().then(|| (run(setting), run(exactly)))
    };
    let scales = |own: &Upstream| match own.len() {
        0 => Vec::new(),
        _ => case.local_scales(own, judged_in).unwrap_or_default(),
    };
    let goes_back = golden
        .stages
        .iter()
        .any(|stage| stage.spec.is_gradient() && candidate.stage(stage.name()).is_some());
    // How long each takes depends on the format and on what the port has: the cores share them out.
    let ((from_all, without), (further, (stored, backward))) = threads::both(
        || {
            threads::both(
                || (run(Source::Own), scales(&own.all)),
                || {
                    let without = own.without_kernels.as_ref();
                    without.map(|own| (run(Source::WithoutKernels), scales(own)))
                },
            )
        },
        || {
            threads::both(
                || case.further_scales(judged_in).unwrap_or_default(),
                || (stored(), goes_back.then(|| run(Source::Backward))),
            )
        },
    );
    let scales = Scales {
        exact_parameters: holds_parameters(case, judged_in),
        coarse: judged_in
            .is_coarse()
            .then(|| judged_in.projection_unit_roundoff()),
        of_few: false,
    };
    // What holds of the whole knows nothing of stages that were stored in fewer bits before others are
    // computed from them.
    let is_narrow = golden.stages.iter().any(|stage| {
        let found = candidate.stage(stage.name());
        found.is_some_and(|found| found.unit_roundoff > judged_in.projection_unit_roundoff())
    });
    let mut judged = Vec::new();
    for stage in golden.stages {
        let Some(found) = candidate.stage(stage.name()) else {
            continue;
        };
        let at_padding = match is_gradient_of_given(stage.name(), &given) {
            true => Vec::new(),
            false => stage.spec.at_padding(&padding),
        };
        let tolerance = Tolerance {
            format: judged_in,
            found,
            further: find(&further, stage.name()),
            padding: &at_padding,
            stored: true,
            underflow: underflow(stage),
        };
        let strict = Tolerance {
            format: Format::F32,
            further: None,
            stored: false,
            ..tolerance
        };
        let is_exact = exact(stage);
        let on_the_whole = if is_exact { &strict } else { &tolerance };
        let whole = on_the_whole.whole(stage);
        // Only of what is computed from stages that the candidate has not: the others have a step of
        // their own.
        let alone = !stage.spec.from.is_empty()
            && !stage.spec.is_state()
            && !own.lead_to(golden, stage)
            && scales.exact_parameters
            && !is_exact;
        let typical = stored
            .as_ref()
            .filter(|_| alone)
            .and_then(|(stored, exactly)| {
                let (stored, exactly) = (find(stored, stage.name())?, find(exactly, stage.name())?);
                let typical = distance(stored.data(), exactly.data());
                let least =
                    LEAST_TYPICAL * judged_in.projection_unit_roundoff() * rms(exactly.data());
                (typical >= least).then_some(typical)
            });
        let mut this = Judged {
            typical,
            size: 0.0,
            spec: &stage.spec,
            golden: Cow::Borrowed(&stage.values),
            candidate: Cow::Borrowed(&found.values),
            stored: found.unit_roundoff,
            smallest: found.smallest,
            bounds: whole.bounds.clone(),
            local: whole,
            scales,
            is_exact,
            unit: match stage.projections {
                Some(_) => judged_in.unit_roundoff(),
                None => judged_in.projection_unit_roundoff(),
            },
            padding: at_padding.clone(),
        };
        if stage.spec.is_gradient() {
            let limit = &this.bounds;
            let step = backward.as_ref().filter(|_| own.lead_to(golden, stage));
            let local = step.and_then(|run| tolerance.local(stage, run, &from_all.1, limit));
            if let Some(local) = local.filter(|_| !is_exact && !is_narrow) {
                this.local = local;
            }
            this.local
                .set_base(backward.as_ref(), stage, Source::Backward);
        } else if own.lead_to(golden, stage) && !(is_exact && own.is_golden_before(golden, stage)) {
            let limit = match is_narrow {
                true => vec![f64::INFINITY; this.bounds.len()],
                false => tolerance.whole(stage).bounds,
            };
            let local = |(base, scales): &Step| tolerance.local(stage, base, scales, &limit);
            let mut choices = local(&from_all)
                .into_iter()
                .chain(without.as_ref().and_then(local).map(Local::without_kernels));
            let mut whole = match choices.next() {
                Some(first) => core::mem::replace(&mut this.local, first),
                None => on_the_whole.whole(stage),
            };
            whole.set_base(Some(&from_all.0), stage, Source::Own);
            // Kernels are there for those who compute from them, and from these numbers: others have
            // other errors.
            if let Some(other) = choices.next() {
                this.take_if_closer(other, false);
            }
            // States are what a port may compute apart from the rest, from projections of its own; and
            // what is right although a stage before it is wrong was computed from another one than that
            // which was dumped.
            if this.worst().0 <= 1.0 && (stage.spec.is_state() || this.is_apart(&whole)) {
                this.take_if_closer(whole, true);
            }
        } else {
            this.local.set_base(Some(&from_all.0), stage, Source::Own);
        }
        this.measure(changed(golden, &given, stage.spec.changed()));
        this.scales.of_few = match this.of_typical() {
            Some(times) => times > SEVERAL,
            None => this.roundings() > SEVERAL,
        };
        judged.push(this);
    }
    (judged, own)
}

/// The golden stage or given numbers of this name.
fn changed<'a>(golden: Reference<'a>, given: &'a [Given], name: Option<&str>) -> Option<&'a [f64]> {
    let name = name?;
    let stage = golden.stages.iter().find(|stage| stage.name() == name);
    if let Some(stage) = stage {
        return Some(stage.values.data());
    }
    match &given.iter().find(|given| given.name == name)?.values {
        GivenValues::Numbers(values) => Some(values),
        GivenValues::Integers(_) => None,
    }
}

/// True if nothing rounds in a stage: a transform in 16 bits does, so that all but the projections of what
/// is given is off by it.
pub(super) fn is_exact(stage: &GoldenStage, format: Format) -> bool {
    let spec = &stage.spec;
    let by_transforms = spec.is_kernel() || spec.is_gradient() || !spec.from.is_empty();
    stage.is_exact_in(format) && !(by_transforms && format.transforms().is_some())
}

/// If the error of storing stages is below this share of one rounding, it says nothing about ports
/// that round more.
const LEAST_TYPICAL: f64 = 0.25;

/// True if a port need not round what it is given before it begins.
fn holds_parameters(case: &dyn CheckedCase, format: Format) -> bool {
    case.given().iter().all(|given| match &given.values {
        GivenValues::Numbers(values) => values.iter().all(|&x| format.holds(x)),
        GivenValues::Integers(_) => true,
    })
}

/// The stages of a run, and the largest errors of a right port in its steps.
type Step = (Named<f64>, Named<ErrorBound>);

/// The largest error of a right port's stage.
#[derive(Clone, Copy)]
struct Tolerance<'a> {
    format: Format,
    found: &'a CandidateStage,
    /// The error scale on the whole where that of the golden file is not enough.
    further: Option<&'a Tensor<ErrorBound>>,
    /// The elements of the stage at padding, where the run may have what a port's stages make there.
    padding: &'a [usize],
    /// True if storing a right number may round it.
    stored: bool,
    /// The error that underflow can add to an element.
    underflow: f64,
}

impl Tolerance<'_> {
    /// The unit roundoff of the type the candidate is stored in, if that rounds.
    fn storage(&self) -> f64 {
        match self.stored {
            true => self.found.unit_roundoff,
            false => 0.0,
        }
    }

    /// `u scale`, plus the rounding of the candidate's own storage type and of the reference to f64,
    /// and what underflow may add.
    fn bounds(&self, scale: &[f64], values: &[f64]) -> Vec<f64> {
        let pairs = scale.iter().zip(values);
        let bound = |(scale, value): (&f64, &f64)| {
            let stored = self.storage() * value.abs() + self.found.smallest;
            let rounded = value.abs() * f64::EPSILON / 2.0;
            scale * self.format.unit_roundoff() + stored + self.underflow + rounded
        };
        pairs.map(bound).into_vec()
    }

    /// The probable error. An exact number stays one, however it is stored.
    fn weights(&self, probable: impl Iterator<Item = f64>, values: &[f64]) -> Weights {
        let pairs = probable.zip(values);
        let error = |(probable, value): (f64, &f64)| match probable > 0.0 {
            true => {
                // The reference is computed in f64 itself: what departs from it by its own roundings
                // is no departure.
                let u = self.format.unit_roundoff() + 32.0 * f64::EPSILON;
                probable * u + self.storage() * value.abs()
            }
            false => 0.0,
        };
        Weights::of(&pairs.map(error).into_vec())
    }

    fn whole(&self, stage: &GoldenStage) -> Local {
        let values = stage.values.data();
        let probable = stage.probable_at(self.format);
        let mut scale = stage.scale_at(self.format);
        let mut probable = probable.unwrap_or_else(|| scale.clone());
        if let Some(further) = self.further {
            let pairs = scale.iter_mut().zip(&mut probable).zip(further.data());
            for ((scale, probable), further) in pairs {
                *scale = scale.max(further.worst);
                *probable = probable.max(further.probable);
            }
        }
        Local {
            reference: values.to_vec(),
            base: values.to_vec(),
            bounds: self.bounds(&scale, values),
            weights: self.weights(probable.into_iter(), values),
            source: Source::Own,
        }
    }

    /// The stage computed from the port's own, `limit` being what holds of the whole, if that is known.
    fn local(
        &self,
        stage: &GoldenStage,
        base: &Named<f64>,
        scales: &Named<ErrorBound>,
        limit: &[f64],
    ) -> Option<Local> {
        let (base, scale) = (find(base, stage.name())?, find(scales, stage.name())?);
        if base.shape() != stage.values.shape() || base.data().iter().any(|x| !x.is_finite()) {
            return None;
        }
        // The reference is computed in f64 here, and off by as much as a port in f64 may be.
        let own = f64::EPSILON / 2.0 / self.format.unit_roundoff();
        let mut worst: Vec<f64> = scale
            .data()
            .iter()
            .map(|s| s.worst * (1.0 + own))
            .into_vec();
        let mut probable: Vec<f64> = scale.data().iter().map(|s| s.probable).into_vec();
        let mut base = base.data().to_vec();
        for &at in self.padding {
            (worst[at], probable[at], base[at]) = (0.0, 0.0, stage.values.data()[at]);
        }
        let bounds = self.bounds(&worst, &base);
        // Errors are followed to first order by absolute values: through several steps, what holds
        // of the whole may be the sharper: of a port right so far both the stage and what the reference
        // makes of the port's own stages are within it of the truth.
        let pairs = bounds.into_iter().zip(limit);
        Some(Local {
            bounds: pairs
                .map(|(bound, whole)| bound.min(2.0 * whole))
                .into_vec(),
            weights: self.weights(probable.into_iter(), &base),
            reference: base.clone(),
            base,
            source: Source::Own,
        })
    }
}

impl Local {
    fn without_kernels(self) -> Self {
        Self {
            source: Source::WithoutKernels,
            ..self
        }
    }

    /// The values that a run with mistakes departs from, if they are not the golden stage itself.
    fn set_base(&mut self, run: Option<&Named<f64>>, stage: &GoldenStage, source: Source) {
        self.source = source;
        if let Some(base) = run.and_then(|run| find(run, stage.name()))
            && base.shape() == stage.values.shape()
        {
            self.base = base.data().to_vec();
        }
    }
}
