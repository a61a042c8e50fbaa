//! First-order rounding error analysis as arithmetic: what a port may be off by, in units of its
//! unit roundoff, whatever the order in which it adds.

use super::ball::{Ball, Disc};
use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::scalar::{ComplexScalar, Scalar};
use crate::safetensors::FloatFormat;
use core::marker::PhantomData;
use core::ops::{Add, Mul, Neg, Sub};
use num_complex::Complex;

/// How the roundings of a sum of `n` terms add up.
pub trait Growth: Copy + core::fmt::Debug + Send + Sync + 'static {
    /// The factor of `u sum |terms|` that bounds the error of the sum, in any order.
    fn of_sum(n: f64) -> f64;
}

/// Every rounding at its worst, all of one sign: `(n - 1) u` (Higham, *Accuracy and Stability of
/// Numerical Algorithms*, section 4.2).
#[derive(Clone, Copy, Debug)]
pub struct Worst;

/// Roundings as independent, mean-zero random variables: `4 sqrt(n - 1) u` holds with probability
/// at least `1 - 2 exp(-8)` a sum (Higham and Mary, *A new approach to probabilistic rounding
/// error analysis*, 2019, with lambda = 4), and never more than the worst case.
#[derive(Clone, Copy, Debug)]
pub struct Probable;

impl Growth for Worst {
    fn of_sum(n: f64) -> f64 {
        (n - 1.0).max(0.0)
    }
}

impl Growth for Probable {
    fn of_sum(n: f64) -> f64 {
        let worst = Worst::of_sum(n);
        worst.min(4.0 * worst.sqrt())
    }
}

/// A number with the error a port may make in computing it.
///
/// # Invariant
///
/// To first order in the port's unit roundoff `u`, `|port - value| <= error * u`, for every order
/// in which the port may add the `terms` terms, of summed magnitude `magnitude`, of which the value
/// is the sum.
///
/// Adding two sums makes one of all their terms: with `g(n)` the growth of a sum, an error of
/// `g(n) magnitude` in total is kept up by adding `g(n1 + n2) (m1 + m2) - g(n1) m1 - g(n2) m2` to the
/// errors of the parts. A product, or anything else that must be rounded before it is used, is one
/// term again.
#[derive(Clone, Copy, Debug)]
pub struct ErrorScale<G> {
    value: f64,
    error: f64,
    magnitude: f64,
    terms: f64,
    growth: PhantomData<G>,
}

/// The complex companion of [`ErrorScale`]; errors and magnitudes are of the modulus, so that a
/// rotation does not inflate them.
#[derive(Clone, Copy, Debug)]
pub struct ComplexErrorScale<G> {
    value: Complex<f64>,
    error: f64,
    magnitude: f64,
    terms: f64,
    growth: PhantomData<G>,
}

/// The error of a library's elementary function in units of `u |f(x)|`; see
/// [`LIBRARY_FACTOR`](super::LIBRARY_FACTOR).
const LIBRARY: f64 = super::LIBRARY_FACTOR;

/// The error of a complex product by four multiplications and two additions, in units of `u |zw|`:
/// sqrt(5), rounded up (Brent, Percival and Zimmermann 2007).
const COMPLEX_PRODUCT: f64 = 2.2361;

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
        impl<G: Growth> $type<G> {
            /// A number the port holds with this error, in units of `u`.
            #[must_use]
            pub fn new(value: $value, error: f64) -> Self {
                Self {
                    value,
                    error,
                    magnitude: $modulus(value),
                    terms: f64::from(u8::from($modulus(value) > 0.0 || error > 0.0)),
                    growth: PhantomData,
                }
            }

            /// The value itself, evaluated in f64.
            #[must_use]
            pub fn value(self) -> $value {
                self.value
            }

            /// The error a port may make, in units of its unit roundoff.
            #[must_use]
            pub fn error(self) -> f64 {
                self.error
            }

            /// The same number, known to the port only within `error`.
            #[must_use]
            pub fn with_error(self, error: f64) -> Self {
                Self { error, ..self }
            }

            /// Rounded by the port: one term, one rounding more.
            fn rounded(value: $value, inherited: f64, units: f64) -> Self {
                Self::new(value, inherited + units * $modulus(value))
            }

            fn plus(self, other: Self, value: $value) -> Self {
                let grown = |x: Self| G::of_sum(x.terms) * x.magnitude;
                let mut sum = Self {
                    value,
                    error: self.error + other.error,
                    magnitude: self.magnitude + other.magnitude,
                    terms: self.terms + other.terms,
                    growth: PhantomData,
                };
                sum.error += (grown(sum) - grown(self) - grown(other)).max(0.0);
                sum
            }
        }

        impl<G: Growth> Add for $type<G> {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                self.plus(other, self.value + other.value)
            }
        }

        impl<G: Growth> Sub for $type<G> {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.plus(other, self.value - other.value)
            }
        }

        impl<G: Growth> Neg for $type<G> {
            type Output = Self;
            fn neg(self) -> Self {
                Self {
                    value: -self.value,
                    ..self
                }
            }
        }

        impl<G: Growth> Mul for $type<G> {
            type Output = Self;
            fn mul(self, other: Self) -> Self {
                let (a, b) = ($modulus(self.value), $modulus(other.value));
                let inherited = a * other.error + b * self.error;
                Self::rounded(self.value * other.value, inherited, $product)
            }
        }
    };
}

