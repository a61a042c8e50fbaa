//! Dual numbers: a value and its derivative, propagated by the same code.

use super::real::{Real, erf_slope};
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::sample::{Rng, Sample};
use super::scalar::{ComplexScalar, Scalar};
use crate::into_vec::IntoVec as _;
use core::ops::{Add, Mul, Neg, Sub};

/// `value + derivative * e` with `e^2 = 0`: arithmetic on it carries out the rules of
/// differentiation.
///
/// Over [`M61`](super::M61) the derivative of every polynomial or rational form is exact, and
/// hand-derived gradients can be compared with it by `==`. Over floats it is the derivative up to
/// rounding, over balls an enclosure of it. `Dual<Dual<T>>` has second derivatives.
///
/// ```
/// use hungry_hippos::algebra::{Dual, M61, Ring};
///
/// // d/dx x^3 = 3 x^2, at x = 5.
/// let x = Dual::variable(M61::new(5));
/// assert_eq!(x.power(3), Dual::new(M61::new(125), M61::new(75)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dual<T> {
    /// The value.
    pub value: T,
    /// The derivative with respect to whatever was declared the variable.
    pub derivative: T,
}

impl<T: Ring> Dual<T> {
    /// `value + derivative * e`.
    #[must_use]
    pub const fn new(value: T, derivative: T) -> Self {
        Self { value, derivative }
    }

    /// The variable at `value`: derivative one.
    #[must_use]
    pub const fn variable(value: T) -> Self {
        Self::new(value, T::ONE)
    }

    /// A constant: derivative zero.
    #[must_use]
    pub const fn constant(value: T) -> Self {
        Self::new(value, T::ZERO)
    }
}

impl<T: Ring> Add for Dual<T> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.derivative + other.derivative)
    }
}

impl<T: Ring> Sub for Dual<T> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.value - other.value, self.derivative - other.derivative)
    }
}

impl<T: Ring> Neg for Dual<T> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(-self.value, -self.derivative)
    }
}

impl<T: Ring> Mul for Dual<T> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(
            self.value * other.value,
            self.derivative * other.value + self.value * other.derivative,
        )
    }
}

impl<T: Ring> Ring for Dual<T> {
    const ZERO: Self = Self::constant(T::ZERO);
    const ONE: Self = Self::constant(T::ONE);

    fn from_i64(n: i64) -> Self {
        Self::constant(T::from_i64(n))
    }
}

impl<T: Field> Field for Dual<T> {
    /// `None` where the value has no inverse: `(1/x)' = -x'/x^2`. So this is a ring with division
    /// by all but the multiples of `e`, which is all the forms divide by.
    fn inverse(self) -> Option<Self> {
        let inverse = self.value.inverse()?;
        Some(Self::new(inverse, -(self.derivative * inverse * inverse)))
    }

    /// `q = x/y` and `q' = (x' - q y')/y`.
    fn divide(self, divisor: Self) -> Option<Self> {
        let q = self.value.divide(divisor.value)?;
        let derivative = (self.derivative - q * divisor.derivative).divide(divisor.value)?;
        Some(Self::new(q, derivative))
    }
}

impl<T: Scalar> Scalar for Dual<T> {
    type Complex = Dual<T::Complex>;
}

impl<C: ComplexScalar> ComplexScalar for Dual<C> {
    type Base = Dual<C::Base>;

    fn from_parts(re: Self::Base, im: Self::Base) -> Self {
        Self::new(
            C::from_parts(re.value, im.value),
            C::from_parts(re.derivative, im.derivative),
        )
    }

    fn re(self) -> Self::Base {
        Dual::new(self.value.re(), self.derivative.re())
    }

    fn im(self) -> Self::Base {
        Dual::new(self.value.im(), self.derivative.im())
    }

    /// Differentiation is with respect to a real variable, so it commutes with conjugation.
    fn conj(self) -> Self {
        Self::new(self.value.conj(), self.derivative.conj())
    }

    fn scale(self, factor: Self::Base) -> Self {
        Self::new(
            self.value.scale(factor.value),
            self.derivative.scale(factor.value) + self.value.scale(factor.derivative),
        )
    }

    fn trace(self) -> Self::Base {
        Dual::new(self.value.trace(), self.derivative.trace())
    }
}

impl<C: RootsOfUnity> RootsOfUnity for Dual<C> {
    /// Roots of unity are constants.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = C::roots_of_unity(n)?;
        Some(roots.into_iter().map(Self::constant).into_vec())
    }
}

impl<T: Real> Dual<T> {
    /// The chain rule: `f(x)` with derivative `f'(x) x'`.
    fn chain(self, value: T, slope: T) -> Self {
        Self::new(value, slope * self.derivative)
    }
}

impl<T: Real> Real for Dual<T> {
    const UNIT_ROUNDOFF: f64 = T::UNIT_ROUNDOFF;

    /// A constant.
    fn from_f64(x: f64) -> Self {
        Self::constant(T::from_f64(x))
    }

    /// The value's.
    fn to_f64(self) -> f64 {
        self.value.to_f64()
    }

    fn exp(self) -> Self {
        let exp = self.value.exp();
        self.chain(exp, exp)
    }

    fn exp_m1(self) -> Self {
        self.chain(self.value.exp_m1(), self.value.exp())
    }

    fn ln_1p(self) -> Self {
        let slope = T::ONE.divide(T::ONE + self.value);
        self.chain(self.value.ln_1p(), slope.unwrap_or_else(not_a_number))
    }

    fn sin_cos(self) -> (Self, Self) {
        let (sin, cos) = self.value.sin_cos();
        (self.chain(sin, cos), self.chain(cos, -sin))
    }

    /// Where the root may be zero it has no derivative; the result is a NaN, or the unknown ball.
    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let slope = T::ONE.divide(root + root);
        self.chain(root, slope.unwrap_or_else(not_a_number))
    }

    /// `tanh' = 1 - tanh^2`, as `(1 - t)(1 + t)`.
    fn tanh(self) -> Self {
        let t = self.value.tanh();
        self.chain(t, (T::ONE - t) * (T::ONE + t))
    }

    fn erf(self) -> Self {
        self.chain(self.value.erf(), erf_slope(self.value))
    }

    fn relu(self) -> Self {
        self.chain(self.value.relu(), self.value.step())
    }

    /// Constant on either side of zero.
    fn step(self) -> Self {
        Self::constant(self.value.step())
    }

    fn exp_complex(z: Self::Complex) -> Self::Complex {
        let exp = T::exp_complex(z.value);
        Dual::new(exp, exp * z.derivative)
    }

    fn phi1(z: Self::Complex) -> Self::Complex {
        Dual::new(T::phi1(z.value), T::phi1_derivative(z.value) * z.derivative)
    }
}

fn not_a_number<T: Real>() -> T {
    T::from_f64(f64::NAN)
}

/// Random values with random derivatives.
impl<T: Sample> Sample for Dual<T> {
    fn sample(rng: &mut Rng) -> Self {
        let value = T::sample(rng);
        Self::new(value, T::sample(rng))
    }

    fn sample_pole(rng: &mut Rng) -> Self::Complex {
        let value = T::sample_pole(rng);
        Dual::new(value, T::sample_complex(rng))
    }

    fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self {
        let value = T::sample_dense_entry(m, rng);
        Self::new(value, T::sample(rng))
    }
}
