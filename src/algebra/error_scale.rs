//! First-order rounding error analysis as arithmetic: the largest error of a correct port, in units of its
//! unit roundoff, whatever the order in which it adds.

use super::ball::{Ball, Disc};
use super::float_format::FloatFormat;
use super::real::{Real, erf_slope};
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::scalar::{ComplexScalar, Scalar};
use super::side_by_side;
use crate::internals::internals;
use crate::into_vec::IntoVec as _;
use core::ops::{Add, Div, Mul, Neg, Sub};
use num_complex::Complex;

mod sums;

internals!(sums::{convolution_of_errors, correlation_of_errors});

/// The error that a correct port can have, in units of its unit roundoff `u`, under two assumptions
/// on how the roundings of a sum of `n` terms add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBound {
    /// Every rounding at its worst, all of one sign: `(n - 1) u sum |terms|` (Higham, *Accuracy and
    /// Stability of Numerical Algorithms*, section 4.2).
    pub worst: f64,
    /// Roundings as independent, mean-zero random variables: `4 sqrt(n - 1) u sum |terms|` holds
    /// with probability at least `1 - 2 exp(-8)` a sum (Higham and Mary, *A new approach to
    /// probabilistic rounding error analysis*, 2019, with lambda = 4), and never more than the worst
    /// case.
    pub probable: f64,
}

impl ErrorBound {
    /// No error.
    pub const ZERO: Self = Self::both(0.0);

    /// The same under both assumptions.
    #[must_use]
    pub const fn both(error: f64) -> Self {
        Self {
            worst: error,
            probable: error,
        }
    }

    /// The error of a sum of `terms` terms of summed magnitude `magnitude`, in any order.
    pub(crate) fn of_sum(terms: f64, magnitude: f64) -> Self {
        let roundings = (terms - 1.0).max(0.0);
        Self {
            worst: roundings * magnitude,
            // Up to 16 roundings 4 sqrt(n) is the larger.
            probable: match roundings <= 16.0 {
                true => roundings * magnitude,
                false => 4.0 * roundings.sqrt() * magnitude,
            },
        }
    }

    fn with(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            worst: f(self.worst, other.worst),
            probable: f(self.probable, other.probable),
        }
    }

    /// The same with the larger of two worst cases.
    #[must_use]
    pub(crate) fn with_worst_of(self, other: Self) -> Self {
        Self {
            worst: self.worst.max(other.worst),
            ..self
        }
    }

    /// The larger of two, each under its own assumption.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.with(other, f64::max)
    }
}

impl Add for ErrorBound {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
}

impl Add<f64> for ErrorBound {
    type Output = Self;
    fn add(self, error: f64) -> Self {
        self + Self::both(error)
    }
}

impl Mul<f64> for ErrorBound {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        self.with(Self::both(factor), |error, factor| error * factor)
    }
}

impl Div<f64> for ErrorBound {
    type Output = Self;
    fn div(self, divisor: f64) -> Self {
        self.with(Self::both(divisor), |error, divisor| error / divisor)
    }
}

/// A number with the largest error that a correct port can have in it.
///
/// # Invariant
///
/// To first order in the port's unit roundoff `u`, `|port - value| <= error * u` (with `error` the [`ErrorBound`] in question), for every order
/// in which the port may add the `terms` terms, of summed magnitude `magnitude`, of which the value
/// is the sum.
///
/// Adding two sums makes one of all their terms: with `g(n)` the growth of a sum (`n - 1`, or
/// less), an error of
/// `g(n) magnitude` in total is kept up by adding `g(n1 + n2) (m1 + m2) - g(n1) m1 - g(n2) m2` to the
/// errors of the parts. A product, or anything else that must be rounded before it is used, is one
/// term again.
#[derive(Clone, Copy, Debug)]
pub struct ErrorScale {
    value: f64,
    error: ErrorBound,
    magnitude: f64,
    terms: f64,
}

/// The complex companion of [`ErrorScale`]; errors and magnitudes are of the modulus, so that a
/// rotation does not inflate them.
#[derive(Clone, Copy, Debug)]
pub struct ComplexErrorScale {
    value: Complex<f64>,
    error: ErrorBound,
    magnitude: f64,
    terms: f64,
}

/// The error of a library's elementary function in units of `u |f(x)|`; see
/// [`LIBRARY_FACTOR`](super::LIBRARY_FACTOR).
const LIBRARY: f64 = super::rounded::LIBRARY_FACTOR;

/// The error of a complex product by four multiplications and two additions, in units of `u |zw|`:
/// sqrt(5), rounded up (Brent, Percival and Zimmermann 2007).
pub const COMPLEX_PRODUCT: f64 = 2.2361;

