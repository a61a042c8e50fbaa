//! Real transforms by Hermitian packing: equal to the complex one, bin by bin.

use super::support::{Z, signal};
use hungry_hippos::Error;
use hungry_hippos::algebra::{ComplexScalar, M61, Ring};
use hungry_hippos::fourier::fft::fft;
use hungry_hippos::fourier::real::{inverse_real_fft, real_fft, real_fft_pair};
use num_complex::Complex;
use proptest::prelude::*;

fn embed(x: &[M61]) -> Vec<Z> {
    x.iter().map(|&x| Z::from_base(x)).collect()
}

#[test]
fn the_bins_are_those_of_the_complex_transform_and_the_rest_their_conjugates() -> Result<(), Error>
{
    for t in 1..=11 {
        let n = 1 << t;
        let x = signal::<M61>(n, t);
        let (bins, full) = (real_fft(&x)?, fft(&embed(&x))?);
        assert_eq!(bins, full[..=n / 2], "n = {n}");
        for k in 1..n {
            assert_eq!(full[n - k], full[k].conj(), "n = {n}, k = {k}");
        }
        assert_eq!(inverse_real_fft::<M61>(&bins, n)?, x, "n = {n}");
    }
    Ok(())
}

#[test]
fn two_signals_in_one_transform() -> Result<(), Error> {
    for t in 1..=10 {
        let (x, y) = (signal::<M61>(1 << t, t), signal::<M61>(1 << t, 50 + t));
        assert_eq!(
            real_fft_pair(&x, &y)?,
            (real_fft(&x)?, real_fft(&y)?),
            "n = 2^{t}"
        );
    }
    Ok(())
}

#[test]
fn spectra_by_hand() -> Result<(), Error> {
    let m = M61::from_i64;
    let z = |re, im| Complex::new(m(re), m(im));
    assert_eq!(real_fft(&[m(1), m(2)])?, [z(3, 0), z(-1, 0)]);
    assert_eq!(
        real_fft(&[m(1), m(2), m(3), m(4)])?,
        [z(10, 0), z(-2, 2), z(-2, 0)]
    );
    assert_eq!(
        inverse_real_fft::<M61>(&[z(10, 0), z(-2, 2), z(-2, 0)], 4)?,
        [m(1), m(2), m(3), m(4)]
    );
    Ok(())
}

#[test]
fn the_nyquist_bin_is_the_alternating_sum_and_stands_for_itself() -> Result<(), Error> {
    for t in 1..=8 {
        let n = 1usize << t;
        let x = signal::<M61>(n, 9 + t as u64);
        let alternating =
            x.iter().enumerate().fold(
                M61::ZERO,
                |sum, (j, &x)| if j % 2 == 0 { sum + x } else { sum - x },
            );
        let bins = real_fft(&x)?;
        assert_eq!(bins[n / 2], Z::from_base(alternating), "n = {n}");

        // The fastest signal of all has this bin and no other, and it is n, not n/2 or 2n.
        let fastest: Vec<M61> = (0..n)
            .map(|j| M61::from_i64(1 - 2 * (j as i64 % 2)))
            .collect();
        let mut only_nyquist = vec![Z::ZERO; n / 2 + 1];
        only_nyquist[n / 2] = Z::from_i64(n as i64);
        assert_eq!(real_fft(&fastest)?, only_nyquist, "n = {n}");
        assert_eq!(
            inverse_real_fft::<M61>(&only_nyquist, n)?,
            fastest,
            "n = {n}"
        );

        // Halving it, as if it stood for a pair like its neighbours, is not the inverse.
        let mut halved = bins.clone();
        halved[n / 2] = halved[n / 2] * (Z::from_i64(2)).inv();
        assert_ne!(inverse_real_fft::<M61>(&halved, n)?, x, "n = {n}");
    }
    Ok(())
}

#[test]
fn the_imaginary_parts_of_bins_zero_and_nyquist_are_zero_and_not_read() -> Result<(), Error> {
    for t in 1..=8 {
        let n = 1 << t;
        let x = signal::<M61>(n, 33 + t);
        let mut bins = real_fft(&x)?;
        assert_eq!((bins[0].im, bins[n / 2].im), (M61::ZERO, M61::ZERO));
        bins[0].im = M61::new(5);
        bins[n / 2].im = M61::new(6);
        assert_eq!(inverse_real_fft::<M61>(&bins, n)?, x, "n = {n}");

        // Exactly zero over floats as well: no rounding error hides there.
        let double = real_fft(&signal::<f64>(n, t))?;
        let single = real_fft(&signal::<f32>(n, t))?;
        assert!(double[0].im == 0.0 && double[n / 2].im == 0.0, "n = {n}");
        assert!(single[0].im == 0.0 && single[n / 2].im == 0.0, "n = {n}");
    }
    Ok(())
}

#[test]
fn the_length_is_stated_and_must_fit() {
    let bins = vec![Z::ONE; 5];
    assert!(inverse_real_fft::<M61>(&bins, 8).is_ok());
    // Five bins would also fit the odd length 9. It is refused, as are all lengths that the
    // packing cannot do, and those the bins do not fit.
    for n in [0, 1, 3, 4, 6, 7, 9, 10, 16, usize::MAX] {
        assert!(
            matches!(inverse_real_fft::<M61>(&bins, n), Err(Error::Shape { .. })),
            "n = {n}"
        );
    }
    // n/2 outputs instead of n/2 + 1, the Nyquist bin forgotten.
    assert!(inverse_real_fft::<M61>(&bins[..4], 8).is_err());
    for n in [0, 1, 3, 5, 6, 12] {
        let x = vec![M61::ONE; n];
        assert!(matches!(real_fft(&x), Err(Error::Shape { .. })), "n = {n}");
        assert!(real_fft_pair(&x, &x).is_err(), "n = {n}");
    }
    assert!(real_fft_pair(&[M61::ONE; 4], &[M61::ONE; 8]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The other way round: any bins that a real signal can have come back.
    #[test]
    fn inverse_then_forward(t in 1u32..9, seed: u64) {
        let n = 1usize << t;
        let (re, im) = (signal::<M61>(n / 2 + 1, seed), signal::<M61>(n / 2 + 1, !seed));
        let mut bins: Vec<Z> = re.iter().zip(&im).map(|(&re, &im)| Complex::new(re, im)).collect();
        bins[0].im = M61::ZERO;
        bins[n / 2].im = M61::ZERO;
        let x = inverse_real_fft::<M61>(&bins, n)?;
        prop_assert_eq!(x.len(), n);
        prop_assert_eq!(real_fft(&x)?, bins);
    }
}
