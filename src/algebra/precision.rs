//! Floating-point formats as types, for [`Rounded`](super::Rounded).

use super::float_format::FloatFormat;
use core::cell::Cell;
use core::fmt::Debug;

/// A [`FloatFormat`] as a type.
pub trait Precision: Copy + Debug + Send + Sync + 'static {
    /// The format; of one that is chosen later, the finest that it may be.
    const FORMAT: FloatFormat;

    /// The format to round to.
    #[must_use]
    fn format() -> FloatFormat {
        Self::FORMAT
    }
}

thread_local! {
    static CHOSEN: Cell<FloatFormat> = const { Cell::new(FloatFormat::F64) };
}

/// The format that [`in_format`] has chosen on this thread: code that is tried in several formats is
/// compiled for this one alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen;

impl Precision for Chosen {
    const FORMAT: FloatFormat = FloatFormat::F64;

    fn format() -> FloatFormat {
        CHOSEN.get()
    }
}

/// The result of `compute`, run with a format as the [`Chosen`] one.
pub(crate) fn in_format<R>(format: FloatFormat, compute: impl FnOnce() -> R) -> R {
    let before = CHOSEN.replace(format);
    let computed = compute();
    CHOSEN.set(before);
    computed
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
