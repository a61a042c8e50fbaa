//! The operations of every number type of this crate, and those that a field adds.

use crate::error::Error;
use core::fmt::Debug;
use core::ops::{Add, Mul, Neg, Sub};

/// A commutative ring with one.
///
/// # Laws
///
/// `+` and `*` are associative and commutative, `*` distributes over `+`, `ZERO` and `ONE`
/// are their neutral elements, and `x + (-x) == ZERO`. Exact scalars ([`M61`](super::M61) and
/// what is built from it) satisfy them with `==`; floats satisfy them up to rounding, balls up
/// to inclusion. `tests/forms/laws` runs one suite over all of them.
pub trait Ring:
    Copy
    + Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + Send
    + Sync
    + 'static
{
    /// The neutral element of `+`.
    const ZERO: Self;
    /// The neutral element of `*`.
    const ONE: Self;

    /// The image of an integer, `n * ONE`. Floats round to nearest beyond their integer range.
    fn from_i64(n: i64) -> Self;

    /// `self` to the power `k`, by squaring: at most `2 log2(k)` multiplications.
    ///
    /// The order of multiplications is fixed (binary digits of `k` from the lowest), so the
    /// result is reproducible for floats as well.
    #[must_use]
    fn power(self, mut k: u64) -> Self {
        let (mut base, mut result) = (self, Self::ONE);
        while k > 0 {
            if k & 1 == 1 {
                result = result * base;
            }
            k >>= 1;
            if k > 0 {
                base = base * base;
            }
        }
        result
    }

    /// The sums `sum_k a_k b_k` of every row of `a` with every row of `b`: a matrix product, the rows
    /// of `a` outermost. All rows are equally long.
    ///
    /// Each sum is accumulated from the left, starting from zero.
    #[must_use]
    fn products(a: &[&[Self]], b: &[&[Self]]) -> Vec<Self> {
        one_by_one(a, b)
    }
}

/// [`Ring::products`], one sum after another.
pub(super) fn one_by_one<T: Ring>(a: &[&[T]], b: &[&[T]]) -> Vec<T> {
    let mut products = Vec::with_capacity(a.len() * b.len());
    for a in a {
        products.extend(b.iter().map(|b| dot(a, b)));
    }
    products
}

/// A ring in which every element but zero has an inverse.
pub trait Field: Ring {
    /// The multiplicative inverse, or `None` where there is none: for zero, and for a ball that
    /// contains zero.
    fn inverse(self) -> Option<Self>;

    /// `self / divisor`, or `None` where [`inverse`](Field::inverse) gives `None` for the divisor.
    ///
    /// Floats divide in one rounding instead of multiplying by a rounded inverse.
    fn divide(self, divisor: Self) -> Option<Self> {
        Some(self * divisor.inverse()?)
    }
}

/// `sum_i a_i b_i`, accumulated from the left, starting from zero.
pub fn dot<T: Ring>(a: &[T], b: &[T]) -> T {
    debug_assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(T::ZERO, |sum, (&x, &y)| sum + x * y)
}

/// `1/2`.
///
/// # Errors
///
/// If this scalar has none.
pub(crate) fn one_half<T: Field>() -> Result<T, Error> {
    T::from_i64(2)
        .inverse()
        .ok_or_else(|| Error::unsupported("a scalar without one half"))
}
