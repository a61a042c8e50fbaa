//! The operations of every structure of state space model; each form is written once over them.

use crate::algebra::{Ring, Scalar};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// A discrete, time-invariant state space model with scalar input and output:
///
/// ```text
/// x_i = A x_{i-1} + B u_i        i = 1..N
/// y_i = C x_i     + D u_i        the output reads the state AFTER the update
/// ```
///
/// The methods are the blocks from which the forms are built. Each structure gives each block
/// by its own closed formula rather than by running the recurrence, so that the forms,
/// which use different blocks, check one another.
///
/// A state is a slice of [`state_dim`](StateSpace::state_dim) elements. The methods index it
/// freely; the forms check lengths before they call them.
pub trait StateSpace {
    /// The type of inputs, outputs and kernels.
    type Scalar: Scalar;
    /// The type of the elements of a state: the scalar, or its complex companion for a diagonal
    /// model.
    type Element: Ring;
    /// A power of `A`, in the shape this structure keeps it in.
    type Transition: Transition<Element = Self::Element>;

    /// The number of elements a state is stored in.
    fn state_dim(&self) -> usize;

    /// `D`.
    fn feedthrough(&self) -> Self::Scalar;

    /// `B u`: what one input adds to the state.
    fn inject(&self, u: Self::Scalar) -> Vec<Self::Element>;

    /// `C x`: what the output reads from the state.
    fn read(&self, x: &[Self::Element]) -> Self::Scalar;

    /// `A`.
    fn transition(&self) -> Self::Transition;

    /// One step of the recurrence: replaces `x` by `A x + B u` and returns `C x + D u` of the
    /// new `x`.
    fn step(&self, x: &mut [Self::Element], u: Self::Scalar) -> Self::Scalar;

    /// The kernel `f_j = C A^j B`, `j = 0, ..., len - 1`, without `D`.
    fn kernel(&self, len: usize) -> Vec<Self::Scalar>;

    /// `A^k x`: FlashConv's `M_xx x` for a chunk of length `k`.
    fn advance(&self, x: &[Self::Element], k: usize) -> Vec<Self::Element>;

    /// `C A^i x`, `i = 1, ..., len`: what an initial state adds to the outputs, FlashConv's
    /// `M_xy x`.
    fn state_to_output(&self, x: &[Self::Element], len: usize) -> Vec<Self::Scalar>;

    /// `sum_j A^{T-j} B u_j`, `j = 1, ..., T = u.len()`: the state that inputs leave behind,
    /// FlashConv's `M_ux u`.
    fn input_to_state(&self, u: &[Self::Scalar]) -> Vec<Self::Element>;
}

/// A power of a state matrix. Powers are closed under composition, so they can be scanned.
pub trait Transition: Clone {
    /// The type of the elements of a state.
    type Element;

    /// `A^0`, the identity, on states of the same dimension as this one's.
    #[must_use]
    fn identity(&self) -> Self;

    /// `self` after `earlier`: the matrix product `self * earlier`.
    #[must_use]
    fn after(&self, earlier: &Self) -> Self;

    /// The matrix applied to a state.
    fn apply(&self, x: &[Self::Element]) -> Vec<Self::Element>;
}

/// The response of a form: the outputs, and the state after the last input.
pub struct Response<S: StateSpace + ?Sized> {
    /// `y_1, ..., y_N`.
    pub output: Vec<S::Scalar>,
    /// `x_N`, from which any form can continue.
    pub state: Vec<S::Element>,
}

impl<S: StateSpace + ?Sized> core::fmt::Debug for Response<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Response")
            .field("output", &self.output)
            .field("state", &self.state)
            .finish()
    }
}

impl<S: StateSpace + ?Sized> Clone for Response<S> {
    fn clone(&self) -> Self {
        Self {
            output: self.output.clone(),
            state: self.state.clone(),
        }
    }
}

impl<S: StateSpace + ?Sized> PartialEq for Response<S>
where
    S::Scalar: PartialEq,
    S::Element: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.output == other.output && self.state == other.state
    }
}

/// The given initial state, or zeros.
///
/// # Errors
///
/// If the state has the wrong length.
pub(crate) fn initial_state<S: StateSpace + ?Sized>(
    ssm: &S,
    x0: Option<&[S::Element]>,
) -> Result<Vec<S::Element>, Error> {
    let m = ssm.state_dim();
    match x0 {
        None => Ok(vec![S::Element::ZERO; m]),
        Some(x) => {
            check_len("initial state", x.len(), m)?;
            Ok(x.to_vec())
        }
    }
}

/// The sum of two states.
pub(crate) fn add_states<E: Ring>(x: &[E], y: &[E]) -> Vec<E> {
    x.iter().zip(y).map(|(&a, &b)| a + b).into_vec()
}
