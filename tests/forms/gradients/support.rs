//! Problems as flat vectors of real scalars, so that one text perturbs any entry of any of them.

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{ComplexScalar, Dual, M61, Matrix, Ring, Rng, Sample, Scalar};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerGradients, LayerParts, LayerState, Linear};
use hungry_hippos::h3::{LayerShape, Modes};
use hungry_hippos::ssm::{Adjoint, Dense, Diagonal, Gradients, Shift, StateSpace};

use crate::common::ragged;

/// Reads a flat vector from the front.
pub(crate) struct Flat<'a, T>(pub(crate) &'a [T]);

impl<T: Scalar> Flat<'_, T> {
    pub(crate) fn take(&mut self, n: usize) -> Vec<T> {
        let (front, rest) = self.0.split_at(n);
        self.0 = rest;
        front.to_vec()
    }

    pub(crate) fn one(&mut self) -> T {
        self.take(1)[0]
    }

    pub(crate) fn complex(&mut self, n: usize) -> Vec<T::Complex> {
        self.take(2 * n)
            .chunks_exact(2)
            .map(|z| T::Complex::from_parts(z[0], z[1]))
            .collect()
    }
}

/// Complex numbers as pairs: a cotangent packs its derivatives the same way.
pub(crate) fn pairs<C: ComplexScalar>(z: &[C]) -> Vec<C::Base> {
    z.iter().flat_map(|z| [z.re(), z.im()]).collect()
}

pub(crate) fn dot<T: Ring>(a: &[T], b: &[T]) -> T {
    assert_eq!(a.len(), b.len(), "two vectors of one space");
    a.iter().zip(b).fold(T::ZERO, |sum, (&a, &b)| sum + a * b)
}

pub(crate) fn random<T: Sample>(n: usize, rng: &mut Rng) -> Vec<T> {
    (0..n).map(|_| T::sample(rng)).collect()
}

/// `x + e d`.
pub(crate) fn along<T: Ring>(x: &[T], d: &[T]) -> Vec<Dual<T>> {
    x.iter().zip(d).map(|(&x, &d)| Dual::new(x, d)).collect()
}

pub(crate) fn constant<T: Ring>(x: &[T]) -> Vec<Dual<T>> {
    x.iter().map(|&x| Dual::constant(x)).collect()
}

pub(crate) fn forms(n: usize, rng: &mut Rng) -> Vec<Form> {
    Form::all([
        Chunking::Uniform(1),
        Chunking::Uniform(1 + rng.below(20)),
        Chunking::Uniform(n + 3),
        ragged(n, rng),
    ])
}

/// A structure of the state matrix, for every scalar at once.
pub(crate) trait Structure {
    type Model<T: Scalar>: Adjoint<Scalar = T>;

    /// The real numbers a model of dimension `m` is made of.
    fn size(m: usize) -> usize;
    /// The real numbers a state is made of.
    fn state_size(m: usize) -> usize;
    fn build<T: Scalar>(m: usize, flat: &[T]) -> Self::Model<T>;
    fn flatten<T: Scalar>(model: &Self::Model<T>) -> Vec<T>;
    fn state<T: Scalar>(flat: &[T]) -> Vec<<Self::Model<T> as StateSpace>::Element>;
    fn flat_state<T: Scalar>(x: &[<Self::Model<T> as StateSpace>::Element]) -> Vec<T>;
}

pub(crate) struct IsDense;
pub(crate) struct IsDiagonal;
pub(crate) struct IsShift;

impl Structure for IsDense {
    type Model<T: Scalar> = Dense<T>;

    fn size(m: usize) -> usize {
        m * m + 2 * m + 1
    }
    fn state_size(m: usize) -> usize {
        m
    }
    fn build<T: Scalar>(m: usize, flat: &[T]) -> Dense<T> {
        let mut flat = Flat(flat);
        let a = Matrix::new(m, m, flat.take(m * m)).expect("fits");
        Dense::new(a, flat.take(m), flat.take(m), flat.one()).expect("fits")
    }
    fn flatten<T: Scalar>(ssm: &Dense<T>) -> Vec<T> {
        [ssm.a().entries(), ssm.b(), ssm.c(), &[ssm.feedthrough()]].concat()
    }
    fn state<T: Scalar>(flat: &[T]) -> Vec<T> {
        flat.to_vec()
    }
    fn flat_state<T: Scalar>(x: &[T]) -> Vec<T> {
        x.to_vec()
    }
}

impl Structure for IsDiagonal {
    type Model<T: Scalar> = Diagonal<T>;