/// The error of a complex inverse `conj(z) / |z|^2` in units of `u / |z|`: the squared norm has
/// relative error 2u, the two divisions u each.
const COMPLEX_INVERSE: f64 = 3.0;

/// The modulus, by operations that are the same on every machine.
pub(crate) fn modulus(z: Complex<f64>) -> f64 {
    z.norm_sqr().sqrt()
}

/// An elementary function by the crate's own arithmetic: error scales stand in golden files, which
/// must be the same on every machine, and the platform's library is not.
fn same_everywhere(f: impl Fn(Ball) -> Ball, x: f64) -> f64 {
    f(Ball::from_f64(x)).to_f64()
}

macro_rules! error_scale {
    ($type:ident, $value:ty, $modulus:expr, $product:expr) => {
        impl $type {
            /// A number the port holds with this error, in units of `u`.
            #[must_use]
            pub fn new(value: $value, error: ErrorBound) -> Self {
                Self {
                    value,
                    error,
                    magnitude: $modulus(value),
                    terms: f64::from(u8::from($modulus(value) > 0.0 || error.worst > 0.0)),
                }
            }

            /// The value itself, evaluated in f64.
            #[must_use]
            pub fn value(self) -> $value {
                self.value
            }

            /// The error a port may make, in units of its unit roundoff.
            #[must_use]
            pub fn error(self) -> ErrorBound {
                self.error
            }

            /// The same number, known to the port only within `error`.
            #[must_use]
            pub fn with_error(self, error: ErrorBound) -> Self {
                Self { error, ..self }
            }

            /// The same number as the sum of the terms of `majorant`, whose value bounds it, with the larger
            /// of their errors.
            #[must_use]
            pub(crate) fn covered_by(self, majorant: Self) -> Self {
                Self {
                    value: self.value,
                    error: self.error.max(majorant.error),
                    magnitude: self.magnitude.max(majorant.magnitude),
                    terms: self.terms.max(majorant.terms),
                }
            }

            /// Rounded by the port: one term, one rounding more.
            fn rounded(value: $value, inherited: ErrorBound, units: f64) -> Self {
                Self::new(value, inherited + units * $modulus(value))
            }

            fn plus(self, other: Self, value: $value) -> Self {
                let grown = |x: Self| ErrorBound::of_sum(x.terms, x.magnitude);
                let mut sum = Self {
                    value,
                    error: self.error + other.error,
                    magnitude: self.magnitude + other.magnitude,
                    terms: self.terms + other.terms,
                };
                let less = |a: ErrorBound, b| a.with(b, |a, b| a - b);
                let added = less(less(grown(sum), grown(self)), grown(other));
                sum.error = sum.error + added.max(ErrorBound::ZERO);
                sum
            }
        }

        impl Add for $type {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                self.plus(other, self.value + other.value)
            }
        }

        impl Sub for $type {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.plus(other, self.value - other.value)
            }
        }

        impl Neg for $type {
            type Output = Self;
            fn neg(self) -> Self {
                Self {
                    value: -self.value,
                    ..self
                }
            }
        }

        impl Mul for $type {
            type Output = Self;
            fn mul(self, other: Self) -> Self {
                let (a, b) = ($modulus(self.value), $modulus(other.value));
                let inherited = other.error * a + self.error * b;
                Self::rounded(self.value * other.value, inherited, $product)
            }
        }
    };
}

error_scale!(ErrorScale, f64, f64::abs, 1.0);
error_scale!(ComplexErrorScale, Complex<f64>, modulus, COMPLEX_PRODUCT);

/// The formats that ports work in, the finest first; the unit roundoff of F16 is that of TF32.
const FORMATS: [FloatFormat; 4] = [
    FloatFormat::F64,
    FloatFormat::F32,
    FloatFormat::TF32,
    FloatFormat::BF16,
];

impl ErrorScale {
    /// Its value, its errors, its magnitude and its number of terms.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn floats(self) -> [f64; 5] {
        let ErrorBound { worst, probable } = self.error;
        [self.value, worst, probable, self.magnitude, self.terms]
    }

    /// The same number once it is rounded and stored: no longer a sum whose terms may be added in another
    /// order.
    #[must_use]
    pub(crate) fn as_one_number(self) -> Self {
        Self::new(self.value, self.error)
    }

    /// A function of slope `slope`, evaluated with an error of `units` roundings.
    fn function(self, value: f64, slope: f64, units: f64) -> Self {
        Self::rounded(value, self.error * slope.abs(), units)
    }
}

