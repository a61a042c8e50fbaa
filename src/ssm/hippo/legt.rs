//! LegT: the last stretch of the signal, projected onto Legendre polynomials; and the LMU.

use super::continuous::Continuous;
use crate::algebra::{Real, Ring};
use crate::error::Error;

/// LegT for a window of length 1, in integers: `a_nk = -(2k+1)` on and below the diagonal,
/// `-(-1)^{n-k} (2k+1)` above it, `b_n = 1`.
///
/// The state is `c_n = int_0^1 u(t - 1 + x) P_n(2x - 1) dx`. What leaves the window, `u(t - 1)`, is
/// not at hand; its place is taken by the projection's own value there, so that LegT is exact for
/// polynomials of degree below m and an approximation for other signals.
#[must_use]
pub fn legt_integers<T: Ring>(m: usize) -> Continuous<T> {
    let entry = |n: usize, k: usize| {
        let weight = 2 * k as i64 + 1;
        let alternates = k.saturating_sub(n) % 2 == 1;
        T::from_i64(if alternates { weight } else { -weight })
    };
    Continuous::from_fn(m, entry, |_| T::ONE)
}

/// LegT in orthonormal coordinates for a window of length 2, as the official code has it
/// (`hippo.py`, `transition('legt')`, with its halving of `A` and `B`):
/// `A_nk = -(1/2) sqrt((2n+1)(2k+1))` times 1 for `n >= k` and `(-1)^{n-k}` above,
/// `B_n = sqrt(2n+1) / 2`.
///
/// # Errors
///
/// Never for the scalars of this crate, which all have one half.
pub fn legt<T: Real>(m: usize) -> Result<Continuous<T>, Error> {
    legt_integers(m)
        .orthonormal(|n| 2 * n as i64 + 1)
        .stretched(T::from_i64(2))
}

/// The Legendre memory unit's normalization of LegT (Voelker, Kajic and Eliasmith 2019; `hippo.py`,
/// `transition('lmu')`), window 1: `A_nk = (2n+1)` times -1 above the diagonal and
/// `(-1)^{n-k+1}` on and below it, `B_n = (-1)^n (2n+1)`.
///
/// It is [`legt_integers`] in the coordinates `(-1)^n (2n+1) c_n`, the coefficients of a
/// polynomial in the time into the past.
#[must_use]
pub fn lmu<T: Ring>(m: usize) -> Continuous<T> {
    let entry = |n: usize, k: usize| {
        let weight = 2 * n as i64 + 1;
        let positive = n.saturating_sub(k) % 2 == 1;
        T::from_i64(if positive { weight } else { -weight })
    };
    let input = |n: usize| {
        let weight = 2 * n as i64 + 1;
        T::from_i64(if n.is_multiple_of(2) { weight } else { -weight })
    };
    Continuous::from_fn(m, entry, input)
}
