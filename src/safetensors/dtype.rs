//! The data types of the format; the crate decodes five of them.

use crate::algebra::FloatFormat;
use core::fmt;

/// The type of a tensor's elements.
///
/// All types known to the format are listed, so that any file can be listed; the ones whose
/// values can be read and written are [`F64`](Dtype::F64), [`F32`](Dtype::F32),
/// [`F16`](Dtype::F16), [`BF16`](Dtype::BF16) and [`I64`](Dtype::I64).
///
/// The order is the reference library's, smallest alignment first: a writer sorts tensors by
/// descending type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// 4-bit float of the OCP microscaling formats.
    F4,
    /// 6-bit float, 2 exponent and 3 fraction bits.
    F6E2M3,
    /// 6-bit float, 3 exponent and 2 fraction bits.
    F6E3M2,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// 8-bit float, 5 exponent and 2 fraction bits.
    F8E5M2,
    /// 8-bit float, 4 exponent and 3 fraction bits.
    F8E4M3,
    /// 8-bit power of two: a scale.
    F8E8M0,
    /// 8-bit float, 4 exponent and 3 fraction bits, no negative zero.
    F8E4M3Fnuz,
    /// 8-bit float, 5 exponent and 2 fraction bits, no negative zero.
    F8E5M2Fnuz,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// IEEE 754 binary32.
    F32,
    /// Complex number of two binary32.
    C64,
    /// IEEE 754 binary64.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
}

/// Every type, in the order of the enum; a test checks that none is missing.
pub const ALL: [Dtype; 22] = [
    Dtype::Bool,
    Dtype::F4,
    Dtype::F6E2M3,
    Dtype::F6E3M2,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8E5M2,
    Dtype::F8E4M3,
    Dtype::F8E8M0,
    Dtype::F8E4M3Fnuz,
    Dtype::F8E5M2Fnuz,
    Dtype::I16,
    Dtype::U16,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I32,
    Dtype::U32,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
    Dtype::I64,
    Dtype::U64,
];

impl Dtype {
    /// The name in a header, such as `F64`, and the bits of one element.
    const fn description(self) -> (&'static str, usize) {
        match self {
            Self::Bool => ("BOOL", 8),
            Self::F4 => ("F4", 4),
            Self::F6E2M3 => ("F6_E2M3", 6),
            Self::F6E3M2 => ("F6_E3M2", 6),
            Self::U8 => ("U8", 8),
            Self::I8 => ("I8", 8),
            Self::F8E5M2 => ("F8_E5M2", 8),
            Self::F8E4M3 => ("F8_E4M3", 8),
            Self::F8E8M0 => ("F8_E8M0", 8),
            Self::F8E4M3Fnuz => ("F8_E4M3FNUZ", 8),
            Self::F8E5M2Fnuz => ("F8_E5M2FNUZ", 8),
            Self::I16 => ("I16", 16),
            Self::U16 => ("U16", 16),
            Self::F16 => ("F16", 16),
            Self::BF16 => ("BF16", 16),
            Self::I32 => ("I32", 32),
            Self::U32 => ("U32", 32),
            Self::F32 => ("F32", 32),
            Self::C64 => ("C64", 64),
            Self::F64 => ("F64", 64),
            Self::I64 => ("I64", 64),
            Self::U64 => ("U64", 64),
        }
    }

    /// The name in a header, such as `F64`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.description().0
    }

    /// The bits of one element; not always a multiple of 8.
    #[must_use]
    pub const fn bits(self) -> usize {
        self.description().1
    }

    /// The type of this name, exact and case-sensitive; `None` if the format knows none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The format of the four float types that are decoded; `None` for any other type.
    #[must_use]
    pub const fn float_format(self) -> Option<FloatFormat> {
        match self {
            Self::F64 => Some(FloatFormat::F64),
            Self::F32 => Some(FloatFormat::F32),
            Self::F16 => Some(FloatFormat::F16),
            Self::BF16 => Some(FloatFormat::BF16),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
