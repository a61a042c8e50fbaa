//! The operations that reverse mode needs from every structure, and the adjoint of the recurrence.

use super::state_space::{StateSpace, add_states, initial_state};
use crate::algebra::Ring;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The adjoint of every block of [`StateSpace`].
///
/// For a loss `L`, the *cotangent* of a quantity is the gradient of `L` with respect to it. Each
/// method takes the cotangent of the block's result, returns the cotangent of the vector to which
/// the block was applied, and adds that of `A`, `B`, `C`, `D` to `gradient`. A gradient with
/// respect to a model has the model's own shape, so it is stored as one.
///
/// A complex number is a pair of real ones, and its cotangent packs the two derivatives as
/// `dL/dre + i dL/dim` (PyTorch's `view_as_real`). So a real structure meets the transpose `M^T`
/// of each matrix, and a diagonal one its conjugate transpose, written `M*` for both; `2 conj(c)`
/// is the adjoint of the trace's `y = c x + conj(c x)`.
///
/// Lengths are the caller's to check, as for [`StateSpace`].
pub trait Adjoint: StateSpace + Sized {
    /// The gradient of nothing: zeros, in the shape of this model.
    #[must_use]
    fn zero_gradient(&self) -> Self;

    /// Adds another gradient of the same shape: what a shared parameter's uses do.
    fn add_gradient(&mut self, other: &Self);

    /// Of `y = D u`: returns `D g`, adds `g u` to the gradient of `D`.
    fn feedthrough_adjoint(
        &self,
        u: Self::Scalar,
        g: Self::Scalar,
        gradient: &mut Self,
    ) -> Self::Scalar;

    /// Of [`inject`](StateSpace::inject), `x = B u`: returns `B* g`.
    fn inject_adjoint(
        &self,
        u: Self::Scalar,
        g: &[Self::Element],
        gradient: &mut Self,
    ) -> Self::Scalar;

    /// Of [`read`](StateSpace::read), `y = C x`: returns `C* g`.
    fn read_adjoint(
        &self,
        x: &[Self::Element],
        g: Self::Scalar,
        gradient: &mut Self,
    ) -> Vec<Self::Element>;

    /// Of [`kernel`](StateSpace::kernel), `f_j = C A^j B`, given the cotangents of `f_0, f_1,
    /// ...`.
    fn kernel_adjoint(&self, g: &[Self::Scalar], gradient: &mut Self);

    /// Of [`advance`](StateSpace::advance), `A^k x`: returns `(A*)^k g`, FlashConv's `M_xx* g`.
    fn advance_adjoint(
        &self,
        x: &[Self::Element],
        k: usize,
        g: &[Self::Element],
        gradient: &mut Self,
    ) -> Vec<Self::Element>;

    /// Of [`state_to_output`](StateSpace::state_to_output), `C A^i x`, `i = 1, ..., g.len()`:
    /// returns `sum_i (C A^i)* g_i`, FlashConv's `M_xy* g`.
    fn state_to_output_adjoint(
        &self,
        x: &[Self::Element],
        g: &[Self::Scalar],
        gradient: &mut Self,
    ) -> Vec<Self::Element>;

    /// Of [`input_to_state`](StateSpace::input_to_state), `sum_j A^{T-j} B u_j`: returns
    /// `B* (A*)^{T-j} g`, `j = 1, ..., T`, FlashConv's `M_ux* g`.
    fn input_to_state_adjoint(
        &self,
        u: &[Self::Scalar],
        g: &[Self::Element],
        gradient: &mut Self,
    ) -> Vec<Self::Scalar>;
}

/// The gradients of one model's response.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients<S: StateSpace> {
    /// With respect to `u`.
    pub input: Vec<S::Scalar>,
    /// With respect to `x_0`.
    pub state: Vec<S::Element>,
    /// With respect to `A`, `B`, `C` and `D`.
    pub model: S,
}

/// The gradients by the adjoint recurrence, given the cotangents `g_i` of the outputs and
/// `g_state` of the final state (zeros if `None`):
///
/// ```text
/// l_i = C* g_i + A* l_{i+1}      i = N..1, A* l_{N+1} = g_state
/// u:  D g_i + B* l_i             x_0:  A* l_1
/// A:  sum_i l_i x_{i-1}*         B:  sum_i l_i u_i      C:  sum_i g_i x_i*      D:  sum_i g_i u_i
/// ```
///
/// O(N) steps each way. It stores all N states; the chunked adjoint
/// ([`flashconv_adjoint`](crate::flashconv::flashconv_adjoint)) stores one per chunk.
///
/// # Errors
///
/// If `g` is not as long as `u`, or `x0` or `g_state` is not a state of this model.
pub fn recurrence_adjoint<S: Adjoint>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
) -> Result<Gradients<S>, Error> {
    recurrence_adjoint_with(ssm, u, x0, g, g_state, |_| {})
}

