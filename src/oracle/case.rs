//! A case of any kind, and the one place that tells the kinds apart.

use super::certified::{SubjectRun, certify};
use super::check::default_chunk_len;
use super::golden::{GoldenOf, writer_of};
use super::golden_file::Golden;
use super::mistake::{Mistake, Row};
use super::subject::{Named, Setting, Subject};
use super::subjects::dense::DenseCase;
use super::subjects::layer::LayerCase;
use super::subjects::model::ModelCase;
use super::{Certified, certified::CertifiedStage};
use crate::algebra::{FloatFormat, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::safetensors::{Dtype, TensorFile, Tensors, Writer};
use crate::tensor::Tensor;
use core::any::Any;
use core::fmt;
use std::path::Path;

/// The numbers a case is run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// `f64`.
    F64,
    /// `f32`: every number of the file is rounded to it first.
    F32,
    /// Ball arithmetic: every element correctly rounded to `f64`.
    Certified,
}

impl Precision {
    /// All of them, the usual one first.
    pub const ALL: [Self; 3] = [Self::F64, Self::F32, Self::Certified];

    /// The precision of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => FloatFormat::F64.name(),
            Self::F32 => FloatFormat::F32.name(),
            Self::Certified => "certified",
        }
    }

    /// The type in which the stages are written.
    #[must_use]
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F64 | Self::Certified => Dtype::F64,
        }
    }
}

/// A case of any kind: what a program needs to compute the stages of its subject.
pub struct Case(pub(super) Box<dyn AnyCase>);

/// What can be asked of a case without knowing its kind.
pub(super) trait AnyCase: Send + Sync {
    fn kind(&self) -> &'static str;
    fn describe(&self) -> String;
    fn default_form(&self) -> Form;
    fn writer(&self) -> Result<Writer, Error>;
    fn run(&self, form: &Form, precision: Precision, gradients: bool) -> Result<Certified, Error>;
    fn certify(self: Box<Self>) -> Result<Golden, Error>;
    fn mistakes(&self) -> Vec<&'static Mistake>;
    fn run_with(&self, ids: &[&str], chunk_len: Option<usize>) -> Result<Named<f64>, Error>;
    fn as_any(&self) -> &dyn Any;
}

/// The stages of a case in the scalars of `T`, widened.
fn widened<S: Subject, T>(subject: &S, form: &Form, gradients: bool) -> Result<Certified, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let stages = subject.run::<T>(form, gradients)?.into_iter();
    Ok(Certified {
        stages: stages
            .map(|(name, stage)| CertifiedStage::plain(name, stage.map(Real::to_f64)))
            .collect(),
        words: 0,
    })
}

impl<S: Subject> AnyCase for S {
    fn kind(&self) -> &'static str {
        S::KIND
    }

    fn describe(&self) -> String {
        Subject::describe(self)
    }

    fn default_form(&self) -> Form {
        Subject::default_form(self)
    }

    fn writer(&self) -> Result<Writer, Error> {
        writer_of(self)
    }

    fn run(&self, form: &Form, precision: Precision, gradients: bool) -> Result<Certified, Error> {
        match precision {
            Precision::F64 => widened::<S, f64>(self, form, gradients),
            Precision::F32 => widened::<S, f32>(self, form, gradients),
            Precision::Certified => certify(&SubjectRun {
                subject: self,
                form,
                gradients,
            }),
        }
    }

    fn certify(self: Box<Self>) -> Result<Golden, Error> {
        GoldenOf::certify(*self).map(Golden::of)
    }

    fn mistakes(&self) -> Vec<&'static Mistake> {
        all_rows::<S>()
            .into_iter()
            .map(|row| &row.mistake)
            .collect()
    }

    fn run_with(&self, ids: &[&str], chunk_len: Option<usize>) -> Result<Named<f64>, Error> {
        let known = all_rows::<S>();
        let find = |id: &&str| {
            let is = |row: &&&Row<S::Hook>| row.mistake.id == *id || row.mistake.name == *id;
            let found = known.iter().find(is).copied();
            found.ok_or_else(|| Error::value(format!("mistake {id:?}"), "is not in the catalogue"))
        };
        let rows = ids.iter().map(find).collect::<Result<Vec<_>, Error>>()?;
        let setting = Setting {
            chunk_len: chunk_len.unwrap_or_else(|| default_chunk_len(self.seq_len())),
            tokens: None,
        };
        Subject::run_with(self, &rows, setting)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Every row of a subject's catalogue, of the forward pass and of the way back.
fn all_rows<S: Subject>() -> Vec<&'static Row<S::Hook>> {
    let mut rows: Vec<&'static Row<S::Hook>> = Vec::new();
    for group in [S::mistakes(""), S::mistakes("grad.")]
        .into_iter()
        .flatten()
    {
        for row in group {
            if rows.iter().all(|known| known.mistake.id != row.mistake.id) {
                rows.push(row);
            }
        }
    }
    rows
}

