//! The model: one decay, one input vector and one output vector per step.

use super::super::state_space::Transition;
use crate::algebra::{Matrix, Ring, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// A time-varying model of `N` state channels, shared by any number of inputs:
///
/// ```text
/// x_t = A_t x_{t-1} + u_t B_t^T      A_t = diag(a_t) on the columns of x, or one number a_t
/// y_t = x_t C_t                      the output reads the state AFTER the update
/// ```
///
/// The inputs `u` are seq_len x P, the state P x N: each of the P inputs has a row of it. In
/// attention's words the rows of `B` are keys, those of `C` queries, and `u` holds the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Varying<T> {
    /// seq_len x 1 (a decay per step) or seq_len x N (one per step and state channel).
    pub(crate) a: Matrix<T>,
    /// seq_len x N.
    pub(crate) b: Matrix<T>,
    /// seq_len x N.
    pub(crate) c: Matrix<T>,
}

/// The outputs (seq_len x P) and the state after the last step (P x N).
#[derive(Clone, Debug, PartialEq)]
pub struct VaryingResponse<T> {
    /// `y_1, ..., y_L`, one row per step.
    pub output: Matrix<T>,
    /// `x_L`, from which any form can continue.
    pub state: Matrix<T>,
}

impl<T: Ring> Varying<T> {
    /// The model with these decays (seq_len x 1 or seq_len x N), input and output vectors (seq_len
    /// x N).
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(a: Matrix<T>, b: Matrix<T>, c: Matrix<T>) -> Result<Self, Error> {
        check_len("rows of B", b.rows(), a.rows())?;
        check_len("rows of C", c.rows(), a.rows())?;
        check_len("columns of C", c.cols(), b.cols())?;
        if a.cols() != 1 {
            check_len("decays per step, if not one", a.cols(), b.cols())?;
        }
        Ok(Self { a, b, c })
    }

    /// The number of steps.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.a.rows()
    }

    /// The number of state channels N.
    #[must_use]
    pub fn state_dim(&self) -> usize {
        self.b.cols()
    }

    /// `A`, `B` and `C`, one row per step.
    #[must_use]
    pub fn parts(&self) -> (&Matrix<T>, &Matrix<T>, &Matrix<T>) {
        (&self.a, &self.b, &self.c)
    }

    /// The model over some of the steps alone. Panics beyond the last.
    pub(crate) fn tokens(&self, tokens: Range<usize>) -> Self {
        let part = |x: &Matrix<T>| x.row_range(tokens.clone());
        Self {
            a: part(&self.a),
            b: part(&self.b),
            c: part(&self.c),
        }
    }

    /// `A_t`, for step `t` from 0.
    pub(super) fn decay(&self, t: usize) -> Decay<T> {
        Decay(self.a.row(t).to_vec())
    }

    /// The products `a_t ... a_1` up to every step of the model, that step's own decay included:
    /// seq_len x 1 or x N. The rows of `M_xy` are `C_t` times these, and the last one is `M_xx`.
    pub(crate) fn decays_from_start(&self) -> Matrix<T> {
        let mut products = self.a.clone();
        for t in 1..self.seq_len() {
            let product = self.decay(t).apply(products.row(t - 1));
            products.row_mut(t).copy_from_slice(&product);
        }
        products
    }

    /// The products `a_L ... a_{t+1}` of the decays after every step: seq_len x 1 or x N, ones in
    /// the last row. The columns of `M_ux` are `B_t` times these.
    pub(crate) fn decays_to_end(&self) -> Matrix<T> {
        let mut products = self.a.map(|_| T::ONE);
        for t in (1..self.seq_len()).rev() {
            let product = self.decay(t).apply(products.row(t));
            products.row_mut(t - 1).copy_from_slice(&product);
        }
        products
    }

    /// `M_xy x`: what the state before the first step adds to the outputs (seq_len x P).
    pub(crate) fn state_to_output(&self, x: &Matrix<T>) -> Matrix<T> {
        let products = self.decays_from_start();
        Matrix::from_fn(self.seq_len(), x.rows(), |t, p| {
            let decayed = Decay(products.row(t).to_vec()).apply(x.row(p));
            dot(self.c.row(t), &decayed)
        })
    }

    /// `M_xx x`: what is left of a state after all steps.
    pub(crate) fn advance(&self, x: &Matrix<T>) -> Matrix<T> {
        match self.seq_len() {
            0 => x.clone(),
            len => Decay(self.decays_from_start().row(len - 1).to_vec()).of_state(x),
        }
    }

    /// `M_ux u`: the state (P x N) that inputs leave behind.
    pub(crate) fn input_to_state(&self, u: &Matrix<T>) -> Matrix<T> {
        let products = self.decays_to_end();
        let decayed = |t: usize| Decay(products.row(t).to_vec()).apply(self.b.row(t));
        let columns: Vec<Vec<T>> = (0..self.seq_len()).map(decayed).into_vec();
        Matrix::from_fn(u.cols(), self.state_dim(), |p, n| {
            let terms = columns.iter().enumerate();
            terms.fold(T::ZERO, |sum, (t, b)| sum + u.row(t)[p] * b[n])
        })
    }

    /// Refuses inputs that do not fit; the state before the first step, zeros if none is given.
    pub(crate) fn initial(
        &self,
        u: &Matrix<T>,
        x0: Option<&Matrix<T>>,
    ) -> Result<Matrix<T>, Error> {
        check_len("rows of the inputs", u.rows(), self.seq_len())?;
        let zero = || Matrix::from_fn(u.cols(), self.state_dim(), |_, _| T::ZERO);
        let x0 = x0.cloned().unwrap_or_else(zero);
        check_len("rows of the state", x0.rows(), u.cols())?;
        check_len("columns of the state", x0.cols(), self.state_dim())?;
        Ok(x0)
    }
}

/// A product of decays: one number, or one per state channel. A state may be one row of them or
/// several on end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decay<T>(pub(super) Vec<T>);

impl<T: Ring> Decay<T> {
    pub(super) fn of_state(&self, x: &Matrix<T>) -> Matrix<T> {
        Matrix::from_fn(x.rows(), x.cols(), |p, n| {
            self.0[n % self.0.len()] * x.row(p)[n]
        })
    }
}

impl<T: Ring> Transition for Decay<T> {
    type Element = T;

    fn identity(&self) -> Self {
        Self(vec![T::ONE; self.0.len()])
    }

    fn after(&self, earlier: &Self) -> Self {
        Self(self.apply(&earlier.0))
    }

    fn apply(&self, x: &[T]) -> Vec<T> {
        let decays = self.0.iter().cycle();
        x.iter().zip(decays).map(|(&x, &a)| a * x).into_vec()
    }
}