/// [`recurrence_adjoint`] with something done to every `l_i`.
pub(crate) fn recurrence_adjoint_with<S: Adjoint>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
    change: impl Fn(&mut [S::Element]),
) -> Result<Gradients<S>, Error> {
    let (x0, mut adjoint) = check_cotangents(ssm, u, x0, g, g_state)?;
    let mut states = vec![x0];
    for (i, &u) in u.iter().enumerate() {
        let mut next = states[i].clone();
        ssm.step(&mut next, u);
        states.push(next);
    }
    let mut gradient = ssm.zero_gradient();
    let mut input = vec![S::Scalar::ZERO; u.len()];
    for i in (0..u.len()).rev() {
        let read = ssm.read_adjoint(&states[i + 1], g[i], &mut gradient);
        adjoint = add_states(&adjoint, &read);
        change(&mut adjoint);
        input[i] = ssm.feedthrough_adjoint(u[i], g[i], &mut gradient)
            + ssm.inject_adjoint(u[i], &adjoint, &mut gradient);
        adjoint = ssm.advance_adjoint(&states[i], 1, &adjoint, &mut gradient);
    }
    Ok(Gradients {
        input,
        state: adjoint,
        model: gradient,
    })
}

/// The adjoint of [`causal_convolution`](super::causal_convolution): given the cotangent `g` of
/// `y = f * u`, the cotangents of `f` and of `u`, in this order. Both are correlations,
///
/// ```text
/// f_j:  sum_{i >= j} g_i u_{i-j}        u_j:  sum_{i >= j} g_i f_{i-j}
/// ```
///
/// cut to the length of `f` and of `u`. `g` is as long as `u`; what is missing counts as zero.
pub fn causal_convolution_adjoint<T: Ring>(f: &[T], u: &[T], g: &[T]) -> (Vec<T>, Vec<T>) {
    let correlate = |other: &[T], len: usize| {
        (0..len)
            .map(|j| {
                g.iter()
                    .skip(j)
                    .zip(other)
                    .fold(T::ZERO, |sum, (&g, &x)| sum + g * x)
            })
            .into_vec()
    };
    (correlate(u, f.len()), correlate(f, u.len()))
}

/// The gradients of the convolution form with a kernel cut to `window`, given the adjoint of its
/// convolution: kernel to (cotangent of the kernel, cotangent of the input).
///
/// The contributions of the initial state to the outputs and to the final state, in closed form,
/// are not truncated, as in the form itself.
pub(crate) fn convolution_adjoint_with<S: Adjoint>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
    window: usize,
    correlate: impl FnOnce(&[S::Scalar]) -> Result<(Vec<S::Scalar>, Vec<S::Scalar>), Error>,
) -> Result<Gradients<S>, Error> {
    let (x0, g_state) = check_cotangents(ssm, u, x0, g, g_state)?;
    let mut gradient = ssm.zero_gradient();
    let (of_kernel, of_input) = correlate(&ssm.kernel(window.min(u.len())))?;
    ssm.kernel_adjoint(&of_kernel, &mut gradient);
    let of_state = ssm.input_to_state_adjoint(u, &g_state, &mut gradient);
    let input = of_input
        .into_iter()
        .zip(of_state)
        .zip(u.iter().zip(g))
        .map(|((y, s), (&u, &g))| y + s + ssm.feedthrough_adjoint(u, g, &mut gradient))
        .into_vec();
    let carried = ssm.advance_adjoint(&x0, u.len(), &g_state, &mut gradient);
    let read = ssm.state_to_output_adjoint(&x0, g, &mut gradient);
    Ok(Gradients {
        input,
        state: add_states(&carried, &read),
        model: gradient,
    })
}

/// The initial state and the final state's cotangent, or zeros; refuses what does not fit.
#[expect(
    clippy::type_complexity,
    reason = "two states of one model, in the order of the arguments"
)]
pub(crate) fn check_cotangents<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
) -> Result<(Vec<S::Element>, Vec<S::Element>), Error> {
    check_len("cotangent of the output", g.len(), u.len())?;
    let x0 = initial_state(ssm, x0)?;
    let g_state = match g_state {
        None => vec![S::Element::ZERO; ssm.state_dim()],
        Some(g) => {
            check_len("cotangent of the final state", g.len(), ssm.state_dim())?;
            g.to_vec()
        }
    };
    Ok((x0, g_state))
}

/// `sum += x`, entry by entry.
pub(super) fn add_assign<T: Ring>(sum: &mut [T], x: &[T]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = *sum + x;
    }
}

/// `sum += factor x`, entry by entry.
pub(super) fn add_scaled<T: Ring>(sum: &mut [T], factor: T, x: &[T]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = *sum + factor * x;
    }
}
