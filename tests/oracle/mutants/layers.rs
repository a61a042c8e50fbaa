//! The layers the mutants are tried on, and how stages are compared.

use crate::common::largest;
use crate::verdicts::of_documents;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Config, HeadOrder, LayerState, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, LayerCase, Mistake};
use hungry_hippos::ssm::Discretization::{self, Bilinear, ZeroOrderHold};
use std::path::Path;

pub(crate) type Named = Vec<(String, Tensor<f64>)>;

/// Equal but for rounding: relative to the largest element of the stage. Both sides evaluate the
/// same sums of at most 100 (steps) times 16 (modes) terms of one size in other orders, each term
/// with at most 100 roundings in its power, which accumulate like the square root:
/// sqrt(1600) 10 u = 4e-14. More is a change; the smallest, M53 on a short sequence, is 2e-13, and
/// all others are above 1e-12.
pub(crate) const EQUAL: f64 = 1e-13;

/// A layer, an input, perhaps a state.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) p: Parameters<f64>,
    pub(crate) input: Tensor<f64>,
    pub(crate) state: Option<LayerState<f64>>,
}

impl Subject {
    pub(crate) fn case(&self) -> Case {
        let case = LayerCase::new(self.p.clone(), self.input.clone());
        let case = match &self.state {
            Some(state) => case.and_then(|case| case.with_state(state.clone())),
            None => case,
        };
        case.unwrap_or_else(|e| panic!("{}: {e}", self.name)).into()
    }

    /// The stages with mistakes, by id or name.
    pub(crate) fn run(&self, mutants: &[&str]) -> Named {
        let stages = self.case().run_with(mutants, None);
        stages.unwrap_or_else(|e| panic!("{}, {mutants:?}: {e}", self.name))
    }

    /// The same, chunks being of this length.
    pub(crate) fn run_in_chunks(&self, mutants: &[&str], chunk_len: usize) -> Named {
        let stages = self.case().run_with(mutants, Some(chunk_len));
        stages.unwrap_or_else(|e| panic!("{}, {mutants:?}: {e}", self.name))
    }

    pub(crate) fn len(&self) -> usize {
        self.input.shape()[1]
    }

    /// The same layer with some parameters or choices replaced.
    pub(crate) fn with(
        &self,
        change: impl Fn(&mut Config),
        value: impl Fn(Name) -> Option<Vec<f64>>,
    ) -> Parameters<f64> {
        let mut config = self.p.config().clone();
        change(&mut config);
        Parameters::new(config, |name| {
            Ok(value(name).unwrap_or_else(|| self.p.get(name).to_vec()))
        })
        .expect("still a layer")
    }
}

pub(crate) const CASES: [&str; 6] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
    "layer-v6-f32-hd1-L32",
];

/// The cases made by the official code.
pub(crate) fn official() -> Vec<Subject> {
    CASES.iter().map(|name| case(name)).collect()
}

pub(crate) fn case(name: &str) -> Subject {
    let path = format!("tests/data/{name}.safetensors");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let case = LayerCase::open(&path).expect("a well-formed case");
    Subject {
        name: name.into(),
        p: case.parameters().clone(),
        input: case.input().clone(),
        state: case.state().cloned(),
    }
}

/// A random layer: everything not said is heads 2, one model a head, bilinear, exp, no l_max.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) why: &'static str,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) d_state: usize,
    pub(crate) n_ssm: usize,
    pub(crate) disc: Discretization,
    pub(crate) real_type: RealType,
    pub(crate) l_max: Option<usize>,
    pub(crate) order: HeadOrder,
    pub(crate) len: usize,
    pub(crate) batch: usize,
    pub(crate) state: bool,
    /// As initialized: shift B = e_1, diagonal B = 1.
    pub(crate) fresh: bool,
}

pub(crate) const PLAIN: Shape = Shape {
    why: "an ordinary layer",
    heads: 2,
    head_dim: 1,
    d_state: 4,
    n_ssm: 2,
    disc: Bilinear,
    real_type: RealType::Exp,
    l_max: None,
    order: HeadOrder::D2H,
    len: 13,
    batch: 1,
    state: false,
    fresh: false,
};

