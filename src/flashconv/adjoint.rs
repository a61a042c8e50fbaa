//! FlashConv backwards: the cotangent of the state, passed from the last chunk to the first.

use super::chunks::{Chunking, Piece, pieces};
use super::fused::ChunkConvolution;
use super::state_passing::fused;
use crate::algebra::{Ring, RootsOfUnity, Scalar};
use crate::error::{Error, check_len};
use crate::fourier::adjoint::correlate;
use crate::into_vec::IntoVec as _;
use crate::ssm::{
    Adjoint, Gradients, PackedGradients, add_states, check_cotangents, check_packed_cotangents,
};
use core::ops::Range;

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
    let (x0, g_state) = check_cotangents(ssm, u, x0, g, g_state)?;
    let whole = vec![0..u.len(); 1];
    let row = flashconv_adjoint_packed(ssm, (u, g), &whole, [&[&x0], &[&g_state]], chunking)?;
    Ok(of_one(row))
}

/// The same over a row of documents, whose boundaries need not be those of chunks. Backwards a
/// document begins with its last token, from the cotangent of the state that it leaves, and what
/// remains after its first one is the cotangent of its initial state; the blocks are cut as in
/// `pass_states_packed`.
///
/// # Errors
///
/// If there are not two states of this model per document, `g` is not as long as `u`, or the chunking
/// does not fit it.
pub(crate) fn flashconv_adjoint_packed<S>(
    ssm: &S,
    (u, g): (&[S::Scalar], &[S::Scalar]),
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
    chunking: &Chunking,
) -> Result<PackedGradients<S>, Error>
where
    S: Adjoint,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    check_packed_cotangents(ssm, (u, g), documents, [x0, g_states])?;
    let pieces = pieces(chunking, u.len(), documents)?;
    let mut state = Vec::new();
    let before = |piece: &Piece| {
        if piece.is_first {
            state = x0[piece.document].to_vec();
        }
        let before = state.clone();
        if !piece.is_last {
            let inputs = &u[piece.tokens.clone()];
            let carried = ssm.advance(&state, inputs.len());
            state = add_states(&carried, &ssm.input_to_state(inputs));
        }
        before
    };
    let incoming: Vec<_> = pieces.iter().map(before).into_vec();
    let convolution = fused(ssm, u.len(), chunking)?;
    back_through((ssm, &convolution), (u, g), &pieces, &incoming, g_states)
}

/// [`flashconv_adjoint`] from the states that a forward pass saved: `incoming`, the state before
/// each chunk, `x_0` first. Nothing else of the forward pass has to be stored.
///
/// An empty sequence has no chunk and one state, `x_0`.
///
/// # Errors
///
/// As [`flashconv_adjoint`], and if there is not one state per chunk.
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
    let (_, g_state) = check_cotangents(ssm, u, None, g, g_state)?;
    let whole = vec![0..u.len(); 1];
    let pieces = pieces(chunking, u.len(), &whole)?;
    check_len(
        "states before the chunks",
        incoming.len(),
        pieces.len().max(1),
    )?;
    for state in incoming {
        check_len("state before a chunk", state.len(), ssm.state_dim())?;
    }
    let convolution = fused(ssm, u.len(), chunking)?;
    let by = (ssm, &convolution);
    back_through(by, (u, g), &pieces, incoming, &[&g_state]).map(of_one)
}

/// The gradients of a row that is one document.
fn of_one<S: Adjoint>(row: PackedGradients<S>) -> Gradients<S> {
    Gradients {
        input: row.input,
        state: row.states.into_iter().flatten().into_vec(),
        model: row.model,
    }
}

/// From the last piece to the first, given the state before each.
fn back_through<S>(
    (ssm, convolution): (&S, &ChunkConvolution<S::Scalar>),
    (u, g): (&[S::Scalar], &[S::Scalar]),
    pieces: &[Piece],
    incoming: &[Vec<S::Element>],
    g_states: &[&[S::Element]],
) -> Result<PackedGradients<S>, Error>
where
    S: Adjoint,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let longest = pieces.iter().map(|piece| piece.tokens.len()).max();
    let mut gradient = ssm.zero_gradient();
    let mut of_kernel = vec![S::Scalar::ZERO; longest.unwrap_or(0)];
    let mut input = vec![S::Scalar::ZERO; u.len()];
    // A document without tokens hands back the cotangent that it was given.
    let mut states: Vec<Vec<S::Element>> = g_states.iter().map(|g| g.to_vec()).into_vec();
    let mut adjoint = Vec::new();
    for (piece, state) in pieces.iter().zip(incoming).rev() {
        if piece.is_last {
            adjoint = g_states[piece.document].to_vec();
        }
        let (tokens, len) = (piece.tokens.clone(), piece.tokens.len());
        let (u, g, input) = (&u[tokens.clone()], &g[tokens.clone()], &mut input[tokens]);

        // A correlation is the fused convolution of the cotangent reversed in time.
        let reversed: Vec<_> = g.iter().rev().copied().into_vec();
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
        if piece.is_first {
            states[piece.document].clone_from(&adjoint);
        }
    }
    ssm.kernel_adjoint(&of_kernel, &mut gradient);
    Ok(PackedGradients {
        input,
        states,
        model: gradient,
    })
}
