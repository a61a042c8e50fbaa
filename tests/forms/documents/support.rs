//! Rows of documents worth trying, and a layer over such rows beside each document alone.

use crate::common::ragged;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{M61, Matrix, Ring, Rng};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, Layer, LayerGradients, LayerShape, LayerState, Linear, Stages};
use hungry_hippos::ssm::{Adjoint, Documents};
use std::ops::Range;

/// Lengths of documents packed into a row, against a window of `m` taps and chunks of `t`, each row
/// with its reason.
pub(super) fn packed_rows(m: usize, t: usize) -> Vec<(Vec<usize>, &'static str)> {
    vec![
        (vec![1], "one token"),
        (vec![3 * t + 2], "one document as long as the row"),
        (vec![1, 1, 1], "documents of one token alone"),
        (
            vec![1, 2 * m + 1, 1],
            "one token before and after a document",
        ),
        (
            vec![m.max(2) - 1, m, m + 1],
            "shorter than the window, exactly as long, one token longer",
        ),
        (vec![t, t, 2 * t], "boundaries at the edges of chunks"),
        (
            vec![t.max(2) - 1, t + 2, t],
            "one token before and after an edge",
        ),
        (
            vec![2 * t + 1, 1, 1, t, 3],
            "several boundaries in one chunk",
        ),
        (vec![2, 13, 17], "primes"),
    ]
}

/// The ranges of documents of these lengths, one after another from token `at` on.
pub(super) fn ranges(lengths: &[usize], mut at: usize) -> Vec<Range<usize>> {
    let place = |&len: &usize| {
        at += len;
        at - len..at
    };
    lengths.iter().map(place).collect()
}

/// The documents of these lengths packed into one row.
pub(super) fn packed(lengths: &[usize]) -> Documents {
    let mut cu_seqlens = vec![0];
    cu_seqlens.extend(ranges(lengths, 0).iter().map(|tokens| tokens.end));
    Documents::packed(lengths.iter().sum(), &cu_seqlens).expect("increasing")
}

/// Every form over rows of `len`, FlashConv in chunks of one token, of `t`, of more than the row and
/// of random lengths.
pub(super) fn forms(len: usize, t: usize, rng: &mut Rng) -> Vec<Form> {
    Form::all([
        Chunking::Uniform(1),
        Chunking::Uniform(t),
        Chunking::Uniform(len + 3),
        ragged(len, rng),
    ])
}

/// A layer over rows of documents, with a state and cotangents for each. Where no document is, input
/// and cotangent hold random numbers like everywhere else.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) layer: Layer<M61>,
    pub(super) documents: Documents,
    pub(super) input: Tensor<M61>,
    pub(super) state: Option<LayerState<M61>>,
    pub(super) g: Tensor<M61>,
    pub(super) g_state: LayerState<M61>,
}

/// A document alone: input, state, and the cotangents of output and final state.
pub(super) struct Alone {
    pub(super) input: Tensor<M61>,
    pub(super) state: Option<LayerState<M61>>,
    pub(super) g: Tensor<M61>,
    pub(super) g_state: LayerState<M61>,
}

impl Served {
    pub(super) fn sample(
        shape: LayerShape,
        documents: Documents,
        with_state: bool,
        rng: &mut Rng,
    ) -> Self {
        let layer = Layer::sample(shape, rng).expect("sizes are positive");
        let (batch, len, count) = (documents.batch(), documents.seq_len(), documents.count());
        Self {
            input: layer.sample_input(batch, len, rng),
            state: with_state.then(|| layer.sample_state(count, 0, rng)),
            g: layer.sample_input(batch, len, rng),
            g_state: layer.sample_state(count, 0, rng),
            documents,
            layer,
        }
    }

    /// With other cotangents of final states.
    pub(super) fn with_cotangents(self, g_state: LayerState<M61>) -> Self {
        Self { g_state, ..self }
    }

    pub(super) fn stages(&self, form: &Form) -> Stages<M61> {
        let (u, documents, state) = (&self.input, &self.documents, self.state.as_ref());
        let stages = self.layer.forward_documents(form, u, documents, state);
        stages.expect("shapes fit")
    }

    pub(super) fn gradients(&self, form: &Form) -> LayerGradients<M61> {
        let (state, g_state) = (self.state.as_ref(), Some(&self.g_state));
        let gradients = self.layer.gradients_of_documents(
            form,
            &self.input,
            &self.documents,
            state,
            &self.g,
            g_state,
        );
        gradients.expect("shapes fit")
    }

    pub(super) fn each_alone(&self) -> Vec<Alone> {
        let of = |(n, (b, tokens)): (usize, (usize, Range<usize>))| Alone {
            input: cut(&self.input, b, tokens.clone()),
            state: self.state.as_ref().map(|state| state_of(state, n)),
            g: cut(&self.g, b, tokens),
            g_state: state_of(&self.g_state, n),
        };
        self.documents.iter().enumerate().map(of).collect()
    }

    /// The stages of every document alone by `form`, put where the documents lie; zeros elsewhere.
    pub(super) fn stages_alone(&self, form: &Form) -> Stages<M61> {
        let alone = |of: Alone| self.layer.forward(form, &of.input, of.state.as_ref());
        let alone = self.each_alone().into_iter().map(alone);
        let alone: Vec<_> = alone.collect::<Result<_, _>>().expect("shapes fit");
        self.placed_stages(&alone)
    }

