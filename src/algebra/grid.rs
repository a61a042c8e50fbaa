//! Numbers that know which formats represent them, and everything they were computed from, exactly in any order of summation.

#![allow(
    clippy::float_cmp,
    reason = "whether an operation rounds is an exact question"
)]

use super::ball::eft::{product, two_sum};
use super::float_format::FloatFormat;
use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::scalar::{ComplexScalar, Scalar};
use crate::into_vec::IntoVec as _;
use core::ops::{Add, Mul, Neg, Sub};
use num_complex::Complex;

/// The requirements on a floating-point format under which a computation does not round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Binary digits of the significand; `None` if no format will do.
    digits: Option<i32>,
    /// Every number is a multiple of 2 to this power.
    lowest: i32,
    /// No number is larger.
    largest: f64,
}

/// The unit of zero, which lies on every grid.
const ANY: i32 = i32::MAX;

impl Demand {
    /// That of zero, which every format holds.
    pub const NOTHING: Self = Self {
        digits: Some(0),
        lowest: ANY,
        largest: 0.0,
    };

    /// That of a number which nothing is known of but that it was rounded.
    pub const UNMET: Self = Self {
        digits: None,
        ..Self::NOTHING
    };

    /// The binary digits needed; `None` if no format will do.
    #[must_use]
    pub fn digits(self) -> Option<i32> {
        self.digits
    }

    /// The combined requirements of two computations.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            digits: self.digits.zip(other.digits).map(|(a, b)| a.max(b)),
            lowest: self.lowest.min(other.lowest),
            largest: self.largest.max(other.largest),
        }
    }

    /// The requirements of a whole stage.
    #[must_use]
    pub fn of(numbers: &[Grid]) -> Self {
        let demands = numbers.iter().map(|number| number.demand);
        demands.fold(Self::NOTHING, Self::and)
    }

    /// True if nothing rounds in this format, in any order of summation.
    #[must_use]
    pub fn is_met_by(self, format: FloatFormat) -> bool {
        self.digits.is_some_and(|digits| digits <= format.digits())
            && self.lowest >= format.min_exponent() + 1 - format.digits()
            && self.largest <= format.largest()
    }

    /// The formats in which nothing rounds, from the finest.
    #[must_use]
    pub fn formats(self) -> Vec<FloatFormat> {
        let mut formats = FloatFormat::ALL.to_vec();
        formats.retain(|&format| self.is_met_by(format));
        formats
    }
}

/// A number with exact value, grid and magnitude, which determine the formats that compute it
/// without rounding in any order.
///
/// # Invariant
///
/// Multiplied out, the number is a sum of products of what was given. Every one of those products,
/// hence every partial sum in every order, is a multiple of 2 to the power `unit`; and their
/// magnitudes add up to `magnitude`, which no partial sum can exceed. Multiples of `2^unit` up to
/// `2^(unit + p)` are held by `p` digits. Sums take the finer unit and add magnitudes; products add
/// units and multiply magnitudes. A quotient is not multiplied out but one number from then on, on its
/// own grid, and divisors must be powers of two. [`Demand`] is the most that the number or any other
/// on the way to it has asked for.
///
/// A value that `f64` itself would round, or an elementary function elsewhere than where it is
/// rational, leaves the demand unmet, here and in everything computed from it.
///
/// ```
/// use hungry_hippos::algebra::{FloatFormat, Grid, Real, Ring};
///
/// // 255 halves: eight digits, which bfloat16 has; but on the way there may be 257 halves.
/// let x = Grid::from_f64(127.5);
/// let y = x + Grid::ONE - Grid::ONE;
/// assert_eq!((y.to_f64(), x.demand().digits(), y.demand().digits()), (127.5, Some(8), Some(9)));
/// assert!(x.demand().is_met_by(FloatFormat::BF16) && !y.demand().is_met_by(FloatFormat::BF16));
/// assert!(Grid::from_f64(0.1).exp().demand().formats().is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    value: f64,
    unit: i32,
    magnitude: f64,
    demand: Demand,
}

