//! The transform by definition and the radix-2 FFT: exact identities over the field of
//! 2^61 - 1, and spectra computed by hand.

use super::support::{Z, complex_signal, exact_lengths};
use hungry_hippos::Error;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::algebra::{M61, Ring, RootsOfUnity};
use hungry_hippos::fourier::dft::{dft, dft_matrix, inverse_dft};
use hungry_hippos::fourier::fft::{fft, inverse_fft};
use num_complex::Complex;
use proptest::prelude::*;

fn z(re: i64, im: i64) -> Z {
    Complex::new(M61::from_i64(re), M61::from_i64(im))
}

fn integers<C: Ring>(x: &[i64]) -> Vec<C> {
    x.iter().map(|&x| C::from_i64(x)).collect()
}

#[test]
fn spectra_by_hand_over_m61() -> Result<(), Error> {
    // Length 1 is the identity; 2 is sum and difference.
    assert_eq!(dft(&integers::<Z>(&[7]))?, [z(7, 0)]);
    assert_eq!(fft(&integers::<Z>(&[7]))?, [z(7, 0)]);
    assert_eq!(dft(&integers::<Z>(&[1, 2]))?, [z(3, 0), z(-1, 0)]);
    assert_eq!(fft(&integers::<Z>(&[1, 2]))?, [z(3, 0), z(-1, 0)]);
    // Length 4, w = i: X_1 = 1 - 2i - 3 + 4i = -2 + 2i, X_2 = 1 - 2 + 3 - 4, X_3 = conj X_1.
    let four = [z(10, 0), z(-2, 2), z(-2, 0), z(-2, -2)];
    assert_eq!(dft(&integers::<Z>(&[1, 2, 3, 4]))?, four);
    assert_eq!(fft(&integers::<Z>(&[1, 2, 3, 4]))?, four);
    // Length 3, with 1 + w + w^2 = 0: X_1 = 1 + 2 w^2 + 3 w = -1 + w, X_2 = -1 + w^2.
    let w = Z::roots_of_unity(3).expect("3 divides p - 1")[1];
    let minus_one = z(-1, 0);
    let expected = [z(6, 0), minus_one + w, minus_one + w * w];
    assert_eq!(dft(&integers::<Z>(&[1, 2, 3]))?, expected);
    // Length 6, with w^3 = -1 and w^2 = w - 1, so v = 1/w = 1 - w has v^2 = v - 1:
    // X_1 = -3 (1 + v + v^2) = -6 v; X_3 = 1 - 2 + 3 - 4 + 5 - 6; X_5 = -6 w.
    // X_2 = 5 + 7 v^2 + 9 v^4 with v^4 = -v and v^2 = v - 1: -2 - 2 v; X_4 = -2 - 2 w.
    let w = Z::roots_of_unity(6).expect("6 divides p - 1")[1];
    let v = Z::ONE - w;
    let expected = [
        z(21, 0),
        z(-6, 0) * v,
        z(-2, 0) - z(2, 0) * v,
        z(-3, 0),
        z(-2, 0) - z(2, 0) * w,
        z(-6, 0) * w,
    ];
    assert_eq!(dft(&integers::<Z>(&[1, 2, 3, 4, 5, 6]))?, expected);
    Ok(())
}

