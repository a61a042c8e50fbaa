//! Numbers that every 16-bit format holds.

use crate::algebra::FloatFormat;

/// The nearest number that F16 and BF16 both hold, so that no port begins with a rounding.
pub(super) fn round_to_16_bits(x: f64) -> f64 {
    FloatFormat::BF16.round(FloatFormat::F16.round(x))
}
