//! One table of roots of unity, read with the sign of a direction.

use crate::algebra::{ComplexScalar, Field, Ring, RootsOfUnity};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The direction of a transform, which is the sign of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `X_k = sum_j x_j w^{-jk}`.
    Forward,
    /// `n x_j = sum_k X_k w^{+jk}`; [`divide_by_len`] takes the `n` away.
    Inverse,
}

/// The powers of `w_n`, seen from one direction.
#[derive(Clone, Debug)]
pub(crate) struct Twiddles<C> {
    powers: Vec<C>,
    direction: Direction,
}

impl<C: RootsOfUnity> Twiddles<C> {
    pub(crate) fn new(n: usize, direction: Direction) -> Result<Self, Error> {
        let powers = C::roots_of_unity(n).ok_or_else(|| {
            Error::unsupported(format!(
                "a Fourier transform of length {n}: this scalar has no root of unity of order {n}"
            ))
        })?;
        Ok(Self { powers, direction })
    }

    /// `w_order^{-exponent}` forward, `w_order^{+exponent}` inverse, for an `order` that divides
    /// the table's: `w_order = w_n^{n/order}`, the compatibility law of `RootsOfUnity`.
    pub(crate) fn get(&self, order: usize, exponent: u64) -> C {
        debug_assert!(self.powers.len().is_multiple_of(order));
        let e = (exponent % order as u64) as usize;
        let e = match self.direction {
            Direction::Forward if e > 0 => order - e,
            _ => e,
        };
        self.powers[e * (self.powers.len() / order)]
    }

    /// The sum of the definition, for a length that divides the table's: `X_k = sum_j x_j
    /// w^{-+jk}`, terms added from `j = 0` upwards.
    pub(crate) fn dft(&self, x: &[C]) -> Vec<C> {
        let n = x.len();
        (0..n)
            .map(|k| {
                (0..n).fold(C::ZERO, |sum, j| {
                    // In 64 bits: the product can exceed usize on 32-bit targets.
                    sum + x[j] * self.get(n, j as u64 * k as u64)
                })
            })
            .into_vec()
    }
}

/// Divides every element by their number: what is left to do after an inverse transform.
///
/// Real and imaginary part are divided by the integer itself, one rounding each (none, for a
/// power of two); a product with a rounded `1/n` would cost a second one.
pub(crate) fn divide_by_len<C: ComplexScalar>(x: &mut [C]) -> Result<(), Error> {
    let n = C::Base::from_i64(x.len() as i64);
    for z in x.iter_mut() {
        let parts = z.re().divide(n).zip(z.im().divide(n));
        let (re, im) = parts.ok_or_else(|| {
            Error::unsupported("an inverse Fourier transform whose length has no inverse")
        })?;
        *z = C::from_parts(re, im);
    }
    Ok(())
}

/// Refuses a length that is not a power of two.
pub(crate) fn check_power_of_two(what: &str, n: usize) -> Result<(), Error> {
    if n.is_power_of_two() {
        Ok(())
    } else {
        Err(Error::shape(what, "a power of two of elements", n))
    }
}
