//! Every form against every other: exactly over the prime field, within derived bounds in floats.

use crate::progress::Progress;
use crate::table::aligned;
use hungry_hippos::algebra::{
    ComplexScalar, F32, F64, M61, Precision, Real, Rng, RootsOfUnity, Rounded, Sample, Scalar,
};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape, LayerState};
use hungry_hippos::ssm::{Dense, Diagonal, Shift, StateSpace};
use hungry_hippos::{Error, Tensor};

/// The longest sequence tried, which the stated soundness bound rests on.
const MAX_LEN: usize = 200;

/// The degree of a layer's outputs as polynomials in its parameters, input and state, beyond the
/// sequence length: `A^(N-1)`, with B, C, the two SSM inputs of degree 4 and 2, q of degree 2 and
/// the output projection.
const EXTRA_DEGREE: usize = 10;

/// Every how many trials floats are run beside the field: their balls take most of the time.
const FLOAT_EVERY: usize = 8;

/// One thing to compute in every form.
enum Model<T: Scalar> {
    Dense(Dense<T>, Vec<T>, Vec<T>),
    Diagonal(Diagonal<T>, Vec<T>, Vec<T::Complex>),
    Shift(Shift<T>, Vec<T>, Vec<T>),
    Layer(Box<Layer<T>>, Tensor<T>, LayerState<T>),
}

/// What is compared of one pair of forms.
#[derive(Clone, Copy, Default)]
struct Pair {
    compared: usize,
    equal: usize,
    f64: f64,
    f32: f64,
}

pub(super) struct Forms {
    names: Vec<String>,
    pairs: Vec<Pair>,
    trials: usize,
    float_comparisons: usize,
    outside_bound: usize,
    bound_used: [f64; 2],
}

pub(super) fn run(seed: u64, trials: usize, progress: &mut Progress) -> Result<Forms, Error> {
    let names: Vec<String> = forms(1, &mut Rng::new(0))
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut forms = Forms {
        pairs: vec![Pair::default(); names.len() * names.len()],
        names,
        trials,
        float_comparisons: 0,
        outside_bound: 0,
        bound_used: [0.0; 2],
    };
    for trial in 0..trials {
        let rng = &mut Rng::new(seed.wrapping_add((trial as u64) << 32));
        for kind in 0..4 {
            forms.exact_trial(&sample::<M61>(kind, rng)?, rng)?;
            if trial % FLOAT_EVERY != 0 {
                continue;
            }
            let model = sample::<f64>(kind, rng)?;
            let deviations = forms.float_trial::<f64, F64>(&model, 0, rng)?;
            forms.record(&deviations, |pair| &mut pair.f64);
            let model = sample::<f32>(kind, rng)?;
            let deviations = forms.float_trial::<f32, F32>(&model, 1, rng)?;
            forms.record(&deviations, |pair| &mut pair.f32);
        }
        progress.step();
    }
    Ok(forms)
}

/// All forms, with a random chunking of a sequence of `len`.
fn forms(len: usize, rng: &mut Rng) -> Vec<Form> {
    let mut chunks = Vec::new();
    let mut rest = len;
    while rest > 0 {
        let chunk = (1 + rng.below(40)).min(rest);
        chunks.push(chunk);
        rest -= chunk;
    }
    Form::all([Chunking::Ragged(chunks)])
}

/// A random model: dense, diagonal, shift, or a whole layer.
fn sample<T: Sample>(kind: usize, rng: &mut Rng) -> Result<Model<T>, Error> {
    let (len, m) = (1 + rng.below(MAX_LEN), 1 + rng.below(16));
    let mut vector = |n: usize| -> Vec<T> { (0..n).map(|_| T::sample(rng)).collect() };
    let (u, x0) = (vector(len), vector(m));
    Ok(match kind {
        0 => Model::Dense(Dense::sample(m, rng), u, x0),
        1 => Model::Shift(Shift::sample(m, rng), u, x0),
        2 => {
            let x0 = (0..m).map(|_| T::sample_complex(rng)).collect();
            Model::Diagonal(Diagonal::sample(m, rng), u, x0)
        }
        _ => {
            let head_dim = [1, 2, 4][rng.below(3)];
            let shape = LayerShape {
                n_heads: 1 + rng.below(3),
                head_dim,
                d_state: m,
                l_max: None,
                head_order: [HeadOrder::D2H, HeadOrder::HD2][rng.below(2)],
            };
            // d_h^2 models a head: the longest sequences are left to the smaller heads.
            let len = 1 + rng.below(MAX_LEN / (head_dim * head_dim));
            let layer = Layer::sample(shape, rng)?;
            let u = layer.sample_input(1 + rng.below(2), len, rng);
            let state = layer.sample_state(u.shape()[0], 3, rng);
            Model::Layer(Box::new(layer), u, state)
        }
    })
}

