//! The prime field modulo the Mersenne prime `p = 2^61 - 1`, and the roots of unity of its
//! quadratic extension `Complex<M61>`.

use super::ring::{Field, Ring};
use super::roots::RootsOfUnity;
use super::scalar::Scalar;
use core::fmt;
use core::ops::{Add, Div, Mul, Neg, Rem, Sub};
use num_complex::Complex;
use num_traits::{Num, One, Zero};

/// An element of the prime field with `p = 2^61 - 1` elements.
///
/// Since `p = 3 mod 4`, -1 is no square, so `num_complex::Complex<M61>` is the field with `p^2`
/// elements and imitates the complex numbers to the letter.
///
/// # Invariant
///
/// The representative is canonical, `0 <= value < p`, so `==` is equality in the field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct M61(u64);

impl M61 {
    /// The modulus, `2^61 - 1`.
    pub const MODULUS: u64 = (1 << 61) - 1;

    /// The residue of `n` modulo `p`.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self(Self::fold(n))
    }

    /// The canonical representative, below [`MODULUS`](Self::MODULUS).
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Reduces any `u64`: since `2^61 = 1`, the three top bits are added to the rest.
    ///
    /// The sum is at most `p + 7`, so one conditional subtraction makes it canonical.
    const fn fold(n: u64) -> u64 {
        let n = (n & Self::MODULUS) + (n >> 61);
        if n >= Self::MODULUS {
            n - Self::MODULUS
        } else {
            n
        }
    }
}

impl fmt::Debug for M61 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for M61 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Add for M61 {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        // Both below 2^61: the sum fits.
        Self::new(self.0 + other.0)
    }
}

impl Sub for M61 {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.0 + Self::MODULUS - other.0)
    }
}

impl Neg for M61 {
    type Output = Self;
    fn neg(self) -> Self {
        Self::new(Self::MODULUS - self.0)
    }
}

impl Mul for M61 {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        // The product is below 2^122 = 2^61 * 2^61: low and high 61 bits, each at most p, add up
        // to at most 2p, which fits u64 and folds once more.
        let product = u128::from(self.0) * u128::from(other.0);
        let (low, high) = (product as u64 & Self::MODULUS, (product >> 61) as u64);
        Self::new(low + high)
    }
}

impl Div for M61 {
    type Output = Self;

    /// # Panics
    ///
    /// On division by zero, as integers do. The forms of this crate divide through
    /// [`Field::divide`], which returns `None` instead; this operator exists because
    /// `num_complex` asks for `num_traits::Num`.
    fn div(self, other: Self) -> Self {
        // Documented above: an operator cannot return an Option, and no form divides through it.
        self.divide(other).expect("division by zero in M61")
    }
}

impl Rem for M61 {
    type Output = Self;

    /// The remainder in a field: always zero, since every division is exact.
    ///
    /// # Panics
    ///
    /// On division by zero.
    fn rem(self, other: Self) -> Self {
        assert!(other.0 != 0, "remainder of a division by zero in M61");
        Self(0)
    }
}

impl Zero for M61 {
    fn zero() -> Self {
        Self(0)
    }
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl One for M61 {
    fn one() -> Self {
        Self(1)
    }
}

impl Num for M61 {
    type FromStrRadixErr = core::num::ParseIntError;

    fn from_str_radix(digits: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
        u64::from_str_radix(digits, radix).map(Self::new)
    }
}

impl Ring for M61 {
    const ZERO: Self = Self(0);
    const ONE: Self = Self(1);

    fn from_i64(n: i64) -> Self {
        let magnitude = Self::new(n.unsigned_abs());
        if n < 0 { -magnitude } else { magnitude }
    }
}

impl Field for M61 {
    /// Fermat: `x^{p-2} = 1/x`. The inverse of a power of two, by which transforms divide every number, is
    /// another: `2^61 = 1`.
    fn inverse(self) -> Option<Self> {
        match self.0 {
            0 => None,
            x if x.is_power_of_two() => Some(Self::new(1 << (61 - x.trailing_zeros()))),
            _ => Some(self.power(Self::MODULUS - 2)),
        }
    }
}

impl Scalar for M61 {
    type Complex = Complex<M61>;
}

impl RootsOfUnity for Complex<M61> {
    /// `w_n = g^{(p^2 - 1)/n}` with `g = 6 + i`, a generator of the multiplicative group, for
    /// every `n` that divides `p^2 - 1 = 2^62 * 3^2 * 5^2 * 7 * 11 * 13 * 31 * 41 * 61 * 151 * 331 * 1321`.
    ///
    /// For `n = 2^k`, `k <= 61`, `n` divides `p + 1`, so `w_n` has norm one and
    /// `conj(w_n) = 1/w_n`, as for complex numbers.
    fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
        // p^2 - 1 = (p - 1)(p + 1) = (2^61 - 2) * 2^61, below 2^122.
        const GROUP_ORDER: u128 = (M61::MODULUS as u128 - 1) << 61;
        let generator = Complex::new(M61(6), M61(1));
        if n == 0 || !GROUP_ORDER.is_multiple_of(n as u128) {
            return None;
        }
        let exponent = GROUP_ORDER / n as u128;
        let (low, high) = (exponent as u64 & M61::MODULUS, (exponent >> 61) as u64);
        let root = generator.power(low) * generator.power(1 << 61).power(high);
        let mut powers = Vec::with_capacity(n);
        let mut w = Self::ONE;
        for _ in 0..n {
            powers.push(w);
            w = w * root;
        }
        Some(powers)
    }
}
