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
    const HALF_SMALLEST: f64 =
        (power_of_two(Self::MIN_EXPONENT) * Self::UNIT_ROUNDOFF).max(f64::from_bits(1));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What half of the smallest number is, the largest, and the error of one rounding.
    fn numbers<P: Precision>() -> [f64; 3] {
        [P::HALF_SMALLEST, P::MAX, P::UNIT_ROUNDOFF]
    }

    /// By the formats of the language where there is one, by the numbers of IEEE 754 for `binary16`, by the
    /// upper half of an `f32` for bfloat16.
    #[test]
    fn numbers_of_the_formats() {
        let upper = |half: u32| f64::from(f32::from_bits(half << 16));
        let single = f64::from(f32::from_bits(1)) / 2.0;
        let double = f64::EPSILON / 2.0;
        assert_eq!(numbers::<F64>(), [f64::from_bits(1), f64::MAX, double]);
        let epsilon = f64::from(f32::EPSILON);
        assert_eq!(
            numbers::<F32>(),
            [single, f64::from(f32::MAX), epsilon / 2.0]
        );
        assert_eq!(numbers::<F16>(), [2f64.powi(-25), 65504.0, 2f64.powi(-11)]);
        let step = upper(0x3f81) - 1.0;
        assert_eq!(
            numbers::<Bf16>(),
            [upper(1) / 2.0, upper(0x7f7f), step / 2.0]
        );
        // Ten bits after the point in place of 23.
        let longer = |x: f64| x * 2f64.powi(13);
        let largest = f64::from(f32::from_bits(f32::MAX.to_bits() & !0x1fff));
        assert_eq!(
            numbers::<Tf32>(),
            [longer(single), largest, longer(epsilon / 2.0)]
        );
    }

    /// Half of the smallest number may be subnormal itself.
    #[test]
    fn a_format_near_the_end_of_f64() {
        #[derive(Clone, Copy, Debug)]
        struct Small;
        impl Precision for Small {
            const NAME: &'static str = "small";
            const DIGITS: i32 = 8;
            const MIN_EXPONENT: i32 = -1020;
            const MAX: f64 = 1.0;
        }
        assert_eq!(Small::HALF_SMALLEST, f64::MIN_POSITIVE / 64.0);
    }
}
