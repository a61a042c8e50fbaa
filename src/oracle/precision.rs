//! The number types in which a case is run.

use crate::algebra::FloatFormat;
use crate::safetensors::Dtype;

/// The number types in which a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// `f64`.
    F64,
    /// `f32`: every number of the file is rounded to it first.
    F32,
    /// Ball arithmetic: every element correctly rounded to `f64`.
    Certified,
}

impl Precision {
    /// All of them, the usual one first.
    pub const ALL: [Self; 3] = [Self::F64, Self::F32, Self::Certified];

    /// The precision of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => FloatFormat::F64.name(),
            Self::F32 => FloatFormat::F32.name(),
            Self::Certified => "certified",
        }
    }

    /// The type in which the stages are written.
    #[must_use]
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F64 | Self::Certified => Dtype::F64,
        }
    }
}
