//! Activations that H3 does not have, and bfloat16.

use super::Mutant;
use super::switches::Switches;
use crate::algebra::Real;
use crate::safetensors::FloatFormat;
use core::f64::consts::{FRAC_1_SQRT_2, PI};

/// The activations wrongly put after a model, in turn, applied to its output.
pub(super) fn activate(on: Switches<'_>, [gelu, gelu_tanh, silu]: [Mutant; 3], values: &mut [f64]) {
    for (mutant, f) in [
        (gelu, gelu_exact as fn(f64) -> f64),
        (gelu_tanh, gelu_by_tanh),
        (silu, silu_exact),
    ] {
        if on.on(mutant) {
            for x in values.iter_mut() {
                *x = f(*x);
            }
        }
    }
}

/// `x Phi(x)`, the default of PyTorch.
fn gelu_exact(x: f64) -> f64 {
    0.5 * x * erfc(-x * FRAC_1_SQRT_2)
}

/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, the default of JAX.
fn gelu_by_tanh(x: f64) -> f64 {
    let inner = (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// `x / (1 + e^{-x})`.
fn silu_exact(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `1 - erf(x)`: below 2 in magnitude by the series
/// `erf(x) = 2/sqrt(pi) e^{-x^2} sum_k 2^k x^{2k+1} / (1 3 5 ... (2k+1))`, whose terms are all of one
/// sign, and above by the continued fraction
/// `erfc(x) = e^{-x^2}/sqrt(pi) 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))`.
fn erfc(x: f64) -> f64 {
    let size = x.abs();
    let tail = if size < 2.0 {
        let (mut term, mut sum, mut k) = (size, 0.0, 0.0);
        while term > 1e-18 * sum {
            sum += term;
            k += 1.0;
            term *= 2.0 * size * size / (2.0 * k + 1.0);
        }
        1.0 - 2.0 / PI.sqrt() * (-size * size).exp() * sum
    } else {
        let fraction = (1..=120)
            .rev()
            .fold(size, |below, k| size + 0.5 * f64::from(k) / below);
        (-size * size).exp() / (PI.sqrt() * fraction)
    };
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// The bfloat16 nearest to `x`.
pub(super) fn bf16(x: f64) -> f64 {
    FloatFormat::BF16.round(x)
}

/// `ln(1 + e^x)`, by [`Real::ln_1p`].
pub(super) fn softplus(x: f64) -> f64 {
    Real::ln_1p(x.exp())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!((gelu_exact(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((gelu_exact(-3.0) + 0.004_049_694_094_890_284).abs() < 1e-17);
    }

    /// Chapter 17 says how far the two are apart.
    #[test]
    fn the_two_gelus_differ_by_less_than_half_a_thousandth() {
        let apart = |i: i32| {
            let x = f64::from(i) / 100.0;
            (gelu_exact(x) - gelu_by_tanh(x)).abs()
        };
        let largest = (-1000..=1000).map(apart).fold(0.0, f64::max);
        assert!((4.5e-4..5e-4).contains(&largest), "{largest}");
    }

    #[test]
    fn bf16_rounds_to_even() {
        assert_eq!(bf16(1.0 + 2f64.powi(-8)), 1.0);
        assert_eq!(bf16(1.0 + 3.0 * 2f64.powi(-8)), 1.0 + 2f64.powi(-6));
    }
}