impl<T: Scalar> Model<T> {
    fn len(&self) -> usize {
        match self {
            Self::Dense(_, u, _) | Self::Diagonal(_, u, _) | Self::Shift(_, u, _) => u.len(),
            Self::Layer(_, u, _) => u.shape()[1],
        }
    }

    fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Model<U> {
        let vector = |x: &[T]| x.iter().map(|&x| f(x)).collect();
        match self {
            Self::Dense(ssm, u, x0) => Model::Dense(ssm.map(&f), vector(u), vector(x0)),
            Self::Shift(ssm, u, x0) => Model::Shift(ssm.map(&f), vector(u), vector(x0)),
            Self::Diagonal(ssm, u, x0) => {
                let x0 = x0
                    .iter()
                    .map(|z| U::Complex::from_parts(f(z.re()), f(z.im())))
                    .collect();
                Model::Diagonal(ssm.map(&f), vector(u), x0)
            }
            Self::Layer(layer, u, state) => {
                Model::Layer(Box::new(layer.map(&f)), u.map(&f), state.map(&f))
            }
        }
    }

    /// Outputs and final state in one form, as one list of base scalars; `None` where the form
    /// is not one of this model.
    fn run(&self, form: &Form) -> Result<Option<Vec<T>>, Error>
    where
        T::Complex: RootsOfUnity,
    {
        if *form == Form::Attention && !matches!(self, Self::Layer(..)) {
            return Ok(None);
        }
        fn real<S>(
            form: &Form,
            ssm: &S,
            u: &[S::Scalar],
            x0: &[S::Scalar],
        ) -> Result<Vec<S::Scalar>, Error>
        where
            S: StateSpace<Element = <S as StateSpace>::Scalar>,
            <S::Scalar as Scalar>::Complex: RootsOfUnity,
        {
            let response = form.respond(ssm, u, Some(x0))?;
            Ok([response.output, response.state].concat())
        }
        Ok(Some(match self {
            Self::Dense(ssm, u, x0) => real(form, ssm, u, x0)?,
            Self::Shift(ssm, u, x0) => real(form, ssm, u, x0)?,
            Self::Diagonal(ssm, u, x0) => {
                let response = form.respond(ssm, u, Some(x0))?;
                let mut all = response.output;
                all.extend(response.state.iter().flat_map(|z| [z.re(), z.im()]));
                all
            }
            Self::Layer(layer, u, state) => {
                let stages = layer.forward(form, u, Some(state))?;
                let mut all = stages.output.into_data();
                all.extend_from_slice(stages.state.shift.data());
                all.extend(
                    stages
                        .state
                        .diagonal
                        .data()
                        .iter()
                        .flat_map(|z| [z.re(), z.im()]),
                );
                all
            }
        }))
    }
}

impl Forms {
    fn exact_trial(&mut self, model: &Model<M61>, rng: &mut Rng) -> Result<(), Error> {
        let results = forms(model.len(), rng)
            .iter()
            .map(|form| model.run(form))
            .collect::<Result<Vec<_>, _>>()?;
        for (i, j, a, b) in both(&results) {
            let pair = &mut self.pairs[i * self.names.len() + j];
            pair.compared += 1;
            pair.equal += usize::from(a == b);
        }
        Ok(())
    }

