//! One dense state space model as a subject: the case with which the theory begins, and which no layer contains.

mod case;
mod mistakes;

pub(crate) use case::DenseCase;
pub(crate) use mistakes::DenseHook;

use super::worst_response::{WithError, larger_errors, worst_response};
use crate::algebra::{ErrorBound, ErrorScale, Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::read::{demand_tensors, read_axes, read_optional, read_tensor};
use crate::oracle::sequence;
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{
    Given, Named, Scale, Setting, Subject, SuiteRow, errors, largest_given,
};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use crate::ssm::{Dense, StateSpace, recurrence};

impl Subject for DenseCase {
    const KIND: &'static str = "dense-ssm";
    type Hook = DenseHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        sequence::refuse(file, Self::KIND)?;
        demand_tensors(file, ["ssm.A", "ssm.B", "ssm.C", "ssm.D", "input"])?;
        let of = |name: &str, axes: usize| read_axes(file, name, axes);
        let (a, b, c) = (of("ssm.A", 2)?, of("ssm.B", 1)?, of("ssm.C", 1)?);
        let d = read_tensor(file, "ssm.D", &[1])?.data()[0];
        let a = Matrix::new(a.shape()[0], a.shape()[1], a.into_data())?;
        let ssm = Dense::new(a, b.into_data(), c.into_data(), d)?;
        let input = of("input", 2)?;
        let states = [input.shape()[0], ssm.state_dim()];
        Ok(Self {
            initial: read_optional(file, "initial_x", &states)?,
            ssm,
            input,
        })
    }

    fn metadata(&self) -> Vec<(String, String)> {
        vec![("kind".into(), Self::KIND.into())]
    }

    fn given(&self) -> Vec<Given> {
        let (ssm, m) = (&self.ssm, self.ssm.state_dim());
        let mut given = vec![
            Given::numbers("ssm.A", &[m, m], ssm.a.entries()),
            Given::numbers("ssm.B", &[m], &ssm.b),
            Given::numbers("ssm.C", &[m], &ssm.c),
            Given::numbers("ssm.D", &[1], &[ssm.d]),
            Given::tensor("input", &self.input),
        ];
        given.extend(self.initial.iter().map(|x| Given::tensor("initial_x", x)));
        given
    }

    fn stages(&self) -> Vec<StageSpec> {
        let batch = (Axis::Sequence, self.input.shape()[0]);
        let time = (Axis::Time, self.seq_len());
        let modes = (Axis::Mode, self.ssm.state_dim());
        vec![
            StageSpec::new("kernel", &[time], &[]),
            StageSpec::new("output", &[batch, time], &[]),
            StageSpec::new("final_x", &[batch, modes], &[]),
        ]
    }

    fn seq_len(&self) -> usize {
        self.input.shape()[1]
    }

    fn describe(&self) -> String {
        let (m, input) = (self.ssm.state_dim(), self.input.shape());
        format!("one dense model of {m} states, input {input:?}")
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        if gradients {
            return Err(Error::unsupported(
                "gradients of a dense model are no stages",
            ));
        }
        let ssm = self.ssm.map(T::from_f64);
        self.assemble(ssm.kernel(self.seq_len()), |u, x0| {
            form.respond(&ssm, u, Some(x0))
        })
    }

    fn run_plainly<T: Real>(&self, _gradients: bool) -> Result<Named<T>, Error> {
        let ssm = self.ssm.map(T::from_f64);
        self.assemble(ssm.kernel(self.seq_len()), |u, x0| {
            recurrence(&ssm, u, Some(x0))
        })
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let ssm = self.ssm.map(ErrorScale::from_f64);
        let majorant = ssm.map(WithError::absolute);
        let len = self.seq_len();
        let bounds = majorant.kernel(len).into_iter().map(ErrorScale::error);
        let kernel = larger_errors(&ssm.kernel(len), bounds);
        let stages = self.assemble(kernel.clone(), |u, x0| {
            worst_response(&ssm, &majorant, &kernel, u, x0, 1.0)
        })?;
        Ok(Scale::throughout(errors(stages)))
    }

    fn judged_in(format: Format) -> Format {
        format.without_projections()
    }

    fn underflow_growth(&self) -> f64 {
        let m = self.ssm.state_dim();
        let largest = largest_given(&self.given());
        (self.seq_len() * m * m) as f64 * largest * largest
    }

    fn mistakes(_backward: bool) -> Vec<Vec<&'static Row<DenseHook>>> {
        vec![mistakes::ROWS.iter().into_vec()]
    }

    fn needs_chunks(row: &Row<DenseHook>) -> bool {
        row.hooks
            .iter()
            .any(|hook| matches!(hook, DenseHook::InChunks))
    }

    fn cost(&self, tokens: usize) -> usize {
        let m = self.ssm.state_dim();
        self.input.shape()[0].saturating_mul(tokens.saturating_mul(tokens / 2 + m * m))
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<DenseHook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        mistakes::run_with(self, mistakes, setting)
    }

    /// No stage is computed from another.
    fn local_scales(
        &self,
        _upstream: &Upstream,
        _format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        Ok(Vec::new())
    }
}

/// The dense models of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<DenseCase>> {
    [
        ("42-dense", "one model with a dense A", false),
        (
            "43-dense-resumed",
            "one model with a dense A, from a state",
            true,
        ),
    ]
    .map(|(name, stresses, resumed)| {
        SuiteRow::new(name, stresses, move |seed| {
            DenseCase::sample(name, resumed, seed)
        })
    })
    .into()
}
