//! The M_xy question: which row sets go with which state, kernel and output.

use super::chunks::Chunking;
use super::state_passing::{Blocks, delayed, early_rows, pass_states};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{StateSpace, causal_convolution, initial_state};

/// The convention for reading the state: after the update or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `y_i = C x_i + D u_i`: after the update (the official code's `step`).
    ReadsAfter,
    /// `y_i = C x_{i-1} + D u_i`: before the update. A different model, one step slower.
    ReadsBefore,
}

/// The four sets of matrices with which state passing is written, rightly or wrongly.
///
/// Each is the pair (rows of `M_xy`, the other matrix that moves by one place with them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixSet {
    /// `M_xy = [CA; ...; CA^T]`, `M_ux = [A^{T-1} B, ..., B]`, kernel `CB, CAB, ...`: right under
    /// the recurrence of this crate. What is passed is the state after the chunk's last input.
    EndOfChunk,
    /// `M_xy = [C; CA; ...; CA^{T-1}]` and nothing else moved: one step early. Right in the first
    /// chunk, whose incoming state is zero, and wrong in every later one.
    EarlyRows,
    /// `M_xy = [C; ...; CA^{T-1}]` with `M_ux = [A^T B, ..., AB]`: right. What is passed is the
    /// state already advanced by one step, `s = A x`.
    AdvancedState,
    /// `M_xy = [C; ...; CA^{T-1}]` with the kernel `0, CB, CAB, ...`: right for the model whose
    /// output reads the state before the update.
    DelayedKernel,
}

impl MatrixSet {
    /// All four, in the order of the table.
    pub const ALL: [Self; 4] = [
        Self::EndOfChunk,
        Self::EarlyRows,
        Self::AdvancedState,
        Self::DelayedKernel,
    ];

    /// The rows of `M_xy`, as a formula.
    #[must_use]
    pub fn rows(self) -> &'static str {
        match self {
            Self::EndOfChunk => "CA, ..., CA^T",
            _ => "C, ..., CA^(T-1)",
        }
    }

    /// The columns of `M_ux`, as a formula.
    #[must_use]
    pub fn columns(self) -> &'static str {
        match self {
            Self::AdvancedState => "A^T B, ..., AB",
            _ => "A^(T-1) B, ..., B",
        }
    }

    /// The kernel, as a formula.
    #[must_use]
    pub fn kernel(self) -> &'static str {
        match self {
            Self::DelayedKernel => "0, CB, CAB, ...",
            _ => "CB, CAB, ...",
        }
    }

    /// The model this set of matrices is meant to compute.
    #[must_use]
    pub fn convention(self) -> Convention {
        match self {
            Self::DelayedKernel => Convention::ReadsBefore,
            _ => Convention::ReadsAfter,
        }
    }

    /// The outputs that this set of matrices gives, from the initial state `x0` (zeros if `None`;
    /// always the state before the first input, which [`AdvancedState`](Self::AdvancedState)
    /// advances before it passes it).
    ///
    /// # Errors
    ///
    /// If `x0` is not a state of this model or the chunking does not fit `u`.
    pub fn outputs<S: StateSpace>(
        self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
        chunking: &Chunking,
    ) -> Result<Vec<S::Scalar>, Error> {
        let mut passed = initial_state(ssm, x0)?;
        if self == Self::AdvancedState {
            passed = ssm.advance(&passed, 1);
        }
        Ok(pass_states(ssm, &self, u, Some(&passed), chunking)?.output)
    }
}

impl<S: StateSpace> Blocks<S> for MatrixSet {
    fn convolve(&self, ssm: &S, u: &[S::Scalar]) -> Result<Vec<S::Scalar>, Error> {
        let kernel = match self {
            Self::DelayedKernel => delayed(ssm.kernel(u.len())),
            _ => ssm.kernel(u.len()),
        };
        Ok(causal_convolution(&kernel, u))
    }

    fn read(&self, ssm: &S, x: &[S::Element], len: usize) -> Vec<S::Scalar> {
        match self {
            Self::EndOfChunk => ssm.state_to_output(x, len),
            _ => early_rows(ssm, x, len),
        }
    }

    fn absorb(&self, ssm: &S, u: &[S::Scalar]) -> Vec<S::Element> {
        let left = ssm.input_to_state(u);
        match self {
            Self::AdvancedState => ssm.advance(&left, 1),
            _ => left,
        }
    }
}

impl Convention {
    /// The outputs of the recurrence under this convention.
    ///
    /// # Errors
    ///
    /// If `x0` is not a state of this model.
    pub fn recurrence<S: StateSpace>(
        self,
        ssm: &S,
        u: &[S::Scalar],
        x0: Option<&[S::Element]>,
    ) -> Result<Vec<S::Scalar>, Error> {
        let mut state = initial_state(ssm, x0)?;
        let d = ssm.feedthrough();
        Ok(u.iter()
            .map(|&u| {
                let before = ssm.read(&state);
                let after = ssm.step(&mut state, u);
                match self {
                    Self::ReadsAfter => after,
                    Self::ReadsBefore => before + d * u,
                }
            })
            .into_vec())
    }
}
