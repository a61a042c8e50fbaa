//! `num_complex::Complex<T>` as the complex companion of `f32`, `f64` and [`M61`](super::M61).

use super::ring::{Field, Ring};
use super::scalar::{ComplexScalar, Scalar};
use num_complex::Complex;
use num_traits::Num;

impl<T: Ring + Num> Ring for Complex<T> {
    const ZERO: Self = Complex {
        re: T::ZERO,
        im: T::ZERO,
    };
    const ONE: Self = Complex {
        re: T::ONE,
        im: T::ZERO,
    };

    fn from_i64(n: i64) -> Self {
        Complex::new(T::from_i64(n), T::ZERO)
    }
}

impl<T: Field + Num> Field for Complex<T> {
    /// `conj(z) / |z|^2`. The squared norm is a sum of squares: it cannot cancel over floats,
    /// and over `M61`, where -1 is no square, it vanishes for `z = 0` alone.
    fn inverse(self) -> Option<Self> {
        let norm = self.re * self.re + self.im * self.im;
        Some(Complex::new(
            self.re.divide(norm)?,
            (-self.im).divide(norm)?,
        ))
    }
}

impl<T> ComplexScalar for Complex<T>
where
    T: Scalar<Complex = Complex<T>> + Num,
{
    type Base = T;

    fn from_parts(re: T, im: T) -> Self {
        Complex::new(re, im)
    }

    fn re(self) -> T {
        self.re
    }

    fn im(self) -> T {
        self.im
    }

    fn conj(self) -> Self {
        Complex::new(self.re, -self.im)
    }

    #[inline]
    fn scale(self, factor: T) -> Self {
        Complex::new(self.re * factor, self.im * factor)
    }
}

/// The traits besides the operators that `num_complex::Complex` requires of its parts, for a `Real`
/// number; `Ring` and `Real` are to be in scope.
macro_rules! parts_of_complex {
    ([$($generics:tt)*] $type:ty) => {
        impl<$($generics)*> num_traits::Zero for $type {
            fn zero() -> Self {
                <Self as Ring>::ZERO
            }

            fn is_zero(&self) -> bool {
                Real::to_f64(*self) == 0.0
            }
        }

        impl<$($generics)*> num_traits::One for $type {
            fn one() -> Self {
                <Self as Ring>::ONE
            }
        }

        impl<$($generics)*> num_traits::Num for $type {
            type FromStrRadixErr = <f64 as num_traits::Num>::FromStrRadixErr;

            fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
                let x = <f64 as num_traits::Num>::from_str_radix(text, radix);
                x.map(Real::from_f64)
            }
        }
    };
}

pub(super) use parts_of_complex;
