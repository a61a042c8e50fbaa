//! The block FFT: as matrices multiplied out, as an algorithm, and fused without permutations.

use super::support::{Z, complex_signal, exact_lengths, factorizations};
use hungry_hippos::Error;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::algebra::{M61, Ring, RootsOfUnity};
use hungry_hippos::fourier::block::{
    BlockFactors, FusedConvolution, block_fft, inverse_block_fft, inverse_permuted_fft,
    permuted_fft, permuted_order,
};
use hungry_hippos::fourier::dft::{dft, dft_matrix, inverse_dft};
use hungry_hippos::fourier::fft::fft;
use proptest::prelude::*;

/// Lengths whose every ordered factorization is tried, how many there are, and why.
const LENGTHS: [(usize, usize, &str); 14] = [
    (1, 1, "nothing to split"),
    (2, 1, "one butterfly"),
    (4, 2, "the smallest block step"),
    (8, 4, "three levels"),
    (16, 8, "a square and its refinements"),
    (32, 16, "no square"),
    (64, 32, "six levels"),
    (6, 3, "two factors that differ: P is not its own inverse"),
    (9, 2, "an odd square"),
    (15, 3, "odd factors"),
    (30, 13, "three primes in every order"),
    (36, 26, "squares of two primes"),
    (60, 44, "mixed radix"),
    (105, 13, "three odd primes"),
];

#[test]
fn the_matrices_multiply_out_to_the_transform() -> Result<(), Error> {
    let mut cases = 0;
    for n in exact_lengths(36) {
        let f: Matrix<Z> = dft_matrix(n)?;
        for n1 in (1..=n).filter(|n1| n % n1 == 0) {
            let n2 = n / n1;
            let factors = BlockFactors::<Z>::new(n1, n2)?;
            assert_eq!(factors.product()?, f, "{n1} x {n2}");

            // Which permutation P is: it gathers with stride n1, and its transpose undoes it.
            let x = complex_signal::<M61>(n, n as u64);
            let px = factors.permutation.apply(&x)?;
            for a in 0..n1 {
                for b in 0..n2 {
                    assert_eq!(px[n2 * a + b], x[a + n1 * b], "{n1} x {n2}: ({a}, {b})");
                }
            }
            assert_eq!(factors.permutation.transpose().apply(&px)?, x);

            // Without the last P: P^T F.
            let permuted = factors.permutation.transpose().times(&f)?;
            assert_eq!(factors.permuted_product()?, permuted, "{n1} x {n2}");
            assert_eq!(permuted.apply(&x)?, permuted_fft(&x, &[n1, n2])?);
            cases += 1;
        }
    }
    assert!(cases > 80, "{cases} factorizations");
    Ok(())
}

#[test]
fn the_short_transforms_are_block_diagonal_and_the_twiddles_diagonal() -> Result<(), Error> {
    let (n1, n2) = (3, 5);
    let factors = BlockFactors::<Z>::new(n1, n2)?;
    let (f1, f2): (Matrix<Z>, Matrix<Z>) = (dft_matrix(n1)?, dft_matrix(n2)?);
    let w = Z::roots_of_unity(15).expect("15 divides p - 1");
    for i in 0..15 {
        for j in 0..15 {
            let block = |f: &Matrix<Z>, r: usize| {
                if i / r == j / r {
                    f.get(i % r, j % r)
                } else {
                    Some(Z::ZERO)
                }
            };
            assert_eq!(factors.short_n2.get(i, j), block(&f2, n2), "({i}, {j})");
            assert_eq!(factors.short_n1.get(i, j), block(&f1, n1), "({i}, {j})");
            let twiddle = if i == j {
                // w^{-n1 k2} at row 5 n1 + k2.
                w[(15 - (i / 5) * (i % 5)) % 15]
            } else {
                Z::ZERO
            };
            assert_eq!(factors.twiddles.get(i, j), Some(twiddle), "({i}, {j})");
        }
    }
    Ok(())
}