impl Ring for ErrorScale {
    const ZERO: Self = Self {
        value: 0.0,
        error: ErrorBound::ZERO,
        magnitude: 0.0,
        terms: 0.0,
    };
    const ONE: Self = Self {
        value: 1.0,
        magnitude: 1.0,
        terms: 1.0,
        ..Self::ZERO
    };

    fn from_i64(n: i64) -> Self {
        Self::new(n as f64, ErrorBound::ZERO)
    }

    fn products(a: &[&[Self]], b: &[&[Self]]) -> Vec<Self> {
        side_by_side::products(a, b)
    }
}

impl Field for ErrorScale {
    fn inverse(self) -> Option<Self> {
        let inverse = self.value.inverse()?;
        Some(self.function(inverse, inverse * inverse, 1.0))
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        let inverse = divisor.value.inverse()?;
        let quotient = self.value * inverse;
        let inherited = (self.error + divisor.error * quotient.abs()) * inverse.abs();
        Some(Self::rounded(quotient, inherited, 1.0))
    }
}

impl Scalar for ErrorScale {
    type Complex = ComplexErrorScale;
}

impl Real for ErrorScale {
    const UNIT_ROUNDOFF: f64 = f64::UNIT_ROUNDOFF;

    /// A parameter or input: the port rounds it to its format first, so its error is one rounding,
    /// or none if every format holds the number.
    fn from_f64(x: f64) -> Self {
        let held = [FloatFormat::F16, FloatFormat::BF16]
            .iter()
            .all(|format| format.holds(x));
        Self::rounded(x, ErrorBound::ZERO, if held { 0.0 } else { 1.0 })
    }

    fn to_f64(self) -> f64 {
        self.value
    }

    fn exp(self) -> Self {
        let y = same_everywhere(Ball::exp, self.value);
        self.function(y, y, LIBRARY)
    }

    fn exp_m1(self) -> Self {
        let (y, slope) = (
            same_everywhere(Ball::exp_m1, self.value),
            same_everywhere(Ball::exp, self.value),
        );
        self.function(y, slope, LIBRARY)
    }

    fn ln_1p(self) -> Self {
        let y = same_everywhere(Ball::ln_1p, self.value);
        self.function(y, 1.0 / (1.0 + self.value), LIBRARY)
    }

    fn sin_cos(self) -> (Self, Self) {
        let sin = same_everywhere(|x| x.sin_cos().0, self.value);
        let cos = same_everywhere(|x| x.sin_cos().1, self.value);
        (
            self.function(sin, cos, LIBRARY),
            self.function(cos, sin, LIBRARY),
        )
    }

    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        self.function(root, 0.5 / root, 1.0)
    }

    fn tanh(self) -> Self {
        let y = same_everywhere(Ball::tanh, self.value);
        self.function(y, 1.0 - y * y, LIBRARY)
    }

    fn erf(self) -> Self {
        let y = same_everywhere(Ball::erf, self.value);
        self.function(y, same_everywhere(erf_slope, self.value), LIBRARY)
    }

    /// With the error of the formula as it is usually coded, `(exp(z) - 1) / z`, which cancels: the
    /// exponential's error, `LIBRARY` a part, is divided by `|e^z - 1|`.
    fn phi1(z: ComplexErrorScale) -> ComplexErrorScale {
        let part = Disc::from_parts(Ball::from_f64(z.value.re), Ball::from_f64(z.value.im));
        let float = |z: Disc| Complex::new(z.re().to_f64(), z.im().to_f64());
        let value = float(Ball::phi1(part));
        let slope = modulus(float(Ball::phi1_derivative(part)));
        let numerator = modulus(value * z.value);
        let cancelled = if numerator > 0.0 {
            let power = same_everywhere(Ball::exp, z.value.re);
            (core::f64::consts::SQRT_2 * LIBRARY * power + 1.0) / numerator
        } else {
            0.0
        };
        let units = cancelled + COMPLEX_INVERSE + COMPLEX_PRODUCT;
        ComplexErrorScale::rounded(value, z.error * slope, units)
    }

    /// With the error of what autograd makes of `(exp(z) - 1) / z`: the difference of `e^z / z` and
    /// `(e^z - 1) / z^2`, each by its own operations, which cancels twice.
    fn phi1_derivative(z: ComplexErrorScale) -> ComplexErrorScale {
        let part = Disc::from_parts(Ball::from_f64(z.value.re), Ball::from_f64(z.value.im));
        let float = |z: Disc| Complex::new(z.re().to_f64(), z.im().to_f64());
        let value = float(Ball::phi1_derivative(part));
        let power = same_everywhere(Ball::exp, z.value.re);
        // phi_1''(z) is the integral of s^2 e^{sz} over [0, 1].
        let inherited = z.error * (power.max(1.0) / 3.0);
        let size = modulus(z.value);
        let units = if size > 0.0 {
            let exponential = core::f64::consts::SQRT_2 * LIBRARY * power + 1.0;
            let terms = power + modulus(float(Ball::phi1(part)));
            let operations = COMPLEX_INVERSE + 2.0 * COMPLEX_PRODUCT + 1.0;
            (exponential * (1.0 + 1.0 / size) + operations * terms) / (size * modulus(value))
        } else {
            0.0
        };
        ComplexErrorScale::rounded(value, inherited, units + COMPLEX_INVERSE + COMPLEX_PRODUCT)
    }

    fn relu(self) -> Self {
        // At a distance below the error the port may take either branch; both are within it.
        Self::new(self.value.relu(), self.error)
    }

    /// The step function, with an error of 1 if the port's number may be on the other side of zero.
    ///
    /// How far off it is depends on its roundoff: by `error u`. So `error / |x|` units are 1 at least in
    /// every format in which it may be there, and no more are needed than are 1 in the finest of them; where
    /// it may be so in none, there is no error.
    fn step(self) -> Self {
        let size = self.value.abs();
        let part = |error: f64| {
            let roundoffs = FORMATS.iter().map(|format| format.unit_roundoff());
            // Twice as far, for what first order leaves out.
            let mut crossing = roundoffs.filter(|u| error > 0.0 && size <= 2.0 * u * error);
            crossing.next().map_or(0.0, |u| (error / size).min(1.0 / u))
        };
        let (worst, probable) = (part(self.error.worst), part(self.error.probable));
        let step = if self.value > 0.0 { 1.0 } else { 0.0 };
        Self::new(step, ErrorBound { worst, probable })
    }

    /// With the error of a port that takes the other branch, where it may.
    fn select(at: Self, above: impl FnOnce() -> Self, below: impl FnOnce() -> Self) -> Self {
        let step = at.step();
        let (is_above, undecided) = (step.value > 0.0, step.error);
        if undecided.worst <= 0.0 {
            return if is_above { above() } else { below() };
        }
        let (above, below) = (above(), below());
        let (chosen, other) = match is_above {
            true => (above, below),
            false => (below, above),
        };
        let apart = (above.value - below.value).abs();
        chosen.with_error(chosen.error.max(other.error + undecided * apart))
    }
}