    /// Runs every form in `T` and holds it to the bound that the same form yields on balls of
    /// that precision. Returns the pairs' largest deviations, relative to the largest result.
    fn float_trial<T, P>(
        &mut self,
        model: &Model<T>,
        precision: usize,
        rng: &mut Rng,
    ) -> Result<Vec<(usize, usize, f64)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
        P: Precision,
        Rounded<P>: Real,
        <Rounded<P> as Scalar>::Complex: RootsOfUnity,
    {
        let forms = forms(model.len(), rng);
        let balls = model.map(|x| Rounded::<P>::from_f64(x.to_f64()));
        let mut results = Vec::new();
        for form in &forms {
            let result: Option<Vec<f64>> = model
                .run(form)?
                .map(|result| result.into_iter().map(T::to_f64).collect());
            let bounds = balls.run(form)?;
            for (&x, ball) in result.iter().flatten().zip(bounds.iter().flatten()) {
                self.float_comparisons += 1;
                let ball = ball.ball();
                if !ball.contains(x) {
                    self.outside_bound += 1;
                } else if ball.radius() > 0.0 {
                    // The midpoint is the exact result up to 2^-100 or so; its two words are
                    // subtracted one by one, since x cancels against the first.
                    let [high, low] = ball.midpoint();
                    let used = ((x - high) - low).abs() / ball.radius();
                    self.bound_used[precision] = self.bound_used[precision].max(used);
                }
            }
            results.push(result);
        }
        let scale = results
            .iter()
            .flatten()
            .flatten()
            .fold(f64::MIN_POSITIVE, |scale, &x| scale.max(x.abs()));
        Ok(both(&results)
            .map(|(i, j, a, b)| {
                let worst = a.iter().zip(b).map(|(&a, &b)| (a - b).abs());
                (i, j, worst.fold(0.0, f64::max) / scale)
            })
            .collect())
    }

    fn record(&mut self, deviations: &[(usize, usize, f64)], of: impl Fn(&mut Pair) -> &mut f64) {
        for &(i, j, deviation) in deviations {
            let worst = of(&mut self.pairs[i * self.names.len() + j]);
            *worst = worst.max(deviation);
        }
    }

    pub(super) fn exact_comparisons(&self) -> usize {
        self.pairs.iter().map(|pair| pair.compared).sum()
    }

    pub(super) fn float_comparisons(&self) -> usize {
        self.float_comparisons
    }

    pub(super) fn failures(&self) -> usize {
        let unequal = |pair: &Pair| pair.compared - pair.equal;
        self.pairs.iter().map(unequal).sum::<usize>() + self.outside_bound
    }

    pub(super) fn text(&self) -> String {
        let mut rows = vec![
            ["forms", "over M61", "f64", "f32"]
                .map(String::from)
                .to_vec(),
        ];
        for (i, a) in self.names.iter().enumerate() {
            for (j, b) in self.names.iter().enumerate().skip(i + 1) {
                let pair = self.pairs[i * self.names.len() + j];
                let verdict = if pair.equal == pair.compared {
                    "equal"
                } else {
                    "DIFFERENT"
                };
                rows.push(vec![
                    format!("{a} = {b}"),
                    format!("{verdict} {}/{}", pair.equal, pair.compared),
                    format!("{:.1e}", pair.f64),
                    format!("{:.1e}", pair.f32),
                ]);
            }
        }
        let degree = MAX_LEN + EXTRA_DEGREE;
        let per_trial = degree as f64 / M61::MODULUS as f64;
        let [f64_used, f32_used] = self.bound_used.map(|used| 100.0 * used);
        format!(
            "every form of dense, diagonal and shift models and of the whole layer, outputs and final\n\
             states, {} random trials each: parameters, lengths 1 to {MAX_LEN}, initial states, chunks\n{}\
             over M61 (integers modulo 2^61 - 1) equality is exact. Outputs are polynomials of degree at\n\
             most {degree}, so one random trial misses a wrong identity with probability at most {per_trial:.1e}.\n\
             f64, f32: the largest deviation of the pair in {} trials, relative to the largest result.\n\
             Bounds derived by ball arithmetic: {} results, {} outside; at most {f64_used:.0} % (f64) and\n\
             {f32_used:.0} % (f32) used.\n",
            self.trials,
            aligned(&rows, true),
            self.trials.div_ceil(FLOAT_EVERY),
            self.float_comparisons,
            self.outside_bound,
        )
    }
}

/// All pairs of results that are there.
fn both<T>(results: &[Option<Vec<T>>]) -> impl Iterator<Item = (usize, usize, &Vec<T>, &Vec<T>)> {
    results.iter().enumerate().flat_map(move |(i, a)| {
        results
            .iter()
            .enumerate()
            .skip(i + 1)
            .filter_map(move |(j, b)| Some((i, j, a.as_ref()?, b.as_ref()?)))
    })
}
