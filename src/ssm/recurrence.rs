//! The recurrence: the definition, one step at a time.

use super::state_space::{Response, StateSpace, initial_state};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The outputs and final state by the recurrence
/// `x_i = A x_{i-1} + B u_i`, `y_i = C x_i + D u_i`, from the initial state `x0` (zeros if
/// `None`). O(N) steps, O(m) memory besides the output.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub fn recurrence<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let mut state = initial_state(ssm, x0)?;
    let output = u.iter().map(|&u| ssm.step(&mut state, u)).into_vec();
    Ok(Response { output, state })
}

/// The recurrence as an object that takes one input at a time.
///
/// It remembers only its state: save it with [`state`](Stream::state), continue from it with
/// [`resume`](Stream::resume), branch with `clone`.
#[derive(Debug)]
pub struct Stream<'a, S: StateSpace> {
    ssm: &'a S,
    state: Vec<S::Element>,
}

impl<S: StateSpace> Clone for Stream<'_, S> {
    fn clone(&self) -> Self {
        Self {
            ssm: self.ssm,
            state: self.state.clone(),
        }
    }
}

impl<'a, S: StateSpace> Stream<'a, S> {
    /// A stream that starts from the zero state.
    pub fn new(ssm: &'a S) -> Self {
        Self {
            ssm,
            state: vec![crate::algebra::Ring::ZERO; ssm.state_dim()],
        }
    }

    /// A stream that continues from a saved state.
    ///
    /// # Errors
    ///
    /// If `state` is not a state of this model.
    pub fn resume(ssm: &'a S, state: Vec<S::Element>) -> Result<Self, Error> {
        check_len("saved state", state.len(), ssm.state_dim())?;
        Ok(Self { ssm, state })
    }

    /// Takes the next input and returns its output.
    pub fn step(&mut self, u: S::Scalar) -> S::Scalar {
        self.ssm.step(&mut self.state, u)
    }

    /// The state after the last input.
    #[must_use]
    pub fn state(&self) -> &[S::Element] {
        &self.state
    }
}