#[test]
fn every_slip_in_the_factorization_shows() -> Result<(), Error> {
    let (n1, n2) = (3, 5);
    let good = BlockFactors::<Z>::new(n1, n2)?;
    let f: Matrix<Z> = dft_matrix(n1 * n2)?;
    let other = BlockFactors::<Z>::new(n2, n1)?;
    let slips = [
        (
            "P^T for P",
            BlockFactors {
                permutation: good.permutation.transpose(),
                ..good.clone()
            },
        ),
        (
            "no permutation",
            BlockFactors {
                permutation: good.permutation.times(&good.permutation.transpose())?,
                ..good.clone()
            },
        ),
        (
            "no twiddles",
            BlockFactors {
                twiddles: good.permutation.times(&good.permutation.transpose())?,
                ..good.clone()
            },
        ),
        (
            "twiddles laid out for N2 x N1",
            BlockFactors {
                twiddles: other.twiddles.clone(),
                ..good.clone()
            },
        ),
        (
            "the short transforms exchanged",
            BlockFactors {
                short_n1: good.short_n2.clone(),
                short_n2: good.short_n1.clone(),
                ..good.clone()
            },
        ),
    ];
    for (name, factors) in slips {
        assert_ne!(factors.product()?, f, "{name}");
    }
    Ok(())
}

#[test]
fn every_factorization_gives_the_same_transform() -> Result<(), Error> {
    for (n, expected, why) in LENGTHS {
        let x = complex_signal::<M61>(n, 1000 + n as u64);
        let (bins, signal) = (dft(&x)?, inverse_dft(&x)?);
        let all = factorizations(n);
        assert_eq!(all.len(), expected, "factorizations of {n} ({why})");
        for factors in all {
            assert_eq!(block_fft(&x, &factors)?, bins, "{factors:?} ({why})");
            assert_eq!(
                inverse_block_fft(&x, &factors)?,
                signal,
                "{factors:?} ({why})"
            );

            let (permuted, order) = (permuted_fft(&x, &factors)?, permuted_order(&factors)?);
            let expected: Vec<Z> = order.iter().map(|&k| bins[k]).collect();
            assert_eq!(permuted, expected, "{factors:?} ({why})");
            assert_eq!(
                inverse_permuted_fft(&permuted, &factors)?,
                x,
                "{factors:?} ({why})"
            );
        }
        if n.is_power_of_two() {
            assert_eq!(fft(&x)?, bins, "n = {n}");
        }
    }
    Ok(())
}

#[test]
fn factors_of_one_do_nothing_however_many() -> Result<(), Error> {
    let x = complex_signal::<M61>(12, 4);
    let mut factors = vec![1; 100_000];
    factors[7] = 3;
    factors[50_000] = 4;
    assert_eq!(block_fft(&x, &factors)?, dft(&x)?);
    assert_eq!(permuted_fft(&x, &factors)?, permuted_fft(&x, &[3, 4])?);
    assert_eq!(permuted_order(&factors)?, permuted_order(&[3, 4])?);
    Ok(())
}

#[test]
fn the_order_is_digit_reversal() -> Result<(), Error> {
    for bits in 0..=8usize {
        let reversed: Vec<usize> = (0..1usize << bits)
            .map(|i| {
                // Written out as text and read backwards: nothing in common with the library.
                let digits: String = format!("{i:08b}").chars().rev().collect();
                usize::from_str_radix(&digits, 2).expect("binary digits") >> (8 - bits)
            })
            .collect();
        assert_eq!(permuted_order(&vec![2; bits])?, reversed, "{bits} bits");
    }
    // [2, 3]: position 2 k2 + k1 holds bin k2 + 3 k1.
    assert_eq!(permuted_order(&[2, 3])?, [0, 3, 1, 4, 2, 5]);
    assert_eq!(permuted_order(&[3, 2])?, [0, 2, 4, 1, 3, 5]);
    Ok(())
}

fn circular(f: &[Z], u: &[Z]) -> Vec<Z> {
    let n = f.len();
    (0..n)
        .map(|i| (0..n).fold(Z::ZERO, |sum, j| sum + f[j] * u[(i + n - j) % n]))
        .collect()
}