error_scale!(ErrorScale, f64, f64::abs, 1.0);
error_scale!(ComplexErrorScale, Complex<f64>, modulus, COMPLEX_PRODUCT);

impl<G: Growth> ErrorScale<G> {
    /// A function of slope `slope`, evaluated with an error of `units` roundings.
    fn function(self, value: f64, slope: f64, units: f64) -> Self {
        Self::rounded(value, slope.abs() * self.error, units)
    }
}

impl<G: Growth> Ring for ErrorScale<G> {
    const ZERO: Self = Self {
        value: 0.0,
        error: 0.0,
        magnitude: 0.0,
        terms: 0.0,
        growth: PhantomData,
    };
    const ONE: Self = Self {
        value: 1.0,
        magnitude: 1.0,
        terms: 1.0,
        ..Self::ZERO
    };

    fn from_i64(n: i64) -> Self {
        Self::new(n as f64, 0.0)
    }
}

impl<G: Growth> Field for ErrorScale<G> {
    fn inverse(self) -> Option<Self> {
        let inverse = self.value.inverse()?;
        Some(self.function(inverse, inverse * inverse, 1.0))
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        let inverse = divisor.value.inverse()?;
        let quotient = self.value * inverse;
        let inherited = (self.error + quotient.abs() * divisor.error) * inverse.abs();
        Some(Self::rounded(quotient, inherited, 1.0))
    }
}

impl<G: Growth> Scalar for ErrorScale<G> {
    type Complex = ComplexErrorScale<G>;
}

impl<G: Growth> Real for ErrorScale<G> {
    const UNIT_ROUNDOFF: f64 = f64::UNIT_ROUNDOFF;

    /// A parameter or input: the port rounds it to its format first, so its error is one rounding,
    /// or none if every format holds the number.
    fn from_f64(x: f64) -> Self {
        let held = [FloatFormat::F16, FloatFormat::BF16]
            .iter()
            .all(|format| format.round(x) == x);
        Self::rounded(x, 0.0, if held { 0.0 } else { 1.0 })
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

    /// With the error of the formula as it is usually coded, `(exp(z) - 1) / z`, which cancels: the
    /// exponential's error, `LIBRARY` a part, is divided by `|e^z - 1|`.
    fn phi1(z: ComplexErrorScale<G>) -> ComplexErrorScale<G> {
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
        ComplexErrorScale::rounded(value, slope * z.error, units)
    }

    fn relu(self) -> Self {
        // At a distance below the error the port may take either branch; both are within it.
        Self::new(self.value.relu(), self.error)
    }
}

impl<G: Growth> Ring for ComplexErrorScale<G> {
    const ZERO: Self = Self {
        value: Complex { re: 0.0, im: 0.0 },
        error: 0.0,
        magnitude: 0.0,
        terms: 0.0,
        growth: PhantomData,
    };
    const ONE: Self = Self {
        value: Complex { re: 1.0, im: 0.0 },
        magnitude: 1.0,
        terms: 1.0,
        ..Self::ZERO
    };

    fn from_i64(n: i64) -> Self {
        Self::new(Complex::from(n as f64), 0.0)
    }
}

impl<G: Growth> Field for ComplexErrorScale<G> {
    fn inverse(self) -> Option<Self> {
        let inverse = Field::inverse(self.value)?;
        let slope = inverse.norm_sqr();
        Some(Self::rounded(inverse, slope * self.error, COMPLEX_INVERSE))
    }
}

impl<G: Growth> ComplexScalar for ComplexErrorScale<G> {
    type Base = ErrorScale<G>;

    fn from_parts(re: Self::Base, im: Self::Base) -> Self {
        Self::new(Complex::new(re.value, im.value), re.error.hypot(im.error))
    }

    fn re(self) -> Self::Base {
        ErrorScale {
            value: self.value.re,
            error: self.error,
            magnitude: self.magnitude,
            terms: self.terms,
            growth: PhantomData,
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
        let inherited = factor.value.abs() * self.error + modulus(self.value) * factor.error;
        Self::rounded(self.value * factor.value, inherited, 1.0)
    }

    /// Doubling is exact, and the terms stay terms: a port may double each before it adds.
    fn trace(self) -> Self::Base {
        let re = self.re();
        ErrorScale {
            value: 2.0 * re.value,
            error: 2.0 * re.error,
            magnitude: 2.0 * re.magnitude,
            ..re
        }
    }
}

impl<G: Growth> RootsOfUnity for ComplexErrorScale<G> {
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = Complex::<f64>::roots_of_unity(n)?;
        Some(
            roots
                .into_iter()
                .map(|w| Self::rounded(w, 0.0, 1.0))
                .collect(),
        )
    }
}
