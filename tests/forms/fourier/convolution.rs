//! Causal convolution by every route equals the sum of its definition, with `==`.

use super::support::{Z, exact_lengths, linear_convolution, signal};
use hungry_hippos::Error;
use hungry_hippos::algebra::{ComplexScalar, M61, Ring};
use hungry_hippos::fourier::adjoint::correlate;
use hungry_hippos::fourier::convolution::{
    causal_convolution, circular_convolution, transform_len, via_block_fft, via_real_fft,
};
use hungry_hippos::fourier::fft::{fft, inverse_fft};
use proptest::prelude::*;

/// Kernel length, input length, and why.
const LENGTHS: [(usize, usize, &str); 30] = [
    (0, 0, "nothing"),
    (0, 5, "no kernel: zeros"),
    (5, 0, "no input: nothing"),
    (1, 1, "one product; the real transform must be padded to 2"),
    (1, 2, "a scaling"),
    (2, 1, "kernel cut to one tap"),
    (2, 2, "the smallest that could wrap"),
    (3, 3, "2N - 1 = 5, padded to 8"),
    (1, 8, "one tap: the transform need not be doubled"),
    (2, 8, "N + M - 1 = 9, one above a power of two"),
    (9, 8, "kernel one longer than the input"),
    (16, 8, "kernel twice the input: M02 wraps here"),
    (100, 8, "kernel much longer"),
    (5, 4, "cut to a power of two"),
    (7, 7, "2^k - 1"),
    (8, 8, "2^k"),
    (9, 9, "2^k + 1"),
    (5, 12, "N + M - 1 = 16 exactly a power of two"),
    (6, 12, "N + M - 1 = 17, one above"),
    (31, 31, "2^k - 1 and prime"),
    (32, 32, "2^k"),
    (33, 33, "2^k + 1"),
    (13, 61, "primes"),
    (61, 13, "primes, kernel longer"),
    (63, 64, "kernel one shorter"),
    (64, 64, "2^k"),
    (65, 64, "kernel one longer"),
    (127, 127, "prime, 2^k - 1"),
    (4, 257, "short kernel, prime input"),
    (200, 301, "neither prime nor power of two"),
];

/// Factor lists whose product is at least `n` and has roots of unity over the field of
/// 2^61 - 1: powers of two split in several ways, and mixed radices.
fn factor_lists(n: usize) -> Vec<Vec<usize>> {
    let two = n.next_power_of_two();
    let bits = two.trailing_zeros() as usize;
    let mut lists = vec![
        vec![two],
        vec![2; bits],
        vec![1 << (bits / 2), 1 << (bits - bits / 2)],
        vec![1 << (bits - bits / 2), 1, 1 << (bits / 2)],
    ];
    // n itself, and mixed radices 3, 5, 7 above it.
    lists.extend(
        exact_lengths(n)
            .last()
            .filter(|&&m| m == n)
            .map(|&m| vec![m]),
    );
    let odd = [15, 105, 315, 1575];
    if let Some(&m) = odd.iter().find(|&&m| m >= n) {
        lists.push(match m {
            15 => vec![3, 5],
            105 => vec![7, 3, 5],
            315 => vec![5, 9, 7],
            _ => vec![25, 7, 9],
        });
    }
    lists
}

#[test]
fn every_route_equals_the_sum() -> Result<(), Error> {
    for (kernel_len, input_len, why) in LENGTHS {
        let f = signal::<M61>(kernel_len, 1 + kernel_len as u64);
        let u = signal::<M61>(input_len, 1000 + input_len as u64);
        let expected = linear_convolution(&f, &u, input_len);
        let name = format!("kernel {kernel_len}, input {input_len}: {why}");
        assert_eq!(causal_convolution(&f, &u)?, expected, "complex, {name}");
        assert_eq!(via_real_fft(&f, &u)?, expected, "real, {name}");
        let linear = (kernel_len.min(input_len) + input_len)
            .saturating_sub(1)
            .max(1);
        for factors in factor_lists(linear) {
            let y = via_block_fft(&f, &u, &factors)?;
            assert_eq!(y, expected, "block {factors:?}, {name}");
        }
    }
    Ok(())
}

