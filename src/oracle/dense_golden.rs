//! Golden files of one dense state space model: what a layer has not, and its theory begins with.

use super::case::{check_finite, metadata};
use super::certified::{Computation, certify};
use super::check::{
    Candidate, Diagnosis, Report, Suspect, compare, describe, reproduces, same_values,
};
use super::format::Format;
use super::golden::{GOLDEN, GoldenStage, SCALE, Scales, add_stages, up_to_f32};
use super::mutants::Mutant;
use super::parallel;
use super::suite::{held, random_numbers};
use super::tolerance::convolution;
use crate::algebra::{ErrorScale, Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::flashconv::{Chunking, Convention, MatrixSet};
use crate::safetensors::{Dtype, SafeTensors, TensorFile, Writer};
use crate::ssm::{Dense, StateSpace, causal_convolution, recurrence};
use crate::tensor::Tensor;
use std::path::Path;

/// The metadata `kind` of such a file.
const KIND: &str = "dense-ssm";

/// One dense model `x_i = A x_{i-1} + B u_i`, `y_i = C x_i + D u_i` with its inputs, and its certified
/// stages: `kernel` (seq_len), `output` (batch, seq_len) and `final_x` (batch, m).
///
/// Files hold `ssm.A` (m, m), `ssm.B`, `ssm.C` (m), `ssm.D` (1), `input` (batch, seq_len), the state before
/// the first input as `initial_x` (batch, m) if there is one, and metadata `kind` = `dense-ssm`.
#[derive(Debug)]
pub struct DenseGolden {
    ssm: Dense<f64>,
    input: Tensor<f64>,
    initial: Option<Tensor<f64>>,
    stages: Vec<GoldenStage>,
    scales: Scales,
}

/// The stages of one run.
type Stages<T> = Vec<(String, Tensor<T>)>;

impl DenseGolden {
    /// Whether a file holds one dense model, by its metadata.
    #[must_use]
    pub fn is_in(file: &TensorFile) -> bool {
        file.metadata().get("kind").is_some_and(|kind| kind == KIND)
    }

    /// Reads a golden file; a plain one is certified first.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = SafeTensors::open(path)?;
        Self::from_file(&file).map_err(|e| e.in_file(path.display().to_string()))
    }

    fn from_file(file: &SafeTensors) -> Result<Self, Error> {
        let kind = metadata(file.metadata(), "kind")?;
        if kind != KIND {
            let why = format!("{kind:?} is not known; expected {KIND:?}");
            return Err(Error::value("metadata kind", why));
        }
        let of = |name: &str, axes: usize| -> Result<Tensor<f64>, Error> {
            let view = file.tensor(name)?;
            if view.shape.len() != axes || view.shape.contains(&0) {
                let found = format_args!("{:?}", view.shape).to_string();
                return Err(Error::shape(
                    format!("tensor {name:?}"),
                    format_args!("{axes} axes, none of them empty"),
                    found,
                ));
            }
            let data = view.to_f64()?;
            check_finite(name, &data)?;
            Tensor::new(view.shape, data)
        };
        let (a, b, c, d) = (
            of("ssm.A", 2)?,
            of("ssm.B", 1)?,
            of("ssm.C", 1)?,
            of("ssm.D", 1)?,
        );
        let (&[rows, cols], &[one]) = (a.shape(), d.shape()) else {
            return Err(Error::shape("ssm.A", "two axes", a.shape().len()));
        };
        if one != 1 {
            return Err(Error::shape("tensor \"ssm.D\"", "one number", one));
        }
        let feedthrough = d.data()[0];
        let a = Matrix::new(rows, cols, a.into_data())?;
        let ssm = Dense::new(a, b.into_data(), c.into_data(), feedthrough)?;
        let input = of("input", 2)?;
        let initial = match file.get("initial_x") {
            None => None,
            Some(_) => Some(of("initial_x", 2)?),
        };
        if let Some(x) = &initial {
            let expected = [input.shape()[0], ssm.state_dim()];
            if x.shape() != expected {
                return Err(Error::shape(
                    "tensor \"initial_x\"",
                    format_args!("shape {expected:?}"),
                    format_args!("{:?}", x.shape()),
                ));
            }
        }
        let golden = Self::certify(ssm, input, initial)?;
        match file.metadata().get("golden") {
            None => Ok(golden),
            Some(version) if version == GOLDEN => golden.with_stored(file),
            Some(version) => Err(Error::value(
                "metadata golden",
                format!("{version:?} is not a version this program reads; expected {GOLDEN:?}"),
            )),
        }
    }

    /// The stages and scales a golden file holds, in the place of those made here.
    fn with_stored(mut self, file: &SafeTensors) -> Result<Self, Error> {
        for stage in &mut self.stages {
            for (name, place) in [
                (stage.name.clone(), &mut stage.values),
                (format!("{SCALE}{}", stage.name), &mut stage.scale),
            ] {
                let view = file.tensor(&name)?;
                if view.shape != place.shape() {
                    return Err(Error::shape(
                        format!("tensor {name:?}"),
                        format_args!("shape {:?}", place.shape()),
                        format_args!("{:?}", view.shape),
                    ));
                }
                let data = view.to_f64()?;
                check_finite(&name, &data)?;
                *place = Tensor::new(view.shape, data)?;
            }
            if let Some(at) = stage.scale.data().iter().position(|scale| *scale < 0.0) {
                return Err(Error::value(
                    format!("tensor \"{SCALE}{}\"", stage.name),
                    format!("element {at} is negative; expected an error scale, from 0"),
                ));
            }
        }
        Ok(self)
    }

    /// Certifies every stage of a model run over inputs (batch, seq_len) from states (batch, m), zeros if
    /// there are none, and derives their error scales.
    ///
    /// # Errors
    ///
    /// If a shape disagrees or four words do not decide the rounding of some element.
    pub fn certify(
        ssm: Dense<f64>,
        input: Tensor<f64>,
        initial: Option<Tensor<f64>>,
    ) -> Result<Self, Error> {
        let mut golden = Self {
            ssm,
            input,
            initial,
            stages: Vec::new(),
            scales: Vec::new(),
        };
        let (certified, scales) = parallel::both(|| certify(&golden), || golden.error_scales());
        let (certified, scales) = (certified?, scales?);
        golden.stages = certified
            .stages
            .into_iter()
            .zip(&scales)
            .map(|(stage, (_, scale))| GoldenStage {
                name: stage.name,
                values: stage.values,
                scale: scale.map(|scale| up_to_f32(scale.worst)),
            })
            .collect();
        golden.scales = scales;
        Ok(golden)
    }

    /// The same model and inputs, certified whatever a file held beside them.
    ///
    /// # Errors
    ///
    /// As [`certify`](Self::certify).
    pub fn certified_anew(self) -> Result<Self, Error> {
        Self::certify(self.ssm, self.input, self.initial)
    }

    /// The stages: `kernel`, `output`, `final_x`.
    #[must_use]
    pub fn stages(&self) -> &[GoldenStage] {
        &self.stages
    }

    /// The golden file.
    ///
    /// # Errors
    ///
    /// Never for a model that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        let mut writer = Writer::new();
        writer.metadata("kind", KIND)?;
        writer.metadata("golden", GOLDEN)?;
        for (name, shape, values) in self.given() {
            writer.add(name, Dtype::F64, &shape, &values)?;
        }
        add_stages(&mut writer, &self.stages)?;
        Ok(writer)
    }

    /// What a file gives: the model, its inputs and the states before them.
    fn given(&self) -> Vec<(&'static str, Vec<usize>, Vec<f64>)> {
        let m = self.ssm.state_dim();
        let mut given = vec![
            ("ssm.A", vec![m, m], self.ssm.a.entries().to_vec()),
            ("ssm.B", vec![m], self.ssm.b.clone()),
            ("ssm.C", vec![m], self.ssm.c.clone()),
            ("ssm.D", vec![1], vec![self.ssm.d]),
            (
                "input",
                self.input.shape().to_vec(),
                self.input.data().to_vec(),
            ),
        ];
        if let Some(x) = &self.initial {
            given.push(("initial_x", x.shape().to_vec(), x.data().to_vec()));
        }
        given
    }

    /// The inputs of every sequence and the state before them, in any scalars.
    fn sequences<T: Real>(&self) -> Vec<(Vec<T>, Vec<T>)> {
        let (len, m) = (self.input.shape()[1], self.ssm.state_dim());
        let number = |x: &f64| T::from_f64(*x);
        let inputs = self.input.data().chunks(len).enumerate();
        inputs
            .map(|(b, u)| {
                let x0 = match &self.initial {
                    Some(x) => x.data()[b * m..(b + 1) * m].iter().map(number).collect(),
                    None => vec![T::ZERO; m],
                };
                (u.iter().map(number).collect(), x0)
            })
            .collect()
    }

    /// Stages from a kernel and from what is made of every sequence: its outputs and final state.
    fn assemble<T: Real>(
        &self,
        kernel: Vec<T>,
        run: impl Fn(&[T], &[T]) -> Result<(Vec<T>, Vec<T>), Error>,
    ) -> Result<Stages<T>, Error> {
        let (batch, len) = (self.input.shape()[0], self.input.shape()[1]);
        let (mut output, mut state) = (Vec::new(), Vec::new());
        for (u, x0) in self.sequences::<T>() {
            let (y, x) = run(&u, &x0)?;
            output.extend(y);
            state.extend(x);
        }
        let m = self.ssm.state_dim();
        Ok(vec![
            ("kernel".into(), Tensor::new([len], kernel)?),
            ("output".into(), Tensor::new([batch, len], output)?),
            ("final_x".into(), Tensor::new([batch, m], state)?),
        ])
    }

    /// What any right way may be off by: the recurrence on absolute values, which bounds recurrences, scans
    /// and powers of `A` in any order; and the convolution, direct or by FFT.
    fn error_scales(&self) -> Result<Scales, Error> {
        let ssm = self.ssm.map(ErrorScale::from_f64);
        let absolute = |x: ErrorScale| ErrorScale::new(x.value().abs(), x.error());
        let majorant = ssm.map(absolute);
        let len = self.input.shape()[1];
        let kernel: Vec<_> = ssm
            .kernel(len)
            .into_iter()
            .zip(majorant.kernel(len))
            .collect();
        let kernel: Vec<_> = kernel
            .into_iter()
            .map(|(f, bound)| f.with_error(bound.error()))
            .collect();
        let stages = self.assemble(kernel.clone(), |u, x0| {
            let size = |x: &[ErrorScale]| -> Vec<_> { x.iter().map(|&x| absolute(x)).collect() };
            let by_state = recurrence(&majorant, &size(u), Some(&size(x0)))?;
            let by_kernel = convolution(&ssm, &kernel, u, x0)?;
            let larger = |x: &[ErrorScale], bounds: &[ErrorScale]| -> Vec<_> {
                let pairs = x.iter().zip(bounds);
                pairs
                    .map(|(x, bound)| x.with_error(x.error().max(bound.error())))
                    .collect()
            };
            Ok((
                larger(&by_kernel.output, &by_state.output),
                larger(&by_kernel.state, &by_state.state),
            ))
        })?;
        let errors = stages.into_iter();
        Ok(errors
            .map(|(name, stage)| (name, stage.map(ErrorScale::error)))
            .collect())
    }

    /// The mistakes of the catalogue that a lone model can have, with the stages they make.
    fn mistakes(&self) -> Result<Vec<(Mutant, Stages<f64>)>, Error> {
        let (ssm, len) = (&self.ssm, self.input.shape()[1]);
        let right = |u: &[f64], x0: &[f64]| {
            let response = recurrence(ssm, u, Some(x0))?;
            Ok::<_, Error>((response.output, response.state))
        };
        let kernel = ssm.kernel(len);
        let output = |output: Vec<f64>, u: &[f64], x0: &[f64]| {
            right(u, x0).map(|(_, state)| (output, state))
        };
        let with = |f: &[f64], u: &[f64]| -> Vec<f64> {
            let pairs = causal_convolution(f, u).into_iter().zip(u);
            pairs.map(|(y, u)| y + ssm.feedthrough() * u).collect()
        };
        let mut delayed = kernel.clone();
        delayed.insert(0, 0.0);
        delayed.truncate(len);
        let mut found = vec![
            (
                Mutant::NoD,
                self.assemble(kernel.clone(), |u, x0| {
                    let (y, state) = right(u, x0)?;
                    let pairs = y.into_iter().zip(u);
                    Ok((
                        pairs.map(|(y, u)| y - ssm.feedthrough() * u).collect(),
                        state,
                    ))
                })?,
            ),
            (
                Mutant::KernelDelay,
                self.assemble(delayed, |u, x0| {
                    output(Convention::ReadsBefore.recurrence(ssm, u, Some(x0))?, u, x0)
                })?,
            ),
            (
                Mutant::InitialStateIgnored,
                self.assemble(kernel.clone(), |u, x0| right(u, &vec![0.0; x0.len()]))?,
            ),
            (
                Mutant::CircularFftLong,
                self.assemble(kernel.clone(), |u, x0| {
                    let wrapped: Vec<f64> = u.iter().chain(u).copied().collect();
                    output(with(&kernel, &wrapped).split_off(len), u, x0)
                })?,
            ),
        ];
        // In one chunk too: a state that was given can be read early.
        let chunks = [len, len / 2, len / 3, len / 4, 4, 8, 16, 32, 64, 128];
        let chunks = chunks.into_iter().filter(|&t| t > 0 && t <= len);
        for chunk in chunks {
            let chunking = Chunking::Uniform(chunk);
            let early = self.assemble(kernel.clone(), |u, x0| {
                output(
                    MatrixSet::EarlyRows.outputs(ssm, u, Some(x0), &chunking)?,
                    u,
                    x0,
                )
            })?;
            let dropped = self.assemble(kernel.clone(), |u, x0| {
                let parts = u.chunks(chunk).enumerate();
                let zero = vec![0.0; x0.len()];
                let parts = parts.map(|(c, u)| Ok(right(u, if c == 0 { x0 } else { &zero })?.0));
                output(parts.collect::<Result<Vec<_>, Error>>()?.concat(), u, x0)
            })?;
            found.extend([
                (Mutant::MxyOneEarly, early),
                (Mutant::CarryDropped, dropped),
            ]);
        }
        Ok(found)
    }
}

