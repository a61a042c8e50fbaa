//! A projection with a bias: the linear steps of a network's layers.

use super::matrix::Matrix;
use super::ring::{Ring, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// A projection `W u + b` of d channels to d channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear<T> {
    pub(crate) weight: Matrix<T>,
    pub(crate) bias: Vec<T>,
}

impl<T: Ring> Linear<T> {
    /// The projection with this weight (out x in, as PyTorch stores it) and bias (out).
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn new(weight: Matrix<T>, bias: Vec<T>) -> Result<Self, Error> {
        check_len("bias", bias.len(), weight.rows())?;
        Ok(Self { weight, bias })
    }

    /// The same projection in other scalars.
    #[must_use]
    pub fn map<U: Ring>(&self, f: impl Fn(T) -> U) -> Linear<U> {
        Linear {
            weight: self.weight.map(&f),
            bias: self.bias.iter().map(|&x| f(x)).into_vec(),
        }
    }

    /// These outputs alone.
    pub(crate) fn of_rows(&self, rows: &[usize]) -> Self {
        let weight = |i: usize, j: usize| self.weight.row(rows[i])[j];
        Self {
            weight: Matrix::from_fn(rows.len(), self.weight.cols(), weight),
            bias: rows.iter().map(|&row| self.bias[row]).into_vec(),
        }
    }

    /// `W` (out x in).
    #[must_use]
    pub fn weight(&self) -> &Matrix<T> {
        &self.weight
    }

    /// `b` (out).
    #[must_use]
    pub fn bias(&self) -> &[T] {
        &self.bias
    }

    /// `W u + b` of a vector known to fit.
    pub(crate) fn apply(&self, u: &[T]) -> Vec<T> {
        self.bias
            .iter()
            .enumerate()
            .map(|(i, &b)| dot(self.weight.row(i), u) + b)
            .into_vec()
    }

    /// `W u + b` of vectors known to fit, one after another.
    pub(crate) fn apply_to_rows(&self, rows: &[&[T]]) -> Vec<T> {
        let mut y = T::products(rows, &self.weight_rows());
        for y in y.chunks_exact_mut(self.bias.len().max(1)) {
            for (y, &b) in y.iter_mut().zip(&self.bias) {
                *y = *y + b;
            }
        }
        y
    }

    /// `W^T g` of cotangents known to fit, one after another.
    pub(crate) fn transposed_to_rows(&self, g: &[&[T]]) -> Vec<T> {
        let transposed = columns(&self.weight_rows(), self.weight.cols());
        T::products(g, &slices(&transposed))
    }

    /// The gradient of `W u + b` over the vectors that it was applied to, given their cotangents: `g u^T`
    /// and `g`, summed up in this order.
    pub(crate) fn gradient_of_rows(&self, u: &[&[T]], g: &[&[T]]) -> Self {
        let (u, g) = (
            columns(u, self.weight.cols()),
            columns(g, self.weight.rows()),
        );
        let products = T::products(&slices(&g), &slices(&u));
        let sum = |g: &Vec<T>| g.iter().fold(T::ZERO, |sum, &g| sum + g);
        Self {
            weight: Matrix::known(g.len(), u.len(), products),
            bias: g.iter().map(sum).into_vec(),
        }
    }

    fn weight_rows(&self) -> Vec<&[T]> {
        (0..self.weight.rows())
            .map(|i| self.weight.row(i))
            .into_vec()
    }

    /// The zero projection of this many channels.
    pub(crate) fn zeros(outputs: usize, inputs: usize) -> Self {
        Self {
            weight: Matrix::from_fn(outputs, inputs, |_, _| T::ZERO),
            bias: vec![T::ZERO; outputs],
        }
    }

    /// The adjoint of `W u + b`: returns `W^T g`, adds `g u^T` and `g` to the gradient.
    pub(crate) fn adjoint(&self, u: &[T], g: &[T], gradient: &mut Self) -> Vec<T> {
        let mut of_input = vec![T::ZERO; u.len()];
        for (i, &g) in g.iter().enumerate() {
            gradient.bias[i] = gradient.bias[i] + g;
            let (weight, of_weight) = (self.weight.row(i), gradient.weight.row_mut(i));
            for j in 0..u.len() {
                of_weight[j] = of_weight[j] + g * u[j];
                of_input[j] = of_input[j] + g * weight[j];
            }
        }
        of_input
    }
}

/// The columns of so many, of a matrix given by its rows.
fn columns<T: Ring>(rows: &[&[T]], count: usize) -> Vec<Vec<T>> {
    let column = |j: usize| rows.iter().map(|row| row[j]).into_vec();
    (0..count).map(column).into_vec()
}

fn slices<T>(rows: &[Vec<T>]) -> Vec<&[T]> {
    rows.iter().map(Vec::as_slice).into_vec()
}
