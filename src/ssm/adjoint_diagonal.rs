//! Reverse mode through a diagonal model.

use super::adjoint::{Adjoint, add_assign};
use super::diagonal::Diagonal;
use super::state_space::StateSpace;
use crate::algebra::{ComplexScalar, Ring, Scalar};
use crate::into_vec::IntoVec as _;

/// `p(a) = sum_i w_i a^i` and `p'(a)`, the first weight meeting `a^0`.
///
/// By Horner's rule, differentiated line by line: the whole working memory is two numbers, where
/// reverse mode by the book would store every power.
fn polynomial<C: ComplexScalar>(weights: impl DoubleEndedIterator<Item = C::Base>, a: C) -> (C, C) {
    weights
        .rev()
        .fold((C::ZERO, C::ZERO), |(p, slope), weight| {
            (p * a + C::from_base(weight), slope * a + p)
        })
}

fn twice<C: Ring>(z: C) -> C {
    z + z
}

impl<T: Scalar> Diagonal<T> {
    /// `B`, one entry a stored mode.
    #[must_use]
    pub fn b(&self) -> &[T::Complex] {
        &self.b
    }

    /// `C`, one entry a stored mode.
    #[must_use]
    pub fn c(&self) -> &[T::Complex] {
        &self.c
    }
}

impl<T: Scalar> Adjoint for Diagonal<T> {
    fn zero_gradient(&self) -> Self {
        let zeros = || vec![T::Complex::ZERO; self.state_dim()];
        Self::from_parts(zeros(), zeros(), zeros(), T::ZERO)
    }

    fn add_gradient(&mut self, other: &Self) {
        add_assign(&mut self.a, &other.a);
        add_assign(&mut self.b, &other.b);
        add_assign(&mut self.c, &other.c);
        self.d = self.d + other.d;
    }

    fn feedthrough_adjoint(&self, u: T, g: T, gradient: &mut Self) -> T {
        gradient.d = gradient.d + g * u;
        self.d * g
    }

    fn inject_adjoint(&self, u: T, g: &[T::Complex], gradient: &mut Self) -> T {
        let mut of_input = T::ZERO;
        for (n, &g) in g.iter().enumerate() {
            gradient.b[n] = gradient.b[n] + g.scale(u);
            of_input = of_input + (self.b[n].conj() * g).re();
        }
        of_input
    }

    fn read_adjoint(&self, x: &[T::Complex], g: T, gradient: &mut Self) -> Vec<T::Complex> {
        let g = twice(g);
        x.iter()
            .enumerate()
            .map(|(n, x)| {
                gradient.c[n] = gradient.c[n] + x.conj().scale(g);
                self.c[n].conj().scale(g)
            })
            .into_vec()
    }

    /// `f_j = trace(c b a^j)`, so with `p(a) = sum_j g_j a^j` the loss moves by
    /// `trace(d(c b p(a)))`.
    fn kernel_adjoint(&self, g: &[T], gradient: &mut Self) {
        for n in 0..self.state_dim() {
            let (a, b, c) = (self.a[n], self.b[n], self.c[n]);
            let (p, slope) = polynomial(g.iter().copied(), a);
            gradient.a[n] = gradient.a[n] + twice((b * c * slope).conj());
            gradient.b[n] = gradient.b[n] + twice((c * p).conj());
            gradient.c[n] = gradient.c[n] + twice((b * p).conj());
        }
    }

    /// `d(a^k) = k a^{k-1} da`.
    fn advance_adjoint(
        &self,
        x: &[T::Complex],
        k: usize,
        g: &[T::Complex],
        gradient: &mut Self,
    ) -> Vec<T::Complex> {
        let factor = T::from_i64(k as i64);
        x.iter()
            .zip(g)
            .enumerate()
            .map(|(n, (&x, &g))| {
                let a = self.a[n];
                if k > 0 {
                    let slope = a.power(k as u64 - 1).scale(factor);
                    gradient.a[n] = gradient.a[n] + (slope * x).conj() * g;
                }
                a.power(k as u64).conj() * g
            })
            .into_vec()
    }

    /// `y_i = trace(c a^i x)`, `i` from 1: the polynomial `a p(a)`, of slope `p(a) + a p'(a)`.
    fn state_to_output_adjoint(
        &self,
        x: &[T::Complex],
        g: &[T],
        gradient: &mut Self,
    ) -> Vec<T::Complex> {
        x.iter()
            .enumerate()
            .map(|(n, &x)| {
                let (a, c) = (self.a[n], self.c[n]);
                let (p, slope) = polynomial(g.iter().copied(), a);
                let (p, slope) = (a * p, p + a * slope);
                gradient.a[n] = gradient.a[n] + twice((c * x * slope).conj());
                gradient.c[n] = gradient.c[n] + twice((x * p).conj());
                twice((c * p).conj())
            })
            .into_vec()
    }

    /// `x = b p(a)` with the last input meeting `a^0`.
    fn input_to_state_adjoint(&self, u: &[T], g: &[T::Complex], gradient: &mut Self) -> Vec<T> {
        let mut of_input = vec![T::ZERO; u.len()];
        for (n, &g) in g.iter().enumerate() {
            let (a, b) = (self.a[n], self.b[n]);
            let (p, slope) = polynomial(u.iter().rev().copied(), a);
            gradient.a[n] = gradient.a[n] + (b * slope).conj() * g;
            gradient.b[n] = gradient.b[n] + p.conj() * g;
            let mut adjoint = b.conj() * g;
            for of_input in of_input.iter_mut().rev() {
                *of_input = *of_input + adjoint.re();
                adjoint = a.conj() * adjoint;
            }
        }
        of_input
    }
}