impl Computation for DenseGolden {
    fn form(&self) -> String {
        "recurrence".into()
    }

    fn stages<T>(&self) -> Result<Stages<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let ssm = self.ssm.map(T::from_f64);
        self.assemble(ssm.kernel(self.input.shape()[1]), |u, x0| {
            let response = recurrence(&ssm, u, Some(x0))?;
            Ok((response.output, response.state))
        })
    }
}

impl Candidate {
    /// Reads a candidate's stages of one dense model, as [`read`](Self::read) does a layer's.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_dense(file: &SafeTensors, golden: &DenseGolden) -> Result<Self, Error> {
        for (name, shape, values) in golden.given() {
            if let Some(theirs) = file.get(name) {
                same_values(&theirs, &shape, &values)?;
            }
        }
        Self::of_stages(file, golden.stages())
    }
}

/// Checks a candidate's stages of one dense model against a golden file at a format, as
/// [`check`](super::check()) does a layer's.
///
/// # Errors
///
/// If a known mistake cannot be computed for comparison.
pub fn check_dense(
    golden: &DenseGolden,
    candidate: &Candidate,
    format: Format,
) -> Result<Report, Error> {
    let (len, m) = (golden.input.shape()[1], golden.ssm.state_dim());
    let given = golden.given();
    let values = given.iter().flat_map(|(_, _, values)| values);
    let largest = values.fold(1.0, |largest: f64, x| largest.max(x.abs()));
    let underflow = format.underflow() * (len * m * m) as f64 * largest * largest;
    // There are no projections: a mixed format is that of its models.
    let (compared, stages) = compare(
        &golden.stages,
        candidate,
        format.of_models(),
        &golden.scales,
        underflow,
    );
    let diagnosis = match stages.iter().position(|stage| !stage.pass) {
        None => None,
        Some(first) => {
            let mut suspects: Vec<Suspect> = Vec::new();
            for (mutant, stages) in golden.mistakes()? {
                if let Some(worst) = reproduces(&compared, &stages)
                    && !suspects.iter().any(|known| known.mutants == [mutant])
                {
                    suspects.push(Suspect {
                        mutants: vec![mutant],
                        gradient: None,
                        model: None,
                        worst,
                    });
                }
            }
            suspects.sort_by(|a, b| a.worst.total_cmp(&b.worst));
            Some(Diagnosis {
                first_stage: compared[first].name.to_string(),
                pattern: describe(&compared[first]),
                suspects,
                pairs_tried: true,
            })
        }
    };
    Ok(Report {
        format,
        stages,
        diagnosis,
    })
}