    /// The stages of every document, put where the documents lie.
    pub(super) fn placed_stages(&self, alone: &[Stages<M61>]) -> Stages<M61> {
        let over_time = |of: fn(&Stages<M61>) -> &Tensor<M61>| {
            self.placed(&alone.iter().map(of).collect::<Vec<_>>(), |rank| rank - 1)
        };
        let by_token = |of: fn(&Stages<M61>) -> &Tensor<M61>| {
            self.placed(&alone.iter().map(of).collect::<Vec<_>>(), |_| 1)
        };
        let longest = self.documents.longest();
        let mut all = alone[0].clone();
        all.q = over_time(|s| &s.q);
        all.k = over_time(|s| &s.k);
        all.v = over_time(|s| &s.v);
        all.shift_kernel = self.layer.shift_kernel(longest);
        all.shift_k = over_time(|s| &s.shift_k);
        all.kv = over_time(|s| &s.kv);
        all.ssm_kernel = self.layer.ssm_kernel(longest);
        all.ssm_out = Some(over_time(|s| s.ssm_out.as_ref().expect("not by attention")));
        all.gated = by_token(|s| &s.gated);
        all.output = by_token(|s| &s.output);
        all.state = joined(alone.iter().map(|s| &s.state), longest);
        all
    }

    /// The gradients of every document alone by `form`: those of inputs put where the documents lie,
    /// those of parameters summed.
    pub(super) fn gradients_alone(&self, form: &Form) -> LayerGradients<M61> {
        let alone = |of: Alone| {
            let (state, g_state) = (of.state.as_ref(), Some(&of.g_state));
            self.layer.gradients(form, &of.input, state, &of.g, g_state)
        };
        let alone = self.each_alone().into_iter().map(alone);
        let alone: Vec<_> = alone.collect::<Result<_, _>>().expect("shapes fit");
        let mut sum = alone[0].clone();
        for of in &alone[1..] {
            sum.q = add(&sum.q, &of.q);
            sum.k = add(&sum.k, &of.k);
            sum.v = add(&sum.v, &of.v);
            sum.output = add(&sum.output, &of.output);
            for (sum, of) in sum.shift.iter_mut().zip(&of.shift) {
                sum.add_gradient(of);
            }
            for (sum, of) in sum.diagonal.iter_mut().zip(&of.diagonal) {
                sum.add_gradient(of);
            }
        }
        let inputs: Vec<_> = alone.iter().map(|of| &of.input).collect();
        sum.input = self.placed(&inputs, |_| 1);
        sum.state = joined(alone.iter().map(|of| &of.state), 0);
        sum
    }

    /// Arrays of every document, whose first axis is 1, as one of all rows; the time axis, given the
    /// number of axes, is filled where the documents lie.
    fn placed(&self, alone: &[&Tensor<M61>], time: fn(usize) -> usize) -> Tensor<M61> {
        let mut shape = alone[0].shape().to_vec();
        let time = time(shape.len());
        let len = self.documents.seq_len();
        (shape[0], shape[time]) = (self.documents.batch(), len);
        let outer: usize = shape[1..time].iter().product();
        let inner: usize = shape[time + 1..].iter().product();
        let mut data = vec![M61::ZERO; shape.iter().product()];
        for (of, (b, tokens)) in alone.iter().zip(self.documents.iter()) {
            let size = tokens.len() * inner;
            for o in 0..outer {
                let at = ((b * outer + o) * len + tokens.start) * inner;
                data[at..at + size].copy_from_slice(&of.data()[o * size..(o + 1) * size]);
            }
        }
        Tensor::new(shape, data).expect("of this shape")
    }
}

/// Tokens of one row of a (batch, seq_len, d) array.
pub(super) fn cut(x: &Tensor<M61>, b: usize, tokens: Range<usize>) -> Tensor<M61> {
    let &[_, len, d] = x.shape() else {
        panic!("three axes")
    };
    let data = &x.data()[(b * len + tokens.start) * d..(b * len + tokens.end) * d];
    Tensor::new([1, tokens.len(), d], data.to_vec()).expect("cut to shape")
}

/// The state of one document.
pub(super) fn state_of(states: &LayerState<M61>, n: usize) -> LayerState<M61> {
    fn entry<T: Copy>(x: &Tensor<T>, n: usize) -> Tensor<T> {
        let size = x.data().len() / x.shape()[0];
        let mut shape = x.shape().to_vec();
        shape[0] = 1;
        Tensor::new(shape, x.data()[n * size..(n + 1) * size].to_vec()).expect("one of them")
    }
    LayerState {
        shift: entry(&states.shift, n),
        diagonal: entry(&states.diagonal, n),
        position: states.position,
    }
}

/// The states of documents as one, at a position.
pub(super) fn joined<'a>(
    states: impl Iterator<Item = &'a LayerState<M61>>,
    position: usize,
) -> LayerState<M61> {
    fn join<T: Copy>(parts: &[&Tensor<T>]) -> Tensor<T> {
        let mut shape = parts[0].shape().to_vec();
        shape[0] = parts.len();
        let data = parts.iter().flat_map(|x| x.data()).copied().collect();
        Tensor::new(shape, data).expect("of one shape each")
    }
    let states: Vec<_> = states.collect();
    LayerState {
        shift: join(&states.iter().map(|s| &s.shift).collect::<Vec<_>>()),
        diagonal: join(&states.iter().map(|s| &s.diagonal).collect::<Vec<_>>()),
        position,
    }
}

fn add(a: &Linear<M61>, b: &Linear<M61>) -> Linear<M61> {
    let sum = |a: &[M61], b: &[M61]| a.iter().zip(b).map(|(&a, &b)| a + b).collect();
    let weight = sum(a.weight().entries(), b.weight().entries());
    let weight = Matrix::new(a.weight().rows(), a.weight().cols(), weight).expect("of one shape");
    Linear::new(weight, sum(a.bias(), b.bias())).expect("square")
}
