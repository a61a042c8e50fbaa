//! A state space model with a full state matrix.

use super::state_space::{StateSpace, Transition};
use crate::algebra::{Matrix, Scalar, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// A state space model with a dense `A`: the definition, without assumptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense<T> {
    pub(crate) a: Matrix<T>,
    pub(crate) b: Vec<T>,
    pub(crate) c: Vec<T>,
    pub(crate) d: T,
}

impl<T: Scalar> Dense<T> {
    /// The model with state matrix `a` (m x m), input vector `b` (m), output vector `c` (m) and
    /// feedthrough `d`.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(a: Matrix<T>, b: Vec<T>, c: Vec<T>, d: T) -> Result<Self, Error> {
        check_len("columns of A", a.cols(), a.rows())?;
        check_len("B", b.len(), a.rows())?;
        check_len("C", c.len(), a.rows())?;
        Ok(Self::from_parts(a, b, c, d))
    }

    /// The model of parts known to fit.
    pub(super) fn from_parts(a: Matrix<T>, b: Vec<T>, c: Vec<T>, d: T) -> Self {
        Self { a, b, c, d }
    }

    /// The same model in other scalars: every number replaced by its image.
    #[must_use]
    pub fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Dense<U> {
        Dense {
            a: self.a.map(&f),
            b: self.b.iter().map(|&x| f(x)).into_vec(),
            c: self.c.iter().map(|&x| f(x)).into_vec(),
            d: f(self.d),
        }
    }

    /// `r A` for a row vector `r`.
    pub(super) fn row_times_a(&self, r: &[T]) -> Vec<T> {
        (0..r.len())
            .map(|j| (0..r.len()).fold(T::ZERO, |sum, i| sum + r[i] * self.a.row(i)[j]))
            .into_vec()
    }

    /// `A x`.
    pub(super) fn a_times(&self, x: &[T]) -> Vec<T> {
        (0..x.len()).map(|i| dot(self.a.row(i), x)).into_vec()
    }
}

impl<T: Scalar> StateSpace for Dense<T> {
    type Scalar = T;
    type Element = T;
    type Transition = Matrix<T>;

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

    fn transition(&self) -> Matrix<T> {
        self.a.clone()
    }

    fn step(&self, x: &mut [T], u: T) -> T {
        let mut next = self.a_times(x);
        for (next, &b) in next.iter_mut().zip(&self.b) {
            *next = *next + b * u;
        }
        x.copy_from_slice(&next);
        self.read(x) + self.d * u
    }

    /// Through the rows `C A^j`, where the recurrence goes through the columns `A^j B`.
    fn kernel(&self, len: usize) -> Vec<T> {
        let mut row = self.c.clone();
        (0..len)
            .map(|_| {
                let f = dot(&row, &self.b);
                row = self.row_times_a(&row);
                f
            })
            .into_vec()
    }

    /// Through the matrix `A^k`, by squaring.
    fn advance(&self, x: &[T], mut k: usize) -> Vec<T> {
        let (mut power, mut x) = (self.a.clone(), x.to_vec());
        while k > 0 {
            if k & 1 == 1 {
                x = power.apply_square(&x);
            }
            k >>= 1;
            if k > 0 {
                power = power.after(&power);
            }
        }
        x
    }

    fn state_to_output(&self, x: &[T], len: usize) -> Vec<T> {
        let mut row = self.c.clone();
        (0..len)
            .map(|_| {
                row = self.row_times_a(&row);
                dot(&row, x)
            })
            .into_vec()
    }

    /// Through the columns `B, AB, A^2 B, ...`, the last input meeting `B`.
    fn input_to_state(&self, u: &[T]) -> Vec<T> {
        let mut column = self.b.clone();
        let mut state = vec![T::ZERO; self.state_dim()];
        for &u in u.iter().rev() {
            for (x, &b) in state.iter_mut().zip(&column) {
                *x = *x + b * u;
            }
            column = self.a_times(&column);
        }
        state
    }
}

impl<T: Scalar> Matrix<T> {
    /// The square matrix applied to a vector known to fit.
    fn apply_square(&self, x: &[T]) -> Vec<T> {
        (0..self.rows()).map(|i| dot(self.row(i), x)).into_vec()
    }
}

impl<T: Scalar> Transition for Matrix<T> {
    type Element = T;

    fn identity(&self) -> Self {
        Matrix::identity(self.rows())
    }

    fn after(&self, earlier: &Self) -> Self {
        let columns = earlier.transpose();
        Matrix::from_fn(self.rows(), earlier.cols(), |i, j| {
            dot(self.row(i), columns.row(j))
        })
    }

    fn apply(&self, x: &[T]) -> Vec<T> {
        self.apply_square(x)
    }
}
