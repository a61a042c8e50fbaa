//! Binary float formats narrower than `f64`: rounding to them and reading them, on bits alone.

/// A binary interchange format (IEEE 754-2019, section 3.4) narrower than `f64`: a sign, biased
/// exponents, a fraction, subnormals, infinities and NaNs.
///
/// Rounding goes from `f64` to the format in one step. By way of `f32` it would round twice, and
/// be wrong where the first rounding lands on a tie of the second:
///
/// ```
/// use hungry_hippos::safetensors::FloatFormat;
///
/// let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40); // just above the tie of 1 and 1 + 2^-10
/// assert_eq!(FloatFormat::F16.round(x), 1.0 + 2f64.powi(-10));
/// assert_eq!(FloatFormat::F16.round(f64::from(x as f32)), 1.0);
/// ```
///
/// Only integer operations are used, so the result, NaNs included, is the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatFormat {
    exponent_bits: u32,
    fraction_bits: u32,
}

/// Fraction bits and exponent bias of `f64`.
const FRACTION_F64: u32 = 52;
const BIAS_F64: i64 = 1023;

impl FloatFormat {
    /// IEEE 754 binary32.
    pub const F32: Self = Self::new(8, 23);
    /// NVIDIA's TensorFloat-32: the range of binary32, the precision of binary16; its 19 bits are
    /// not a storage format.
    pub const TF32: Self = Self::new(8, 10);
    /// IEEE 754 binary16.
    pub const F16: Self = Self::new(5, 10);
    /// bfloat16: the upper half of a binary32.
    pub const BF16: Self = Self::new(8, 7);

    const fn new(exponent_bits: u32, fraction_bits: u32) -> Self {
        Self {
            exponent_bits,
            fraction_bits,
        }
    }

    /// The exponent bias; also the largest exponent of a finite number.
    const fn bias(self) -> i64 {
        (1 << (self.exponent_bits - 1)) - 1
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
    pub const fn encode(self, x: f64) -> u32 {
        let bits = x.to_bits();
        let sign = (bits >> 63) << (self.exponent_bits + self.fraction_bits);
        let fraction = bits & ((1 << FRACTION_F64) - 1);
        let biased = ((bits >> FRACTION_F64) & 0x7ff) as i64;
        let dropped = FRACTION_F64 - self.fraction_bits;
        if biased == 0x7ff && fraction != 0 {
            let quiet = 1 << (self.fraction_bits - 1);
            return (sign | self.infinity() | quiet | (fraction >> dropped)) as u32;
        }
        // |x| = significand * 2^(exponent - 52).
        let (significand, exponent) = if biased == 0 {
            (fraction, 1 - BIAS_F64)
        } else {
            (fraction | 1 << FRACTION_F64, biased - BIAS_F64)
        };
        let lowest = 1 - self.bias();
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
        let (quotient, half) = (significand >> shift, 1 << (shift - 1));
        let rest = significand & ((1 << shift) - 1);
        let up = rest > half || (rest == half && quotient & 1 == 1);
        // A carry out of the fraction moves into the exponent, which is where it belongs.
        let magnitude = base + quotient + up as u64;
        let infinity = self.infinity();
        (sign
            | if magnitude < infinity {
                magnitude
            } else {
                infinity
            }) as u32
    }

    /// The value of the bits in the low end of `bits`, exactly: every number of the format is an
    /// `f64`. Bits above the format's are ignored. A NaN keeps its sign and payload.
    #[must_use]
    pub const fn decode(self, bits: u32) -> f64 {
        let bits = bits as u64;
        let sign = ((bits >> (self.exponent_bits + self.fraction_bits)) & 1) << 63;
        let fraction = bits & ((1 << self.fraction_bits) - 1);
        let field = (bits >> self.fraction_bits) & ((1 << self.exponent_bits) - 1);
        let gained = FRACTION_F64 - self.fraction_bits;
        let magnitude = if field == (1 << self.exponent_bits) - 1 {
            (0x7ff << FRACTION_F64) | (fraction << gained)
        } else if field != 0 {
            let biased = (field as i64 - self.bias() + BIAS_F64) as u64;
            (biased << FRACTION_F64) | (fraction << gained)
        } else if fraction != 0 {
            // Subnormal: the leading one becomes the hidden bit.
            let leading = 63 - fraction.leading_zeros();
            let exponent = 1 - self.bias() - (self.fraction_bits - leading) as i64;
            let hidden_removed = (fraction << (FRACTION_F64 - leading)) & ((1 << FRACTION_F64) - 1);
            (((exponent + BIAS_F64) as u64) << FRACTION_F64) | hidden_removed
        } else {
            0
        };
        f64::from_bits(sign | magnitude)
    }

    /// `x` rounded to this format, as [`encode`](Self::encode) does.
    #[must_use]
    pub const fn round(self, x: f64) -> f64 {
        self.decode(self.encode(x))
    }
}

/// The bits of the binary16 nearest to `x`, ties to even: [`FloatFormat::F16`]'s `encode`.
#[must_use]
pub const fn f16_from_f64(x: f64) -> u16 {
    FloatFormat::F16.encode(x) as u16
}

/// The bits of the bfloat16 nearest to `x`, ties to even: [`FloatFormat::BF16`]'s `encode`.
#[must_use]
pub const fn bf16_from_f64(x: f64) -> u16 {
    FloatFormat::BF16.encode(x) as u16
}