#[test]
fn by_hand() -> Result<(), Error> {
    let m = |x: &[i64]| -> Vec<M61> { x.iter().map(|&x| M61::from_i64(x)).collect() };
    // 1*4; 1*5 + 2*4; 1*6 + 2*5 + 3*4. And the wrapped: + 2*6 + 3*5; + 3*6.
    let (f, u) = (m(&[1, 2, 3]), m(&[4, 5, 6]));
    for route in [causal_convolution, via_real_fft] {
        assert_eq!(route(&f, &u)?, m(&[4, 13, 28]));
        // A unit delay: the first input arrives at the second output.
        assert_eq!(route(&m(&[0, 1]), &u)?, m(&[0, 4, 5]));
        assert_eq!(route(&m(&[1]), &u)?, u);
    }
    assert_eq!(circular_convolution(&f, &u)?, m(&[31, 31, 28]));
    Ok(())
}

#[test]
fn a_transform_one_shorter_than_the_linear_convolution_is_refused() -> Result<(), Error> {
    // N = M = 8: 15 will do, 14 will not, and 14 in truth spoils an output.
    let (f, u) = (signal::<M61>(8, 1), signal::<M61>(8, 2));
    let expected = linear_convolution(&f, &u, 8);
    assert_eq!(via_block_fft(&f, &u, &[3, 5])?, expected);
    assert!(matches!(
        via_block_fft(&f, &u, &[2, 7]),
        Err(Error::Shape { .. })
    ));
    let pad = |x: &[M61]| {
        let mut x = x.to_vec();
        x.resize(14, M61::ZERO);
        x
    };
    let wrapped = circular_convolution(&pad(&f), &pad(&u))?;
    assert_ne!(wrapped[0], expected[0]);
    assert_eq!(wrapped[1..8], expected[1..]);
    Ok(())
}

#[test]
fn without_padding_the_end_wraps_around_to_the_beginning() -> Result<(), Error> {
    for n in exact_lengths(40) {
        let (f, u) = (signal::<M61>(n, 3), signal::<M61>(n, 4));
        let linear = linear_convolution(&f, &u, 2 * n);
        let circular = circular_convolution(&f, &u)?;
        for i in 0..n {
            assert_eq!(circular[i], linear[i] + linear[i + n], "n = {n}, i = {i}");
        }
        if n > 1 {
            // All but the last output are wrong.
            let wrong = (0..n).filter(|&i| circular[i] != linear[i]).count();
            assert_eq!(wrong, n - 1, "n = {n}");
        }
    }
    Ok(())
}

#[test]
fn the_future_does_not_reach_the_past() -> Result<(), Error> {
    // Changing u_j changes y_j by f_0 times the change, and nothing before it.
    for (kernel_len, n, _) in LENGTHS
        .into_iter()
        .filter(|(m, n, _)| *m > 0 && *n > 0 && *n < 70)
    {
        let (f, mut u) = (signal::<M61>(kernel_len, 5), signal::<M61>(n, 6));
        let before = [causal_convolution(&f, &u)?, via_real_fft(&f, &u)?];
        let j = n / 2;
        u[j] = u[j] + M61::ONE;
        let after = [causal_convolution(&f, &u)?, via_real_fft(&f, &u)?];
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before[..j], after[..j]);
            assert_eq!(after[j], before[j] + f[0]);
        }
    }
    // Unpadded, the last input reaches the first output.
    let (f, mut u) = (signal::<M61>(8, 5), signal::<M61>(8, 6));
    let before = circular_convolution(&f, &u)?;
    u[7] = u[7] + M61::ONE;
    assert_eq!(circular_convolution(&f, &u)?[0], before[0] + f[1]);
    Ok(())
}