impl Ring for ComplexErrorScale {
    const ZERO: Self = Self {
        value: Complex { re: 0.0, im: 0.0 },
        error: ErrorBound::ZERO,
        magnitude: 0.0,
        terms: 0.0,
    };
    const ONE: Self = Self {
        value: Complex { re: 1.0, im: 0.0 },
        magnitude: 1.0,
        terms: 1.0,
        ..Self::ZERO
    };

    fn from_i64(n: i64) -> Self {
        Self::new(Complex::from(n as f64), ErrorBound::ZERO)
    }
}

impl Field for ComplexErrorScale {
    fn inverse(self) -> Option<Self> {
        let inverse = Field::inverse(self.value)?;
        let slope = inverse.norm_sqr();
        Some(Self::rounded(inverse, self.error * slope, COMPLEX_INVERSE))
    }
}

impl ComplexScalar for ComplexErrorScale {
    type Base = ErrorScale;

    fn from_parts(re: Self::Base, im: Self::Base) -> Self {
        Self::new(
            Complex::new(re.value, im.value),
            re.error.with(im.error, f64::hypot),
        )
    }

    fn re(self) -> Self::Base {
        ErrorScale {
            value: self.value.re,
            error: self.error,
            magnitude: self.magnitude,
            terms: self.terms,
        }
    }

    fn im(self) -> Self::Base {
        ErrorScale {
            value: self.value.im,
            ..self.re()
        }
    }

    fn conj(self) -> Self {
        Self {
            value: self.value.conj(),
            ..self
        }
    }

    fn scale(self, factor: Self::Base) -> Self {
        let inherited = self.error * factor.value.abs() + factor.error * modulus(self.value);
        Self::rounded(self.value * factor.value, inherited, 1.0)
    }

    /// Doubling is exact, and the terms stay terms: a port may double each before it adds.
    fn trace(self) -> Self::Base {
        let re = self.re();
        ErrorScale {
            value: 2.0 * re.value,
            error: re.error * 2.0,
            magnitude: 2.0 * re.magnitude,
            ..re
        }
    }
}

impl RootsOfUnity for ComplexErrorScale {
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = Complex::<f64>::roots_of_unity(n)?;
        Some(
            roots
                .into_iter()
                .map(|w| Self::rounded(w, ErrorBound::ZERO, 1.0))
                .into_vec(),
        )
    }
}
