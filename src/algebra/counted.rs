//! A scalar that counts operations, so that the cost of a form is measured by running it.

use super::complex::parts_of_complex;
use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::sample::{Rng, Sample};
use super::scalar::Scalar;
use crate::into_vec::IntoVec as _;
use core::cell::Cell;
use core::ops::{Add, Div, Mul, Neg, Rem, Sub};
use num_complex::Complex;

/// Numbers of operations on real numbers, by kind.
///
/// Complex operations are counted as the real ones they are made of: a product is 4
/// multiplications and 2 additions, a sum 2 additions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCount {
    /// `x * y`.
    pub multiplications: u64,
    /// `x + y` and `x - y`.
    pub additions: u64,
    /// `x / y` and `1 / x`.
    pub divisions: u64,
    /// Calls of exp, expm1, log1p, sine with cosine, square root and tanh.
    pub functions: u64,
}

impl OperationCount {
    /// One multiplication.
    pub(crate) const MULTIPLICATION: Self = Self::new(1, 0);
    /// One addition.
    pub(crate) const ADDITION: Self = Self::new(0, 1);
    /// One division.
    pub(crate) const DIVISION: Self = Self {
        divisions: 1,
        ..Self::new(0, 0)
    };
    /// One call of an elementary function.
    pub(crate) const FUNCTION: Self = Self {
        functions: 1,
        ..Self::new(0, 0)
    };

    /// `multiplications` and `additions`, and nothing else.
    #[must_use]
    pub const fn new(multiplications: u64, additions: u64) -> Self {
        Self {
            multiplications,
            additions,
            divisions: 0,
            functions: 0,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.multiplications + self.additions + self.divisions + self.functions
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            multiplications: f(self.multiplications, other.multiplications),
            additions: f(self.additions, other.additions),
            divisions: f(self.divisions, other.divisions),
            functions: f(self.functions, other.functions),
        }
    }
}

impl Add for OperationCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl Mul<OperationCount> for u64 {
    type Output = OperationCount;
    fn mul(self, count: OperationCount) -> OperationCount {
        count.zip(count, |a, _| self * a)
    }
}

thread_local! {
    static DONE: Cell<OperationCount> = const {
        Cell::new(OperationCount::new(0, 0))
    };
}

fn note(operation: OperationCount) {
    DONE.set(DONE.get() + operation);
}

/// An `f64` that counts the operations on it.
///
/// Its results are those of `f64`, bit for bit, so [`count`](Counted::count) gives the operations
/// that the form performs in `f64`. Not counted: signs (negation, conjugation), comparisons (`relu`
/// among them), copies, integers made into scalars, and tables of roots of unity.
///
/// ```
/// use hungry_hippos::algebra::{Counted, OperationCount, Ring};
///
/// let x = Counted::new(3.0);
/// let (y, count) = Counted::count(|| x.power(5) + x);
/// assert_eq!(y.value(), 246.0);
/// assert_eq!(count, OperationCount::new(4, 1)); // 1 * x, x^2, x^4, x * x^4; one sum
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted(f64);

impl Counted {
    /// The number, with nothing counted.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }

    /// The result of `work`, and the operations it performed on this thread. Counts may be nested:
    /// each is the difference of two readings, and nothing is reset.
    pub fn count<R>(work: impl FnOnce() -> R) -> (R, OperationCount) {
        let before = DONE.get();
        let result = work();
        (
            result,
            DONE.get().zip(before, |after, before| after - before),
        )
    }

    fn function(self, f: impl FnOnce(f64) -> f64) -> Self {
        note(OperationCount::FUNCTION);
        Self(f(self.0))
    }
}

impl Add for Counted {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        note(OperationCount::ADDITION);
        Self(self.0 + other.0)
    }
}

impl Sub for Counted {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        note(OperationCount::ADDITION);
        Self(self.0 - other.0)
    }
}

impl Mul for Counted {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        note(OperationCount::MULTIPLICATION);
        Self(self.0 * other.0)
    }
}

impl Div for Counted {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        note(OperationCount::DIVISION);
        Self(self.0 / other.0)
    }
}

impl Rem for Counted {
    type Output = Self;
    fn rem(self, other: Self) -> Self {
        note(OperationCount::DIVISION);
        Self(self.0 % other.0)
    }
}

impl Neg for Counted {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Ring for Counted {
    const ZERO: Self = Self(0.0);
    const ONE: Self = Self(1.0);

    fn from_i64(n: i64) -> Self {
        Self(n as f64)
    }
}

impl Field for Counted {
    fn inverse(self) -> Option<Self> {
        Self::ONE.divide(self)
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        (divisor.0 != 0.0).then(|| self / divisor)
    }
}

parts_of_complex!([] Counted);

impl Scalar for Counted {
    type Complex = Complex<Self>;
}

impl RootsOfUnity for Complex<Counted> {
    /// A table: its making is not counted.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let roots = Complex::<f64>::roots_of_unity(n)?;
        Some(
            roots
                .into_iter()
                .map(|z| Complex::new(Counted(z.re), Counted(z.im)))
                .into_vec(),
        )
    }
}

impl Real for Counted {
    const UNIT_ROUNDOFF: f64 = <f64 as Real>::UNIT_ROUNDOFF;

    fn from_f64(x: f64) -> Self {
        Self(x)
    }

    fn to_f64(self) -> f64 {
        self.0
    }

    fn exp(self) -> Self {
        self.function(f64::exp)
    }

    fn exp_m1(self) -> Self {
        self.function(f64::exp_m1)
    }

    fn ln_1p(self) -> Self {
        self.function(f64::ln_1p)
    }

    fn sin_cos(self) -> (Self, Self) {
        note(OperationCount::FUNCTION);
        let (sin, cos) = self.0.sin_cos();
        (Self(sin), Self(cos))
    }

    fn sqrt(self) -> Self {
        self.function(f64::sqrt)
    }

    fn tanh(self) -> Self {
        self.function(f64::tanh)
    }

    fn erf(self) -> Self {
        self.function(Real::erf)
    }

    fn relu(self) -> Self {
        Self(self.0.relu())
    }
}

/// The numbers that `f64` would draw.
impl Sample for Counted {
    fn sample(rng: &mut Rng) -> Self {
        Self(f64::sample(rng))
    }

    fn sample_pole(rng: &mut Rng) -> Complex<Self> {
        let z = f64::sample_pole(rng);
        Complex::new(Self(z.re), Self(z.im))
    }

    fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self {
        Self(f64::sample_dense_entry(m, rng))
    }
}