/// Inverse transform of some product of the spectra of two real signals padded to `n`.
fn by_spectra(
    f: &[M61],
    u: &[M61],
    n: usize,
    product: impl Fn(Z, Z) -> Z,
) -> Result<Vec<Z>, Error> {
    let spectrum = |x: &[M61]| {
        let mut z: Vec<Z> = x.iter().map(|&x| Z::from_base(x)).collect();
        z.resize(n, Z::ZERO);
        fft(&z)
    };
    let (f, u) = (spectrum(f)?, spectrum(u)?);
    let bins: Vec<Z> = f.iter().zip(&u).map(|(&f, &u)| product(f, u)).collect();
    inverse_fft(&bins)
}

#[test]
fn what_the_known_mistakes_compute() -> Result<(), Error> {
    let n = 8;
    let (f, u) = (signal::<M61>(2 * n, 7), signal::<M61>(n, 8));
    let linear = linear_convolution(&f, &u, 4 * n);
    let right: Vec<Z> = linear.iter().map(|&y| Z::from_base(y)).collect();

    // Padded to N + M, all of it is right, imaginary parts included: they are exactly zero.
    assert_eq!(by_spectra(&f, &u, 4 * n, |f, u| f * u)?, right);

    // A kernel of 2N in a transform of 2N (the padding that suits a kernel of N): output i gets
    // y_{i+2N} on top. Only the last of the first N outputs is spared: the sum ends at 3N - 2.
    let aliased = by_spectra(&f, &u, 2 * n, |f, u| f * u)?;
    for i in 0..n {
        assert_eq!(aliased[i], right[i] + right[i + 2 * n], "i = {i}");
        assert_eq!(aliased[i] == right[i], i == n - 1, "i = {i}");
    }

    // The conjugate of the kernel's spectrum: a correlation, sum_j f_j u_{i+j}, that looks ahead.
    let conjugated = by_spectra(&f[..n], &u, 2 * n, |f, u| f.conj() * u)?;
    for i in 0..n {
        let ahead = (i..n).fold(M61::ZERO, |sum, j| sum + f[j - i] * u[j]);
        assert_eq!(conjugated[i], Z::from_base(ahead), "i = {i}");
        assert_ne!(conjugated[i], right[i], "i = {i}");
    }

    // The kernel not flipped, as neural-network "convolutions" are: output i weighs the input
    // m steps back with f_{N-1-m}. It is the convolution with the reversed kernel.
    let reversed: Vec<M61> = f[..n].iter().rev().copied().collect();
    let unflipped = causal_convolution(&reversed, &u)?;
    assert!((0..n).all(|i| unflipped[i] != linear[i]));

    // The factor 1/n never or twice: wrong by exactly n, which no relative tolerance misses.
    let factor = Z::from_i64(2 * n as i64);
    let never = by_spectra(&f[..n], &u, 2 * n, |f, u| factor * f * u)?;
    assert!((0..n).all(|i| never[i] == factor * right[i] && never[i] != right[i]));
    Ok(())
}

#[test]
fn a_bidirectional_kernel_counts_lag_zero_once_or_twice() -> Result<(), Error> {
    // Two causal kernels, one for each direction of time. With conj(F b) both hold a lag 0 (the
    // official layer); with b reversed and padded behind f, b starts at lag -1 (the S4 code).
    let n = 8;
    let (f, b, u) = (
        signal::<M61>(n, 1),
        signal::<M61>(n, 2),
        signal::<M61>(n, 3),
    );
    let forward = linear_convolution(&f, &u, n);
    let from_lag_zero = by_spectra(&b, &u, 2 * n, |b, u| b.conj() * u)?;
    let mut kernel = f.clone();
    kernel.extend(b.iter().rev());
    let padded = by_spectra(&kernel, &u, 2 * n, |f, u| f * u)?;
    for i in 0..n {
        let lag = |s: usize| (i + s..n).fold(M61::ZERO, |sum, j| sum + b[j - i - s] * u[j]);
        assert_eq!(from_lag_zero[i], Z::from_base(lag(0)), "i = {i}");
        assert_eq!(padded[i], Z::from_base(forward[i] + lag(1)), "i = {i}");
        assert_ne!(padded[i], Z::from_base(forward[i] + lag(0)), "i = {i}");
    }
    Ok(())
}

