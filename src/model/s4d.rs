//! An S4D layer as a mixer.

use super::mlp::exact_gelu;
use crate::algebra::{Linear, Real, Ring, Scalar};
use crate::error::{Error, check_len};
use crate::h3::Evaluate;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, Documents, StateSpace};
use crate::tensor::Tensor;

/// An S4D layer, with which H3's paper compares itself (safari `src/models/sequence/ssm/s4d.py`,
/// `S4D.forward`): `y = W gelu(f * u + D u) + b`, with the kernel `f` of a diagonal model per channel and the
/// [exact GELU](exact_gelu).
#[derive(Clone, Debug)]
pub struct S4d<T: Scalar> {
    /// Of every channel (d), with `D` as its feedthrough.
    pub(super) models: Vec<Diagonal<T>>,
    /// `output_linear`.
    pub(super) output: Linear<T>,
}

impl<T: Real> S4d<T> {
    /// The layer of these models and this projection, of d to d channels.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(models: Vec<Diagonal<T>>, output: Linear<T>) -> Result<Self, Error> {
        let d = models.len();
        check_len("inputs of output_linear", output.weight().cols(), d)?;
        check_len("outputs of output_linear", output.weight().rows(), d)?;
        let modes = models.first().map_or(0, StateSpace::state_dim);
        for model in &models {
            check_len("modes of a diagonal model", model.state_dim(), modes)?;
        }
        Ok(Self { models, output })
    }

    fn state_shape(&self, sequences: usize) -> [usize; 3] {
        let modes = self.models.first().map_or(0, StateSpace::state_dim);
        [sequences, self.models.len(), modes]
    }

    /// The state before any input, (sequences, d, m/2).
    pub(super) fn zero_state(&self, sequences: usize) -> Tensor<T::Complex> {
        Tensor::filled(self.state_shape(sequences), T::Complex::ZERO)
    }

    /// Refuses a state that is not one of this layer and so many sequences.
    pub(super) fn check_state(
        &self,
        state: &Tensor<T::Complex>,
        sequences: usize,
    ) -> Result<(), Error> {
        state.check_shape("state of an S4D layer", &self.state_shape(sequences))
    }

    /// The layer over rows of documents in a form: the output, and the states after them.
    #[cfg(feature = "internals")]
    pub fn respond(
        &self,
        form: &crate::h3::Form,
        rows: (&Tensor<T>, &Documents),
        state: Option<&Tensor<T::Complex>>,
    ) -> Result<(Tensor<T>, Tensor<T::Complex>), Error>
    where
        T::Complex: crate::algebra::RootsOfUnity,
    {
        let (x, after) = self.filter(form, rows, state)?;
        Ok((self.output(form, &x, rows.1), after))
    }

    /// The output of the models' responses `x` (batch, seq_len, d); zeros at padding.
    pub(crate) fn output(
        &self,
        by: &dyn Evaluate<T>,
        x: &Tensor<T>,
        documents: &Documents,
    ) -> Tensor<T> {
        by.project(&self.output, &x.map(exact_gelu), documents)
    }

    /// The projection `W x + b` after the activation.
    pub(crate) fn projection(&self) -> &Linear<T> {
        &self.output
    }

    /// The responses of the models (batch, seq_len, d) to rows `u` of documents, each from its state (zeros if
    /// there is none), and the states after them.
    ///
    /// # Errors
    ///
    /// If `u` or the state has another shape, or a model's response fails.
    pub(super) fn filter(
        &self,
        by: &dyn Evaluate<T>,
        (u, documents): (&Tensor<T>, &Documents),
        state: Option<&Tensor<T::Complex>>,
    ) -> Result<(Tensor<T>, Tensor<T::Complex>), Error> {
        let (batch, d) = (documents.batch(), self.models.len());
        u.check_shape("input", &[batch, documents.seq_len(), d])?;
        let before = match state {
            Some(state) => {
                self.check_state(state, documents.count())?;
                state.clone()
            }
            None => self.zero_state(documents.count()),
        };
        let mut filtered = Tensor::filled(u.shape(), T::ZERO);
        let mut after = before.clone();
        for (c, model) in self.models.iter().enumerate() {
            let kernel = by.ssm_kernel(model, documents.longest());
            for b in 0..batch {
                let states = || documents.numbers(b).map(|n| n * d + c);
                let x0: Vec<_> = states().map(|r| before.row(r)).into_vec();
                let signal = channel(u, b, c);
                let row = documents.row(b);
                let response = by.diagonal_row(model, &kernel, &signal, row, &x0)?;
                put_channel(&mut filtered, b, c, &response.output);
                for (r, state) in states().zip(&response.states) {
                    after.row_mut(r).copy_from_slice(state);
                }
            }
        }
        Ok((filtered, after))
    }
}

/// One channel of a row of `x` (batch, seq_len, channels), over time.
pub(super) fn channel<T: Copy>(x: &Tensor<T>, b: usize, c: usize) -> Vec<T> {
    let len = x.shape()[1];
    (b * len..(b + 1) * len).map(|r| x.row(r)[c]).into_vec()
}

/// Writes one channel of a row.
pub(super) fn put_channel<T: Copy>(x: &mut Tensor<T>, b: usize, c: usize, signal: &[T]) {
    let first = b * x.shape()[1];
    for (r, &value) in (first..).zip(signal) {
        x.row_mut(r)[c] = value;
    }
}
