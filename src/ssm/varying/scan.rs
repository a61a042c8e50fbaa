//! The recurrence as an associative scan.

use super::super::scan::{Affine, states_after};
use super::model::{Decay, Varying, VaryingResponse};
use crate::algebra::{Matrix, Ring, dot};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The outputs and the final state by the tree of [`scan`](crate::ssm::scan()), over the affine
/// maps `x -> A_t x + u_t B_t^T`. The tree is the same although every node has its own transition.
///
/// # Errors
///
/// As [`varying_recurrence`](super::varying_recurrence).
pub fn varying_scan<T: Ring>(
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
) -> Result<VaryingResponse<T>, Error> {
    let x0 = ssm.initial(u, x0)?;
    let (inputs, n) = (u.cols(), ssm.state_dim());
    let ones = Decay(vec![T::ONE; ssm.a.cols()]);
    let map = |t: usize| {
        let products = u.row(t).iter();
        let products = products.flat_map(|&u| ssm.b.row(t).iter().map(move |&b| u * b));
        Affine {
            a: Some(ssm.decay(t)),
            b: products.into_vec(),
        }
    };
    let maps: Vec<_> = (0..ssm.seq_len()).map(map).into_vec();
    let states = states_after(&maps, ones, x0.entries().to_vec());
    let output = Matrix::from_fn(ssm.seq_len(), inputs, |t, p| {
        dot(&states[t][p * n..(p + 1) * n], ssm.c.row(t))
    });
    let state = match states.into_iter().next_back() {
        Some(state) => Matrix::new(inputs, n, state)?,
        None => x0,
    };
    Ok(VaryingResponse { output, state })
}
