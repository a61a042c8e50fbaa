//! The models that are run in every form: a single state space model of each structure, and the layer.

use crate::algebra::{ComplexScalar, Rng, RootsOfUnity, Sample, Scalar, real_and_imaginary};
use crate::error::Error;
use crate::h3::{Form, HeadOrder, Layer, LayerShape, LayerState};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Dense, Diagonal, Shift, StateSpace};
use crate::tensor::Tensor;

/// The structure of the model that is drawn.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Dense,
    Shift,
    Diagonal,
    Layer,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Dense, Self::Shift, Self::Diagonal, Self::Layer];
}

/// A model, its input and its initial state.
pub(super) enum Model<T: Scalar> {
    Dense(Dense<T>, Vec<T>, Vec<T>),
    Diagonal(Diagonal<T>, Vec<T>, Vec<T::Complex>),
    Shift(Shift<T>, Vec<T>, Vec<T>),
    Layer(Box<Layer<T>>, Tensor<T>, LayerState<T>),
}

/// A random model with an input of at most `longest` steps and an initial state.
pub(super) fn sample<T: Sample>(
    kind: Kind,
    longest: usize,
    rng: &mut Rng,
) -> Result<Model<T>, Error> {
    let (len, m) = (1 + rng.below(longest), 1 + rng.below(16));
    let mut vector = |n: usize| -> Vec<T> { (0..n).map(|_| T::sample(rng)).into_vec() };
    let (u, x0) = (vector(len), vector(m));
    Ok(match kind {
        Kind::Dense => Model::Dense(Dense::sample(m, rng), u, x0),
        Kind::Shift => Model::Shift(Shift::sample(m, rng), u, x0),
        Kind::Diagonal => {
            let x0 = (0..m).map(|_| T::sample_complex(rng)).into_vec();
            Model::Diagonal(Diagonal::sample(m, rng), u, x0)
        }
        Kind::Layer => {
            let head_dim = [1, 2, 4][rng.below(3)];
            let shape = LayerShape {
                n_heads: 1 + rng.below(3),
                head_dim,
                d_state: m,
                l_max: None,
                head_order: [HeadOrder::D2H, HeadOrder::HD2][rng.below(2)],
            };
            // d_h^2 models per head: the longest sequences are left to the smaller heads.
            let len = 1 + rng.below(longest / (head_dim * head_dim));
            let layer = Layer::sample(shape, rng)?;
            let u = layer.sample_input(1 + rng.below(2), len, rng);
            let state = layer.sample_state(u.shape()[0], 3, rng);
            Model::Layer(Box::new(layer), u, state)
        }
    })
}

impl<T: Scalar> Model<T> {
    /// The length of the input.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Dense(_, u, _) | Self::Diagonal(_, u, _) | Self::Shift(_, u, _) => u.len(),
            Self::Layer(_, u, _) => u.shape()[1],
        }
    }

    /// The same model, input and state in other scalars.
    pub(super) fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Model<U> {
        let vector = |x: &[T]| x.iter().map(|&x| f(x)).into_vec();
        match self {
            Self::Dense(ssm, u, x0) => Model::Dense(ssm.map(&f), vector(u), vector(x0)),
            Self::Shift(ssm, u, x0) => Model::Shift(ssm.map(&f), vector(u), vector(x0)),
            Self::Diagonal(ssm, u, x0) => {
                let x0 = x0
                    .iter()
                    .map(|z| U::Complex::from_parts(f(z.re()), f(z.im())))
                    .into_vec();
                Model::Diagonal(ssm.map(&f), vector(u), x0)
            }
            Self::Layer(layer, u, state) => {
                Model::Layer(Box::new(layer.map(&f)), u.map(&f), state.map(&f))
            }
        }
    }

    /// Outputs and final state in one form, as one list of base scalars; `None` if the model has
    /// no such form.
    pub(super) fn run(&self, form: &Form) -> Result<Option<Vec<T>>, Error>
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
                all.extend(real_and_imaginary(&response.state));
                all
            }
            Self::Layer(layer, u, state) => {
                let stages = layer.forward(form, u, Some(state))?;
                let mut all = stages.output.into_data();
                all.extend_from_slice(stages.state.shift.data());
                all.extend(real_and_imaginary(stages.state.diagonal.data()));
                all
            }
        }))
    }
}
