//! The unrolled recurrence as a convolution, by its definition.

use super::state_space::{Response, StateSpace, add_states, initial_state};
use crate::algebra::Ring;
use crate::error::Error;

/// The causal convolution `y_i = sum_{j=0}^{i} f_j u_{i-j}` (indices from 0), as long as `u`.
///
/// The kernel may be shorter than the input (then `f_j = 0` beyond its end) or longer (the rest
/// cannot affect any output).
pub fn causal_convolution<T: Ring>(f: &[T], u: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; u.len()];
    for (j, &f) in f.iter().enumerate().take(u.len()) {
        for (y, &u) in y[j..].iter_mut().zip(u) {
            *y = *y + f * u;
        }
    }
    y
}

/// The outputs as `y = f * u + D u` plus the contribution of the initial state, and the final state
/// in closed form. O(N^2) time, O(N) memory.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub fn convolution<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let convolved = causal_convolution(&ssm.kernel(u.len()), u);
    finish_convolution(ssm, convolved, u, x0)
}

/// Completes `f * u` to a response: adds the initial state's outputs and `D u`, and gives the
/// final state in closed form.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub(crate) fn finish_convolution<S: StateSpace>(
    ssm: &S,
    mut convolved: Vec<S::Scalar>,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let x0 = initial_state(ssm, x0)?;
    let from_state = ssm.state_to_output(&x0, u.len());
    let d = ssm.feedthrough();
    for (i, y) in convolved.iter_mut().enumerate() {
        *y = *y + from_state[i] + d * u[i];
    }
    Ok(Response {
        output: convolved,
        state: add_states(&ssm.advance(&x0, u.len()), &ssm.input_to_state(u)),
    })
}
