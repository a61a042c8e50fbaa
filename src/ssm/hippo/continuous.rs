//! A continuous model, its change of coordinates, and the discrete model it becomes.

use crate::algebra::{Field, Matrix, Real, Ring, Scalar, one_half};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::dense::Dense;

/// `x' = A x + B u` with a dense `A` (m x m) and `B` (m).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Continuous<T> {
    /// `A`.
    pub a: Matrix<T>,
    /// `B`.
    pub b: Vec<T>,
}

impl<T: Ring> Continuous<T> {
    /// The model with these entries, counted from 0.
    pub(super) fn from_fn(
        m: usize,
        a: impl FnMut(usize, usize) -> T,
        b: impl FnMut(usize) -> T,
    ) -> Self {
        Self {
            a: Matrix::from_fn(m, m, a),
            b: (0..m).map(b).into_vec(),
        }
    }

    /// m.
    #[must_use]
    pub fn state_dim(&self) -> usize {
        self.b.len()
    }
}

impl<T: Field> Continuous<T> {
    /// The same model over a time `window` times as long: `A / window`, `B / window`.
    ///
    /// # Errors
    ///
    /// If the window is zero.
    pub fn stretched(&self, window: T) -> Result<Self, Error> {
        let inverse = window
            .inverse()
            .ok_or_else(|| Error::value("window", "0; expected a length"))?;
        Ok(Self {
            a: self.a.map(|a| a * inverse),
            b: self.b.iter().map(|&b| b * inverse).into_vec(),
        })
    }
}

impl<T: Scalar> Continuous<T> {
    /// The bilinear rule with step `dt`: `(I - dt A/2)^{-1} (I + dt A/2)` and
    /// `(I - dt A/2)^{-1} dt B`, read by `c` (m) with feedthrough zero.
    ///
    /// # Errors
    ///
    /// If `c` has another length or `I - dt A/2` has a zero pivot.
    pub fn bilinear(&self, dt: T, c: Vec<T>) -> Result<Dense<T>, Error> {
        let m = self.state_dim();
        let half = dt * one_half()?;
        let identity = Matrix::<T>::identity(m);
        let sum = |sign: T| {
            Matrix::from_fn(m, m, |i, j| {
                identity.row(i)[j] + sign * half * self.a.row(i)[j]
            })
        };
        let forward = sum(T::ONE);
        let right = Matrix::from_fn(m, m + 1, |i, j| match forward.row(i).get(j) {
            Some(&entry) => entry,
            None => dt * self.b[i],
        });
        let solved = sum(-T::ONE).solve(&right)?;
        let a = Matrix::from_fn(m, m, |i, j| solved.row(i)[j]);
        let b = (0..m).map(|i| solved.row(i)[m]).into_vec();
        Dense::new(a, b, c, T::ZERO)
    }
}

impl<T: Real> Continuous<T> {
    /// The model in orthonormal coordinates: `sqrt(w_i) a_ij / sqrt(w_j)`, `sqrt(w_i) b_i`.
    pub(super) fn orthonormal(&self, weight: impl Fn(usize) -> i64) -> Self {
        let root = |i: usize| T::from_i64(weight(i)).sqrt();
        Self::from_fn(
            self.state_dim(),
            |i, j| match root(i).divide(root(j)) {
                Some(ratio) => self.a.row(i)[j] * ratio,
                None => T::from_f64(f64::NAN),
            },
            |i| self.b[i] * root(i),
        )
    }
}
