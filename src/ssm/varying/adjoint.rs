//! The adjoint of the recurrence.

use super::model::Varying;
use super::recurrence::VaryingStream;
use crate::algebra::{Matrix, Ring, dot};
use crate::error::{Error, check_len};

/// The gradients of one model's response.
#[derive(Clone, Debug, PartialEq)]
pub struct VaryingGradients<T> {
    /// With respect to `u` (seq_len x P).
    pub input: Matrix<T>,
    /// With respect to `x_0` (P x N).
    pub state: Matrix<T>,
    /// With respect to `A`, `B` and `C`, each in its own shape.
    pub model: Varying<T>,
}

/// The gradients, given the cotangents `g` (seq_len x P) of the outputs and `g_state` (P x N; zeros
/// if `None`) of the final state. With `l_t` the cotangent of the state after step `t`:
///
/// ```text
/// l_t = g_t C_t^T + A_{t+1} l_{t+1}       A_{L+1} l_{L+1} = g_state
/// u_t: l_t B_t     B_t: l_t^T u_t     C_t: x_t^T g_t     a_t: <l_t, x_{t-1}>     x_0: A_1 l_1
/// ```
///
/// The gradient of a decay reads the state *before* its step. A decay that is shared by all
/// channels has the sum of theirs.
///
/// # Errors
///
/// If inputs, states or cotangents do not fit the model.
pub fn varying_recurrence_adjoint<T: Ring>(
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
    g: &Matrix<T>,
    g_state: Option<&Matrix<T>>,
) -> Result<VaryingGradients<T>, Error> {
    let x0 = ssm.initial(u, x0)?;
    check_len("rows of the cotangent", g.rows(), ssm.seq_len())?;
    check_len("columns of the cotangent", g.cols(), u.cols())?;
    let mut l = ssm.initial(u, g_state)?;
    let mut stream = VaryingStream::resume(x0);
    let mut states = vec![stream.state().clone()];
    for t in 0..ssm.seq_len() {
        stream.step(ssm.a.row(t), ssm.b.row(t), ssm.c.row(t), u.row(t))?;
        states.push(stream.state().clone());
    }
    let zeros = |x: &Matrix<T>| x.map(|_| T::ZERO);
    let mut model = Varying {
        a: zeros(&ssm.a),
        b: zeros(&ssm.b),
        c: zeros(&ssm.c),
    };
    let mut input = zeros(u);
    for t in (0..ssm.seq_len()).rev() {
        let (before, after) = (&states[t], &states[t + 1]);
        let width = ssm.a.cols();
        for (p, (&g, &u)) in g.row(t).iter().zip(u.row(t)).enumerate() {
            for n in 0..ssm.state_dim() {
                let here = l.row(p)[n] + g * ssm.c.row(t)[n];
                let add = |to: &mut T, term: T| *to = *to + term;
                add(&mut model.b.row_mut(t)[n], here * u);
                add(&mut model.c.row_mut(t)[n], g * after.row(p)[n]);
                add(&mut model.a.row_mut(t)[n % width], here * before.row(p)[n]);
                l.row_mut(p)[n] = here;
            }
            input.row_mut(t)[p] = dot(l.row(p), ssm.b.row(t));
        }
        l = ssm.decay(t).of_state(&l);
    }
    Ok(VaryingGradients {
        input,
        state: l,
        model,
    })
}
