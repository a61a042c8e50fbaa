//! The precision a port works in, seen in the size of its errors.

use super::super::candidate::Candidate;
use super::super::format::Format;
use super::judged::{Grid, Judged};
use crate::algebra::FloatFormat;
use crate::into_vec::IntoVec as _;

/// The root mean square of a right port's error, in units of the probable one, is about this.
const TYPICAL: f64 = 0.1;

/// Errors are told apart from those of a format this many times finer.
const APART: f64 = 16.0;

/// The formats that are told apart, from the finest.
const FORMATS: [FloatFormat; 5] = [
    FloatFormat::F64,
    FloatFormat::F32,
    FloatFormat::TF32,
    FloatFormat::F16,
    FloatFormat::BF16,
];

/// The contradictions to the declared format, one sentence each.
pub(super) fn describe(
    stages: &[Judged<'_>],
    format: Format,
    candidate: &Candidate,
    is_reproduced: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut said = Vec::new();
    said.extend(coarser(stages, format, &is_reproduced));
    said.extend(in_16_bits_on_exact(stages, format, &is_reproduced));
    said.extend(finer(stages, format));
    said.extend(narrow_storage(stages, format, candidate));
    said.extend(narrow_numbers(stages, format));
    said
}

/// The unit roundoff that the errors of a stage's own step are those of.
fn seen(stage: &Judged<'_>, format: Format) -> f64 {
    let rms = stage.rms();
    rms / TYPICAL * format.unit_roundoff()
}

/// The first stage whose errors are those of a coarser format, and not those of a mistake that
/// reproduces them.
fn coarser(
    stages: &[Judged<'_>],
    format: Format,
    is_reproduced: impl Fn(&str) -> bool,
) -> Option<String> {
    let first = stages.iter().find(|stage| {
        // Where it is stored in fewer bits, its tolerance has that rounding, and more are needed to leave it.
        let rounded_again = stage.stored > 2.0 * stage.unit && stage.worst_local().0 > 1.0;
        let is_coarse = rounded_again || stage.rms() > TYPICAL * APART;
        stage.is_finite() && is_coarse && rounds_only(stage) && !is_reproduced(&stage.spec.name)
    })?;
    let (mut like, mut part) = by_size(seen(first, format))?;
    // What is stored in a format has its numbers, and may have larger errors.
    if let Some(held) = coarsest_that_holds(first)
        && held.unit_roundoff() >= like.unit_roundoff()
    {
        (like, part) = (held, "");
    }
    (like.unit_roundoff() > 2.0 * format.unit_roundoff()).then(|| {
        let name = match like {
            FloatFormat::F32 => "float32",
            other => other.name(),
        };
        format!(
            "from {} on the errors look like those of {name}{part}; try --dtype {}",
            first.spec.name,
            like.name()
        )
    })
}

/// The finest format whose roundings are as large as `u`, and in words if they are larger by far: those
/// of a port that works in it in part.
fn by_size(u: f64) -> Option<(FloatFormat, &'static str)> {
    let mut formats = FORMATS.into_iter();
    let like = formats.find(|like| like.unit_roundoff() * 8.0 >= u)?;
    let part = match u * 64.0 < like.unit_roundoff() {
        true => " in part",
        false => "",
    };
    Some((like, part))
}

/// The coarsest format that holds every number of a stage, if there are enough of them to tell.
fn coarsest_that_holds(stage: &Judged<'_>) -> Option<FloatFormat> {
    let numbers = stage.candidate.data();
    let mut formats = FORMATS.into_iter().rev();
    let holds = |format: &FloatFormat| numbers.iter().all(|&x| format.holds(x));
    let enough = numbers.iter().filter(|x| **x != 0.0).count() >= 16;
    formats.find(holds).filter(|_| enough)
}

/// True if the errors are small compared with the stage, at most a hundredth of it; or eight roundings of the type it is
/// stored in, which is where [`by_size`] draws the line between a format and the next coarser one. A stage that is simply
/// wrong has no precision.
fn rounds_only(stage: &Judged<'_>) -> bool {
    let errors: Vec<f64> = stage.errors().into_vec();
    let size: f64 = stage.local.reference.iter().map(|x| x * x).sum();
    let error: f64 = errors.iter().map(|x| x * x).sum();
    error.sqrt() < (8.0 * stage.stored).max(0.01) * size.sqrt()
}

/// Where nothing rounds but exponentials and transforms, and the port is off by no more than they can be in 16 bits.
fn in_16_bits_on_exact(
    stages: &[Judged<'_>],
    format: Format,
    is_reproduced: impl Fn(&str) -> bool,
) -> Option<String> {
    let first = stages.iter().find(|stage| {
        let is_by_models = stage.spec.is_kernel() || !stage.spec.from.is_empty();
        let is_exact = stage.is_exact && stage.scales.coarse.is_some();
        let is_wrong = is_by_models && is_exact && stage.is_finite() && stage.worst_local().0 > 1.0;
        is_wrong && stage.is_near() && !is_reproduced(&stage.spec.name)
    })?;
    let (name, format) = (&first.spec.name, format.name());
    Some(format!(
        "in {name} nothing rounds in {format} but exponentials and transforms, which on an exact case have to be taken in \
         float32 at least: a port that takes them in 16 bits is refused here"
    ))
}

/// Every stage finer than the format that is said.
fn finer(stages: &[Judged<'_>], format: Format) -> Option<String> {
    let finest = |stage: &&Judged<'_>| stage.is_finite() && stage.rms() * APART * 16.0 < TYPICAL;
    let judged = stages.iter().filter(|stage| !stage.spec.is_gradient());
    let judged: Vec<&Judged<'_>> = judged.into_vec();
    if judged.is_empty() || !judged.iter().all(finest) {
        return None;
    }
    // What has none but numbers of the format is rounded to it, however small that is next to the errors that many
    // steps in it may add up to.
    let is_held = |stage: &&Judged<'_>| {
        coarsest_that_holds(stage)
            .is_some_and(|held| held.unit_roundoff() >= format.unit_roundoff())
    };
    if judged.iter().all(is_held) {
        return None;
    }
    let largest = judged.iter().map(|stage| seen(stage, format));
    let largest = largest.fold(0.0, f64::max);
    // Where there is no error there is no precision to see: nothing may round here.
    let like = nearest(largest).filter(|_| largest > 0.0)?;
    (like.unit_roundoff() < format.unit_roundoff() / 2.0).then(|| {
        let name = like.name();
        format!("looks finer than that: like {name}; --dtype {name} would judge it more strictly")
    })
}

/// Stages stored in fewer bits than the format has.
fn narrow_storage(stages: &[Judged<'_>], format: Format, candidate: &Candidate) -> Option<String> {
    let u = format.projection_unit_roundoff();
    let narrow = stages.iter().filter(|stage| {
        let found = candidate.stage(&stage.spec.name);
        found.is_some_and(|found| found.unit_roundoff > u)
    });
    let names: Vec<&str> = narrow.map(|stage| stage.spec.name.as_str()).into_vec();
    (!names.is_empty()).then(|| {
        format!(
            "stored in fewer bits than {} has; the rounding is allowed for: {}",
            format.name(),
            names.join(", ")
        )
    })
}

/// Stages of a port in float16 that have none but numbers of bfloat16, though their type has others. Where projections are
/// in bfloat16 some stages have to.
fn narrow_numbers(stages: &[Judged<'_>], format: Format) -> Option<String> {
    let bf16 = FloatFormat::BF16;
    let is_finer = |unit: f64| bf16.unit_roundoff() > 2.0 * unit;
    if !is_finer(format.projection_unit_roundoff()) {
        return None;
    }
    let narrow = stages.iter().filter(|stage| {
        let is_narrow = stage.scales.coarse.is_some() && is_finer(stage.unit);
        is_narrow && stage.is_finite() && stage.numbers_of(bf16) == Grid::On
    });
    let names: Vec<&str> = narrow.map(|stage| stage.spec.name.as_str()).into_vec();
    (!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("every number is one of bf16, which has fewer bits than the type stored: {names}")
    })
}

/// The format of the unit roundoff nearest to `u`.
fn nearest(u: f64) -> Option<FloatFormat> {
    let off = |format: &FloatFormat| (format.unit_roundoff() / u).log2().abs();
    FORMATS.into_iter().min_by(|a, b| off(a).total_cmp(&off(b)))
}
