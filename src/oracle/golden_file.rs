//! A golden file of any kind.

use super::candidate::{Candidate, PortNumber};
use super::case::Case;
use super::check::{Report, check};
use super::format::Format;
use super::golden::{GoldenCase, GoldenStage, Reference, undecided};
use super::subjects::layer::LayerCase;
use super::subjects::model::ModelCase;
use crate::error::Error;
use crate::safetensors::{SafeTensors, TensorFile, Tensors, Writer};
use core::fmt;
use std::path::Path;

/// A golden file: the certified stages of a case, with the largest error of a correct port.
pub struct Golden(GoldenCase);

impl Golden {
    /// Reads a golden file; a plain case file is certified first.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), naming the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        TensorFile::read(path, |file| Self::read(file))
    }

    /// The golden file in an open file; a plain case is certified first.
    ///
    /// # Errors
    ///
    /// As [`Case::read`] and [`Case::certify`]; or if the file is golden, of another version, or a
    /// stage or scale of it is not as it should be.
    pub fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let case = Case::read(file)?;
        GoldenCase::from_file(case.0, file).map(Self)
    }

    /// The golden file of a case, as [`Case::certify`].
    ///
    /// # Errors
    ///
    /// As [`Case::certify`].
    pub fn certify(case: impl Into<Case>) -> Result<Self, Error> {
        case.into().certify()
    }

    /// The metadata `kind` of its case.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.case.kind()
    }

    /// The layer's case it belongs to, if it is a layer's.
    #[must_use]
    pub fn layer(&self) -> Option<&LayerCase> {
        self.0.case.as_any().downcast_ref()
    }

    /// The language model's case it belongs to, if it is a model's.
    #[must_use]
    pub fn model(&self) -> Option<&ModelCase> {
        self.0.case.as_any().downcast_ref()
    }

    /// The stages, in the order in which they are computed.
    #[must_use]
    pub fn stages(&self) -> &[GoldenStage] {
        &self.0.stages
    }

    /// The stages that hold undecided elements, as `STAGE:COUNT,...`: metadata `undecided`. `None` if
    /// every rounding is decided.
    #[must_use]
    pub fn undecided(&self) -> Option<String> {
        undecided(self.stages())
    }

    /// The golden file, to be written.
    ///
    /// # Errors
    ///
    /// Never for a case that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        self.0.writer()
    }

    /// The stages of a port in a file. Tensors with other names are not judged, and the report
    /// lists them.
    ///
    /// # Errors
    ///
    /// If none of the stages is there, one is of another shape or not a float type, or the file was
    /// made from another case.
    pub fn candidate(&self, file: &dyn Tensors) -> Result<Candidate, Error> {
        let case = &self.0.case;
        let mut said = case.metadata();
        if said.iter().all(|(key, _)| key != "kind") {
            said.push(("kind".into(), case.kind().into()));
        }
        Candidate::read(file, self.stages(), &case.given(), &case.padding(), &said)
    }

    /// The report on a candidate that works in a format.
    #[must_use]
    pub fn check(&self, candidate: &Candidate, format: Format) -> Report {
        check(self.reference(), candidate, format, true)
    }

    /// The verdicts of [`check`](Self::check) without the search for mistakes that explain them: a report
    /// without findings.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn verdicts(&self, candidate: &Candidate, format: Format) -> Report {
        check(self.reference(), candidate, format, false)
    }

    pub(super) fn reference(&self) -> Reference<'_> {
        Reference {
            case: &*self.0.case,
            stages: &self.0.stages,
        }
    }
}

impl Case {
    /// The golden file of the case: every stage certified, with its gradients if it has a cotangent,
    /// and their error scales.
    ///
    /// # Errors
    ///
    /// As [`certified`](Self::certified).
    pub fn certify(self) -> Result<Golden, Error> {
        GoldenCase::certify(self.0).map(Golden)
    }
}

impl Candidate {
    /// A candidate from arrays in memory, each with the elements of one stage in row-major order.
    ///
    /// # Errors
    ///
    /// If there is none, or one has a name that is no stage's or was given before, or another number
    /// of elements.
    pub fn from_stages<'a, T: PortNumber + 'a>(
        golden: &Golden,
        stages: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> Result<Self, Error> {
        Self::of_arrays(golden.stages(), stages)
    }
}

/// The report on a candidate's file against a golden file (or a case, which is certified first), in
/// the given format, or that of the type in which its stages are stored. Tensors named in `ignored`
/// are skipped.
///
/// # Errors
///
/// If one of the files cannot be read, they do not fit each other, or a name that is to be ignored is
/// a stage or is not there.
pub fn check_files(
    golden: &Path,
    candidate: &Path,
    format: Option<Format>,
    ignored: &[&str],
) -> Result<Report, Error> {
    let in_candidate = |e: Error| e.in_file(candidate);
    let file = SafeTensors::open(candidate)?;
    let golden = Golden::open(golden)?;
    let read = golden.candidate(&file).map_err(in_candidate)?;
    let read = read
        .ignoring(ignored.iter().copied())
        .map_err(in_candidate)?;
    let format = match format {
        Some(format) => format,
        None => read.format().map_err(in_candidate)?,
    };
    Ok(golden.check(&read, format))
}

impl fmt::Debug for Golden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Golden")
            .field("kind", &self.kind())
            .field("stages", &self.stages().len())
            .finish_non_exhaustive()
    }
}
