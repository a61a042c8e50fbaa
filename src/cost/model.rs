//! Operations of one model, by form.

use super::convolution::{Convolution, block_fft, block_product, toeplitz};
use super::structure::Structure;
use super::{ADD, TERM};
use crate::algebra::OperationCount;
use crate::error::Error;
use crate::flashconv::Chunking;
use crate::fourier::convolution::transform_len;
use crate::h3::Form;

/// The operations of [`Form::respond`] on `n` inputs: outputs and final state.
///
/// An initial state costs the same whether it is zero or not.
///
/// # Errors
///
/// If the form's chunking does not fit, or 2 n does not fit `usize`.
pub fn model(form: &Form, structure: Structure, n: usize) -> Result<OperationCount, Error> {
    let kernel = match form {
        Form::Recurrence | Form::Scan | Form::FlashConv(_) => OperationCount::default(),
        _ => structure.kernel(n),
    };
    Ok(kernel + with_kernel(form, structure, n)?)
}

/// The same, given the kernel of `n` taps, which only the forms that convolve with it read.
pub(super) fn with_kernel(
    form: &Form,
    structure: Structure,
    n: usize,
) -> Result<OperationCount, Error> {
    let convolved = match form {
        Form::Recurrence => return Ok(n as u64 * structure.step()),
        Form::Scan => return Ok(scan(structure, n)),
        Form::FlashConv(chunking) => return flashconv(structure, n, chunking),
        Form::Toeplitz | Form::Attention => toeplitz(n),
        Form::Convolution => Convolution::Direct.operations(n)?,
        Form::Fft => Convolution::Fft.operations(n)?,
        Form::RealFft => Convolution::RealFft.operations(n)?,
        Form::BlockFft => Convolution::BlockFft.operations(n)?,
    };
    let from_state = structure.state_to_output(n) + n as u64 * (TERM + ADD);
    Ok(convolved + from_state + next_state(structure, n))
}

/// The state after `n` inputs in closed form.
fn next_state(structure: Structure, n: usize) -> OperationCount {
    structure.advance(n) + structure.input_to_state(n) + structure.add_states()
}

/// Up and down a tree of at least n leaves, and once more at every leaf.
fn scan(structure: Structure, n: usize) -> OperationCount {
    let nodes = 2 * (n.next_power_of_two() as u64 - 1) + n as u64;
    nodes * structure.compose() + n as u64 * (structure.inject() + structure.read() + TERM)
}

/// One spectrum; for every chunk two transforms, the state's outputs and the next state.
fn flashconv(structure: Structure, n: usize, chunking: &Chunking) -> Result<OperationCount, Error> {
    let lengths = chunking.lengths(n)?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let padded = transform_len(longest, longest)?;
    let start = structure.kernel(longest) + block_fft(padded);
    Ok(lengths.into_iter().fold(start, |sum, len| {
        let fused = 2 * block_fft(padded) + block_product(padded);
        let from_state = structure.state_to_output(len) + len as u64 * (TERM + ADD);
        sum + fused + from_state + next_state(structure, len)
    }))
}
