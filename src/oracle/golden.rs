//! Golden files: certified stages, and the largest error of a correct port.

use super::any::{AnyCase, CheckedCase};
use super::certified::{CaseRun, CertifiedStage, certify, counted};
use super::exact::{EXACT, exact_formats, read_exact, spell};
use super::format::Format;
use super::read::read_tensor;
use super::stage::StageSpec;
use crate::algebra::FloatFormat;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::{Dtype, Tensors, Writer};
use crate::tensor::Tensor;
use crate::threads;

/// The `golden` metadata of the golden files this crate writes.
pub const GOLDEN: &str = "hippos-golden/2";

/// The version before: the same, without `probable.STAGE` and `projections.STAGE`.
const GOLDEN_1: &str = "hippos-golden/1";

/// Prefix of the name of an error scale.
const SCALE: &str = "scale.";
/// Prefix of the name of a probable error scale.
const PROBABLE: &str = "probable.";
/// Prefix of the name of the projections' part of an error scale.
const PROJECTIONS: &str = "projections.";

/// Prefixes of the names of error scales.
pub(super) const SCALES: [&str; 3] = [SCALE, PROBABLE, PROJECTIONS];

/// The metadata key of the stages that hold undecided elements, as `STAGE:COUNT,...`; there only where
/// some do.
const UNDECIDED: &str = "undecided";

/// One stage of a golden file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GoldenStage {
    /// The name in files, the meaning of the axes, and the stages it is computed from.
    pub spec: StageSpec,
    /// The correctly rounded values, but for the undecided ones.
    pub values: Tensor<f64>,
    /// Number of elements whose correct rounding is not decided. `values` holds an approximation,
    /// and `scale` includes its error.
    pub undecided: usize,
    /// The worst-case error scale of every element: a port with unit roundoff `u` throughout is
    /// within tolerance if `|port - golden| <= u * scale`.
    pub scale: Tensor<f64>,
    /// The same with roundings treated as independent; `None` if the file does not hold it.
    pub probable: Option<Tensor<f64>>,
    /// The part of the scale due to projections coarser than the models: per unit of the
    /// difference, measured in the models' unit roundoff. `None` where a port in two formats is
    /// taken for one in the coarser throughout.
    pub projections: Option<Tensor<f64>>,
    /// The formats in which nothing rounds in this stage and in the stages it is computed from, in
    /// any order of summation. A port that computes in one of them gets exactly the golden values.
    /// None unless the whole forward pass is exact in f32.
    pub exact: Vec<FloatFormat>,
}

impl GoldenStage {
    /// The name in files.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// True if nothing rounds in this format on the way to the stage.
    #[must_use]
    pub fn is_exact_in(&self, format: Format) -> bool {
        format.is_among(&self.exact)
    }

    /// The worst-case error scale at a format, in units of its unit roundoff.
    #[must_use]
    pub fn scale_at(&self, format: Format) -> Vec<f64> {
        self.mixed(&self.scale, format)
    }

    /// The probable error scale at a format, in units of its unit roundoff. In a format whose
    /// projections are coarser, their share is taken at its worst.
    #[must_use]
    pub fn probable_at(&self, format: Format) -> Option<Vec<f64>> {
        let probable = self.probable.as_ref()?;
        Some(self.mixed(probable, format))
    }

    fn mixed(&self, scale: &Tensor<f64>, format: Format) -> Vec<f64> {
        let ratio = format.projection_unit_roundoff() / format.unit_roundoff();
        let scale = scale.data().iter();
        match &self.projections {
            // The error is a maximum of sums of both parts, so convex in the ratio: between 1 and the
            // largest ratio it lies below the chord.
            Some(projections) => scale
                .zip(projections.data())
                .map(|(scale, part)| scale + (ratio - 1.0) * part)
                .into_vec(),
            None => scale.map(|scale| scale * ratio).into_vec(),
        }
    }
}

/// The golden file of one case.
pub(super) struct GoldenCase {
    pub(super) case: Box<dyn AnyCase>,
    /// In the order of computation.
    pub(super) stages: Vec<GoldenStage>,
}

impl GoldenCase {
    /// The golden file in a file that holds a case; a plain case is certified first.
    ///
    /// # Errors
    ///
    /// As [`certify`](Self::certify); or if the file is golden, of another
    /// version, or a stage or scale of it is not as it should be.
    pub(super) fn from_file(case: Box<dyn AnyCase>, file: &dyn Tensors) -> Result<Self, Error> {
        match file.metadata().get("golden").map(String::as_str) {
            None => Self::certify(case),
            Some(GOLDEN) => Self::read(case, file),
            Some(GOLDEN_1) => Self::read(case, file)?.with_derived_parts(),
            Some(version) => Err(Error::value(
                "metadata golden",
                format!(
                    "{version:?} is not a version this program reads; expected {GOLDEN:?} or \
                     {GOLDEN_1:?}"
                ),
            )),
        }
    }

