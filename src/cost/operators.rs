//! The cost of operators without a layer (chapter 22).

use super::attention::hyena;
use super::convolution::Convolution;
use super::model::model;
use super::structure::Structure;
use super::{ADD, MULTIPLY, TERM};
use crate::algebra::OperationCount;
use crate::error::Error;
use crate::h3::Form;

/// One channel of a gated long convolution, `post (k * p + D p)` with `p = pre u`.
///
/// # Errors
///
/// As [`Convolution::operations`].
pub fn gated_convolution(convolution: Convolution, n: usize) -> Result<OperationCount, Error> {
    Ok(n as u64 * MULTIPLY + hyena(1, convolution, n)?)
}

/// The H3 operator with a shift: for every channel of its heads a convolution of the keys, for every pair of
/// channels of a head a convolution of key times value, gated by the query and added up.
///
/// # Errors
///
/// As [`Convolution::operations`].
pub fn h3_operator(
    convolution: Convolution,
    [heads, head_dim]: [usize; 2],
    n: usize,
) -> Result<OperationCount, Error> {
    let (d, tokens) = ((heads * head_dim) as u64, n as u64);
    let shift = convolution.operations(n)? + tokens * TERM;
    let pair = gated_convolution(convolution, n)? + tokens * ADD;
    Ok(d * shift + d * head_dim as u64 * pair)
}

/// One channel of a StripedHyena operator: short filters of three signals, the product of two of them, a filter
/// of this structure, the gate.
///
/// # Errors
///
/// As [`model`].
pub fn striped(
    form: &Form,
    short_taps: usize,
    inner: Structure,
    n: usize,
) -> Result<OperationCount, Error> {
    let short = model(form, Structure::Shift(short_taps), n)?;
    Ok(3 * short + model(form, inner, n)? + 2 * n as u64 * MULTIPLY)
}
