//! State passing: a long convolution in chunks that hand on a state.

use super::chunks::Chunking;
use super::fused::ChunkConvolution;
use crate::algebra::{RootsOfUnity, Scalar};
use crate::error::Error;
use crate::ssm::{Response, StateSpace, add_states, initial_state};

/// The outputs and final state by FlashConv: for every chunk `c` of length `T`,
///
/// ```text
/// y^(c) = M_xy x^(c-1) + f * u^(c) + D u^(c)        M_xy = [CA; CA^2; ...; CA^T]
/// x^(c) = M_xx x^(c-1) + M_ux u^(c)                 M_xx = A^T
///                                                   M_ux = [A^{T-1} B, ..., AB, B]
/// ```
///
/// where `x^(c-1)` is the state after the last input of the chunk before (paper, algorithm for
/// long sequences). Within a chunk the convolution is one fused FFT, product, inverse FFT
/// ([`ChunkConvolution`]). Any structure of `A`, any chunking.
///
/// # Errors
///
/// If `x0` is not a state of this model or the chunking does not fit `u`.
pub fn flashconv<S>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    chunking: &Chunking,
) -> Result<Response<S>, Error>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let chunks = chunking.split(u)?;
    // One spectrum, of the longest chunk's kernel, serves all chunks.
    let longest = chunks.iter().map(|chunk| chunk.len()).max().unwrap_or(0);
    let convolution = ChunkConvolution::new(&ssm.kernel(longest))?;
    let d = ssm.feedthrough();
    let mut state = initial_state(ssm, x0)?;
    let mut output = Vec::with_capacity(u.len());
    for (chunk, after) in chunks.into_iter().zip(chunk_states(ssm, u, x0, chunking)?) {
        let from_state = ssm.state_to_output(&state, chunk.len());
        let from_input = convolution.apply(chunk)?;
        for ((s, y), &u) in from_state.into_iter().zip(from_input).zip(chunk) {
            output.push(s + y + d * u);
        }
        state = after;
    }
    Ok(Response { output, state })
}

/// The states passed from chunk to chunk: `x^(1), x^(2), ...`, one after each chunk.
///
/// # Errors
///
/// As [`flashconv`].
pub fn chunk_states<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    chunking: &Chunking,
) -> Result<Vec<Vec<S::Element>>, Error> {
    let mut state = initial_state(ssm, x0)?;
    Ok(chunking
        .split(u)?
        .into_iter()
        .map(|chunk| {
            state = add_states(
                &ssm.advance(&state, chunk.len()),
                &ssm.input_to_state(chunk),
            );
            state.clone()
        })
        .collect())
}
