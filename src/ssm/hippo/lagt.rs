//! LagT: the whole past with exponentially fading weight, projected onto Laguerre polynomials.

use super::continuous::Continuous;
use crate::algebra::{Field, one_half};
use crate::error::Error;

/// LagT (`hippo.py`, `transition('lagt')`): `A_nk = -1` below the diagonal, `-1/2` on it,
/// `B_n = 1`.
///
/// The state is `c_n = int_0^inf u(t - s) e^{-s/2} L_n(s) ds`, exactly: each `L_n e^{-s/2}` has a
/// derivative in the span of those before it.
///
/// # Errors
///
/// If the scalar has no one half.
pub fn lagt<T: Field>(m: usize) -> Result<Continuous<T>, Error> {
    let half = one_half::<T>()?;
    let entry = |n: usize, k: usize| match n.cmp(&k) {
        core::cmp::Ordering::Greater => -T::ONE,
        core::cmp::Ordering::Equal => -half,
        core::cmp::Ordering::Less => T::ZERO,
    };
    Ok(Continuous::from_fn(m, entry, |_| T::ONE))
}

/// The Laguerre polynomials `L_0(x), ..., L_{m-1}(x)` by
/// `(n+1) L_{n+1} = (2n+1-x) L_n - n L_{n-1}`.
///
/// # Errors
///
/// If some `n <= m` has no inverse in this scalar.
pub fn laguerre<T: Field>(m: usize, x: T) -> Result<Vec<T>, Error> {
    let mut values: Vec<T> = Vec::with_capacity(m);
    for n in 0..m {
        let next = match n {
            0 => T::ONE,
            1 => T::ONE - x,
            _ => {
                let k = n as i64 - 1;
                let sum =
                    (T::from_i64(2 * k + 1) - x) * values[n - 1] - T::from_i64(k) * values[n - 2];
                super::legendre::divide(sum, k + 1)?
            }
        };
        values.push(next);
    }
    Ok(values)
}
