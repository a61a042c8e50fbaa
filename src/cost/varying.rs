//! The cost of a model with a separate decay in every step, by form.

use super::{ADD, MULTIPLY, TERM, triangle};
use crate::algebra::OperationCount;
use crate::error::Error;
use crate::h3::Form;

/// The sizes of one head of SSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsdShape {
    /// L.
    pub seq_len: usize,
    /// P, the inputs that share the model.
    pub inputs: usize,
    /// N, the state channels of each.
    pub state: usize,
}

/// The operations of one head of SSD, a [`Varying`](crate::ssm::Varying) model with one decay per step:
/// outputs and final state, from decays and inputs as they are given.
///
/// The forms are [`varying_recurrence`](crate::ssm::varying_recurrence),
/// [`varying_scan`](crate::ssm::varying_scan), as attention
/// [`varying_quadratic`](crate::ssm::varying_quadratic), and in chunks
/// [`pass_varying_states`](crate::flashconv::pass_varying_states).
///
/// # Errors
///
/// If the form needs a kernel, which such a model has not, or its chunking does not fit.
pub fn ssd(form: &Form, shape: SsdShape) -> Result<OperationCount, Error> {
    let [p, n] = [shape.inputs, shape.state].map(|size| size as u64);
    let len = shape.seq_len as u64;
    match form {
        // Every state channel decays, takes in a product, and is a term of the output.
        Form::Recurrence => Ok(len * p * n * (MULTIPLY + 2 * TERM)),
        Form::Scan => {
            let nodes = 2 * (shape.seq_len.next_power_of_two() as u64 - 1) + len;
            let node = MULTIPLY + p * n * TERM;
            Ok(nodes * node + len * p * n * (MULTIPLY + TERM))
        }
        Form::Attention => Ok(block(len, p, n)),
        Form::FlashConv(chunking) => {
            let lengths = chunking.lengths(shape.seq_len)?.into_iter();
            let blocks = lengths.map(|len| block(len as u64, p, n));
            Ok(blocks.fold(OperationCount::default(), |sum, block| sum + block))
        }
        _ => Err(Error::unsupported(
            "the cost of a form with a kernel, for a model whose decay depends on the token",
        )),
    }
}

/// The four blocks of `len` steps, applied: `M`, `M_xy`, `M_xx` and `M_ux`.
fn block(len: u64, p: u64, n: u64) -> OperationCount {
    let steps = len.saturating_sub(1);
    // Scores, each times a product of decays, which grows by one from row to row.
    let matrix = triangle(len) * (n * TERM + MULTIPLY) + triangle(steps) * MULTIPLY;
    let within = matrix + len * len * p * TERM;
    let read = steps * MULTIPLY + len * p * n * (MULTIPLY + TERM) + len * p * ADD;
    let carried = match len {
        0 => OperationCount::default(),
        _ => steps * MULTIPLY + p * n * MULTIPLY,
    };
    let absorbed = steps * MULTIPLY + len * n * MULTIPLY + len * p * n * TERM;
    within + read + carried + absorbed + p * n * ADD
}
