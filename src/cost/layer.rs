//! Operations of a whole H3 layer.

use super::attention::{AttentionShape, masked_attention};
use super::model::with_kernel;
use super::structure::Structure;
use super::{ADD, MULTIPLY, TERM};
use crate::algebra::OperationCount;
use crate::error::Error;
use crate::h3::{Form, LayerShape};

/// The operations of [`Layer::forward`](crate::h3::Layer::forward) on one sequence of `n` tokens,
/// no kernel cut by `l_max`:
///
/// - four projections, `d` terms and a bias for each of `n d` numbers;
/// - the kernels of d shift models and of `d / d_h` heads, which are stages in every form;
/// - d shift models, `d d_h` products and diagonal models, as many gates;
/// - as attention, the last two by [`masked_attention`] in each of `d / d_h` heads instead, with
///   what the initial states add and the final ones.
///
/// # Errors
///
/// As [`model`](super::model); if `l_max` is below `n`.
pub fn h3_layer(form: &Form, shape: &LayerShape, n: usize) -> Result<OperationCount, Error> {
    let (d_h, heads) = (shape.head_dim, shape.n_heads);
    let d = heads * d_h;
    if shape.l_max.is_some_and(|l_max| l_max < n) {
        return Err(Error::unsupported("the cost of kernels cut by l_max"));
    }
    let tokens = n as u64;
    let projections = 4 * tokens * d as u64 * (d as u64 * TERM + ADD);
    let window = Structure::Shift(shape.d_state);
    let modes = Structure::Diagonal(shape.d_state / 2);
    let kernels = d as u64 * window.kernel(n) + heads as u64 * modes.kernel(n);
    let shift = d as u64 * with_kernel(form, window, n)?;
    let pairs = (d * d_h) as u64;
    let products = pairs * tokens * MULTIPLY;
    let rest = if *form == Form::Attention {
        let head = AttentionShape {
            seq_len: n,
            key_dim: d_h,
            value_dim: d_h,
        };
        let masks = tokens * ADD + masked_attention(head);
        let state = modes.state_to_output(n)
            + tokens * TERM
            + modes.advance(n)
            + modes.input_to_state(n)
            + modes.add_states();
        heads as u64 * masks + pairs * state
    } else {
        pairs * (with_kernel(form, modes, n)? + tokens * TERM)
    };
    Ok(projections + kernels + shift + products + rest)
}