#[rustfmt::skip]
pub(crate) const SHAPES: [Shape; 25] = [
    PLAIN,
    Shape { why: "from a state", state: true, ..PLAIN },
    Shape { why: "heads of two channels, a batch", head_dim: 2, batch: 2, ..PLAIN },
    Shape { why: "heads of two channels, from a state", head_dim: 2, batch: 2, state: true, ..PLAIN },
    Shape { why: "one head of two channels", heads: 1, head_dim: 2, n_ssm: 1, ..PLAIN },
    Shape { why: "the fused order of channels", head_dim: 2, order: HeadOrder::HD2, ..PLAIN },
    Shape { why: "one channel", heads: 1, n_ssm: 1, ..PLAIN },
    Shape { why: "shared models", n_ssm: 1, ..PLAIN },
    Shape { why: "as initialized", fresh: true, ..PLAIN },
    Shape { why: "as initialized, from a state", fresh: true, state: true, ..PLAIN },
    Shape { why: "as initialized, shorter than the window", fresh: true, d_state: 9, len: 4, ..PLAIN },
    Shape { why: "zero-order hold", disc: ZeroOrderHold, len: 16, ..PLAIN },
    Shape { why: "a window of one, no modes", d_state: 1, ..PLAIN },
    Shape { why: "a window of one, no modes, from a state", d_state: 1, state: true, ..PLAIN },
    Shape { why: "a window of two", d_state: 2, ..PLAIN },
    Shape { why: "an odd window", d_state: 3, real_type: RealType::Softplus, ..PLAIN },
    Shape { why: "one token", len: 1, ..PLAIN },
    Shape { why: "one token, from a state", len: 1, state: true, batch: 2, ..PLAIN },
    Shape { why: "two tokens", len: 2, real_type: RealType::Sigmoid, ..PLAIN },
    Shape { why: "four tokens, a long window", len: 4, d_state: 12, real_type: RealType::None, ..PLAIN },
    Shape { why: "kernels cut, odd transform", len: 12, l_max: Some(5), d_state: 8, ..PLAIN },
    Shape { why: "l_max beyond the input", len: 9, l_max: Some(14), d_state: 12, ..PLAIN },
    Shape { why: "kernels of one tap", len: 6, l_max: Some(1), ..PLAIN },
    Shape { why: "whole chunks, from a state", len: 48, state: true, batch: 2, real_type: RealType::Relu, ..PLAIN },
    Shape { why: "four heads share two models", heads: 4, ..PLAIN },
];

pub(crate) fn random(shape: Shape, seed: u64) -> Subject {
    let rng = &mut Rng::new(seed);
    let d = shape.heads * shape.head_dim;
    let config = Config {
        d_model: d,
        head_dim: shape.head_dim,
        d_state: shape.d_state,
        n_ssm: shape.n_ssm,
        disc: shape.disc,
        real_type: shape.real_type,
        l_max: shape.l_max,
        head_order: shape.order,
    };
    let p = Parameters::new(config.clone(), |name| {
        let shape_of = name.shape(&config);
        let len: usize = shape_of.iter().product();
        let mut values: Vec<f64> = (0..len).map(|_| rng.unit()).collect();
        match name {
            // dt from 0.07 to 0.7, so that some modes turn and fade within a short sequence.
            Name::LogDt => values.iter_mut().for_each(|x| *x = 1.15 * *x - 1.5),
            // Positive, so that relu and none decode to a decay too.
            Name::InvAReal => values.iter_mut().for_each(|x| *x = 0.3 + 0.2 * *x),
            Name::AImag => values.iter_mut().for_each(|x| *x = 2.5 + 2.0 * *x),
            Name::ShiftB if shape.fresh => {
                for (i, x) in values.iter_mut().enumerate() {
                    *x = f64::from(i % shape.d_state == 0);
                }
            }
            Name::B if shape.fresh => {
                for (i, x) in values.iter_mut().enumerate() {
                    *x = f64::from(i % 2 == 0);
                }
            }
            _ => {}
        }
        Ok(values)
    })
    .expect("a layer");
    let layer = p.discretize().expect("stable");
    let input = layer.sample_input(shape.batch, shape.len, rng);
    let state = shape.state.then(|| layer.sample_state(shape.batch, 3, rng));
    Subject {
        name: shape.why.into(),
        p,
        input,
        state,
    }
}

/// The mistakes of the forward pass, in the order of the catalogue.
pub(crate) fn forward_mistakes() -> Vec<&'static Mistake> {
    let mut known = random(PLAIN, 1).case().mistakes();
    known.retain(|mistake| !mistake.first_stage.starts_with("grad."));
    known
}

/// All subjects: the official cases, and one random layer a shape.
/// The mistakes that need documents, padding or cotangents of states, which these layers have not.
pub(crate) fn is_served(mistake: &Mistake) -> bool {
    of_documents(mistake.id)
}

pub(crate) fn subjects() -> Vec<Subject> {
    let shapes = SHAPES.iter().enumerate();
    let random = shapes.map(|(i, &shape)| random(shape, 100 + i as u64));
    official().into_iter().chain(random).collect()
}

/// The largest difference, relative to the largest right element; infinite where it is not a
/// number or the shapes differ.
pub(crate) fn distance(got: &Tensor<f64>, right: &Tensor<f64>) -> f64 {
    if got.shape() != right.shape() {
        return f64::INFINITY;
    }
    let worst = got.data().iter().zip(right.data());
    let worst = worst.fold(0.0, |worst: f64, (x, y)| {
        let error = (x - y).abs();
        if error.is_nan() {
            f64::INFINITY
        } else {
            worst.max(error)
        }
    });
    if worst == 0.0 {
        0.0
    } else {
        worst / largest(right.data())
    }
}

pub(crate) fn stage<'a>(stages: &'a Named, name: &str) -> &'a Tensor<f64> {
    let found = stages.iter().find(|(n, _)| n == name);
    &found.expect("a stage").1
}
