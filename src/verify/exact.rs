//! Forms that only add and multiply, on layers on which nothing rounds: equal in every bit, in every
//! format that holds them.

use super::trials::outcomes;
use crate::algebra::{
    Chosen, Demand, Emulated, FloatFormat, Grid, Real, Ring, Rng, RootsOfUnity, Scalar, in_format,
};
use crate::error::Error;
use crate::flashconv::{Blocks, Chunking, pass_states};
use crate::h3::{Config, HeadOrder, ModelForm, Plain, RealType, Stages, documents_of};
use crate::into_vec::IntoVec as _;
use crate::oracle::{ExactLayer, LayerCase};
use crate::ssm::{
    Discretization, Response, StateSpace, causal_convolution, finish_convolution, recurrence, scan,
    toeplitz_matrix,
};

/// Sizes tried beyond the first: some have no layer that is exact in bfloat16.
const MORE_SIZES: usize = 20;

/// The comparisons in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExactFormat {
    /// The format.
    pub format: FloatFormat,
    /// Numbers of all stages in all forms.
    pub compared: usize,
    /// Those that are the exact ones.
    pub equal: usize,
}

/// Forms that only add and multiply, compared on exact layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExactReport {
    /// Layers.
    pub layers: usize,
    /// Formats, from the finest.
    pub formats: Vec<ExactFormat>,
}

impl ExactReport {
    /// The number of comparisons.
    #[must_use]
    pub fn comparisons(&self) -> usize {
        self.formats.iter().map(|format| format.compared).sum()
    }

    /// Numbers that are not the exact ones.
    #[must_use]
    pub fn failures(&self) -> usize {
        let of = |format: &ExactFormat| format.compared - format.equal;
        self.formats.iter().map(of).sum()
    }
}

/// Runs random layers on which nothing rounds in a format by recurrence, scan, Toeplitz matrices,
/// convolution, quadratic form, in chunks and in random orders of summation, in `f64`, `f32` and with
/// every operation rounded to f16 and to bf16, and compares every stage with the exact one.
///
/// # Errors
///
/// If no exact layer is found, or a form refuses one, which none should.
pub fn exact(seed: u64, trials: usize) -> Result<ExactReport, Error> {
    let formats = [
        FloatFormat::F64,
        FloatFormat::F32,
        FloatFormat::F16,
        FloatFormat::BF16,
    ];
    let mut report = ExactReport {
        layers: 2 * trials,
        formats: formats
            .map(|format| ExactFormat {
                format,
                compared: 0,
                equal: 0,
            })
            .into(),
    };
    let found = outcomes(report.layers, |trial| {
        let rng = &mut Rng::new(seed.wrapping_add((trial as u64) << 32));
        let narrowest = [FloatFormat::BF16, FloatFormat::F16][trial % 2];
        let sample = Sample::found(narrowest, rng)?;
        let outcome = |format| match format {
            format if !sample.demand.is_met_by(format) => Ok((0, 0)),
            FloatFormat::F64 => sample.compare::<f64>(rng),
            FloatFormat::F32 => sample.compare::<f32>(rng),
            narrow => in_format(narrow, || sample.compare::<Emulated<Chosen>>(rng)),
        };
        formats
            .into_iter()
            .map(outcome)
            .collect::<Result<Vec<_>, _>>()
    })?;
    for found in found {
        for (of_format, (compared, equal)) in report.formats.iter_mut().zip(found) {
            of_format.compared += compared;
            of_format.equal += equal;
        }
    }
    Ok(report)
}

/// An exact layer, its stages and what they ask of a format.
struct Sample {
    case: LayerCase,
    truth: Vec<(&'static str, Vec<f64>)>,
    demand: Demand,
}

impl Sample {
    /// Sizes are drawn until there is an exact layer of them.
    fn found(format: FloatFormat, rng: &mut Rng) -> Result<Self, Error> {
        let mut sample = Self::draw(format, rng);
        for _ in 0..MORE_SIZES {
            if sample.is_ok() {
                break;
            }
            sample = Self::draw(format, rng);
        }
        sample
    }

