//! The formats a port is judged by.

use crate::algebra::FloatFormat;

/// The floating-point formats in which a port works: one for the projections, one for the models
/// between them, and one for the transforms that may compute these.
///
/// TF32 is a format for factors: a product rounds its factors to TF32, and is summed and stored in
/// binary32. The error of such a port is at most that of one in which every operation is rounded to
/// TF32: each factor that TF32 does not represent was given, or computed by an operation that is
/// rounded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    name: &'static str,
    projections: FloatFormat,
    models: FloatFormat,
    /// `None` for transforms as fine as the models or, where these are in 16 bits, in binary32.
    transforms: Option<FloatFormat>,
}

impl Format {
    /// IEEE binary64 throughout.
    pub const F64: Self = Self::uniform(FloatFormat::F64);
    /// IEEE binary32 throughout.
    pub const F32: Self = Self::uniform(FloatFormat::F32);
    /// IEEE binary16 throughout.
    pub const F16: Self = Self::uniform(FloatFormat::F16);
    /// bfloat16 throughout.
    pub const BF16: Self = Self::uniform(FloatFormat::BF16);
    /// The factors of every product in TF32: for ports that allow it and compute models by matrix
    /// products too.
    pub const TF32: Self = Self::uniform(FloatFormat::TF32);
    /// Projections in TF32, the models in binary32: for ports that allow TF32 and compute models by
    /// FFT or element by element, as the official code does.
    pub const MIXED_TF32: Self = Self::mixed("mixed-tf32", FloatFormat::TF32);
    /// Projections in binary16, the models in binary32, as in the official training code.
    pub const MIXED_F16: Self = Self::mixed("mixed-f16", FloatFormat::F16);
    /// Projections in bfloat16, the models in binary32, as in the official training code.
    pub const MIXED_BF16: Self = Self::mixed("mixed-bf16", FloatFormat::BF16);

    /// All formats, from the finest models and among these from the finest projections.
    pub const ALL: [Self; 8] = [
        Self::F64,
        Self::F32,
        Self::MIXED_TF32,
        Self::MIXED_F16,
        Self::MIXED_BF16,
        Self::TF32,
        Self::F16,
        Self::BF16,
    ];

    const fn uniform(format: FloatFormat) -> Self {
        Self {
            name: format.name(),
            projections: format,
            models: format,
            transforms: None,
        }
    }

    const fn mixed(name: &'static str, projections: FloatFormat) -> Self {
        Self {
            name,
            projections,
            models: FloatFormat::F32,
            transforms: None,
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name == name)
    }

    /// The same with transforms that run in its 16-bit format themselves, as products with rounded DFT
    /// matrices do. `None` if it has no such format.
    #[must_use]
    pub fn with_transforms_in_16_bits(self) -> Option<Self> {
        let is_16 = [FloatFormat::F16, FloatFormat::BF16].contains(&self.projections);
        is_16.then_some(Self {
            transforms: Some(self.projections),
            ..self
        })
    }

    /// The format of transforms, if they are said to run in 16 bits.
    #[must_use]
    pub fn transforms(&self) -> Option<FloatFormat> {
        self.transforms
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A number as it is stored, among the projections or the models.
    pub(crate) fn store(&self, projected: bool, x: f64) -> f64 {
        match projected {
            true => self.projections.round(x),
            false => self.models.round(x),
        }
    }

    /// True for formats of 16 bits, or that round to as few, if only the projections do.
    pub(crate) fn is_coarse(&self) -> bool {
        self.projection_unit_roundoff() > 1.0 / 65536.0
    }

    /// True if nothing rounds that is exact in these formats.
    pub(crate) fn is_among(&self, formats: &[FloatFormat]) -> bool {
        formats.contains(&self.models) && formats.contains(&self.projections)
    }

    /// True if both formats hold a number.
    pub(crate) fn holds(&self, x: f64) -> bool {
        self.models.holds(x) && self.projections.holds(x)
    }

    /// The unit roundoff in which error scales are measured: that of the models.
    #[must_use]
    pub fn unit_roundoff(&self) -> f64 {
        self.models.unit_roundoff()
    }

    /// The unit roundoff of the projections.
    #[must_use]
    pub fn projection_unit_roundoff(&self) -> f64 {
        self.projections.unit_roundoff()
    }

    /// The unit roundoff of transforms. Where nothing else is said of them, those of a port in 16 bits run in
    /// binary32: no library has others. In TF32 they may be products with DFT matrices.
    pub(crate) fn transform_unit_roundoff(&self) -> f64 {
        let unsaid = match self.models {
            FloatFormat::F16 | FloatFormat::BF16 => FloatFormat::F32,
            other => other,
        };
        self.transforms.unwrap_or(unsaid).unit_roundoff()
    }

    /// The most that one operation between the projections may lose to underflow: the smallest
    /// normal number, since many ports flush to zero; in binary16, whose subnormal numbers are
    /// needed too often for that, the smallest number.
    #[must_use]
    pub(crate) fn underflow(&self) -> f64 {
        if self.models == FloatFormat::F16 {
            self.models.smallest()
        } else {
            self.models.smallest_normal()
        }
    }

    /// The format of a port without projections: its products of matrices are what a mixed format has in
    /// fewer bits.
    pub(super) fn without_projections(self) -> Self {
        Self {
            models: self.projections,
            ..self
        }
    }
}

/// What tolerances are made of.
#[cfg(feature = "internals")]
impl Format {
    /// The unit roundoff of transforms.
    #[must_use]
    pub fn roundoff_of_transforms(&self) -> f64 {
        self.transform_unit_roundoff()
    }

    /// What one operation may lose to underflow.
    #[must_use]
    pub fn lost_to_underflow(&self) -> f64 {
        self.underflow()
    }

    /// The format of a port that is taken for one that works in the coarser of two throughout.
    #[must_use]
    pub fn in_one(self) -> Self {
        self.without_projections()
    }
}