    /// Certifies every stage of a case, and derives their error scales.
    ///
    /// # Errors
    ///
    /// As [`certify`].
    pub(super) fn certify(case: Box<dyn AnyCase>) -> Result<Self, Error> {
        let form = case.default_form();
        let specs = case.stages();
        let run = CaseRun {
            case: &*case,
            form: &form,
            gradients: specs.iter().any(StageSpec::is_gradient),
        };
        let (certified, scales) = threads::both(|| certify(&run), || case.scales());
        let (mut certified, scales) = (certified?.stages, scales?);
        let mut exact = exact_formats(&*case, &certified)?;
        let mut stages = Vec::with_capacity(specs.len());
        for spec in specs {
            let at = certified.iter().position(|stage| stage.name == spec.name);
            let scale = scales.iter().find(|scale| scale.name == spec.name);
            let (Some(at), Some(scale)) = (at, scale) else {
                return Err(Error::missing(format!("certified stage {}", spec.name)));
            };
            let stage = certified.swap_remove(at);
            let covering = |scale: Tensor<f64>| stored_covering(&*case, scale, &stage);
            stages.push(GoldenStage {
                scale: covering(scale.uniform.map(|bound| bound.worst)),
                probable: Some(covering(scale.uniform.map(|bound| bound.probable))),
                undecided: stage.undecided.len(),
                projections: scale
                    .projections
                    .as_ref()
                    .map(|part| part.map(|x| case.stored_scale(x))),
                exact: take_formats(&mut exact, &spec.name),
                spec,
                values: stage.values,
            });
        }
        Ok(Self { case, stages })
    }

    fn read(case: Box<dyn AnyCase>, file: &dyn Tensors) -> Result<Self, Error> {
        let stages = read_stages(&*case, file)?;
        Ok(Self { case, stages })
    }

    /// Derives again what a file of version 1 lacks; so are the scales of gradients and of states,
    /// which did not allow for every FFT.
    fn with_derived_parts(mut self) -> Result<Self, Error> {
        let scales = self.case.scales()?;
        let stored = |x| self.case.stored_scale(x);
        for stage in &mut self.stages {
            if let Some(scale) = scales.iter().find(|scale| scale.name == stage.spec.name) {
                stage.probable = Some(scale.uniform.map(|bound| stored(bound.probable)));
                if stage.spec.is_gradient() || stage.spec.is_state() {
                    stage.scale = scale.uniform.map(|bound| stored(bound.worst));
                }
                let projections = scale.projections.as_ref();
                stage.projections = projections.map(|part| part.map(stored));
            }
        }
        Ok(self)
    }

    /// The golden file: what is given, the stages as F64, their error scales as F32 (rounded up).
    ///
    /// # Errors
    ///
    /// Never for a case that was read; the writer's own checks are passed on.
    pub(super) fn writer(&self) -> Result<Writer, Error> {
        let mut writer = writer_of(&*self.case, Dtype::F64)?;
        writer.metadata("golden", GOLDEN)?;
        if let Some(counts) = undecided(&self.stages) {
            writer.metadata(UNDECIDED, &counts)?;
        }
        let exact = self.stages.iter();
        if let Some(exact) = spell(exact.map(|stage| (stage.name(), &stage.exact[..]))) {
            writer.metadata(EXACT, &exact)?;
        }
        for stage in &self.stages {
            let (name, values) = (stage.name(), &stage.values);
            writer.add(name, Dtype::F64, values.shape(), values.data())?;
            for (prefix, scale) in [
                (SCALE, Some(&stage.scale)),
                (PROBABLE, stage.probable.as_ref()),
                (PROJECTIONS, stage.projections.as_ref()),
            ] {
                if let Some(scale) = scale {
                    let name = format!("{prefix}{name}");
                    writer.add(&name, Dtype::F32, scale.shape(), scale.data())?;
                }
            }
        }
        Ok(writer)
    }
}