#[test]
fn the_fused_convolution_needs_no_permutation() -> Result<(), Error> {
    for (n, _, why) in LENGTHS {
        let (f, u) = (complex_signal::<M61>(n, 5), complex_signal::<M61>(n, 6));
        let expected = circular(&f, &u);
        for factors in factorizations(n) {
            let fused = FusedConvolution::new(&f, &factors)?;
            assert_eq!(fused.apply(&u)?, expected, "{factors:?} ({why})");
        }
    }
    // A spectrum in natural order does not fit one in permuted order.
    let (f, u) = (complex_signal::<M61>(8, 7), complex_signal::<M61>(8, 8));
    let mixed: Vec<Z> = permuted_fft(&u, &[2, 4])?
        .iter()
        .zip(fft(&f)?)
        .map(|(&u, f)| u * f)
        .collect();
    assert_ne!(inverse_permuted_fft(&mixed, &[2, 4])?, circular(&f, &u));
    Ok(())
}

/// The largest table there is, of one factor: the order is that of the bins.
#[test]
fn the_largest_table_is_made() -> Result<(), Error> {
    assert!(permuted_order(&[1 << 24])?.into_iter().eq(0..1 << 24));
    Ok(())
}

#[test]
fn bad_factors_are_refused() {
    let x = vec![Z::ONE; 12];
    for factors in [&[][..], &[3], &[3, 5], &[0, 12], &[12, 0], &[usize::MAX, 2]] {
        assert!(block_fft(&x, factors).is_err(), "{factors:?}");
        assert!(inverse_block_fft(&x, factors).is_err(), "{factors:?}");
        assert!(permuted_fft(&x, factors).is_err(), "{factors:?}");
        assert!(inverse_permuted_fft(&x, factors).is_err(), "{factors:?}");
    }
    assert!(matches!(block_fft(&x, &[5, 2]), Err(Error::Shape { got, .. }) if got.contains("10")));
    assert!(matches!(block_fft::<Z>(&[], &[]), Err(Error::Shape { .. })));
    assert!(matches!(
        block_fft::<Z>(&[], &[0]),
        Err(Error::Value { .. })
    ));
    let x = vec![Z::ONE; 34];
    assert!(matches!(
        block_fft(&x, &[2, 17]),
        Err(Error::Unsupported { .. })
    ));
    for (n1, n2) in [(0, 4), (4, 0), (usize::MAX, 2), (4096, 2), (1, 17)] {
        assert!(BlockFactors::<Z>::new(n1, n2).is_err(), "{n1} x {n2}");
    }
    assert!(permuted_order(&[0]).is_err());
    assert!(permuted_order(&[1 << 13, 1 << 13]).is_err());
    assert!(permuted_order(&[(1 << 24) + 1]).is_err());
    assert!(FusedConvolution::new(&[Z::ONE; 5], &[2, 2]).is_err());
    assert!(FusedConvolution::new(&[Z::ONE; 3], &[1 << 31, 1 << 31]).is_err());
    let fused = FusedConvolution::new(&[Z::ONE; 3], &[2, 2]).expect("a kernel of 3 fits 4");
    assert!(matches!(
        fused.apply(&[Z::ONE; 5]),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn replaced_factors_of_other_sizes_are_refused() -> Result<(), Error> {
    let mut factors = BlockFactors::<Z>::new(2, 3)?;
    factors.twiddles = dft_matrix(5)?;
    assert!(factors.product().is_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Long mixed radices, against the inverse by definition of a few chosen bins' worth.
    #[test]
    fn random_factors(
        factors in prop::collection::vec(prop::sample::select(vec![1usize, 2, 3, 4, 5, 7, 8]), 0..5),
        seed: u64,
    ) {
        let n: usize = factors.iter().product();
        prop_assume!(n <= 600 && Z::roots_of_unity(n).is_some());
        let x = complex_signal::<M61>(n, seed);
        let bins = dft(&x)?;
        prop_assert_eq!(&block_fft(&x, &factors)?, &bins);
        let order = permuted_order(&factors)?;
        let expected: Vec<Z> = order.iter().map(|&k| bins[k]).collect();
        prop_assert_eq!(permuted_fft(&x, &factors)?, expected);
        prop_assert_eq!(inverse_block_fft(&bins, &factors)?, x);
    }
}
