//! The formats a port may work in.

/// What a port works in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    name: &'static str,
    /// The unit roundoff of the projections.
    projections: f64,
    /// The unit roundoff of everything between them.
    models: f64,
}

/// `2^-k`.
const fn two_to_minus(k: u32) -> f64 {
    1.0 / (1u64 << k) as f64
}

impl Format {
    /// IEEE binary64 throughout.
    pub const F64: Self = Self::uniform("f64", two_to_minus(53));
    /// IEEE binary32 throughout.
    pub const F32: Self = Self::uniform("f32", two_to_minus(24));
    /// IEEE binary16 throughout.
    pub const F16: Self = Self::uniform("f16", two_to_minus(11));
    /// bfloat16 throughout.
    pub const BF16: Self = Self::uniform("bf16", two_to_minus(8));
    /// Projections in TF32, as PyTorch does where it is allowed, the models in binary32.
    pub const TF32: Self = Self::mixed("tf32", two_to_minus(11));
    /// Projections in binary16, the models in binary32, as in the official training code.
    pub const MIXED_F16: Self = Self::mixed("mixed-f16", two_to_minus(11));
    /// Projections in bfloat16, the models in binary32, as in the official training code.
    pub const MIXED_BF16: Self = Self::mixed("mixed-bf16", two_to_minus(8));

    /// All formats, from the finest.
    pub const ALL: [Self; 7] = [
        Self::F64,
        Self::F32,
        Self::TF32,
        Self::MIXED_F16,
        Self::MIXED_BF16,
        Self::F16,
        Self::BF16,
    ];

    const fn uniform(name: &'static str, u: f64) -> Self {
        Self {
            name,
            projections: u,
            models: u,
        }
    }

    const fn mixed(name: &'static str, projections: f64) -> Self {
        Self {
            name,
            projections,
            models: two_to_minus(24),
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name == name)
    }

    /// The name, as on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The unit roundoff that error scales are in units of: that of the models.
    #[must_use]
    pub fn unit_roundoff(&self) -> f64 {
        self.models
    }

    /// What one operation between the projections may lose to underflow: the smallest normal
    /// number, since many ports flush to zero; in F16 the smallest number.
    #[must_use]
    pub(crate) fn underflow(&self) -> f64 {
        match self.name {
            "f64" => f64::MIN_POSITIVE,
            "f16" => two_to_minus(24),
            _ => f64::from(f32::MIN_POSITIVE),
        }
    }

    /// The format of the models alone.
    pub(super) fn of_models(self) -> Self {
        Self {
            projections: self.models,
            ..self
        }
    }

    /// Whether projections and models are in one format.
    pub(super) fn is_uniform(&self) -> bool {
        self.projections <= self.models
    }

    /// The unit roundoff of the projections.
    #[must_use]
    pub fn projection_unit_roundoff(&self) -> f64 {
        self.projections
    }
}