/// The stages that a golden file of a case holds: every tensor with an error scale.
fn read_stages(case: &dyn CheckedCase, file: &dyn Tensors) -> Result<Vec<GoldenStage>, Error> {
    let specs = case.stages();
    let known = |name: &str| specs.iter().any(|spec| spec.name == name);
    let mut names = file.names();
    // Parameters may have names that begin as those of scales do.
    let given = case.given();
    names.retain(|name| given.iter().all(|given| given.name != *name));
    for prefix in SCALES {
        let mut stages = names.iter().filter_map(|name| name.strip_prefix(prefix));
        if let Some(name) = stages.find(|name| !known(name)) {
            return Err(Error::value(
                format!("tensor \"{prefix}{name}\""),
                "is of no stage known here",
            ));
        }
    }
    let undecided = read_undecided(file, &specs)?;
    let mut exact = read_exact(file.metadata(), &specs)?;
    let mut stages = Vec::new();
    for (spec, undecided) in specs.into_iter().zip(undecided) {
        let shape = spec.shape();
        let scale_of = |prefix: &str| -> Result<Option<Tensor<f64>>, Error> {
            let name = format!("{prefix}{}", spec.name);
            file.find(&name)
                .map(|_| read_scale(file, &name, &shape))
                .transpose()
        };
        if let Some(scale) = scale_of(SCALE)? {
            stages.push(GoldenStage {
                values: read_tensor(file, &spec.name, &shape)?,
                scale,
                undecided,
                probable: scale_of(PROBABLE)?,
                projections: scale_of(PROJECTIONS)?,
                exact: take_formats(&mut exact, &spec.name),
                spec,
            });
        }
    }
    if stages.is_empty() {
        return Err(Error::missing(
            "every scale.STAGE tensor of the golden file",
        ));
    }
    Ok(stages)
}

/// The formats listed for a stage, taken off the list.
fn take_formats(exact: &mut Vec<(String, Vec<FloatFormat>)>, stage: &str) -> Vec<FloatFormat> {
    let at = exact.iter().position(|(name, _)| name == stage);
    at.map_or_else(Vec::new, |at| exact.swap_remove(at).1)
}

/// A golden file as a check reads it.
#[derive(Clone, Copy)]
pub(super) struct Reference<'a> {
    pub(super) case: &'a dyn CheckedCase,
    pub(super) stages: &'a [GoldenStage],
}

/// A writer that holds what makes a case: metadata and what is given, its numbers as `dtype`.
pub(super) fn writer_of(case: &dyn AnyCase, dtype: Dtype) -> Result<Writer, Error> {
    let mut writer = Writer::new();
    for (key, value) in case.metadata() {
        writer.metadata(&key, &value)?;
    }
    for given in case.given() {
        given.write(&mut writer, dtype)?;
    }
    Ok(writer)
}

/// An error scale as it is stored, widened so that the tolerance of the finest format, and so of every
/// one, covers the distance of an undecided element's exact number from the golden value.
fn stored_covering(
    case: &dyn AnyCase,
    mut scale: Tensor<f64>,
    stage: &CertifiedStage,
) -> Tensor<f64> {
    for &at in &stage.undecided {
        scale.data_mut()[at] += stage.radii.data()[at] / FloatFormat::F64.unit_roundoff();
    }
    scale.map(|x| case.stored_scale(x))
}

/// The metadata `undecided` of these stages; `None` if every rounding is decided.
pub(super) fn undecided(stages: &[GoldenStage]) -> Option<String> {
    counted(stages.iter().map(|stage| (stage.name(), stage.undecided)))
}

/// Number of undecided elements of every stage that is known here.
fn read_undecided(file: &dyn Tensors, specs: &[StageSpec]) -> Result<Vec<usize>, Error> {
    let mut counts = vec![0; specs.len()];
    let Some(text) = file.metadata().get(UNDECIDED) else {
        return Ok(counts);
    };
    for entry in text.split(',') {
        let read = || {
            let (name, count) = entry.rsplit_once(':')?;
            let at = specs.iter().position(|spec| spec.name == name)?;
            let count: usize = count.parse().ok()?;
            let len = specs[at].shape().iter().product();
            (1..=len).contains(&count).then_some((at, count))
        };
        let (at, count) = read().ok_or_else(|| {
            Error::value(
                format!("metadata {UNDECIDED}"),
                format!("{entry:?}; expected STAGE:COUNT, a stage and a number of its elements"),
            )
        })?;
        counts[at] = count;
    }
    Ok(counts)
}

/// An error scale: finite, and not negative.
fn read_scale(file: &dyn Tensors, name: &str, shape: &[usize]) -> Result<Tensor<f64>, Error> {
    let scale = read_tensor(file, name, shape)?;
    match scale.data().iter().position(|scale| *scale < 0.0) {
        None => Ok(scale),
        Some(at) => Err(Error::value(
            format!("tensor {name:?}"),
            format!("element {at} is negative; expected an error scale, from 0"),
        )),
    }
}
