//! Cases whose kind is not known: [`Subject`] behind functions that are not generic, over which the
//! rest of the oracle is written, and so compiled, once.

use super::format::Format;
use super::mistake::{Mistake, Row};
use super::stage::StageSpec;
use super::subject::{Given, Named, Scale, Setting, Subject};
use super::upstream::Upstream;
use crate::algebra::ball::BallN;
use crate::algebra::{ErrorBound, Grid, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use core::any::Any;

/// Balls with midpoints of two words, which decide nearly every rounding.
pub(super) type Balls = BallN<2>;

/// Balls with midpoints of four words, for what those leave open.
pub(super) type LongerBalls = BallN<4>;

/// The interface of a case for a check, which does not know its kind: as [`Subject`], where it is
/// documented.
pub(super) trait CheckedCase: Send + Sync {
    fn given(&self) -> Vec<Given>;
    fn stages(&self) -> Vec<StageSpec>;
    fn seq_len(&self) -> usize;
    fn padding(&self) -> Vec<(usize, usize)>;
    fn judged_in(&self, format: Format) -> Format;
    fn underflow_growth(&self) -> f64;
    fn cost(&self, tokens: usize) -> usize;
    fn mistakes(&self, backward: bool) -> Vec<&'static Mistake>;
    fn needs_chunks(&self, mistake: &'static Mistake) -> bool;
    fn sampled_heads(&self, judged: &[&str], own: &Upstream) -> Option<[usize; 2]>;
    fn of_heads(&self, spec: &StageSpec, heads: &[usize]) -> Vec<usize>;
    fn is_across_heads(&self, mistake: &'static Mistake) -> bool;
    fn run_with(
        &self,
        mistakes: &[&'static Mistake],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error>;
    fn local_scales(&self, upstream: &Upstream, format: Format)
    -> Result<Named<ErrorBound>, Error>;
    fn further_scales(&self, format: Format) -> Result<Named<ErrorBound>, Error>;
}

/// The rest of the interface: runs in every precision, and the contents of a golden file.
pub(super) trait AnyCase: CheckedCase {
    fn kind(&self) -> &'static str;
    fn metadata(&self) -> Vec<(String, String)>;
    fn default_form(&self) -> Form;
    fn describe(&self) -> String;
    fn run_in_f64(&self, form: &Form, gradients: bool) -> Result<Named<f64>, Error>;
    fn run_in_f32(&self, form: &Form, gradients: bool) -> Result<Named<f64>, Error>;
    fn run_in_balls(&self, form: &Form, gradients: bool) -> Result<Named<Balls>, Error>;
    fn run_in_longer_balls(&self, gradients: bool) -> Result<Named<LongerBalls>, Error>;
    fn run_in_grids(&self, gradients: bool) -> Result<Option<Named<Grid>>, Error>;
    fn scales(&self) -> Result<Vec<Scale>, Error>;
    fn stored_scale(&self, x: f64) -> f64;
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
        .into_vec())
}

/// The row of a mistake in its subject's catalogue.
fn row_of<S: Subject>(mistake: &'static Mistake) -> Result<&'static Row<S::Hook>, Error> {
    for group in [S::mistakes(false), S::mistakes(true)] {
        for row in group.concat() {
            if core::ptr::eq(&raw const row.mistake, mistake) {
                return Ok(row);
            }
        }
    }
    Err(Mistake::not_in_catalogue(mistake.id))
}

impl<S: Subject> CheckedCase for S {
    fn given(&self) -> Vec<Given> {
        Subject::given(self)
    }

    fn stages(&self) -> Vec<StageSpec> {
        Subject::stages(self)
    }

    fn seq_len(&self) -> usize {
        Subject::seq_len(self)
    }

    fn padding(&self) -> Vec<(usize, usize)> {
        Subject::padding(self)
    }

    fn judged_in(&self, format: Format) -> Format {
        S::judged_in(format)
    }

    fn underflow_growth(&self) -> f64 {
        Subject::underflow_growth(self)
    }

    fn cost(&self, tokens: usize) -> usize {
        Subject::cost(self, tokens)
    }

    fn mistakes(&self, backward: bool) -> Vec<&'static Mistake> {
        let rows = S::mistakes(backward).concat();
        rows.into_iter().map(|row| &row.mistake).into_vec()
    }

    fn needs_chunks(&self, mistake: &'static Mistake) -> bool {
        row_of::<S>(mistake).is_ok_and(S::needs_chunks)
    }

    fn sampled_heads(&self, judged: &[&str], own: &Upstream) -> Option<[usize; 2]> {
        Subject::sampled_heads(self, judged, own)
    }

    fn of_heads(&self, spec: &StageSpec, heads: &[usize]) -> Vec<usize> {
        Subject::of_heads(self, spec, heads)
    }

    fn is_across_heads(&self, mistake: &'static Mistake) -> bool {
        row_of::<S>(mistake).is_ok_and(|row| Subject::is_across_heads(self, row))
    }

    fn run_with(
        &self,
        mistakes: &[&'static Mistake],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        let mut rows = Vec::with_capacity(mistakes.len());
        for mistake in mistakes {
            rows.push(row_of::<S>(mistake)?);
        }
        Subject::run_with(self, &rows, setting)
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        Subject::local_scales(self, upstream, format)
    }

    fn further_scales(&self, format: Format) -> Result<Named<ErrorBound>, Error> {
        Subject::further_scales(self, format)
    }
}

impl<S: Subject> AnyCase for S {
    fn kind(&self) -> &'static str {
        S::KIND
    }

    fn metadata(&self) -> Vec<(String, String)> {
        Subject::metadata(self)
    }

    fn default_form(&self) -> Form {
        Subject::default_form(self)
    }

    fn describe(&self) -> String {
        Subject::describe(self)
    }

    fn run_in_f64(&self, form: &Form, gradients: bool) -> Result<Named<f64>, Error> {
        self.run::<f64>(form, gradients)
    }

    fn run_in_f32(&self, form: &Form, gradients: bool) -> Result<Named<f64>, Error> {
        widened::<S, f32>(self, form, gradients)
    }

    fn run_in_balls(&self, form: &Form, gradients: bool) -> Result<Named<Balls>, Error> {
        self.run(form, gradients)
    }

    fn run_in_longer_balls(&self, gradients: bool) -> Result<Named<LongerBalls>, Error> {
        self.run_plainly(gradients)
    }

    /// Nothing if no case of its kind can be exact.
    fn run_in_grids(&self, gradients: bool) -> Result<Option<Named<Grid>>, Error> {
        if const { S::MAY_BE_EXACT } {
            return self.run_plainly(gradients).map(Some);
        }
        Ok(None)
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        Subject::scales(self)
    }

    fn stored_scale(&self, x: f64) -> f64 {
        S::stored_scale(x)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
