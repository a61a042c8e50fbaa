//! A case of any kind.

use super::any::AnyCase;
use super::certified::{CaseRun, Certified, certify};
use super::check::default_chunk_len;
use super::format::Format;
use super::golden::writer_of;
use super::kinds::read;
use super::mistake::Mistake;
use super::precision::Precision;
use super::subject::{Setting, Subject};
use super::subjects::layer::LayerCase;
use super::subjects::model::ModelCase;
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::safetensors::{Dtype, TensorFile, Tensors, Writer};
use crate::tensor::Tensor;
use core::fmt;
use std::path::Path;

/// A case of any kind: everything that a program needs to compute the stages of its subject.
pub struct Case(pub(super) Box<dyn AnyCase>);

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
        TensorFile::read(path, |file| Self::read(file))
    }

    /// The case in an open file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    pub fn read(file: &dyn Tensors) -> Result<Self, Error> {
        read(file).map(Self)
    }

    /// The metadata `kind` of its files: `layer`, `model`, `training`, `dense-ssm`, `convolution`,
    /// `h3-operator`, `hyena`, `striped-hyena`, `ssd` or `mamba2`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// One line on its sizes and choices.
    #[must_use]
    pub fn describe(&self) -> String {
        self.0.describe()
    }

    /// The default form.
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
        self.writer_in(Dtype::F64)
    }

    /// [`writer`](Self::writer) with numbers as another float type, which loses nothing where the type holds
    /// them.
    ///
    /// # Errors
    ///
    /// If the type is none of floats; otherwise as [`writer`](Self::writer).
    pub fn writer_in(&self, dtype: Dtype) -> Result<Writer, Error> {
        writer_of(&*self.0, dtype)
    }

    /// Every stage in one form and precision, widened to `f64`, and the gradients if `gradients` is
    /// set.
    ///
    /// # Errors
    ///
    /// If the form cannot run the subject, or there is no cotangent to run back from; in
    /// [`Precision::Certified`] as [`certified`](Self::certified).
    pub fn run(
        &self,
        form: &Form,
        precision: Precision,
        gradients: bool,
    ) -> Result<Vec<(String, Tensor<f64>)>, Error> {
        match precision {
            Precision::F64 => self.0.run_in_f64(form, gradients),
            Precision::F32 => self.0.run_in_f32(form, gradients),
            Precision::Certified => {
                let stages = self.certified(form, gradients)?.stages.into_iter();
                Ok(stages.map(|stage| (stage.name, stage.values)).into_vec())
            }
        }
    }

    /// Every stage in one form, correctly rounded to `f64`, with the radius of each element, and
    /// the gradients if `gradients` is set. The values do not depend on the form.
    ///
    /// # Errors
    ///
    /// If the form cannot run the subject, or there is no cotangent to run back from; or if the radius
    /// of an element is above 2^-52 of the largest magnitude of all stages.
    pub fn certified(&self, form: &Form, gradients: bool) -> Result<Certified, Error> {
        certify(&CaseRun {
            case: &*self.0,
            form,
            gradients,
        })
    }

    /// The known mistakes of its kind, in the order of the catalogue.
    #[must_use]
    pub fn mistakes(&self) -> Vec<&'static Mistake> {
        let mut all = self.0.mistakes(false);
        for mistake in self.0.mistakes(true) {
            if all.iter().all(|known| known.id != mistake.id) {
                all.push(mistake);
            }
        }
        all
    }

    /// The stages in `f64` with mistakes, given by id or name, made in the reference. Stages that
    /// the mistakes cannot change may be missing. Mistakes between chunks are made at `chunk_len`,
    /// or at [`default_chunk_len`](super::default_chunk_len).
    ///
    /// # Errors
    ///
    /// If a mistake is not in the catalogue, or has no value here.
    pub fn run_with(
        &self,
        mistakes: &[&str],
        chunk_len: Option<usize>,
    ) -> Result<Vec<(String, Tensor<f64>)>, Error> {
        self.run_and_store(mistakes, chunk_len, None)
    }

    /// The same for a port that stores every stage of a layer or a model in a format before it is
    /// used, as a port in 16 bits does.
    ///
    /// # Errors
    ///
    /// As [`run_with`](Self::run_with).
    pub fn run_stored(
        &self,
        mistakes: &[&str],
        format: Format,
    ) -> Result<Vec<(String, Tensor<f64>)>, Error> {
        self.run_and_store(mistakes, None, Some(format))
    }

    fn run_and_store(
        &self,
        mistakes: &[&str],
        chunk_len: Option<usize>,
        stored: Option<Format>,
    ) -> Result<Vec<(String, Tensor<f64>)>, Error> {
        let known = self.mistakes();
        let find = |name: &&str| {
            let found = known
                .iter()
                .find(|one| one.id == *name || one.name == *name);
            let found = found.copied();
            found.ok_or_else(|| Mistake::not_in_catalogue(name))
        };
        let found = mistakes.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let forward = self.0.mistakes(false);
        let is_forward =
            |one: &&'static Mistake| forward.iter().any(|known| core::ptr::eq(*known, *one));
        let setting = Setting {
            chunk_len: chunk_len.unwrap_or_else(|| default_chunk_len(self.0.seq_len())),
            backward: !found.iter().all(is_forward),
            upstream: None,
            stored,
            memo: None,
            sample: None,
        };
        self.0.run_with(&found, setting)
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
