//! LegS: the whole history, projected onto Legendre polynomials that stretch with it.

use super::continuous::Continuous;
use super::legendre::{divide, legendre, legendre_of_affine};
use crate::algebra::{Field, Matrix, Real, Ring};
use crate::error::{Error, check_len};

/// LegS in integers: `a_nk = -(2k+1)` below the diagonal, `-(n+1)` on it, `b_n = 1`.
///
/// The state is `c_n = (1/t) int_0^t u(s) P_n(2s/t - 1) ds`, and `t c' = A c + B u`. With the
/// weights `2n + 1` it becomes [`legs`].
#[must_use]
pub fn legs_integers<T: Ring>(m: usize) -> Continuous<T> {
    let entry = |n: usize, k: usize| match n.cmp(&k) {
        core::cmp::Ordering::Greater => T::from_i64(-(2 * k as i64 + 1)),
        core::cmp::Ordering::Equal => T::from_i64(-(n as i64 + 1)),
        core::cmp::Ordering::Less => T::ZERO,
    };
    Continuous::from_fn(m, entry, |_| T::ONE)
}

/// LegS in orthonormal coordinates (`hippo.py`, `transition('legs')`; HiPPO paper, theorem 2):
/// `A_nk = -sqrt((2n+1)(2k+1))` below the diagonal, `-(n+1)` on it, `B_n = sqrt(2n+1)`.
#[must_use]
pub fn legs<T: Real>(m: usize) -> Continuous<T> {
    legs_integers(m).orthonormal(|n| 2 * n as i64 + 1)
}

/// The exact LegS update: a history extended by a constant.
///
/// `ratio` is the old length over the new. The coefficients `c_n = (1/t) int u P_n(2s/t - 1)` of
/// the integer coordinates go to `R c + u r`, `R_nk = ratio M_nk` with `M` the expansion of
/// `P_n(ratio (x + 1) - 1)`, and `r_n = int_ratio^1 P_n(2y - 1) dy`. Nothing is approximated: the
/// polynomials of degree below m in a stretched variable are polynomials of degree below m.
///
/// Its derivative where the extension begins is [`legs_integers`].
///
/// # Errors
///
/// If some `n <= m` has no inverse in this scalar.
pub fn legs_extension<T: Field>(m: usize, ratio: T) -> Result<(Matrix<T>, Vec<T>), Error> {
    let transition = legendre_of_affine(m, ratio, ratio - T::ONE)?.map(|entry| ratio * entry);
    // int P_n = (P_{n+1} - P_{n-1}) / (2n+1), and both agree at 1.
    let p = legendre(m + 1, ratio + ratio - T::ONE)?;
    let input = (0..m)
        .map(|n| match n {
            0 => Ok(T::ONE - ratio),
            _ => divide(p[n - 1] - p[n + 1], 2 * (2 * n as i64 + 1)),
        })
        .collect::<Result<_, _>>()?;
    Ok((transition, input))
}

/// A history of any length, represented by m numbers: the orthogonal projection of all samples so
/// far, as a step function, onto the polynomials of degree below m.
///
/// No step size is needed. This is the timescale property of LegS: a signal played at half the
/// speed, every sample twice, leaves the same state, exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct LegsHistory<T> {
    coefficients: Vec<T>,
    len: u64,
}

impl<T: Field> LegsHistory<T> {
    /// The empty history, m coefficients.
    #[must_use]
    pub fn new(m: usize) -> Self {
        Self {
            coefficients: vec![T::ZERO; m],
            len: 0,
        }
    }

    /// Takes the next sample, in `O(m^2)` operations.
    ///
    /// # Errors
    ///
    /// If the number of samples or some `n <= m` has no inverse in this scalar.
    pub fn push(&mut self, u: T) -> Result<(), Error> {
        let m = self.coefficients.len();
        let after = self.len as i64 + 1;
        let ratio = divide(T::from_i64(self.len as i64), after)?;
        let (transition, input) = legs_extension(m, ratio)?;
        let carried = transition.apply(&self.coefficients)?;
        for ((c, carried), r) in self.coefficients.iter_mut().zip(carried).zip(input) {
            *c = carried + r * u;
        }
        self.len += 1;
        Ok(())
    }

    /// `c_n = (1/t) int_0^t u(s) P_n(2s/t - 1) ds`, n = 0, ..., m - 1.
    #[must_use]
    pub fn coefficients(&self) -> &[T] {
        &self.coefficients
    }

    /// The projection at the fraction `x` of the history (0: the first sample's beginning, 1: now):
    /// `sum_n (2n+1) c_n P_n(2x - 1)`.
    ///
    /// # Errors
    ///
    /// If some `n <= m` has no inverse in this scalar.
    pub fn reconstruct(&self, x: T) -> Result<T, Error> {
        legendre_series(&self.coefficients, x + x - T::ONE)
    }
}

/// `sum_n (2n+1) c_n P_n(x)`.
pub(super) fn legendre_series<T: Field>(c: &[T], x: T) -> Result<T, Error> {
    let p = legendre(c.len(), x)?;
    check_len("coefficients", c.len(), p.len())?;
    let terms = c.iter().zip(p).enumerate();
    Ok(terms.fold(T::ZERO, |sum, (n, (&c, p))| {
        sum + T::from_i64(2 * n as i64 + 1) * c * p
    }))
}
