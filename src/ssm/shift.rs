//! A state space model whose state matrix is the shift: a sliding window of the last inputs.

use super::state_space::{StateSpace, Transition};
use crate::algebra::{Ring, Scalar, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The shift model: `(A x)_n = x_{n-1}`, `(A x)_0 = 0`, so `A` has ones on its first
/// subdiagonal and `A^m = 0`.
///
/// With `B = e_1` the state is the window of the last `m` inputs, the newest first. The official
/// layer learns `B` too; then the state is the window of the inputs filtered by `B`, and the
/// kernel is a correlation, `f_j = sum_n C_n B_{n-j}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift<T> {
    pub(super) b: Vec<T>,
    pub(super) c: Vec<T>,
    pub(super) d: T,
}

impl<T: Scalar> Shift<T> {
    /// The model with input taps `b` and output taps `c` (m each) and feedthrough `d`.
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(b: Vec<T>, c: Vec<T>, d: T) -> Result<Self, Error> {
        check_len("C", c.len(), b.len())?;
        Ok(Self::from_parts(b, c, d))
    }

    /// The model of parts known to fit.
    pub(super) fn from_parts(b: Vec<T>, c: Vec<T>, d: T) -> Self {
        Self { b, c, d }
    }

    /// The same model in other scalars: every number replaced by its image.
    #[must_use]
    pub fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Shift<U> {
        Shift {
            b: self.b.iter().map(|&x| f(x)).into_vec(),
            c: self.c.iter().map(|&x| f(x)).into_vec(),
            d: f(self.d),
        }
    }

    /// `sum_n C_n x_{n-k}`: the output taps against a state moved down by `k`.
    fn read_shifted(&self, x: &[T], k: usize) -> T {
        match self.c.get(k..) {
            Some(taps) => dot(taps, &x[..taps.len()]),
            None => T::ZERO,
        }
    }
}

impl<T: Scalar> StateSpace for Shift<T> {
    type Scalar = T;
    type Element = T;
    type Transition = ShiftPower<T>;

    fn state_dim(&self) -> usize {
        self.b.len()
    }

    fn feedthrough(&self) -> T {
        self.d
    }

    fn inject(&self, u: T) -> Vec<T> {
        self.b.iter().map(|&b| b * u).into_vec()
    }

    fn read(&self, x: &[T]) -> T {
        dot(&self.c, x)
    }

    fn transition(&self) -> ShiftPower<T> {
        ShiftPower::new(1)
    }

    fn step(&self, x: &mut [T], u: T) -> T {
        for n in (0..x.len()).rev() {
            let moved = if n > 0 { x[n - 1] } else { T::ZERO };
            x[n] = moved + self.b[n] * u;
        }
        self.read(x) + self.d * u
    }

    /// `f_j = sum_n C_n B_{n-j}`: a correlation of the taps, zero from `j = m` on.
    fn kernel(&self, len: usize) -> Vec<T> {
        (0..len).map(|j| self.read_shifted(&self.b, j)).into_vec()
    }

    fn advance(&self, x: &[T], k: usize) -> Vec<T> {
        ShiftPower::new(k).apply(x)
    }

    fn state_to_output(&self, x: &[T], len: usize) -> Vec<T> {
        (1..=len).map(|i| self.read_shifted(x, i)).into_vec()
    }

    /// `x_n = sum_k B_{n-k} u_{T-k}`: only the last `m` inputs are still in the window.
    fn input_to_state(&self, u: &[T]) -> Vec<T> {
        (0..self.state_dim())
            .map(|n| {
                u.iter()
                    .rev()
                    .take(n + 1)
                    .enumerate()
                    .fold(T::ZERO, |sum, (k, &u)| sum + self.b[n - k] * u)
            })
            .into_vec()
    }
}

/// A power of the shift matrix: by how many places it moves.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftPower<T> {
    places: usize,
    element: core::marker::PhantomData<T>,
}

impl<T> ShiftPower<T> {
    fn new(places: usize) -> Self {
        Self {
            places,
            element: core::marker::PhantomData,
        }
    }
}

impl<T: Ring> Transition for ShiftPower<T> {
    type Element = T;

    fn identity(&self) -> Self {
        Self::new(0)
    }

    fn after(&self, earlier: &Self) -> Self {
        // Beyond the window everything is zero, so saturation changes nothing.
        Self::new(self.places.saturating_add(earlier.places))
    }

    fn apply(&self, x: &[T]) -> Vec<T> {
        let moved = self.places.min(x.len());
        let mut next = vec![T::ZERO; moved];
        next.extend_from_slice(&x[..x.len() - moved]);
        next
    }
}
