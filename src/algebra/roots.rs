//! Roots of unity, the only thing a Fourier transform needs beyond a ring.

use super::scalar::ComplexScalar;

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