/// One dense model of the suite.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenseSuiteCase {
    /// The file's name without its ending.
    pub name: &'static str,
    /// Why the case is there.
    pub stresses: &'static str,
    resumed: bool,
}

/// The dense models of the suite, in order.
#[must_use]
pub fn dense_suite() -> Vec<DenseSuiteCase> {
    vec![
        DenseSuiteCase {
            name: "42-dense",
            stresses: "one model with a dense A",
            resumed: false,
        },
        DenseSuiteCase {
            name: "43-dense-resumed",
            stresses: "one model with a dense A, from a state",
            resumed: true,
        },
    ]
}

impl DenseSuiteCase {
    /// The golden file this case is, from a seed.
    ///
    /// # Errors
    ///
    /// Never for the cases of [`dense_suite`].
    pub fn certify(&self, seed: u64) -> Result<DenseGolden, Error> {
        let (m, batch, len) = (5, 2, 29);
        let rng = &mut random_numbers(self.name, seed);
        // Entries small enough that powers of A fade.
        let a: Vec<f64> = (0..m * m).map(|_| held(0.36 * rng.unit())).collect();
        let mut numbers = |count: usize, size: f64| {
            (0..count)
                .map(|_| held(size * rng.unit()))
                .collect::<Vec<_>>()
        };
        let (b, c) = (numbers(m, 1.0), numbers(m, 1.0));
        let d = numbers(1, 1.0)[0];
        let ssm = Dense::new(Matrix::new(m, m, a)?, b, c, d)?;
        let input = Tensor::new([batch, len], numbers(batch * len, 1.5))?;
        let initial = match self.resumed {
            true => Some(Tensor::new([batch, m], numbers(batch * m, 1.0))?),
            false => None,
        };
        DenseGolden::certify(ssm, input, initial)
    }
}
