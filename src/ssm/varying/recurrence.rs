//! The definition, one step at a time.

use super::model::{Varying, VaryingResponse};
use crate::algebra::{Matrix, Ring, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The outputs and the final state by `x_t = A_t x_{t-1} + u_t B_t^T`, `y_t = x_t C_t`, from the
/// state `x0` (P x N; zeros if `None`). `u`: seq_len x P.
///
/// # Errors
///
/// If the inputs or the state do not fit the model.
pub fn varying_recurrence<T: Ring>(
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
) -> Result<VaryingResponse<T>, Error> {
    let mut stream = VaryingStream::resume(ssm.initial(u, x0)?);
    let mut output = Vec::with_capacity(u.rows() * u.cols());
    for t in 0..ssm.seq_len() {
        output.extend(stream.step(ssm.a.row(t), ssm.b.row(t), ssm.c.row(t), u.row(t))?);
    }
    Ok(VaryingResponse {
        output: Matrix::new(u.rows(), u.cols(), output)?,
        state: stream.state,
    })
}

/// The recurrence as an object that takes the decays, vectors and inputs of one step at a time, as
/// a decoder does. It remembers only its state.
#[derive(Clone, Debug, PartialEq)]
pub struct VaryingStream<T> {
    state: Matrix<T>,
}

impl<T: Ring> VaryingStream<T> {
    /// A stream of P inputs and N state channels that starts from the zero state.
    #[must_use]
    pub fn new(inputs: usize, state_dim: usize) -> Self {
        Self::resume(Matrix::from_fn(inputs, state_dim, |_, _| T::ZERO))
    }

    /// A stream that continues from a saved state (P x N).
    #[must_use]
    pub fn resume(state: Matrix<T>) -> Self {
        Self { state }
    }

    /// The state after the last step.
    #[must_use]
    pub fn state(&self) -> &Matrix<T> {
        &self.state
    }

    /// One step: `a` of length 1 or N, `b` and `c` of length N, `u` of length P; returns the P
    /// outputs.
    ///
    /// # Errors
    ///
    /// If a length is another one.
    pub fn step(&mut self, a: &[T], b: &[T], c: &[T], u: &[T]) -> Result<Vec<T>, Error> {
        let (inputs, n) = (self.state.rows(), self.state.cols());
        check_len("input vector", b.len(), n)?;
        check_len("output vector", c.len(), n)?;
        check_len("inputs of a step", u.len(), inputs)?;
        if a.len() != 1 {
            check_len("decays of a step, if not one", a.len(), n)?;
        }
        let step_row = |(p, &u): (usize, &T)| {
            let x = self.state.row_mut(p);
            for (n, x) in x.iter_mut().enumerate() {
                *x = a[n % a.len()] * *x + u * b[n];
            }
            dot(x, c)
        };
        Ok(u.iter().enumerate().map(step_row).into_vec())
    }
}