#[test]
fn spectra_by_hand_over_f64() -> Result<(), Error> {
    // This pins the sign of the exponent where "which root" has an answer: exp(-2 pi i jk/n).
    let c = |re: f64, im: f64| Complex::new(re, im);
    let root3 = 3f64.sqrt();
    assert_eq!(
        fft(&integers::<Complex<f64>>(&[1, 2, 3, 4]))?,
        [c(10.0, 0.0), c(-2.0, 2.0), c(-2.0, 0.0), c(-2.0, -2.0)]
    );
    let three = [c(6.0, 0.0), c(-1.5, root3 / 2.0), c(-1.5, -root3 / 2.0)];
    let six = [
        c(21.0, 0.0),
        c(-3.0, 3.0 * root3),
        c(-3.0, root3),
        c(-3.0, 0.0),
        c(-3.0, -root3),
        c(-3.0, -3.0 * root3),
    ];
    for expected in [&three[..], &six[..]] {
        let n = expected.len();
        let x: Vec<i64> = (1..=n as i64).collect();
        let got = dft(&integers::<Complex<f64>>(&x))?;
        assert_eq!(got.len(), n);
        // A sum of n products: (2.2 + n + 2) u times the sum of magnitudes, at most 21; the
        // constants by hand add 2 u of theirs. Below 21 * 13 u < 2^-44.
        for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (got - expected).norm();
            assert!(error.is_finite() && error < 2f64.powi(-44), "{n}: bin {k}");
            let reversed_sign = (got.conj() - expected).norm();
            assert!(expected.im == 0.0 || reversed_sign > 1.0, "{n}: bin {k}");
        }
    }
    Ok(())
}

