//! FlashConv backwards: the cotangent of the state, passed from the last chunk to the first.

use super::chunks::Chunking;
use super::fused::ChunkConvolution;
use super::state_passing::chunk_states;
use crate::algebra::{Ring, RootsOfUnity, Scalar};
use crate::error::{Error, check_len};
use crate::fourier::adjoint::correlate;
use crate::ssm::{Adjoint, Gradients, add_states, check_cotangents};

/// The gradients by the adjoint of [`flashconv`](super::flashconv). With `l^(c)` the cotangent of
/// the state `x^(c)` passed on after chunk `c`, from the last chunk to the first
///
/// ```text
/// u^(c):    M_ux* l^(c) + f correlated with g^(c) + D g^(c)
/// l^(c-1) = M_xx* l^(c) + M_xy* g^(c)                          l^(last) = g_state
/// ```
///
/// The rows of `M_ux*` are `B*, B* A*, ..., B* (A*)^{T-1}`, from the chunk's last input to its
/// first: they begin at power 0, since `x^(c)` has already taken the last input in. The columns
/// of `M_xy*` begin at power 1. So, read backwards in time, the transposed model passes its state
/// already advanced by one step ([`MatrixSet::AdvancedState`](super::MatrixSet::AdvancedState)).
///
/// # Memory
///
/// Beside the input, its cotangent and its gradient (3 N scalars): the states passed between
/// chunks, `m ceil(N/T)`, and working memory for one chunk at a time, `O(T + m)` for diagonal and
/// shift models, `O(m T)` for dense ones. Over `d` channels one after another that is
/// `O(d N + m N/T)`; channels run side by side, as a parallel machine would run them, hold
/// `O(d N + d m N/T)`. No state within a chunk is stored: what a block needs of them it
/// recomputes.
///
/// # Errors
///
/// If `g` is not as long as `u`, `x0` or `g_state` is not a state of this model, or the chunking
/// does not fit `u`.
pub fn flashconv_adjoint<S>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
    chunking: &Chunking,
) -> Result<Gradients<S>, Error>
where
    S: Adjoint,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let (x0, _) = check_cotangents(ssm, u, x0, g, g_state)?;
    // The state after the last chunk is no chunk's incoming one; the initial state is the first's.
    let mut incoming = chunk_states(ssm, u, Some(&x0), chunking)?;
    incoming.pop();
    incoming.insert(0, x0);
    flashconv_adjoint_from(ssm, u, &incoming, g, g_state, chunking)
}

/// [`flashconv_adjoint`] from what a forward pass saved: `incoming`, the state before each chunk,
/// `x_0` first. This is all it is given of the forward pass, so all that has to be stored.
///
/// An empty sequence has no chunk and one state, `x_0`.
///
/// # Errors
///
/// As [`flashconv_adjoint`], and if there is not one state a chunk.
pub fn flashconv_adjoint_from<S>(
    ssm: &S,
    u: &[S::Scalar],
    incoming: &[Vec<S::Element>],
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
    chunking: &Chunking,
) -> Result<Gradients<S>, Error>
where
    S: Adjoint,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let (_, mut adjoint) = check_cotangents(ssm, u, None, g, g_state)?;
    let lengths = chunking.lengths(u.len())?;
    check_len(
        "states before the chunks",
        incoming.len(),
        lengths.len().max(1),
    )?;
    for state in incoming {
        check_len("state before a chunk", state.len(), ssm.state_dim())?;
    }
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let convolution = ChunkConvolution::new(&ssm.kernel(longest))?;
    let mut gradient = ssm.zero_gradient();
    let mut of_kernel = vec![S::Scalar::ZERO; longest];
    let mut input = vec![S::Scalar::ZERO; u.len()];
    let mut end = u.len();
    for (&len, state) in lengths.iter().zip(incoming).rev() {
        let chunk = end - len..end;
        end = chunk.start;
        let (u, g, input) = (&u[chunk.clone()], &g[chunk.clone()], &mut input[chunk]);

        // A correlation is the fused convolution of the cotangent reversed in time.
        let reversed: Vec<_> = g.iter().rev().copied().collect();
        let from_outputs = convolution.apply(&reversed)?.into_iter().rev();
        let from_state = ssm.input_to_state_adjoint(u, &adjoint, &mut gradient);
        for (i, (y, s)) in from_outputs.zip(from_state).enumerate() {
            input[i] = y + s + ssm.feedthrough_adjoint(u[i], g[i], &mut gradient);
        }
        for (sum, g) in of_kernel.iter_mut().zip(correlate(u, g, len)?) {
            *sum = *sum + g;
        }

        let carried = ssm.advance_adjoint(state, len, &adjoint, &mut gradient);
        let read = ssm.state_to_output_adjoint(state, g, &mut gradient);
        adjoint = add_states(&carried, &read);
    }
    ssm.kernel_adjoint(&of_kernel, &mut gradient);
    Ok(Gradients {
        input,
        state: adjoint,
        model: gradient,
    })
}
