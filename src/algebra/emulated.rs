//! Floats of a narrow format, emulated in `f64`.

use super::complex::parts_of_complex;
use super::precision::Precision;
use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::scalar::Scalar;
use crate::into_vec::IntoVec as _;
use core::marker::PhantomData;
use core::ops::{Add, Div, Mul, Neg, Rem, Sub};
use num_complex::Complex;

/// A number of the format `P`, with every operation rounded to it.
///
/// Sums, products, quotients and square roots are those of the format, correctly rounded: `f64` has
/// more than twice the digits of the formats narrower than it, so that rounding twice is rounding
/// once (Figueroa, *When is double rounding innocuous?*, 1995). Elementary functions are the
/// library's in `f64`, rounded.
///
/// ```
/// use hungry_hippos::algebra::{Bf16, Emulated, Real};
///
/// let bf16 = Emulated::<Bf16>::from_f64;
/// assert_eq!((bf16(256.0) + bf16(1.0)).to_f64(), 256.0);
/// assert_eq!((bf16(255.0) + bf16(1.0)).to_f64(), 256.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Emulated<P> {
    value: f64,
    format: PhantomData<P>,
}

impl<P: Precision> Emulated<P> {
    fn new(value: f64) -> Self {
        Self::of(P::format().round(value))
    }

    /// A number of the format.
    const fn of(value: f64) -> Self {
        Self {
            value,
            format: PhantomData,
        }
    }
}

impl<P> PartialEq for Emulated<P> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

macro_rules! operations {
    ($($trait:ident $method:ident $operator:tt)+) => {
        $(impl<P: Precision> $trait for Emulated<P> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                Self::new(self.value $operator other.value)
            }
        })+
    };
}

operations!(Add add + Sub sub - Mul mul * Div div / Rem rem %);

impl<P: Precision> Neg for Emulated<P> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::of(-self.value)
    }
}

impl<P: Precision> Ring for Emulated<P> {
    const ZERO: Self = Self::of(0.0);
    const ONE: Self = Self::of(1.0);

    fn from_i64(n: i64) -> Self {
        Self::new(n as f64)
    }
}

impl<P: Precision> Field for Emulated<P> {
    fn inverse(self) -> Option<Self> {
        Self::ONE.divide(self)
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        (divisor.value != 0.0).then(|| self / divisor)
    }
}

impl<P: Precision> Scalar for Emulated<P> {
    type Complex = Complex<Self>;
}

impl<P: Precision> Real for Emulated<P> {
    const UNIT_ROUNDOFF: f64 = P::FORMAT.unit_roundoff();

    fn from_f64(x: f64) -> Self {
        Self::new(x)
    }

    fn to_f64(self) -> f64 {
        self.value
    }

    fn exp(self) -> Self {
        Self::new(self.value.exp())
    }

    fn exp_m1(self) -> Self {
        Self::new(self.value.exp_m1())
    }

    fn ln_1p(self) -> Self {
        Self::new(self.value.ln_1p())
    }

    fn sin_cos(self) -> (Self, Self) {
        let (sin, cos) = self.value.sin_cos();
        (Self::new(sin), Self::new(cos))
    }

    fn sqrt(self) -> Self {
        Self::new(self.value.sqrt())
    }

    fn tanh(self) -> Self {
        Self::new(self.value.tanh())
    }

    fn erf(self) -> Self {
        Self::new(Real::erf(self.value))
    }

    fn relu(self) -> Self {
        Self::of(self.value.relu())
    }
}

parts_of_complex!([P: Precision] Emulated<P>);

impl<P: Precision> RootsOfUnity for Complex<Emulated<P>> {
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = Complex::<f64>::roots_of_unity(n)?.into_iter();
        let rounded = roots.map(|w| Self::new(Emulated::new(w.re), Emulated::new(w.im)));
        Some(rounded.into_vec())
    }
}
