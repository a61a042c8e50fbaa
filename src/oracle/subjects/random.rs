//! Random numbers of the golden suite.

use crate::algebra::FloatFormat;
use crate::algebra::Rng;

/// The random numbers of a case: its own, so that no other case changes them.
pub(super) fn random_numbers(name: &str, seed: u64) -> Rng {
    Rng::new(name.bytes().fold(seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    }))
}

/// The nearest number that F16 and BF16 both hold, so that no port begins with a rounding.
pub(super) fn round_to_16_bits(x: f64) -> f64 {
    FloatFormat::BF16.round(FloatFormat::F16.round(x))
}
