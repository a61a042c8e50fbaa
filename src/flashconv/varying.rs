//! State passing for models whose matrices depend on the token.

use super::chunks::Chunking;
use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use crate::ssm::{Varying, VaryingResponse};

/// The four blocks of a chunk, given the model over the chunk's own steps `1, ..., T`:
///
/// ```text
/// y^(c) = M_xy x^(c-1) + M u^(c)        row i of M_xy:  C_i A_i ... A_1
/// x^(c) = M_xx x^(c-1) + M_ux u^(c)     M_xx: A_T ... A_1     column j of M_ux:  A_T ... A_{j+1} B_j
/// ```
///
/// They are FlashConv's with products of decays in the place of powers, and differ from chunk to
/// chunk. Row i of `M_xy` has i decays, the first one included; column j of `M_ux` has T - j, its
/// own step's not included.
pub(crate) trait VaryingBlocks<T: Ring> {
    /// `M u`, what the chunk's own inputs add to its outputs.
    fn within(&self, ssm: &Varying<T>, u: &Matrix<T>) -> Result<Matrix<T>, Error> {
        ssm.matrix()?.times(u)
    }

    /// `M_xy x`.
    fn read(&self, ssm: &Varying<T>, x: &Matrix<T>) -> Matrix<T> {
        ssm.state_to_output(x)
    }

    /// `M_xx x`.
    fn carry(&self, ssm: &Varying<T>, x: &Matrix<T>) -> Matrix<T> {
        ssm.advance(x)
    }

    /// `M_ux u`.
    fn absorb(&self, ssm: &Varying<T>, u: &Matrix<T>) -> Matrix<T> {
        ssm.input_to_state(u)
    }
}

/// The blocks as they are.
struct Exact;

impl<T: Ring> VaryingBlocks<T> for Exact {}

/// The outputs and the final state by state passing, for any chunking. With the blocks computed as
/// products of matrices this is the algorithm of the official `ssd_minimal_discrete` and of its
/// kernels.
///
/// # Errors
///
/// As [`varying_recurrence`](crate::ssm::varying_recurrence), or if the chunking does not fit.
pub fn pass_varying_states<T: Ring>(
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
    chunking: &Chunking,
) -> Result<VaryingResponse<T>, Error> {
    pass_varying_states_by(&Exact, ssm, u, x0, chunking)
}

/// The same by blocks of one's own.
///
/// # Errors
///
/// As [`pass_varying_states`].
pub(crate) fn pass_varying_states_by<T: Ring>(
    blocks: &dyn VaryingBlocks<T>,
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
    chunking: &Chunking,
) -> Result<VaryingResponse<T>, Error> {
    let mut state = ssm.initial(u, x0)?;
    let mut output = Vec::with_capacity(u.rows() * u.cols());
    let mut end = 0;
    for len in chunking.lengths(ssm.seq_len())? {
        let tokens = end..end + len;
        end = tokens.end;
        let inputs = u.row_range(tokens.clone());
        let ssm = ssm.tokens(tokens);
        let outputs = blocks
            .within(&ssm, &inputs)?
            .plus(&blocks.read(&ssm, &state))?;
        output.extend_from_slice(outputs.entries());
        state = blocks
            .carry(&ssm, &state)
            .plus(&blocks.absorb(&ssm, &inputs))?;
    }
    Ok(VaryingResponse {
        output: Matrix::new(u.rows(), u.cols(), output)?,
        state,
    })
}
