//! A state space model with a diagonal complex state matrix, one of each conjugate pair stored.

use super::state_space::{StateSpace, Transition};
use crate::algebra::{ComplexScalar, Ring, Scalar};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// A diagonal state space model with `m` stored complex modes, which represent `2m` real states.
///
/// A real system with complex eigenvalues has them in conjugate pairs, and the conjugate modes
/// carry conjugate states. So one of each pair is stored and the output is read with the trace,
/// `y = sum_n (c_n x_n + conj(c_n x_n)) + D u`: the official code's `2 * y.real`.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonal<T: Scalar> {
    pub(super) a: Vec<T::Complex>,
    pub(super) b: Vec<T::Complex>,
    pub(super) c: Vec<T::Complex>,
    pub(super) d: T,
}

impl<T: Scalar> Diagonal<T> {
    /// The model with poles `a`, input vector `b`, output vector `c` (m stored modes each) and
    /// feedthrough `d`.
    ///
    /// # Errors
    ///
    /// If the lengths disagree.
    pub fn new(
        a: Vec<T::Complex>,
        b: Vec<T::Complex>,
        c: Vec<T::Complex>,
        d: T,
    ) -> Result<Self, Error> {
        check_len("B", b.len(), a.len())?;
        check_len("C", c.len(), a.len())?;
        Ok(Self::from_parts(a, b, c, d))
    }

    /// The model of parts known to fit.
    pub(super) fn from_parts(
        a: Vec<T::Complex>,
        b: Vec<T::Complex>,
        c: Vec<T::Complex>,
        d: T,
    ) -> Self {
        Self { a, b, c, d }
    }

    /// The same model in other scalars: every number replaced by its image, complex numbers part
    /// by part.
    #[must_use]
    pub fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Diagonal<U> {
        let complex = |z: &T::Complex| U::Complex::from_parts(f(z.re()), f(z.im()));
        Diagonal {
            a: self.a.iter().map(complex).into_vec(),
            b: self.b.iter().map(complex).into_vec(),
            c: self.c.iter().map(complex).into_vec(),
            d: f(self.d),
        }
    }

    /// Every mode's pole and input replaced, given its place and those it has.
    pub(crate) fn edit_modes(
        &mut self,
        mut replace: impl FnMut(usize, (T::Complex, T::Complex)) -> (T::Complex, T::Complex),
    ) {
        for (n, (a, b)) in self.a.iter_mut().zip(&mut self.b).enumerate() {
            (*a, *b) = replace(n, (*a, *b));
        }
    }

    /// `D` replaced.
    pub(crate) fn set_feedthrough(&mut self, d: T) {
        self.d = d;
    }

    /// The poles, one of each conjugate pair.
    #[must_use]
    pub fn poles(&self) -> &[T::Complex] {
        &self.a
    }

    /// `sum_n trace(w_n a_n^i)` for `i = 0, ..., len - 1`: a Vandermonde matrix applied to the
    /// weights, and the trace.
    fn vandermonde(&self, weights: Vec<T::Complex>, len: usize) -> Vec<T> {
        let mut terms = weights;
        (0..len)
            .map(|_| {
                let sum = terms.iter().fold(T::Complex::ZERO, |sum, &term| sum + term);
                for (term, &a) in terms.iter_mut().zip(&self.a) {
                    *term = *term * a;
                }
                sum.trace()
            })
            .into_vec()
    }
}

impl<T: Scalar> StateSpace for Diagonal<T> {
    type Scalar = T;
    type Element = T::Complex;
    type Transition = DiagonalPower<T::Complex>;

    fn state_dim(&self) -> usize {
        self.a.len()
    }

    fn feedthrough(&self) -> T {
        self.d
    }

    fn inject(&self, u: T) -> Vec<T::Complex> {
        self.b.iter().map(|&b| b.scale(u)).into_vec()
    }

    fn read(&self, x: &[T::Complex]) -> T {
        self.c
            .iter()
            .zip(x)
            .fold(T::Complex::ZERO, |sum, (&c, &x)| sum + c * x)
            .trace()
    }

    fn transition(&self) -> DiagonalPower<T::Complex> {
        DiagonalPower(self.a.clone())
    }

    fn step(&self, x: &mut [T::Complex], u: T) -> T {
        for ((x, &a), &b) in x.iter_mut().zip(&self.a).zip(&self.b) {
            *x = a * *x + b.scale(u);
        }
        self.read(x) + self.d * u
    }

    fn kernel(&self, len: usize) -> Vec<T> {
        let weights = self.c.iter().zip(&self.b).map(|(&c, &b)| c * b).into_vec();
        self.vandermonde(weights, len)
    }

    fn advance(&self, x: &[T::Complex], k: usize) -> Vec<T::Complex> {
        self.a
            .iter()
            .zip(x)
            .map(|(&a, &x)| a.power(k as u64) * x)
            .into_vec()
    }

    fn state_to_output(&self, x: &[T::Complex], len: usize) -> Vec<T> {
        let weights = self
            .c
            .iter()
            .zip(&self.a)
            .zip(x)
            .map(|((&c, &a), &x)| c * a * x)
            .into_vec();
        self.vandermonde(weights, len)
    }

    fn input_to_state(&self, u: &[T]) -> Vec<T::Complex> {
        self.a
            .iter()
            .zip(&self.b)
            .map(|(&a, &b)| {
                let (mut power, mut sum) = (T::Complex::ONE, T::Complex::ZERO);
                for &u in u.iter().rev() {
                    sum = sum + power.scale(u);
                    power = power * a;
                }
                sum * b
            })
            .into_vec()
    }
}

/// A power of a diagonal state matrix: its diagonal.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagonalPower<C>(Vec<C>);

impl<C: Ring> Transition for DiagonalPower<C> {
    type Element = C;

    fn identity(&self) -> Self {
        Self(vec![C::ONE; self.0.len()])
    }

    fn after(&self, earlier: &Self) -> Self {
        Self(self.apply(&earlier.0))
    }

    fn apply(&self, x: &[C]) -> Vec<C> {
        self.0.iter().zip(x).map(|(&a, &x)| a * x).into_vec()
    }
}