#[test]
fn lengths_of_transforms_and_refusals() -> Result<(), Error> {
    for (kernel_len, input_len, expected) in [
        (0, 0, 1),
        (1, 1, 1),
        (1, 2, 2),
        (2, 2, 4),
        (8, 8, 16),
        (5, 12, 16),
        (6, 12, 32),
        (0, 3, 2),
    ] {
        assert_eq!(transform_len(kernel_len, input_len)?, expected);
    }
    assert!(transform_len(usize::MAX, 1).is_err());
    assert!(transform_len(usize::MAX / 2 + 2, 1).is_err());
    let (f, u) = (signal::<M61>(3, 1), signal::<M61>(4, 1));
    assert!(matches!(
        circular_convolution(&f, &u),
        Err(Error::Shape { .. })
    ));
    assert_eq!(circular_convolution::<M61>(&[], &[])?, []);
    let long = signal::<M61>(17, 1);
    assert!(matches!(
        circular_convolution(&long, &long),
        Err(Error::Unsupported { .. })
    ));
    // Factors are checked even where there is nothing to transform.
    assert!(via_block_fft::<M61>(&[], &u, &[0]).is_err());
    assert!(via_block_fft(&f, &u, &[usize::MAX, 3]).is_err());
    assert!(via_block_fft(&f, &u, &[17]).is_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_lengths(kernel_len in 0usize..90, input_len in 0usize..90, seed: u64) {
        let (f, u) = (signal::<M61>(kernel_len, seed), signal::<M61>(input_len, !seed));
        let expected = linear_convolution(&f, &u, input_len);
        prop_assert_eq!(&causal_convolution(&f, &u)?, &expected);
        prop_assert_eq!(&via_real_fft(&f, &u)?, &expected);
        prop_assert_eq!(&via_block_fft(&f, &u, &[4, 45])?, &expected);
        // What lies beyond the input's length in the kernel is never seen.
        let cut = &f[..f.len().min(u.len())];
        prop_assert_eq!(&causal_convolution(cut, &u)?, &expected);
    }

    /// Correlation by its sum, for signals and results up to the length of `g`, and no longer.
    #[test]
    fn correlations(x_len in 0usize..40, g_len in 0usize..40, len in 0usize..40, seed: u64) {
        let (x, g) = (signal::<M61>(x_len, seed), signal::<M61>(g_len, !seed));
        let correlated = correlate(&x, &g, len);
        if x_len.max(len) > g_len {
            let said = correlated.expect_err("longer than g").to_string();
            let expected = format!("at most {g_len} elements");
            prop_assert!(said.contains(&expected) && said.contains(&format!("{x_len} and {len}")), "{said}");
        } else {
            let expected: Vec<M61> = (0..len)
                .map(|j| {
                    (j..g_len)
                        .filter(|i| i - j < x_len)
                        .fold(M61::ZERO, |sum, i| sum + g[i] * x[i - j])
                })
                .collect();
            prop_assert_eq!(correlated?, expected);
        }
    }
}

/// The correlation with nothing is a sum of no terms, which is zero whatever the other signal holds.
#[test]
fn a_sum_of_no_terms_is_zero() -> Result<(), Error> {
    for x in [f64::INFINITY, f64::NAN] {
        assert_eq!(correlate(&[], &[x, 1.0], 2)?, [0.0; 2]);
        assert_eq!(correlate(&[x, 1.0], &[1.0, x], 0)?, []);
    }
    Ok(())
}
