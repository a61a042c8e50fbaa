//! Signals, and the definitions that the tests hold everything against.

use hungry_hippos::algebra::{M61, Ring, Rng, RootsOfUnity, Sample};
use num_complex::Complex;

/// A complex number over the field of 2^61 - 1.
pub(crate) type Z = Complex<M61>;

/// `n` random scalars.
pub(crate) fn signal<T: Sample>(n: usize, seed: u64) -> Vec<T> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| T::sample(&mut rng)).collect()
}

/// `n` random complex numbers.
pub(crate) fn complex_signal<T: Sample>(n: usize, seed: u64) -> Vec<T::Complex> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| T::sample_complex(&mut rng)).collect()
}

/// `y_i = sum_{j<=i} f_j u_{i-j}`, for `i < len`: the convolution by its definition, with as
/// many outputs as wanted (the input counts as zero beyond its end).
pub(crate) fn linear_convolution<R: Ring>(f: &[R], u: &[R], len: usize) -> Vec<R> {
    (0..len)
        .map(|i| {
            (0..=i)
                .filter(|&j| j < f.len() && i - j < u.len())
                .fold(R::ZERO, |sum, j| sum + f[j] * u[i - j])
        })
        .collect()
}

/// The lengths up to `max` for which the field of p^2 elements has roots of unity.
pub(crate) fn exact_lengths(max: usize) -> Vec<usize> {
    (1..=max)
        .filter(|&n| Z::roots_of_unity(n).is_some())
        .collect()
}

/// All lists of factors of at least 2 that multiply to `n`, in every order.
pub(crate) fn factorizations(n: usize) -> Vec<Vec<usize>> {
    if n == 1 {
        return vec![vec![]];
    }
    (2..=n)
        .filter(|r| n.is_multiple_of(*r))
        .flat_map(|r| {
            factorizations(n / r).into_iter().map(move |mut rest| {
                rest.insert(0, r);
                rest
            })
        })
        .collect()
}