/// `x = m 2^k` with `m` odd: `k`, and the least `p` with `|x| <= 2^p`. Nothing for zero.
fn exponents(x: f64) -> Option<(i32, i32)> {
    if x == 0.0 || !x.is_finite() {
        return None;
    }
    let bits = x.abs().to_bits();
    let (field, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    let (significand, last) = match field {
        0 => (fraction, -1074),
        _ => (fraction | 1 << 52, field - 1075),
    };
    let unit = last + significand.trailing_zeros() as i32;
    let top = last + 63 - significand.leading_zeros() as i32;
    Some((unit, if unit == top { top } else { top + 1 }))
}

impl Grid {
    /// A number on a grid, and what it and its past ask for.
    fn new(value: f64, unit: i32, magnitude: f64, past: Demand) -> Self {
        let own = match exponents(magnitude) {
            Some((_, top)) => Demand {
                digits: Some(top - unit),
                lowest: unit,
                largest: magnitude,
            },
            None if magnitude == 0.0 => Demand::NOTHING,
            None => Demand::UNMET,
        };
        Self {
            value,
            unit,
            magnitude,
            demand: own.and(past),
        }
    }

    /// A number given, with the past of another.
    fn given(x: f64, past: Demand) -> Self {
        match exponents(x) {
            Some((unit, _)) => Self::new(x, unit, x.abs(), past),
            None if x == 0.0 => Self::new(0.0, ANY, 0.0, past),
            None => Self::rounded(x),
        }
    }

    /// A number that was rounded.
    fn rounded(value: f64) -> Self {
        Self {
            value,
            unit: 0,
            magnitude: 0.0,
            demand: Demand::UNMET,
        }
    }

    /// The requirements of this number, and of every number it was computed from.
    #[must_use]
    pub fn demand(self) -> Demand {
        self.demand
    }

    /// True if it was computed without a rounding of `f64`.
    fn is_exact(self) -> bool {
        self.demand.digits.is_some()
    }

    /// `f(self)`, rational at zero alone.
    fn at_zero(self, result: f64, f: impl Fn(f64) -> f64) -> Self {
        match self.value == 0.0 && self.is_exact() {
            true => Self::given(result, self.demand),
            false => Self::rounded(f(self.value)),
        }
    }
}

impl Add for Grid {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let ((value, lost), (magnitude, more)) = (
            two_sum(self.value, other.value),
            two_sum(self.magnitude, other.magnitude),
        );
        if lost != 0.0 || more != 0.0 {
            return Self::rounded(value);
        }
        let past = self.demand.and(other.demand);
        Self::new(value, self.unit.min(other.unit), magnitude, past)
    }
}

impl Sub for Grid {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Grid {
    type Output = Self;
    fn neg(self) -> Self {
        Self {
            value: -self.value,
            ..self
        }
    }
}

impl Mul for Grid {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let past = self.demand.and(other.demand);
        if self.unit == ANY || other.unit == ANY {
            return Self::new(0.0, ANY, 0.0, past);
        }
        let value = product(self.value, other.value);
        let magnitude = product(self.magnitude, other.magnitude);
        if [value, magnitude]
            .iter()
            .any(|product| product.e != 0.0 || product.lost != 0.0)
        {
            return Self::rounded(value.p);
        }
        Self::new(value.p, self.unit + other.unit, magnitude.p, past)
    }
}

impl Ring for Grid {
    const ZERO: Self = Self {
        value: 0.0,
        unit: ANY,
        magnitude: 0.0,
        demand: Demand::NOTHING,
    };
    const ONE: Self = Self {
        value: 1.0,
        unit: 0,
        magnitude: 1.0,
        demand: Demand {
            digits: Some(0),
            lowest: 0,
            largest: 1.0,
        },
    };

    fn from_i64(n: i64) -> Self {
        match n as f64 {
            x if x as i64 == n => Self::from_f64(x),
            x => Self::rounded(x),
        }
    }
}

impl Field for Grid {
    fn inverse(self) -> Option<Self> {
        Self::ONE.divide(self)
    }

    fn divide(self, divisor: Self) -> Option<Self> {
        let quotient = self.value / divisor.value;
        (divisor.value != 0.0).then(|| match exponents(divisor.value) {
            Some((unit, top)) if unit == top && self.is_exact() => {
                Self::given(quotient, self.demand.and(divisor.demand))
            }
            _ => Self::rounded(quotient),
        })
    }
}