    fn draw(format: FloatFormat, rng: &mut Rng) -> Result<Self, Error> {
        let (head_dim, n_heads) = ([1, 2, 4][rng.below(3)], 1 + rng.below(3));
        let config = Config {
            d_model: head_dim * n_heads,
            head_dim,
            d_state: 2 + rng.below(7),
            n_ssm: [1, n_heads][rng.below(2)],
            disc: Discretization::Bilinear,
            real_type: RealType::None,
            l_max: None,
            head_order: [HeadOrder::D2H, HeadOrder::HD2][rng.below(2)],
        };
        let mut layer = ExactLayer::new(config, 1 + rng.below(2), 1 + rng.below(24), format);
        layer.position = [None, Some(3)][rng.below(2)];
        let case = layer.find(rng)?;
        let (layer, input, state) = case.in_precision::<Grid>()?;
        let documents = documents_of(&input);
        let state = state.as_ref();
        let stages = layer.forward_by(&Plain::Recurrence, (&input, &documents), state)?;
        let mut demand = Demand::NOTHING;
        let mut truth = Vec::new();
        for (name, numbers) in stages.named() {
            demand = demand.and(Demand::of(numbers.data()));
            truth.push((name, numbers.map(Grid::to_f64).into_data()));
        }
        Ok(Self {
            case,
            truth,
            demand,
        })
    }

    /// The number of values compared in the scalars `T`, and the number of equal ones.
    fn compare<T>(&self, rng: &mut Rng) -> Result<(usize, usize), Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let (layer, input, state) = self.case.in_precision::<T>()?;
        let documents = documents_of(&input);
        let (rows, state) = ((&input, &documents), state.as_ref());
        let mut runs = vec![layer.attention_by(&Sums::Toeplitz, rows, state)?];
        for sums in [
            Sums::Recurrence,
            Sums::Scan,
            Sums::Toeplitz,
            Sums::Convolution,
            Sums::Chunks(Chunking::Uniform(1 + rng.below(input.shape()[1]))),
            Sums::Shuffled(rng.next_u64()),
        ] {
            runs.push(layer.forward_by(&sums, rows, state)?);
        }
        Ok(runs.into_iter().fold((0, 0), |(compared, equal), stages| {
            let (more, right) = self.count(stages);
            (compared + more, equal + right)
        }))
    }

    fn count<T: Real>(&self, stages: Stages<T>) -> (usize, usize) {
        let (mut compared, mut equal) = (0, 0);
        for (name, numbers) in stages.named() {
            let truth = self.truth.iter().find(|(known, _)| *known == name);
            let truth = truth.map_or(&[][..], |(_, truth)| truth);
            compared += numbers.data().len();
            let pairs = numbers.data().iter().zip(truth);
            equal += pairs.filter(|(x, truth)| x.to_f64() == **truth).count();
        }
        (compared, equal)
    }
}

/// Ways to run a model by sums and products alone, which are exact where nothing rounds: transforms are not, and
/// the forms that need them are not compiled for emulated numbers.
enum Sums {
    /// One step at a time.
    Recurrence,
    /// By the associative scan.
    Scan,
    /// By the Toeplitz matrix of the kernel.
    Toeplitz,
    /// By the convolution sum.
    Convolution,
    /// In chunks that pass on a state, by the convolution sum within each: FlashConv without its FFT.
    Chunks(Chunking),
    /// By the convolution sum, the terms of every output added in an order drawn from this seed.
    Shuffled(u64),
}

impl ModelForm for Sums {
    fn respond_by_kernel<S>(
        &self,
        ssm: &S,
        kernel: &[S::Scalar],
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
    ) -> Result<Response<S>, Error>
    where
        S: StateSpace,
        <S::Scalar as Scalar>::Complex: RootsOfUnity,
    {
        let convolved = match self {
            Self::Recurrence => return recurrence(ssm, u, x0),
            Self::Scan => return scan(ssm, u, x0),
            Self::Chunks(chunking) => return pass_states(ssm, &SumBlocks, u, x0, chunking),
            Self::Toeplitz => toeplitz_matrix(kernel, Ring::ZERO, u.len()).apply(u)?,
            Self::Convolution => causal_convolution(kernel, u),
            Self::Shuffled(seed) => {
                let rng = &mut Rng::new(*seed);
                let output = |i: usize| {
                    let used = kernel.iter().take(i + 1).enumerate();
                    let mut terms: Vec<_> = used.map(|(j, &f)| f * u[i - j]).into_vec();
                    let mut sum = S::Scalar::ZERO;
                    while !terms.is_empty() {
                        sum = sum + terms.swap_remove(rng.below(terms.len()));
                    }
                    sum
                };
                (0..u.len()).map(output).into_vec()
            }
        };
        finish_convolution(ssm, convolved, u, x0)
    }
}

/// A model's own blocks, with the convolution sum for the chunk's Toeplitz matrix.
struct SumBlocks;

impl<S: StateSpace> Blocks<S> for SumBlocks {
    fn convolve(&self, ssm: &S, u: &[S::Scalar]) -> Result<Vec<S::Scalar>, Error> {
        Ok(causal_convolution(&ssm.kernel(u.len()), u))
    }
}