    fn size(m: usize) -> usize {
        6 * m + 1
    }
    fn state_size(m: usize) -> usize {
        2 * m
    }
    fn build<T: Scalar>(m: usize, flat: &[T]) -> Diagonal<T> {
        let mut flat = Flat(flat);
        let (a, b, c) = (flat.complex(m), flat.complex(m), flat.complex(m));
        Diagonal::new(a, b, c, flat.one()).expect("fits")
    }
    fn flatten<T: Scalar>(ssm: &Diagonal<T>) -> Vec<T> {
        let (a, b, c) = (pairs(ssm.poles()), pairs(ssm.b()), pairs(ssm.c()));
        [a, b, c, vec![ssm.feedthrough()]].concat()
    }
    fn state<T: Scalar>(flat: &[T]) -> Vec<T::Complex> {
        Flat(flat).complex(flat.len() / 2)
    }
    fn flat_state<T: Scalar>(x: &[T::Complex]) -> Vec<T> {
        pairs(x)
    }
}

impl Structure for IsShift {
    type Model<T: Scalar> = Shift<T>;

    fn size(m: usize) -> usize {
        2 * m + 1
    }
    fn state_size(m: usize) -> usize {
        m
    }
    fn build<T: Scalar>(m: usize, flat: &[T]) -> Shift<T> {
        let mut flat = Flat(flat);
        Shift::new(flat.take(m), flat.take(m), flat.one()).expect("fits")
    }
    fn flatten<T: Scalar>(ssm: &Shift<T>) -> Vec<T> {
        [ssm.b(), ssm.c(), &[ssm.feedthrough()]].concat()
    }
    fn state<T: Scalar>(flat: &[T]) -> Vec<T> {
        flat.to_vec()
    }
    fn flat_state<T: Scalar>(x: &[T]) -> Vec<T> {
        x.to_vec()
    }
}

/// Gradients in the order of a problem: model, initial state, input.
pub(crate) fn flat_gradients<F: Structure, T: Scalar>(
    gradients: &Gradients<F::Model<T>>,
) -> Vec<T> {
    let model = F::flatten(&gradients.model);
    let state = F::flat_state::<T>(&gradients.state);
    [model, state, gradients.input.clone()].concat()
}

/// A layer's problem: sizes, and what makes a flat vector of numbers a layer with input and state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) shape: LayerShape,
    pub(crate) n_ssm: usize,
    pub(crate) batch: usize,
    pub(crate) len: usize,
    /// Whether a state comes in and its gradient is asked for.
    pub(crate) state: bool,
}

/// A layer with what it is applied to.
pub(crate) struct Built<T: Scalar> {
    pub(crate) layer: Layer<T>,
    pub(crate) modes: Modes<T>,
    pub(crate) input: Tensor<T>,
    pub(crate) state: Option<LayerState<T>>,
}

impl Problem {
    pub(crate) fn d(&self) -> usize {
        self.shape.n_heads * self.shape.head_dim
    }

    /// The real numbers of the final state.
    pub(crate) fn state_size(&self) -> usize {
        let (d, d_h, m) = (self.d(), self.shape.head_dim, self.shape.d_state);
        self.batch * (d * m + 2 * d_h * d * (m / 2))
    }

    pub(crate) fn output_size(&self) -> usize {
        self.batch * self.len * self.d()
    }

    pub(crate) fn size(&self) -> usize {
        let (d, m, h, n) = (
            self.d(),
            self.shape.d_state,
            self.shape.n_heads,
            self.shape.d_state / 2,
        );
        let layer = 4 * (d * d + d) + d * (2 * m + 1) + 4 * self.n_ssm * n + h + h * (2 * n + 1);
        layer + self.output_size() + if self.state { self.state_size() } else { 0 }
    }

    /// The layer, input and state these numbers stand for, bilinear.
    pub(crate) fn build<T: Scalar>(&self, flat: &[T]) -> Built<T> {
        assert_eq!(
            flat.len(),
            self.size(),
            "as many numbers as the problem has"
        );
        let mut flat = Flat(flat);
        let (d, m, h, n) = (
            self.d(),
            self.shape.d_state,
            self.shape.n_heads,
            self.shape.d_state / 2,
        );
        let mut linear = || {
            let weight = Matrix::new(d, d, flat.take(d * d)).expect("fits");
            Linear::new(weight, flat.take(d)).expect("fits")
        };
        let (q, k, v, output) = (linear(), linear(), linear(), linear());
        let shift = (0..d)
            .map(|_| Shift::new(flat.take(m), flat.take(m), flat.one()).expect("fits"))
            .collect();
        let modes = Modes {
            n_ssm: self.n_ssm,
            lambda: flat.complex(self.n_ssm * n),
            b: flat.complex(self.n_ssm * n),
            dt: flat.take(h),
        };
        let diagonal = modes
            .bilinear()
            .expect("not at the pole")
            .into_iter()
            .map(|(a, b)| Diagonal::new(a, b, flat.complex(n), flat.one()).expect("fits"))
            .collect();
        let layer = Layer::new(LayerParts {
            head_dim: self.shape.head_dim,
            l_max: self.shape.l_max,
            head_order: self.shape.head_order,
            q,
            k,
            v,
            output,
            shift,
            diagonal,
        })
        .expect("fits");
        let shape = [self.batch, self.len, d];
        let input = Tensor::new(shape, flat.take(self.output_size())).expect("fits");
        let state = self
            .state
            .then(|| self.state_of(&flat.take(self.state_size())));
        Built {
            layer,
            modes,
            input,
            state,
        }
    }