impl Scalar for Grid {
    type Complex = ComplexGrid;
}

impl Real for Grid {
    const UNIT_ROUNDOFF: f64 = f64::UNIT_ROUNDOFF;

    fn from_f64(x: f64) -> Self {
        Self::given(x, Demand::NOTHING)
    }

    fn to_f64(self) -> f64 {
        self.value
    }

    fn exp(self) -> Self {
        self.at_zero(1.0, f64::exp)
    }

    fn exp_m1(self) -> Self {
        self.at_zero(0.0, f64::exp_m1)
    }

    fn ln_1p(self) -> Self {
        self.at_zero(0.0, f64::ln_1p)
    }

    fn sin_cos(self) -> (Self, Self) {
        (self.at_zero(0.0, f64::sin), self.at_zero(1.0, f64::cos))
    }

    fn sqrt(self) -> Self {
        let root = self.value.sqrt();
        let square = product(root, root);
        match square.p == self.value && square.e == 0.0 && square.lost == 0.0 && self.is_exact() {
            true => Self::given(root, self.demand),
            false => Self::rounded(root),
        }
    }

    fn tanh(self) -> Self {
        self.at_zero(0.0, f64::tanh)
    }

    fn erf(self) -> Self {
        self.at_zero(0.0, Real::erf)
    }

    fn relu(self) -> Self {
        match self.value > 0.0 {
            true => self,
            false => Self::given(self.value.relu(), self.demand),
        }
    }

    fn step(self) -> Self {
        Self::given(self.value.step(), self.demand)
    }
}

/// The complex companion of [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComplexGrid {
    re: Grid,
    im: Grid,
}

impl ComplexGrid {
    fn by_part(self, f: impl Fn(Grid) -> Grid) -> Self {
        Self::from_parts(f(self.re), f(self.im))
    }
}

impl Add for ComplexGrid {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::from_parts(self.re + other.re, self.im + other.im)
    }
}

impl Sub for ComplexGrid {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for ComplexGrid {
    type Output = Self;
    fn neg(self) -> Self {
        self.by_part(Grid::neg)
    }
}

impl Mul for ComplexGrid {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::from_parts(
            self.re * other.re - self.im * other.im,
            self.re * other.im + self.im * other.re,
        )
    }
}

impl Ring for ComplexGrid {
    const ZERO: Self = Self {
        re: Grid::ZERO,
        im: Grid::ZERO,
    };
    const ONE: Self = Self {
        re: Grid::ONE,
        im: Grid::ZERO,
    };

    fn from_i64(n: i64) -> Self {
        Self::from_base(Grid::from_i64(n))
    }
}

impl Field for ComplexGrid {
    fn inverse(self) -> Option<Self> {
        Self::ONE.divide(self)
    }

    /// `z conj(w) / |w|^2`: the quotient is one number in each part, like any other.
    fn divide(self, divisor: Self) -> Option<Self> {
        let norm = (divisor * divisor.conj()).re;
        let numerator = self * divisor.conj();
        Some(Self::from_parts(
            numerator.re.divide(norm)?,
            numerator.im.divide(norm)?,
        ))
    }
}

impl ComplexScalar for ComplexGrid {
    type Base = Grid;

    fn from_parts(re: Grid, im: Grid) -> Self {
        Self { re, im }
    }

    fn re(self) -> Grid {
        self.re
    }

    fn im(self) -> Grid {
        self.im
    }

    fn conj(self) -> Self {
        Self::from_parts(self.re, -self.im)
    }

    fn scale(self, factor: Grid) -> Self {
        self.by_part(|part| part * factor)
    }
}

impl RootsOfUnity for ComplexGrid {
    /// Quarter turns are exact, and nothing else is.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        let part = |x: f64| match x.fract() == 0.0 {
            true => Grid::from_f64(x),
            false => Grid::rounded(x),
        };
        let roots = Complex::<f64>::roots_of_unity(n)?.into_iter();
        let parts = roots.map(|w| Self::from_parts(part(w.re), part(w.im)));
        Some(parts.into_vec())
    }
}