impl Case {
    /// The case of a subject.
    pub(super) fn of<S: Subject>(subject: S) -> Self {
        Self(Box::new(subject))
    }

    /// Reads a case file of any kind.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        Self::read(&file).map_err(|e| e.in_file(path.display().to_string()))
    }

    /// The case in an open file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    pub fn read(file: &dyn Tensors) -> Result<Self, Error> {
        struct Read;
        impl ForSubject for Read {
            type Output = Case;
            fn of<S: Subject>(&self, file: &dyn Tensors) -> Result<Case, Error> {
                S::read(file).map(Case::of)
            }
        }
        dispatch(file, &Read)
    }

    /// The metadata `kind` of its files: `layer`, `model` or `dense-ssm`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// One line on its sizes and choices.
    #[must_use]
    pub fn describe(&self) -> String {
        self.0.describe()
    }

    /// The form it is run in where none is asked for.
    #[must_use]
    pub fn default_form(&self) -> Form {
        self.0.default_form()
    }

    /// A writer that holds what makes a case: metadata and what is given.
    ///
    /// # Errors
    ///
    /// Never for a case that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        self.0.writer()
    }

    /// Every stage in one form and precision; with `gradients` those too. Where the precision is not
    /// certified, radii are empty and nothing was retried.
    ///
    /// # Errors
    ///
    /// If the form cannot run the subject, or there is no cotangent to run back from.
    pub fn run(
        &self,
        form: &Form,
        precision: Precision,
        gradients: bool,
    ) -> Result<Certified, Error> {
        self.0.run(form, precision, gradients)
    }

    /// The golden file of the case: every stage certified, with its gradients if it has a cotangent,
    /// and their error scales.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); and if four words do not decide the rounding of some element.
    pub fn certify(self) -> Result<Golden, Error> {
        self.0.certify()
    }

    /// The known mistakes of its kind, in the order of the catalogue.
    #[must_use]
    pub fn mistakes(&self) -> Vec<&'static Mistake> {
        self.0.mistakes()
    }

    /// The stages in `f64` with mistakes, given by id or name, made in the reference; those they
    /// cannot change may be missing. Mistakes between chunks are made at `chunk_len`, or at
    /// [`default_chunk_len`](super::default_chunk_len).
    ///
    /// # Errors
    ///
    /// If a mistake is not in the catalogue, or has no value here.
    pub fn run_with(
        &self,
        mistakes: &[&str],
        chunk_len: Option<usize>,
    ) -> Result<Vec<(String, Tensor<f64>)>, Error> {
        self.0.run_with(mistakes, chunk_len)
    }

    /// The layer's case, if it is one.
    #[must_use]
    pub fn layer(&self) -> Option<&LayerCase> {
        self.0.as_any().downcast_ref()
    }

    /// The language model's case, if it is one.
    #[must_use]
    pub fn model(&self) -> Option<&ModelCase> {
        self.0.as_any().downcast_ref()
    }
}

impl From<LayerCase> for Case {
    fn from(case: LayerCase) -> Self {
        Self::of(case)
    }
}

impl From<ModelCase> for Case {
    fn from(case: ModelCase) -> Self {
        Self::of(case)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.describe()).finish()
    }
}

/// Something done with a file, whatever kind of subject it holds.
pub(super) trait ForSubject {
    type Output;

    fn of<S: Subject>(&self, file: &dyn Tensors) -> Result<Self::Output, Error>;
}

/// The kind of a file, by its metadata or else its tensors, and what is to be done with it.
pub(super) fn dispatch<F: ForSubject>(file: &dyn Tensors, f: &F) -> Result<F::Output, Error> {
    match file.metadata().get("kind").map(String::as_str) {
        Some(LayerCase::KIND) => f.of::<LayerCase>(file),
        Some(ModelCase::KIND) => f.of::<ModelCase>(file),
        Some(DenseCase::KIND) => f.of::<DenseCase>(file),
        Some(kind) => Err(Error::value(
            "metadata kind",
            format!(
                "{kind:?} is not known; expected {:?}, {:?} or {:?}",
                LayerCase::KIND,
                ModelCase::KIND,
                DenseCase::KIND
            ),
        )),
        None if ModelCase::is_in(file) => f.of::<ModelCase>(file),
        None => f.of::<LayerCase>(file),
    }
}
