//! Reverse mode through a shift model. Its `A` is the shift itself and has no gradient.

use super::adjoint::{Adjoint, add_assign, add_scaled};
use super::shift::Shift;
use super::state_space::StateSpace;
use crate::algebra::{Ring, Scalar, dot};
use crate::into_vec::IntoVec as _;

/// `x_n` moved up to `x_{n-k}`: `k` powers of the transposed shift.
fn moved_up<T: Ring>(x: &[T], k: usize) -> Vec<T> {
    let mut moved = x.get(k..).unwrap_or(&[]).to_vec();
    moved.resize(x.len(), T::ZERO);
    moved
}

impl<T: Scalar> Shift<T> {
    /// `B`, the input taps.
    #[must_use]
    pub fn b(&self) -> &[T] {
        &self.b
    }

    /// `C`, the output taps.
    #[must_use]
    pub fn c(&self) -> &[T] {
        &self.c
    }
}

impl<T: Scalar> Adjoint for Shift<T> {
    fn zero_gradient(&self) -> Self {
        let zeros = || vec![T::ZERO; self.state_dim()];
        Self::from_parts(zeros(), zeros(), T::ZERO)
    }

    fn add_gradient(&mut self, other: &Self) {
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

    /// `f_j = sum_n C_n B_{n-j}`: `C` meets the taps `B` moved down, `B` the taps `C` moved up.
    fn kernel_adjoint(&self, g: &[T], gradient: &mut Self) {
        for (j, &g) in g.iter().enumerate().take(self.state_dim()) {
            add_scaled(&mut gradient.c[j..], g, &self.b);
            add_scaled(&mut gradient.b, g, &self.c[j..]);
        }
    }

    fn advance_adjoint(&self, _x: &[T], k: usize, g: &[T], _gradient: &mut Self) -> Vec<T> {
        moved_up(g, k)
    }

    /// `y_i = sum_n C_n x_{n-i}`, `i` from 1.
    fn state_to_output_adjoint(&self, x: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let m = self.state_dim();
        let mut of_state = vec![T::ZERO; m];
        for (i, &g) in (1..m).zip(g) {
            add_scaled(&mut gradient.c[i..], g, x);
            add_scaled(&mut of_state, g, &self.c[i..]);
        }
        of_state
    }

    /// `x_n = sum_k B_{n-k} u_{T-k}`: inputs older than the window receive nothing.
    fn input_to_state_adjoint(&self, u: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut of_input = vec![T::ZERO; u.len()];
        let newest_first = of_input.iter_mut().zip(u).rev();
        for (k, (of_input, &u)) in newest_first.enumerate().take(self.state_dim()) {
            add_scaled(&mut gradient.b, u, &g[k..]);
            *of_input = dot(&self.b[..g.len() - k], &g[k..]);
        }
        of_input
    }
}
