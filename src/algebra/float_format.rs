//! Binary floating-point formats as values: their numbers, and rounding to them on bits alone.

use crate::error::Error;
use core::fmt;
use core::str::FromStr;

/// A binary interchange format (IEEE 754-2019, section 3.4) no wider than `f64`: a sign, biased
/// exponents, a fraction, subnormals, infinities and NaNs.
///
/// Rounding goes from `f64` to the format in one step. By way of `f32` it would round twice, and
/// be wrong where the first rounding lands on a tie of the second:
///
/// ```
/// use hungry_hippos::algebra::FloatFormat;
///
/// let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40); // just above the tie of 1 and 1 + 2^-10
/// assert_eq!(FloatFormat::F16.round(x), 1.0 + 2f64.powi(-10));
/// assert_eq!(FloatFormat::F16.round(f64::from(x as f32)), 1.0);
/// ```
///
/// Rounding uses only integer operations, so the result, NaNs included, is the same on every
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatFormat {
    name: &'static str,
    exponent_bits: u32,
    fraction_bits: u32,
}

/// Fraction bits, exponent bits and exponent bias of `f64`.
const FRACTION_F64: u32 = 52;
const EXPONENT_F64: u32 = 11;
const BIAS_F64: i64 = 1023;

/// `2^k` for `-1074 <= k <= 1023`: normal or subnormal.
const fn power_of_two(k: i32) -> f64 {
    f64::from_bits(if k >= -1022 {
        ((1023 + k) as u64) << FRACTION_F64
    } else {
        1 << (k + 1074)
    })
}

impl FloatFormat {
    /// IEEE 754 binary64: `u = 2^-53`.
    pub const F64: Self = Self::new("f64", EXPONENT_F64, FRACTION_F64);
    /// IEEE 754 binary32: `u = 2^-24`.
    pub const F32: Self = Self::new("f32", 8, 23);
    /// NVIDIA's TensorFloat-32: the range of binary32, the precision of binary16, `u = 2^-11`; its
    /// 19 bits are not a storage format.
    pub const TF32: Self = Self::new("tf32", 8, 10);
    /// IEEE 754 binary16: `u = 2^-11`, smallest normal number `2^-14`, largest 65504.
    pub const F16: Self = Self::new("f16", 5, 10);
    /// bfloat16, the upper half of a binary32: `u = 2^-8`.
    pub const BF16: Self = Self::new("bf16", 8, 7);

    /// Every format, from the finest.
    pub const ALL: [Self; 5] = [Self::F64, Self::F32, Self::TF32, Self::F16, Self::BF16];

    /// The format of that many bits, which no port need have.
    #[cfg(feature = "internals")]
    #[must_use]
    pub const fn with_bits(name: &'static str, exponent_bits: u32, fraction_bits: u32) -> Self {
        Self::new(name, exponent_bits, fraction_bits)
    }

    const fn new(name: &'static str, exponent_bits: u32, fraction_bits: u32) -> Self {
        Self {
            name,
            exponent_bits,
            fraction_bits,
        }
    }

    /// The usual name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Binary digits of the significand, the leading one included.
    #[must_use]
    pub const fn digits(self) -> i32 {
        self.fraction_bits as i32 + 1
    }

