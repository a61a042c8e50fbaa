//! The error function in `f64`.
//!
//! Below 2 in magnitude by the series (Abramowitz and Stegun 7.1.6)
//! `erf(x) = 2/sqrt(pi) e^{-x^2} sum_k 2^k x^{2k+1} / (1 3 5 ... (2k+1))`, whose terms are all of
//! one sign; above by the continued fraction (7.1.14)
//! `erfc(x) = e^{-x^2}/sqrt(pi) 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))`.

use core::f64::consts::FRAC_2_SQRT_PI;

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
