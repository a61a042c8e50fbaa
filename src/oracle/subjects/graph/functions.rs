//! The numbers of a graph that are not sums and products: given numbers, and functions of real ones.

use super::inputs::Inputs;
use super::ops::{Function, Id};
use crate::algebra::{Real, Scalar};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;

/// The source of the numbers that a graph does not add or multiply up, in the scalars of a run. Between them
/// a graph is ring arithmetic, and runs over any scalars.
pub(crate) trait Source<T: Scalar> {
    /// The tensor given at a place.
    fn given(&self, at: usize) -> Tensor<T>;

    /// `n / 2`.
    fn halves(&self, n: i64) -> T;

    /// The values of the function at a node, given its operands.
    fn function(
        &self,
        node: Id,
        function: &Function,
        operands: &[&Tensor<T>],
    ) -> Result<Tensor<T>, Error>;

    /// The cotangent of its first operand, given that operand, the value and its cotangent; `None`
    /// where it has none.
    fn function_adjoint(
        &self,
        function: &Function,
        at: [&Tensor<T>; 2],
        g: &Tensor<T>,
    ) -> Result<Option<Vec<T>>, Error>;
}

/// The numbers of a file and the functions themselves.
impl<T: Real> Source<T> for Inputs {
    fn given(&self, at: usize) -> Tensor<T> {
        self.all()[at].values.map(T::from_f64)
    }

    fn halves(&self, n: i64) -> T {
        T::from_f64(n as f64 / 2.0)
    }

    fn function(
        &self,
        _node: Id,
        function: &Function,
        operands: &[&Tensor<T>],
    ) -> Result<Tensor<T>, Error> {
        let x = operands[0];
        Ok(match function {
            Function::Sin => x.map(|x| x.sin_cos().0),
            Function::Exp => x.map(T::exp),
            Function::Normalize => normalized(x)?,
            Function::Window { shift, absolute } => {
                let (places, decays) = (x.data(), operands[1].data());
                let shift = (*shift != 0.0).then(|| T::from_f64(*shift));
                let mut weights = Vec::with_capacity(places.len() * decays.len());
                for &t in places {
                    for &x in decays {
                        let decay = if *absolute && x.to_f64() < 0.0 { -x } else { x };
                        let fading = (-(t * decay)).exp();
                        weights.push(shift.map_or(fading, |shift| fading + shift));
                    }
                }
                Tensor::new(function.shape(operands), weights)?
            }
        })
    }

    fn function_adjoint(
        &self,
        function: &Function,
        [x, value]: [&Tensor<T>; 2],
        g: &Tensor<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let pairs = |of: &Tensor<T>, slope: fn(T) -> T| -> Vec<T> {
            let pairs = g.data().iter().zip(of.data());
            pairs.map(|(&g, &x)| g * slope(x)).into_vec()
        };
        Ok(match function {
            Function::Sin => Some(pairs(x, |x| x.sin_cos().1)),
            Function::Exp => Some(pairs(value, |y| y)),
            Function::Normalize => Some(normalized_adjoint([x, value], g)?),
            Function::Window { .. } => None,
        })
    }
}

/// Every row divided by the sum of its absolute values.
fn normalized<T: Real>(x: &Tensor<T>) -> Result<Tensor<T>, Error> {
    let mut y = Vec::with_capacity(x.data().len());
    for row in 0..x.rows() {
        let x = x.row(row);
        let size = absolute_sum(x);
        for &x in x {
            y.push(x.divide(size).ok_or_else(no_size)?);
        }
    }
    Tensor::new(x.shape(), y)
}

fn normalized_adjoint<T: Real>(
    [x, value]: [&Tensor<T>; 2],
    g: &Tensor<T>,
) -> Result<Vec<T>, Error> {
    let mut terms = Vec::with_capacity(x.data().len());
    for row in 0..x.rows() {
        let (x, y, g) = (x.row(row), value.row(row), g.row(row));
        let along = g.iter().zip(y).fold(T::ZERO, |sum, (&g, &y)| sum + g * y);
        let size = absolute_sum(x);
        for (&x, &g) in x.iter().zip(g) {
            let sign = x.step() - (-x).step();
            let of_size = (g - sign * along).divide(size);
            terms.push(of_size.ok_or_else(no_size)?);
        }
    }
    Ok(terms)
}

/// `sum |x|`.
fn absolute_sum<T: Real>(x: &[T]) -> T {
    x.iter()
        .fold(T::ZERO, |sum, &x| sum + (x.relu() + (-x).relu()))
}

/// A filter that cannot be normalized.
fn no_size() -> Error {
    Error::value(
        "filter",
        "is zero in every channel of a place, and cannot be normalized",
    )
}
