//! The error function in `f64`, and the exact GELU, which is written with it.
//!
//! Below 2 in magnitude by the series (Abramowitz and Stegun 7.1.6)
//! `erf(x) = 2/sqrt(pi) e^{-x^2} sum_k 2^k x^{2k+1} / (1 3 5 ... (2k+1))`, whose terms are all of
//! one sign; above by the continued fraction (7.1.14)
//! `erfc(x) = e^{-x^2}/sqrt(pi) 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))`.

use core::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The magnitude at which the fraction takes over from the series.
const SEAM: f64 = 2.0;

/// `erf(x)` for `0 <= x < SEAM`.
fn by_series(x: f64) -> f64 {
    let (mut term, mut sum, mut k) = (x, 0.0, 0.0);
    while term > 1e-18 * sum {
        sum += term;
        k += 1.0;
        term *= 2.0 * x * x / (2.0 * k + 1.0);
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `1 - erf(x)` for `x >= SEAM`.
fn by_fraction(x: f64) -> f64 {
    let fraction = (1..=120)
        .rev()
        .fold(x, |below, k| x + 0.5 * f64::from(k) / below);
    0.5 * FRAC_2_SQRT_PI * (-x * x).exp() / fraction
}

/// The error function, to about `1e-15` relative to it.
pub(crate) fn erf(x: f64) -> f64 {
    let size = x.abs();
    let value = if size < SEAM {
        by_series(size)
    } else {
        1.0 - by_fraction(size)
    };
    value.copysign(x)
}

/// `1 - erf(x)`: to about `2e-15`, and from 2 on to as much relative to it.
pub(crate) fn erfc(x: f64) -> f64 {
    if x < SEAM {
        1.0 - erf(x)
    } else {
        by_fraction(x)
    }
}

/// The Gaussian error linear unit `x Phi(x)`, the default of PyTorch.
pub(crate) fn exact_gelu(x: f64) -> f64 {
    0.5 * x * erfc(-x * FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Abramowitz and Stegun, table 7.1, and the limits.
    #[test]
    fn erf_has_its_known_values() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (6.0, 1.0),
            // Where the terms of the series overflow and their factor underflows.
            (40.0, 1.0),
            (f64::INFINITY, 1.0),
        ] {
            for (x, expected) in [(x, expected), (-x, -expected)] {
                let error: f64 = erf(x) - expected;
                assert!(error.abs() < 1e-15, "erf {x}: off by {error:e}");
            }
        }
        assert_eq!(erf(6.0), 1.0, "less than half a unit below 1");
        let slope = erf(1e-300) / 1e-300;
        assert!((slope - FRAC_2_SQRT_PI).abs() < 1e-15, "{slope}");
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
    }

    /// Values of erfc to 16 digits, from another implementation, on both sides of the seam at 2 and
    /// on it.
    #[test]
    fn erfc_has_its_known_values() {
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.0, 0.157_299_207_050_285_13),
            (1.999_999_999_999, 0.004_677_734_981_067_934),
            (2.0, 0.004_677_734_981_047_266),
            (3.0, 2.209_049_699_858_544e-5),
            (-1.0, 1.842_700_792_949_715),
            (-6.0, 2.0),
        ] {
            let got: f64 = erfc(x);
            // The series side loses digits of the tail to 1 - erf: at most 1e-15 absolute.
            assert!(
                (got - expected).abs() < 2e-15,
                "erfc({x}) = {got:e}, expected {expected:e}"
            );
        }
        // The fraction keeps the digits of the tail: its steps, an exponential and a root, a rounding each or two.
        let off: f64 = erfc(2.0) / 0.004_677_734_981_047_266 - 1.0;
        assert!(off.abs() < 2e-15, "{off:e}");
        let off: f64 = erfc(3.0) / 2.209_049_699_858_544e-5 - 1.0;
        assert!(off.abs() < 2e-15, "{off:e}");
    }

    #[test]
    fn the_exact_gelu_has_its_known_values() {
        assert!((exact_gelu(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((exact_gelu(-3.0) + 0.004_049_694_094_890_284).abs() < 1e-17);
        assert_eq!(exact_gelu(0.0), 0.0);
    }
}
