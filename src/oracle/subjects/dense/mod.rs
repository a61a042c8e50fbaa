//! One dense state space model as a subject: what a layer has not, and its theory begins with.

mod mistakes;

pub(crate) use mistakes::DenseHook;

use super::layer::convolution;
use super::random::{random_numbers, round_to_16_bits};
use crate::algebra::{ErrorScale, Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::read::{read_tensor, shape_of};
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{Given, Named, Scale, Setting, Subject, largest_given};
use crate::oracle::suite::SuiteCase;
use crate::safetensors::Tensors;
use crate::ssm::{Dense, Response, StateSpace, recurrence};
use crate::tensor::Tensor;

/// One dense model `x_i = A x_{i-1} + B u_i`, `y_i = C x_i + D u_i` with its inputs. Its stages are
/// `kernel` (seq_len), `output` (batch, seq_len) and `final_x` (batch, m).
///
/// Files hold `ssm.A` (m, m), `ssm.B`, `ssm.C` (m), `ssm.D` (1), `input` (batch, seq_len), the state
/// before the first input as `initial_x` (batch, m) if there is one, and metadata `kind` =
/// `dense-ssm`.
#[derive(Clone, Debug)]
pub(crate) struct DenseCase {
    ssm: Dense<f64>,
    input: Tensor<f64>,
    initial: Option<Tensor<f64>>,
}

impl DenseCase {
    /// Stages from a kernel and from the response to every sequence of inputs and its initial state.
    fn assemble<T: Real>(
        &self,
        kernel: Vec<T>,
        respond: impl Fn(&[T], &[T]) -> Result<Response<Dense<T>>, Error>,
    ) -> Result<Named<T>, Error> {
        let (batch, m) = (self.input.shape()[0], self.ssm.state_dim());
        let (mut output, mut state) = (Vec::new(), Vec::new());
        for b in 0..batch {
            let u = self.input.row(b).iter().map(|&u| T::from_f64(u));
            let x0 = match &self.initial {
                Some(x) => x.row(b).iter().map(|&x| T::from_f64(x)).collect(),
                None => vec![T::ZERO; m],
            };
            let response = respond(&u.collect::<Vec<_>>(), &x0)?;
            output.extend(response.output);
            state.extend(response.state);
        }
        Ok(vec![
            ("kernel".into(), Tensor::new([kernel.len()], kernel)?),
            (
                "output".into(),
                Tensor::new([batch, output.len() / batch], output)?,
            ),
            ("final_x".into(), Tensor::new([batch, m], state)?),
        ])
    }

    /// A random model of the suite, from a state or not.
    fn sample(name: &str, resumed: bool, seed: u64) -> Result<Self, Error> {
        let (m, batch, len) = (5, 2, 29);
        let rng = &mut random_numbers(name, seed);
        // Entries small enough that powers of A fade.
        let mut numbers = |count: usize, size: f64| -> Vec<f64> {
            (0..count)
                .map(|_| round_to_16_bits(size * rng.unit()))
                .collect()
        };
        let a = Matrix::new(m, m, numbers(m * m, 0.36))?;
        let (b, c, d) = (numbers(m, 1.0), numbers(m, 1.0), numbers(1, 1.0)[0]);
        Ok(Self {
            ssm: Dense::new(a, b, c, d)?,
            input: Tensor::new([batch, len], numbers(batch * len, 1.5))?,
            initial: match resumed {
                true => Some(Tensor::new([batch, m], numbers(batch * m, 1.0))?),
                false => None,
            },
        })
    }
}

impl Subject for DenseCase {
    const KIND: &'static str = "dense-ssm";
    type Hook = DenseHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let of = |name: &str, axes: usize| -> Result<Tensor<f64>, Error> {
            let shape = shape_of(file, name, axes)?;
            if shape.contains(&0) {
                let expected = format_args!("{axes} axes, none of them empty");
                let got = format_args!("shape {shape:?}");
                return Err(Error::shape(format!("tensor {name:?}"), expected, got));
            }
            read_tensor(file, name, shape)
        };
        let (a, b, c) = (of("ssm.A", 2)?, of("ssm.B", 1)?, of("ssm.C", 1)?);
        let d = read_tensor(file, "ssm.D", &[1])?.data()[0];
        let a = Matrix::new(a.shape()[0], a.shape()[1], a.into_data())?;
        let ssm = Dense::new(a, b.into_data(), c.into_data(), d)?;
        let input = of("input", 2)?;
        let states = [input.shape()[0], ssm.state_dim()];
        let initial = file.find("initial_x");
        Ok(Self {
            initial: initial
                .map(|_| read_tensor(file, "initial_x", &states))
                .transpose()?,
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
            StageSpec::new("output", &[batch, time], &["kernel"]),
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

    /// The recurrence on absolute values, which bounds recurrences, scans and powers of `A` in any
    /// order; and the convolution, direct or by FFT.
    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let ssm = self.ssm.map(ErrorScale::from_f64);
        let absolute = |x: ErrorScale| ErrorScale::new(x.value().abs(), x.error());
        let majorant = ssm.map(absolute);
        let pairs = |x: Vec<ErrorScale>, bounds: Vec<ErrorScale>| -> Vec<ErrorScale> {
            let pairs = x.into_iter().zip(bounds);
            pairs
                .map(|(x, bound)| x.with_error(x.error().max(bound.error())))
                .collect()
        };
        let len = self.seq_len();
        let bounds = majorant.kernel(len).into_iter();
        let kernel: Vec<_> = ssm
            .kernel(len)
            .into_iter()
            .zip(bounds)
            .map(|(f, bound)| f.with_error(bound.error()))
            .collect();
        let stages = self.assemble(kernel.clone(), |u, x0| {
            let size = |x: &[ErrorScale]| -> Vec<_> { x.iter().map(|&x| absolute(x)).collect() };
            let by_state = recurrence(&majorant, &size(u), Some(&size(x0)))?;
            let by_kernel = convolution(&ssm, &kernel, u, x0)?;
            Ok(Response {
                output: pairs(by_kernel.output, by_state.output),
                state: pairs(by_kernel.state, by_state.state),
            })
        })?;
        let scale = |(name, stage): (String, Tensor<ErrorScale>)| Scale {
            name,
            uniform: stage.map(ErrorScale::error),
            projections: None,
        };
        Ok(stages.into_iter().map(scale).collect())
    }

    /// There are no projections: a mixed format is that of its models.
    fn judged_in(format: Format) -> Format {
        format.of_models()
    }

    fn underflow_growth(&self) -> f64 {
        let m = self.ssm.state_dim();
        let largest = largest_given(&self.given());
        (self.seq_len() * m * m) as f64 * largest * largest
    }

    fn mistakes(_first: &str) -> Vec<Vec<&'static Row<DenseHook>>> {
        vec![mistakes::ROWS.iter().collect()]
    }

    fn needs_chunks(row: &Row<DenseHook>) -> bool {
        row.hooks
            .iter()
            .any(|hook| matches!(hook, DenseHook::InChunks))
    }

    fn is_causal(_row: &Row<DenseHook>) -> bool {
        false
    }

    fn cost(&self, tokens: usize) -> usize {
        let m = self.ssm.state_dim();
        self.input.shape()[0].saturating_mul(tokens.saturating_mul(tokens / 2 + m * m))
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<DenseHook>],
        setting: Setting,
    ) -> Result<Named<f64>, Error> {
        mistakes::run_with(self, mistakes, setting)
    }
}

/// The dense models of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteCase> {
    [
        ("42-dense", "one model with a dense A", false),
        (
            "43-dense-resumed",
            "one model with a dense A, from a state",
            true,
        ),
    ]
    .map(|(name, stresses, resumed)| {
        SuiteCase::new(name, stresses, move |seed| {
            DenseCase::sample(name, resumed, seed)
        })
    })
    .into()
}
