//! Cases and golden files whose kind is not known: everything that is written once over
//! [`Subject`], behind functions that are not generic.

use super::candidate::Candidate;
use super::certified::{Certified, SubjectRun, certify};
use super::check::{Report, check, default_chunk_len};
use super::format::Format;
use super::golden::{GoldenOf, GoldenStage, writer_of};
use super::mistake::{Mistake, Row};
use super::precision::Precision;
use super::subject::{Named, Setting, Subject};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::safetensors::{Tensors, Writer};
use core::any::Any;

/// What can be asked of a case without knowing its kind.
pub(super) trait AnyCase: Send + Sync {
    fn kind(&self) -> &'static str;
    fn describe(&self) -> String;
    fn default_form(&self) -> Form;
    fn writer(&self) -> Result<Writer, Error>;
    fn run(&self, form: &Form, precision: Precision, gradients: bool) -> Result<Named<f64>, Error>;
    fn certified(&self, form: &Form, gradients: bool) -> Result<Certified, Error>;
    fn certify(self: Box<Self>) -> Result<Box<dyn AnyGolden>, Error>;
    fn mistakes(&self) -> Vec<&'static Mistake>;
    fn run_with(&self, ids: &[&str], chunk_len: Option<usize>) -> Result<Named<f64>, Error>;
    fn as_any(&self) -> &dyn Any;
}

/// The stages of a case in the scalars of `T`, widened.
fn widened<S: Subject, T>(subject: &S, form: &Form, gradients: bool) -> Result<Named<f64>, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let stages = subject.run::<T>(form, gradients)?.into_iter();
    Ok(stages
        .map(|(name, stage)| (name, stage.map(Real::to_f64)))
        .collect())
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

    fn run(&self, form: &Form, precision: Precision, gradients: bool) -> Result<Named<f64>, Error> {
        match precision {
            Precision::F64 => widened::<S, f64>(self, form, gradients),
            Precision::F32 => widened::<S, f32>(self, form, gradients),
            Precision::Certified => {
                let stages = self.certified(form, gradients)?.stages.into_iter();
                Ok(stages.map(|stage| (stage.name, stage.values)).collect())
            }
        }
    }

    fn certified(&self, form: &Form, gradients: bool) -> Result<Certified, Error> {
        certify(&SubjectRun {
            subject: self,
            form,
            gradients,
        })
    }

    fn certify(self: Box<Self>) -> Result<Box<dyn AnyGolden>, Error> {
        Ok(Box::new(GoldenOf::certify(*self)?))
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
        let forward: Vec<_> = S::mistakes(false).concat();
        let is_forward =
            |row: &&'static Row<S::Hook>| forward.iter().any(|known| core::ptr::eq(*known, *row));
        let setting = Setting {
            chunk_len: chunk_len.unwrap_or_else(|| default_chunk_len(self.seq_len())),
            backward: !rows.iter().all(is_forward),
            upstream: None,
            stored: None,
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
    for group in [S::mistakes(false), S::mistakes(true)]
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

/// What can be asked of a golden file without knowing its kind.
pub(super) trait AnyGolden: Send + Sync {
    fn case(&self) -> &dyn AnyCase;
    fn stages(&self) -> &[GoldenStage];
    fn writer(&self) -> Result<Writer, Error>;
    fn candidate(&self, file: &dyn Tensors) -> Result<Candidate, Error>;
    fn check(&self, candidate: &Candidate, format: Format) -> Report;
}

impl<S: Subject> AnyGolden for GoldenOf<S> {
    fn case(&self) -> &dyn AnyCase {
        &self.subject
    }

    fn stages(&self) -> &[GoldenStage] {
        &self.stages
    }

    fn writer(&self) -> Result<Writer, Error> {
        self.writer()
    }

    fn candidate(&self, file: &dyn Tensors) -> Result<Candidate, Error> {
        Candidate::read(
            file,
            &self.stages,
            &self.subject.given(),
            &self.subject.padding(),
        )
    }

    fn check(&self, candidate: &Candidate, format: Format) -> Report {
        check(self, candidate, format)
    }
}
