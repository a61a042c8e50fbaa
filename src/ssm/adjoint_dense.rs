//! Reverse mode through a model with a full state matrix.
//!
//! A dense `A` has no closed form of its powers' derivative, so the rows `C A^j` and the columns
//! `A^k B` of a block are recomputed and kept while its adjoint runs: O(m T) working memory for a
//! block of length T.

use super::adjoint::{Adjoint, add_assign, add_scaled};
use super::dense::Dense;
use super::state_space::StateSpace;
use crate::algebra::{Matrix, Scalar, dot};
use crate::into_vec::IntoVec as _;

impl<T: Scalar> Dense<T> {
    /// `A`.
    #[must_use]
    pub fn a(&self) -> &Matrix<T> {
        &self.a
    }

    /// `B`.
    #[must_use]
    pub fn b(&self) -> &[T] {
        &self.b
    }

    /// `C`.
    #[must_use]
    pub fn c(&self) -> &[T] {
        &self.c
    }

    /// Adds the outer product `left right^T` to `A`.
    fn add_outer(&mut self, left: &[T], right: &[T]) {
        for (i, &l) in left.iter().enumerate() {
            add_scaled(self.a.row_mut(i), l, right);
        }
    }

    /// The adjoint of `y_j = C A^j x`, `j = 0, 1, ...`: returns the cotangent of `x`.
    ///
    /// With `r_j = C A^j`, the cotangents of the rows obey `s_j = g_j x^T + s_{j+1} A^T`, and the
    /// first is that of `C`.
    fn rows_adjoint(&self, x: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut rows = vec![self.c.clone()];
        for j in 1..g.len() {
            rows.push(self.row_times_a(&rows[j - 1]));
        }
        let mut of_x = vec![T::ZERO; x.len()];
        let mut of_row = vec![T::ZERO; x.len()];
        for (j, &g) in g.iter().enumerate().rev() {
            add_scaled(&mut of_x, g, &rows[j]);
            add_scaled(&mut of_row, g, x);
            if j > 0 {
                // r_j = r_{j-1} A
                gradient.add_outer(&rows[j - 1], &of_row);
                of_row = self.a_times(&of_row);
            }
        }
        add_assign(&mut gradient.c, &of_row);
        of_x
    }

    /// The adjoint of `sum_k w_k A^k x`, given its cotangent: returns those of the weights and of
    /// `x`.
    fn columns_adjoint(&self, x: &[T], w: &[T], g: &[T], gradient: &mut Self) -> (Vec<T>, Vec<T>) {
        let mut columns = vec![x.to_vec()];
        for k in 1..w.len() {
            columns.push(self.a_times(&columns[k - 1]));
        }
        let mut of_column = vec![T::ZERO; x.len()];
        let mut of_weights = vec![T::ZERO; w.len()];
        for (k, &w) in w.iter().enumerate().rev() {
            of_weights[k] = dot(&columns[k], g);
            add_scaled(&mut of_column, w, g);
            if k > 0 {
                // This column is A times the one before it.
                gradient.add_outer(&of_column, &columns[k - 1]);
                of_column = self.row_times_a(&of_column);
            }
        }
        (of_weights, of_column)
    }
}

impl<T: Scalar> Adjoint for Dense<T> {
    fn zero_gradient(&self) -> Self {
        let m = self.state_dim();
        let zeros = || vec![T::ZERO; m];
        let a = Matrix::from_fn(m, m, |_, _| T::ZERO);
        Self::from_parts(a, zeros(), zeros(), T::ZERO)
    }

    fn add_gradient(&mut self, other: &Self) {
        for i in 0..self.state_dim() {
            add_assign(self.a.row_mut(i), other.a.row(i));
        }
        add_assign(&mut self.b, &other.b);
        add_assign(&mut self.c, &other.c);
        self.d = self.d + other.d;
    }

    fn feedthrough_adjoint(&self, u: T, g: T, gradient: &mut Self) -> T {
        gradient.d = gradient.d + g * u;
        self.d * g
    }

    fn inject_adjoint(&self, u: T, g: &[T], gradient: &mut Self) -> T {
        add_scaled(&mut gradient.b, u, g);
        dot(&self.b, g)
    }

    fn read_adjoint(&self, x: &[T], g: T, gradient: &mut Self) -> Vec<T> {
        add_scaled(&mut gradient.c, g, x);
        self.c.iter().map(|&c| c * g).into_vec()
    }

    fn kernel_adjoint(&self, g: &[T], gradient: &mut Self) {
        let of_b = self.rows_adjoint(&self.b, g, gradient);
        add_assign(&mut gradient.b, &of_b);
    }

    fn advance_adjoint(&self, x: &[T], k: usize, g: &[T], gradient: &mut Self) -> Vec<T> {
        if k == 1 {
            // The recurrence's step, without the detour over weights.
            gradient.add_outer(g, x);
            return self.row_times_a(g);
        }
        let mut weights = vec![T::ZERO; k];
        weights.push(T::ONE);
        self.columns_adjoint(x, &weights, g, gradient).1
    }

    fn state_to_output_adjoint(&self, x: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut from_row_zero = vec![T::ZERO];
        from_row_zero.extend_from_slice(g);
        self.rows_adjoint(x, &from_row_zero, gradient)
    }

    fn input_to_state_adjoint(&self, u: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let newest_first: Vec<T> = u.iter().rev().copied().into_vec();
        let (mut of_input, of_b) = self.columns_adjoint(&self.b, &newest_first, g, gradient);
        add_assign(&mut gradient.b, &of_b);
        of_input.reverse();
        of_input
    }
}
