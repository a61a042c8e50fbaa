//! Floating-point formats as types, for [`Rounded`](super::Rounded).

use super::float_format::FloatFormat;
use core::fmt::Debug;

/// A [`FloatFormat`] chosen at compile time.
pub trait Precision: Copy + Debug + Send + Sync + 'static {
    /// The format.
    const FORMAT: FloatFormat;
}

macro_rules! precisions {
    ($($(#[$doc:meta])* $marker:ident = $format:ident,)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $marker;

            impl Precision for $marker {
                const FORMAT: FloatFormat = FloatFormat::$format;
            }
        )+
    };
}

precisions!(
    /// [`FloatFormat::F64`] as a type.
    F64 = F64,
    /// [`FloatFormat::F32`] as a type.
    F32 = F32,
    /// [`FloatFormat::TF32`] as a type.
    Tf32 = TF32,
    /// [`FloatFormat::F16`] as a type.
    F16 = F16,
    /// [`FloatFormat::BF16`] as a type.
    Bf16 = BF16,
);