    pub(crate) fn state_of<T: Scalar>(&self, flat: &[T]) -> LayerState<T> {
        let (d, d_h, m) = (self.d(), self.shape.head_dim, self.shape.d_state);
        let mut flat = Flat(flat);
        let shift = flat.take(self.batch * d * m);
        let diagonal = flat.complex(self.batch * d_h * d * (m / 2));
        let axes = [self.batch, d_h, d_h, self.shape.n_heads, m / 2];
        LayerState {
            shift: Tensor::new([self.batch, d, m], shift).expect("fits"),
            diagonal: Tensor::new(axes, diagonal).expect("fits"),
            position: 0,
        }
    }

    /// Output and final state, flat.
    pub(crate) fn respond<T: Scalar>(&self, form: &Form, flat: &[T]) -> Vec<T>
    where
        T::Complex: hungry_hippos::algebra::RootsOfUnity,
    {
        let built = self.build(flat);
        let stages = built
            .layer
            .forward(form, &built.input, built.state.as_ref())
            .expect("fits");
        [stages.output.into_data(), flat_state(&stages.state)].concat()
    }

    /// The gradient of `<g, respond>`, in the order of the flat numbers.
    pub(crate) fn gradient<T: Scalar>(&self, form: &Form, flat: &[T], g: &[T]) -> Vec<T>
    where
        T::Complex: hungry_hippos::algebra::RootsOfUnity,
    {
        let (built, gradients) = self.layer_gradients(form, flat, g);
        let discrete: Vec<_> = gradients
            .diagonal
            .iter()
            .map(|head| (head.poles().to_vec(), head.b().to_vec()))
            .collect();
        let modes = built.modes.bilinear_adjoint(&discrete).expect("no pole");
        self.flatten(&gradients, &modes)
    }

    pub(crate) fn layer_gradients<T: Scalar>(
        &self,
        form: &Form,
        flat: &[T],
        g: &[T],
    ) -> (Built<T>, LayerGradients<T>)
    where
        T::Complex: hungry_hippos::algebra::RootsOfUnity,
    {
        let built = self.build(flat);
        let (g, g_state) = g.split_at(self.output_size());
        let g = Tensor::new(built.input.shape(), g.to_vec()).expect("fits");
        let gradients = built
            .layer
            .gradients(
                form,
                &built.input,
                built.state.as_ref(),
                &g,
                Some(&self.state_of(g_state)),
            )
            .expect("fits");
        (built, gradients)
    }

    pub(crate) fn flatten<T: Scalar>(
        &self,
        gradients: &LayerGradients<T>,
        modes: &Modes<T>,
    ) -> Vec<T> {
        let mut flat = Vec::new();
        for linear in [&gradients.q, &gradients.k, &gradients.v, &gradients.output] {
            flat.extend_from_slice(linear.weight().entries());
            flat.extend_from_slice(linear.bias());
        }
        for shift in &gradients.shift {
            flat.extend([shift.b(), shift.c(), &[shift.feedthrough()]].concat());
        }
        flat.extend(pairs(&modes.lambda));
        flat.extend(pairs(&modes.b));
        flat.extend_from_slice(&modes.dt);
        for head in &gradients.diagonal {
            flat.extend(pairs(head.c()));
            flat.push(head.feedthrough());
        }
        flat.extend_from_slice(gradients.input.data());
        if self.state {
            flat.extend(flat_state(&gradients.state));
        }
        flat
    }
}

pub(crate) fn flat_state<T: Scalar>(state: &LayerState<T>) -> Vec<T> {
    [state.shift.data().to_vec(), pairs(state.diagonal.data())].concat()
}

/// A small layer with everything that can go wrong: two models shared by four heads, two channels
/// a head, a state, a batch.
pub(crate) fn shared_layer() -> Problem {
    Problem {
        shape: LayerShape {
            n_heads: 4,
            head_dim: 2,
            d_state: 5,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
        n_ssm: 2,
        batch: 2,
        len: 7,
        state: true,
    }
}

pub(crate) type Exact = M61;
