//! State passing: a long convolution in chunks that pass on a state.

use super::chunks::{Chunking, pieces};
use super::fused::ChunkConvolution;
use crate::algebra::{Ring, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{PackedResponse, Response, StateSpace, add_states, check_states, initial_state};
use core::ops::Range;

/// The four blocks that take a chunk of `T` inputs and the state before it to its outputs and the
/// state after it, each applied rather than built:
///
/// ```text
/// y^(c) = M_xy x^(c-1) + T_f u^(c) + D u^(c)        M_xy = [CA; CA^2; ...; CA^T]
/// x^(c) = M_xx x^(c-1) + M_ux u^(c)                 M_xx = A^T
///                                                   M_ux = [A^{T-1} B, ..., AB, B]
/// ```
///
/// The defaults are the model's own; `T_f`, the Toeplitz matrix of the kernel, has as many ways as
/// there are convolutions.
pub(crate) trait Blocks<S: StateSpace> {
    /// `T_f u`, as long as `u`.
    fn convolve(&self, ssm: &S, u: &[S::Scalar]) -> Result<Vec<S::Scalar>, Error>;

    /// The state that chunk `chunk` begins from, given the one passed to it and all outputs
    /// before it. Not asked where a document begins.
    fn receive(
        &self,
        _chunk: usize,
        state: Vec<S::Element>,
        _before: &[S::Scalar],
    ) -> Vec<S::Element> {
        state
    }

    /// `M_xy x` of a chunk of `len`.
    fn read(&self, ssm: &S, x: &[S::Element], len: usize) -> Vec<S::Scalar> {
        ssm.state_to_output(x, len)
    }

    /// `M_xx x` of a chunk of `len`, the first chunk being of `first`.
    fn carry(&self, ssm: &S, x: &[S::Element], len: usize, _first: usize) -> Vec<S::Element> {
        ssm.advance(x, len)
    }

    /// `M_ux u`.
    fn absorb(&self, ssm: &S, u: &[S::Scalar]) -> Vec<S::Element> {
        ssm.input_to_state(u)
    }
}

/// The outputs and the final state of a model by the blocks of its chunks.
///
/// # Errors
///
/// If `x0` is not a state of this model, the chunking does not fit `u`, or a block fails.
pub(crate) fn pass_states<S: StateSpace>(
    ssm: &S,
    blocks: &dyn Blocks<S>,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    chunking: &Chunking,
) -> Result<Response<S>, Error> {
    let x0 = initial_state(ssm, x0)?;
    let whole = vec![0..u.len(); 1];
    let row = pass_states_packed(ssm, blocks, u, &whole, &[&x0], chunking)?;
    Ok(Response {
        output: row.output,
        state: row.states.into_iter().flatten().into_vec(),
    })
}

/// The same over a row of documents, whose boundaries need not be those of chunks. A boundary within
/// a chunk cuts its blocks:
///
/// ```text
/// T_f     entries between two documents are 0: one smaller T_f for each
/// M_xy    keeps its rows before the first boundary, to which the incoming state belongs
/// M_ux    keeps its columns after the last one, whose inputs are in the state passed on
/// M_xx    is 0
/// ```
///
/// A boundary at a chunk's edge leaves them whole and drops the incoming state, for `M_xy` too. A
/// document's own initial state enters where it begins.
///
/// # Errors
///
/// If there is not one state of this model per document, the chunking does not fit `u`, or a block
/// fails.
pub(crate) fn pass_states_packed<S: StateSpace>(
    ssm: &S,
    blocks: &dyn Blocks<S>,
    u: &[S::Scalar],
    documents: &[Range<usize>],
    x0: &[&[S::Element]],
    chunking: &Chunking,
) -> Result<PackedResponse<S>, Error> {
    check_states(ssm, documents, x0)?;
    let d = ssm.feedthrough();
    // A document without tokens leaves the state that it was given.
    let mut states: Vec<Vec<S::Element>> = x0.iter().map(|x| x.to_vec()).into_vec();
    let mut output = vec![S::Scalar::ZERO; u.len()];
    let mut state = Vec::new();
    let mut first = 0;
    for piece in pieces(chunking, u.len(), documents)? {
        let (inputs, start) = (&u[piece.tokens.clone()], piece.tokens.start);
        if piece.is_first {
            state = x0[piece.document].to_vec();
            first = inputs.len();
        } else {
            state = blocks.receive(piece.chunk, state, &output[..start]);
        }
        let from_state = blocks.read(ssm, &state, inputs.len());
        let from_input = blocks.convolve(ssm, inputs)?;
        let sums = from_state.into_iter().zip(from_input).zip(inputs);
        for (place, ((s, y), &u)) in output[piece.tokens].iter_mut().zip(sums) {
            *place = s + y + d * u;
        }
        let carried = blocks.carry(ssm, &state, inputs.len(), first);
        state = add_states(&carried, &blocks.absorb(ssm, inputs));
        if piece.is_last {
            states[piece.document].clone_from(&state);
        }
    }
    Ok(PackedResponse { output, states })
}

/// The blocks of FlashConv: within a chunk one fused FFT, product, inverse FFT.
struct FusedBlocks<T: Scalar>(ChunkConvolution<T>);

impl<S> Blocks<S> for FusedBlocks<S::Scalar>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    fn convolve(&self, _ssm: &S, u: &[S::Scalar]) -> Result<Vec<S::Scalar>, Error> {
        self.0.apply(u)
    }
}

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
    let blocks = FusedBlocks(fused(ssm, u.len(), chunking)?);
    pass_states(ssm, &blocks, u, x0, chunking)
}

/// The same over a row of documents, whose boundaries need not be those of chunks: what a boundary
/// makes of the blocks is said at [`pass_states_packed`].
///
/// # Errors
///
/// If there is not one state of this model per document, or the chunking does not fit `u`.
pub(crate) fn flashconv_packed<S>(
    ssm: &S,
    u: &[S::Scalar],
    documents: &[Range<usize>],
    x0: &[&[S::Element]],
    chunking: &Chunking,
) -> Result<PackedResponse<S>, Error>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let blocks = FusedBlocks(fused(ssm, u.len(), chunking)?);
    pass_states_packed(ssm, &blocks, u, documents, x0, chunking)
}

/// The convolution of all chunks: one spectrum, of the longest one's kernel, serves them.
pub(super) fn fused<S>(
    ssm: &S,
    seq_len: usize,
    chunking: &Chunking,
) -> Result<ChunkConvolution<S::Scalar>, Error>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let longest = chunking.lengths(seq_len)?.into_iter().max().unwrap_or(0);
    ChunkConvolution::new(&ssm.kernel(longest))
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
        .into_vec())
}

/// `[C; CA; ...; CA^{len-1}] x`: the rows of `M_xy` one step early.
pub(crate) fn early_rows<S: StateSpace>(ssm: &S, x: &[S::Element], len: usize) -> Vec<S::Scalar> {
    let mut rows = vec![ssm.read(x)];
    rows.extend(ssm.state_to_output(x, len.saturating_sub(1)));
    rows.truncate(len);
    rows
}

/// `0, f_0, f_1, ...`, as long as the kernel: that of a model whose output reads the state before
/// the update.
pub(crate) fn delayed<T: Ring>(mut kernel: Vec<T>) -> Vec<T> {
    kernel.insert(0, T::ZERO);
    kernel.pop();
    kernel
}
