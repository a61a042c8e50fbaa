//! Floating-point formats a port may work in, as types.

use core::fmt::Debug;

/// A binary floating-point format with rounding to nearest and gradual underflow.
///
/// The types implementing it are markers for [`Rounded`](super::Rounded).
pub trait Precision: Copy + Debug + Send + Sync + 'static {
    /// The format's usual name.
    const NAME: &'static str;
    /// Binary digits of the significand, the leading one included.
    const DIGITS: i32;
    /// The exponent of the smallest normal number `2^MIN_EXPONENT`.
    const MIN_EXPONENT: i32;
    /// The largest finite number.
    const MAX: f64;
    /// The largest relative error of one rounding, `2^-DIGITS`.
    const UNIT_ROUNDOFF: f64 = power_of_two(-Self::DIGITS);
    /// Half of the smallest positive number: the largest error of one rounding in the subnormal
    /// range. For `f64` half is no float, and the number itself stands for it.
    const HALF_SMALLEST: f64 = {
        let exponent = Self::MIN_EXPONENT - Self::DIGITS;
        if exponent < -1022 {
            f64::from_bits(1)
        } else {
            power_of_two(exponent)
        }
    };
}

const fn power_of_two(k: i32) -> f64 {
    assert!(k >= -1022 && k <= 1023);
    f64::from_bits(((1023 + k) as u64) << 52)
}

/// The largest number of a format: `digits` ones ending at exponent `top`.
const fn largest(digits: i32, top: i32) -> f64 {
    (2.0 - power_of_two(1 - digits)) * power_of_two(top)
}

macro_rules! format {
    ($(#[$doc:meta])* $marker:ident, $name:literal, $digits:literal, $min:literal, $top:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $marker;

        impl Precision for $marker {
            const NAME: &'static str = $name;
            const DIGITS: i32 = $digits;
            const MIN_EXPONENT: i32 = $min;
            const MAX: f64 = largest($digits, $top);
        }
    };
}

format!(
    /// IEEE 754 `binary64`: `u = 2^-53`.
    F64, "f64", 53, -1022, 1023
);
format!(
    /// IEEE 754 `binary32`: `u = 2^-24`.
    F32, "f32", 24, -126, 127
);
format!(
    /// The 19-bit format of NVIDIA's tensor cores, with the exponents of `f32`: `u = 2^-11`.
    Tf32, "tf32", 11, -126, 127
);
format!(
    /// IEEE 754 `binary16`: `u = 2^-11`, smallest normal number `2^-14`, largest 65504.
    F16, "f16", 11, -14, 15
);
format!(
    /// bfloat16, the upper half of an `f32`: `u = 2^-8`.
    Bf16, "bf16", 8, -126, 127
);
