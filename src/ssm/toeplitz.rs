//! The unrolled recurrence, written as a lower triangular Toeplitz matrix.

use super::state_space::{Response, StateSpace, add_states, initial_state};
use crate::algebra::{Matrix, Ring};
use crate::error::Error;

/// The causal Toeplitz matrix `T_f` of a kernel with `d` added on its diagonal, `n x n`:
/// `T[i, j] = f_{i-j}` for `i >= j`, zero above the diagonal and beyond the kernel's end.
pub fn toeplitz_matrix<T: Ring>(f: &[T], d: T, n: usize) -> Matrix<T> {
    Matrix::from_fn(n, n, |i, j| {
        if i < j {
            return T::ZERO;
        }
        let f = f.get(i - j).copied().unwrap_or(T::ZERO);
        if i == j { f + d } else { f }
    })
}

/// The outputs as `(T_f + D I) u` plus what the initial state adds, and the final state in
/// closed form. O(N^2) time and memory: the definition written as a matrix.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub fn toeplitz<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let x0 = initial_state(ssm, x0)?;
    let matrix = toeplitz_matrix(&ssm.kernel(u.len()), ssm.feedthrough(), u.len());
    let from_input = matrix.apply(u)?;
    let from_state = ssm.state_to_output(&x0, u.len());
    Ok(Response {
        output: from_input
            .iter()
            .zip(from_state)
            .map(|(&y, s)| y + s)
            .collect(),
        state: add_states(&ssm.advance(&x0, u.len()), &ssm.input_to_state(u)),
    })
}
