//! A dense model's case.

use super::super::round_to_16_bits::round_to_16_bits;
use crate::algebra::{Matrix, Real, Rng};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Named;
use crate::ssm::{Dense, Response, StateSpace};
use crate::tensor::Tensor;

/// One dense model `x_i = A x_{i-1} + B u_i`, `y_i = C x_i + D u_i` with its inputs. Its stages are
/// `kernel` (seq_len), `output` (batch, seq_len) and `final_x` (batch, m).
///
/// Files hold `ssm.A` (m, m), `ssm.B`, `ssm.C` (m), `ssm.D` (1), `input` (batch, seq_len), the state
/// before the first input as `initial_x` (batch, m) if there is one, and metadata `kind` =
/// `dense-ssm`.
#[derive(Clone, Debug)]
pub(crate) struct DenseCase {
    pub(super) ssm: Dense<f64>,
    pub(super) input: Tensor<f64>,
    pub(super) initial: Option<Tensor<f64>>,
}

impl DenseCase {
    /// Stages from a kernel and from the response to every sequence of inputs and its initial state.
    pub(super) fn assemble<T: Real>(
        &self,
        kernel: Vec<T>,
        respond: impl Fn(&[T], &[T]) -> Result<Response<Dense<T>>, Error>,
    ) -> Result<Named<T>, Error> {
        let (batch, m) = (self.input.shape()[0], self.ssm.state_dim());
        let (mut output, mut state) = (Vec::new(), Vec::new());
        for b in 0..batch {
            let u = self.input.row(b).iter().map(|&u| T::from_f64(u));
            let x0 = match &self.initial {
                Some(x) => x.row(b).iter().map(|&x| T::from_f64(x)).into_vec(),
                None => vec![T::ZERO; m],
            };
            let response = respond(&u.into_vec(), &x0)?;
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
    pub(super) fn sample(name: &str, resumed: bool, seed: u64) -> Result<Self, Error> {
        let (m, batch, len) = (5, 2, 29);
        let rng = &mut Rng::named(seed, name);
        // Entries small enough that powers of A fade.
        let mut numbers = |count: usize, size: f64| -> Vec<f64> {
            (0..count)
                .map(|_| round_to_16_bits(size * rng.unit()))
                .into_vec()
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
