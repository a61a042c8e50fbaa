//! Roots of unity, the only thing a Fourier transform needs beyond a ring.

use super::scalar::ComplexScalar;
use core::ops::Neg;

/// A complex companion with primitive n-th roots of unity.
pub trait RootsOfUnity: ComplexScalar {
    /// The powers `w^0, ..., w^{n-1}` of one fixed primitive n-th root of unity `w = w_n`, or
    /// `None` if the companion has none of order `n` (in particular for `n = 0`).
    ///
    /// # Laws
    ///
    /// - `w^n = 1`, and `sum_k w^{jk} = 0` for `j` not a multiple of `n`.
    /// - Compatible orders: `w_{nm}^m = w_n`. The block FFT relies on it.
    /// - For `n = 2^k`, `conj(w) = 1/w`. Hermitian packing relies on it.
    ///
    /// For floats `w = exp(+2 pi i / n)`, every power evaluated directly from an angle reduced
    /// in integers, never by repeated products (whose error grows with the index). Over
    /// [`M61`](super::M61) arithmetic is exact and repeated products are the natural way.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>>;
}

/// Cosine and sine of `2 pi k / n` for `k < n`, given how to evaluate them for `0 <= 8 k <= n`.
///
/// The angle is folded in integers into the first eighth of a turn before anything is rounded.
/// So multiples of a quarter turn are exact, and the symmetries of the circle,
/// `conj(w^k) = w^{n-k}` among them, hold bit for bit.
pub(super) fn fold_turn<T: Neg<Output = T>>(
    k: usize,
    n: usize,
    eighth: impl Fn(u128, u128) -> (T, T),
) -> (T, T) {
    // k and n fit 61 bits (they index memory), so multiples by 8 fit u128 with ease.
    let (k, n) = (k as u128, n as u128);
    if 2 * k > n {
        let (cos, sin) = first_half_turn(n - k, n, eighth);
        return (cos, -sin);
    }
    first_half_turn(k, n, eighth)
}

/// [`fold_turn`] for `2 k <= n`.
fn first_half_turn<T: Neg<Output = T>>(
    k: u128,
    n: u128,
    eighth: impl Fn(u128, u128) -> (T, T),
) -> (T, T) {
    if 4 * k > n {
        // Angle between a quarter and half a turn: reflect at the imaginary axis. The reflected
        // angle is (n/2 - k)/n turns, kept as an integer over 2n.
        let (cos, sin) = first_quarter_turn(n - 2 * k, 2 * n, eighth);
        return (-cos, sin);
    }
    first_quarter_turn(2 * k, 2 * n, eighth)
}

/// [`fold_turn`] for `4 k <= n`.
fn first_quarter_turn<T>(k: u128, n: u128, eighth: impl Fn(u128, u128) -> (T, T)) -> (T, T) {
    if 8 * k > n {
        // Reflect at the diagonal: (n/4 - k)/n turns, as an integer over 4n.
        let (cos, sin) = eighth(n - 4 * k, 4 * n);
        return (sin, cos);
    }
    eighth(4 * k, 4 * n)
}
