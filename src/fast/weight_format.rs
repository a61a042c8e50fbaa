//! The formats that weights are stored in, and the numbers they stand for.

use crate::algebra::FloatFormat;
use crate::error::Error;
use crate::h3::{Name, Parameters};
use core::fmt;
use core::str::FromStr;

/// The format that the weights of matrices are stored in: the four projections of a layer, and of a model also its
/// attention, MLPs and embedding. Biases, norms and the models' own coefficients stay as they are.
///
/// A format changes which weights a layer has, not how it computes: they are widened in registers, and its results are,
/// bit for bit, those of a layer in f32 with the weights that [`dequantise`](Self::dequantise) gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16: 11 bits, at most 65504.
    F16,
    /// The upper half of an f32: 8 bits.
    Bf16,
    /// Whole numbers from -127 to 127 times a scale per row, an f32: the row's largest magnitude over 127. Every
    /// weight is within half a scale, but for rows of which that is no normal f32.
    Int8,
}

/// Every row of a weight in `Int8` reaches this level.
const LEVELS: f64 = 127.0;

impl WeightFormat {
    /// All formats, the widest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// Its name: `f32`, `f16`, `bf16` or `int8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// The bits of a stored weight, without the scale of its row.
    #[must_use]
    pub fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::Int8 => 8,
        }
    }

    /// The floating-point format; none if levels are stored.
    fn float(self) -> Option<FloatFormat> {
        match self {
            Self::F32 => Some(FloatFormat::F32),
            Self::F16 => Some(FloatFormat::F16),
            Self::Bf16 => Some(FloatFormat::BF16),
            Self::Int8 => None,
        }
    }

    /// Replaces a weight, rows of `inputs` numbers as PyTorch stores it, by what the format stores of it: floats rounded
    /// once, to nearest, ties to even; levels the quotient by the row's scale in f64, rounded so, times that scale in f32.
    ///
    /// # Errors
    ///
    /// If a number is not finite, or rounds to none that the format has.
    pub fn dequantise(self, what: &str, inputs: usize, weight: &mut [f64]) -> Result<(), Error> {
        self.check(what, weight.iter().copied())?;
        for row in weight.chunks_mut(inputs.max(1)) {
            let scale = self.scale(row);
            for x in row {
                *x = self.stored(*x, scale);
            }
        }
        Ok(())
    }

    /// The parameters of a layer with what the format stores of its four projections' weights, the others as they are.
    ///
    /// # Errors
    ///
    /// As [`dequantise`](Self::dequantise).
    pub fn dequantised(self, parameters: &Parameters<f64>) -> Result<Parameters<f64>, Error> {
        let config = parameters.config();
        Parameters::new(config.clone(), |name| {
            let mut value = parameters.get(name).to_vec();
            if MATRICES.contains(&name) {
                self.dequantise(name.official(), config.d_model, &mut value)?;
            }
            Ok(value)
        })
    }

    /// Refuses numbers for which the format has no value.
    pub(super) fn check(
        self,
        what: &str,
        mut weight: impl Iterator<Item = f64>,
    ) -> Result<(), Error> {
        match weight.find(|&x| !self.holds(x)) {
            None => Ok(()),
            Some(x) => Err(Error::value(
                what,
                format!("{x:e} has no value in {self}; expected a finite number in its range"),
            )),
        }
    }

    fn holds(self, x: f64) -> bool {
        let largest = match self.float() {
            Some(format) => format.round(x),
            // The largest level of the row times its scale.
            None => f64::from(LEVELS as f32 * self.scale(&[x])),
        };
        x.is_finite() && largest.is_finite()
    }

    /// The scale of a row; 0 in formats that have none.
    pub(super) fn scale(self, row: &[f64]) -> f32 {
        match self {
            Self::Int8 => (row.iter().fold(0.0, |most: f64, x| most.max(x.abs())) / LEVELS) as f32,
            _ => 0.0,
        }
    }

    /// The number that is stored for one in a row of this scale.
    pub(super) fn stored(self, x: f64, scale: f32) -> f64 {
        match self.float() {
            Some(format) => format.round(x),
            None => f64::from(f32::from(level_of(x, scale)) * scale),
        }
    }
}

/// The weights of matrices among the parameters of a layer.
pub(super) const MATRICES: [Name; 4] = [
    Name::QWeight,
    Name::KWeight,
    Name::VWeight,
    Name::OutputWeight,
];

/// The level of a number in a row of this scale.
pub(super) fn level_of(x: f64, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    let level = (x / f64::from(scale)).round_ties_even();
    level.clamp(-LEVELS, LEVELS) as i8
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        let names = Self::ALL.map(Self::name);
        found.ok_or_else(|| Error::unknown("weights", name, names))
    }
}