#[test]
fn a_unit_impulse_yields_the_conjugate_powers() -> Result<(), Error> {
    for n in exact_lengths(64) {
        let w = Z::roots_of_unity(n).expect("listed as existing");
        for j in 0..n {
            let mut x = vec![Z::ZERO; n];
            x[j] = Z::ONE;
            let expected: Vec<Z> = (0..n).map(|k| w[(n - j * k % n) % n]).collect();
            assert_eq!(dft(&x)?, expected, "n = {n}, impulse at {j}");
            if n.is_power_of_two() {
                assert_eq!(fft(&x)?, expected, "n = {n}, impulse at {j}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_fft_equals_the_definition_both_ways() -> Result<(), Error> {
    for t in 0..=9 {
        let x = complex_signal::<M61>(1 << t, 100 + t);
        assert_eq!(fft(&x)?, dft(&x)?, "n = 2^{t}");
        assert_eq!(inverse_fft(&x)?, inverse_dft(&x)?, "inverse, n = 2^{t}");
    }
    Ok(())
}

#[test]
fn the_inverse_undoes_the_transform_from_both_sides() -> Result<(), Error> {
    for n in exact_lengths(70) {
        let x = complex_signal::<M61>(n, n as u64);
        assert_eq!(inverse_dft(&dft(&x)?)?, x, "n = {n}");
        assert_eq!(dft(&inverse_dft(&x)?)?, x, "n = {n}");
    }
    for t in 0..=12 {
        let x = complex_signal::<M61>(1 << t, t);
        assert_eq!(inverse_fft(&fft(&x)?)?, x, "n = 2^{t}");
        assert_eq!(fft(&inverse_fft(&x)?)?, x, "n = 2^{t}");
    }
    Ok(())
}

#[test]
fn the_matrix_is_the_transform() -> Result<(), Error> {
    for n in exact_lengths(32) {
        let f: Matrix<Z> = dft_matrix(n)?;
        let x = complex_signal::<M61>(n, 7 * n as u64);
        assert_eq!((f.rows(), f.cols()), (n, n));
        assert_eq!(f.apply(&x)?, dft(&x)?, "n = {n}");
        assert_eq!(f.transpose(), f, "n = {n}: symmetric");
        // Twice forward is n times the reversal of time, x_j -> x_{-j}.
        let twice = f.times(&f)?;
        for a in 0..n {
            for b in 0..n {
                let expected = if (a + b) % n == 0 { n as i64 } else { 0 };
                assert_eq!(twice.get(a, b), Some(z(expected, 0)), "n = {n}: ({a}, {b})");
            }
        }
    }
    Ok(())
}

#[test]
fn bad_input_is_refused_by_name() {
    let shape = |result: Result<Vec<Z>, Error>, got: &str| {
        assert_eq!(
            result,
            Err(Error::Shape {
                what: "FFT input".into(),
                expected: "a power of two of elements".into(),
                got: got.into(),
            })
        );
    };
    for n in [0, 3, 6, 12, 1023] {
        let x = vec![Z::ONE; n];
        shape(fft(&x), &n.to_string());
        shape(inverse_fft(&x), &n.to_string());
    }
    for n in [0, 17, 19] {
        let x = vec![Z::ONE; n];
        assert!(matches!(dft(&x), Err(Error::Unsupported { why }) if why.contains(&n.to_string())));
        assert!(matches!(inverse_dft(&x), Err(Error::Unsupported { .. })));
    }
    assert!(matches!(
        dft_matrix::<Complex<f64>>(4097),
        Err(Error::Value { .. })
    ));
    assert!(matches!(
        dft_matrix::<Complex<f64>>(usize::MAX),
        Err(Error::Value { .. })
    ));
    assert!(dft_matrix::<Complex<f64>>(0).is_err());
    let wide = Matrix::new(1, 2, vec![z(1, 0), z(2, 0)]).expect("1 x 2");
    assert!(matches!(wide.times(&wide), Err(Error::Shape { .. })));
    assert!(matches!(wide.apply(&[z(1, 0)]), Err(Error::Shape { .. })));
    assert!(Matrix::new(2, 2, vec![z(1, 0)]).is_err());
    assert!(Matrix::new(usize::MAX, 2, vec![z(1, 0)]).is_err());
    assert_eq!((wide.get(0, 1), wide.get(1, 0)), (Some(z(2, 0)), None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn linear(t in 0u32..8, seed: u64, a in 1i64..1000, b in -1000i64..0) {
        let n = 1 << t;
        let (x, y) = (complex_signal::<M61>(n, seed), complex_signal::<M61>(n, !seed));
        let (a, b) = (z(a, b), z(b, 3));
        let mixed: Vec<Z> = x.iter().zip(&y).map(|(&x, &y)| a * x + b * y).collect();
        let (fx, fy) = (fft(&x)?, fft(&y)?);
        let expected: Vec<Z> = fx.iter().zip(&fy).map(|(&x, &y)| a * x + b * y).collect();
        prop_assert_eq!(fft(&mixed)?, expected);
    }

    /// A delay by s multiplies bin k by w^{-ks}; multiplying by w^{+js} delays the spectrum.
    #[test]
    fn shift(t in 0u32..8, seed: u64, s: usize) {
        let n = 1usize << t;
        let s = s % n;
        let x = complex_signal::<M61>(n, seed);
        let w = Z::roots_of_unity(n).expect("a power of two");
        let fx = fft(&x)?;
        let delayed: Vec<Z> = (0..n).map(|j| x[(j + n - s) % n]).collect();
        let expected: Vec<Z> = (0..n).map(|k| fx[k] * w[(n - k * s % n) % n]).collect();
        prop_assert_eq!(fft(&delayed)?, expected);
        let modulated: Vec<Z> = (0..n).map(|j| x[j] * w[j * s % n]).collect();
        let expected: Vec<Z> = (0..n).map(|k| fx[(k + n - s) % n]).collect();
        prop_assert_eq!(fft(&modulated)?, expected);
    }

    /// Parseval: sum |X|^2 = n sum |x|^2, as an identity of the field, `|z|^2 = z conj z`.
    #[test]
    fn parseval(t in 0u32..8, seed: u64) {
        let n = 1 << t;
        let x = complex_signal::<M61>(n, seed);
        let energy = |x: &[Z]| x.iter().fold(Z::ZERO, |sum, &z| sum + z * z.conj());
        prop_assert_eq!(energy(&fft(&x)?), z(n as i64, 0) * energy(&x));
    }

    /// The convolution theorem, for every length: transform of the circular convolution.
    #[test]
    fn convolution_theorem(index: prop::sample::Index, seed: u64) {
        let lengths = exact_lengths(40);
        let n = lengths[index.index(lengths.len())];
        let (f, u) = (complex_signal::<M61>(n, seed), complex_signal::<M61>(n, !seed));
        let circular: Vec<Z> = (0..n)
            .map(|i| (0..n).fold(Z::ZERO, |sum, j| sum + f[j] * u[(i + n - j) % n]))
            .collect();
        let product: Vec<Z> = dft(&f)?.iter().zip(dft(&u)?).map(|(&f, u)| f * u).collect();
        prop_assert_eq!(dft(&circular)?, product);
    }
}