    /// The exponent of the largest finite numbers, those of at least `2^max_exponent`; also the
    /// exponent bias.
    #[must_use]
    pub const fn max_exponent(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// The exponent of the smallest normal number, `2^min_exponent`.
    #[must_use]
    pub const fn min_exponent(self) -> i32 {
        1 - self.max_exponent()
    }

    /// The largest relative error of one rounding in the normal range, `2^-digits`.
    #[must_use]
    pub const fn unit_roundoff(self) -> f64 {
        power_of_two(-self.digits())
    }

    /// The largest finite number: `digits` ones, the first at `2^max_exponent`.
    #[must_use]
    pub const fn largest(self) -> f64 {
        (2.0 - power_of_two(1 - self.digits())) * power_of_two(self.max_exponent())
    }

    /// The smallest positive normal number.
    #[must_use]
    pub const fn smallest_normal(self) -> f64 {
        power_of_two(self.min_exponent())
    }

    /// The smallest positive number, which is subnormal.
    #[must_use]
    pub const fn smallest(self) -> f64 {
        power_of_two(self.min_exponent() - self.fraction_bits as i32)
    }

    /// Half the smallest positive number: the largest error of one rounding in the subnormal range.
    /// For `f64` half is no float, and the number itself stands for it.
    #[must_use]
    pub const fn half_smallest(self) -> f64 {
        (self.smallest() / 2.0).max(f64::from_bits(1))
    }

    /// The unit in the last place at `x`: the distance between neighbouring numbers of the format
    /// in the binade of `x`; beyond the largest number, in its binade.
    ///
    /// ```
    /// use hungry_hippos::algebra::FloatFormat;
    ///
    /// assert_eq!(FloatFormat::F32.unit_in_the_last_place(-1.5), f64::from(f32::EPSILON));
    /// assert_eq!(FloatFormat::F16.unit_in_the_last_place(0.0), FloatFormat::F16.smallest());
    /// assert_eq!(FloatFormat::F16.unit_in_the_last_place(1e6), 32.0);
    /// ```
    #[must_use]
    pub const fn unit_in_the_last_place(self, x: f64) -> f64 {
        let exponent = ((x.to_bits() >> FRACTION_F64) & 0x7ff) as i32 - BIAS_F64 as i32;
        let exponent = if exponent < self.min_exponent() {
            self.min_exponent()
        } else if exponent > self.max_exponent() {
            self.max_exponent()
        } else {
            exponent
        };
        power_of_two(exponent - self.fraction_bits as i32)
    }

    /// The bits of positive infinity: an exponent of all ones.
    const fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    /// The bits, in the low end, of the number of this format nearest to `x`: ties go to the even
    /// fraction, numbers from the largest finite one plus half a unit on to infinity, and tiny
    /// ones to subnormals or a signed zero. A NaN stays a NaN, made quiet, with its sign and the
    /// upper bits of its payload.
    #[must_use]
    pub const fn encode(self, x: f64) -> u64 {
        let bits = x.to_bits();
        let sign = (bits >> 63) << (self.exponent_bits + self.fraction_bits);
        let fraction = bits & ((1 << FRACTION_F64) - 1);
        let biased = ((bits >> FRACTION_F64) & 0x7ff) as i64;
        let dropped = FRACTION_F64 - self.fraction_bits;
        if biased == 0x7ff && fraction != 0 {
            let quiet = 1 << (self.fraction_bits - 1);
            return sign | self.infinity() | quiet | (fraction >> dropped);
        }
        // |x| = significand * 2^(exponent - 52).
        let (significand, exponent) = if biased == 0 {
            (fraction, 1 - BIAS_F64)
        } else {
            (fraction | 1 << FRACTION_F64, biased - BIAS_F64)
        };
        let lowest = self.min_exponent() as i64;
        // Below the smallest normal number the unit stops shrinking: one bit more is dropped for
        // each power of two. The significand is below 2^53, so that dropping 54 bits leaves less
        // than half a unit, as does dropping more.
        let (shift, base) = if exponent >= lowest {
            // The hidden bit of the quotient adds one to the exponent field.
            let field = (exponent - lowest) as u64;
            (dropped as i64, field << self.fraction_bits)
        } else {
            (dropped as i64 + lowest - exponent, 0)
        };
        let shift = if shift < 54 { shift } else { 54 };
        let (quotient, unit) = (significand >> shift, 1 << shift);
        let twice_rest = 2 * (significand & (unit - 1));
        let up = twice_rest > unit || (twice_rest == unit && quotient & 1 == 1);
        // A carry out of the fraction moves into the exponent, which is where it belongs.
        let magnitude = base + quotient + up as u64;
        let infinity = self.infinity();
        sign | if magnitude < infinity {
            magnitude
        } else {
            infinity
        }
    }

    /// The value of the bits in the low end of `bits`, exactly: every number of the format is an
    /// `f64`. Bits above the format's are ignored. A NaN keeps its sign and payload.
    #[must_use]
    pub const fn decode(self, bits: u64) -> f64 {
        let sign = ((bits >> (self.exponent_bits + self.fraction_bits)) & 1) << 63;
        let fraction = bits & ((1 << self.fraction_bits) - 1);
        let field = (bits >> self.fraction_bits) & ((1 << self.exponent_bits) - 1);
        let gained = FRACTION_F64 - self.fraction_bits;
        let bias = self.max_exponent() as i64;
        let magnitude = if field == (1 << self.exponent_bits) - 1 {
            (0x7ff << FRACTION_F64) | (fraction << gained)
        } else if field != 0 {
            let biased = (field as i64 - bias + BIAS_F64) as u64;
            (biased << FRACTION_F64) | (fraction << gained)
        } else if fraction != 0 && self.exponent_bits < EXPONENT_F64 {
            // Subnormal, but no subnormal f64: the leading one becomes the hidden bit.
            let leading = 63 - fraction.leading_zeros();
            let exponent = 1 - bias - (self.fraction_bits - leading) as i64;
            let hidden_removed = (fraction << (FRACTION_F64 - leading)) & ((1 << FRACTION_F64) - 1);
            (((exponent + BIAS_F64) as u64) << FRACTION_F64) | hidden_removed
        } else {
            fraction << gained
        };
        f64::from_bits(sign | magnitude)
    }

    /// `x` rounded to this format, as [`encode`](Self::encode) does.
    #[must_use]
    pub const fn round(self, x: f64) -> f64 {
        self.decode(self.encode(x))
    }

    /// True if `x` is a finite number of this format.
    #[must_use]
    pub const fn holds(self, x: f64) -> bool {
        x.is_finite() && self.round(x) == x
    }
}

impl fmt::Display for FloatFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for FloatFormat {
    type Err = Error;

    /// The format of this name, exact and case-sensitive.
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|format| format.name == name);
        let names = Self::ALL.map(Self::name);
        found.ok_or_else(|| Error::unknown("floating-point format", name, names))
    }
}
