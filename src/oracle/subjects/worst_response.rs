//! The response of one model as a rounding error analysis: the worst of all right ways.

use crate::algebra::{ComplexErrorScale, ErrorBound, ErrorScale, modulus};
use crate::error::Error;
use crate::fourier::convolution::transform_len;
use crate::ssm::{
    Response, StateSpace, causal_convolution, causal_convolution_adjoint, finish_convolution,
    recurrence,
};

/// A number with the error a correct port can have in it.
pub(super) trait WithError: Copy {
    /// The number as its magnitude.
    fn absolute(self) -> Self;

    /// The number with this error if it is the larger.
    fn at_least(self, error: Self) -> Self;

    /// The number as a sum of the majorant's terms, with the larger of their errors.
    fn covering(self, majorant: Self) -> Self;
}

impl WithError for ErrorScale {
    fn absolute(self) -> Self {
        Self::new(self.value().abs(), self.error())
    }

    fn at_least(self, other: Self) -> Self {
        self.with_error(self.error().max(other.error()))
    }

    fn covering(self, majorant: Self) -> Self {
        self.covered_by(majorant)
    }
}

impl WithError for ComplexErrorScale {
    fn absolute(self) -> Self {
        Self::new(modulus(self.value()).into(), self.error())
    }

    fn at_least(self, other: Self) -> Self {
        self.with_error(self.error().max(other.error()))
    }

    fn covering(self, majorant: Self) -> Self {
        self.covered_by(majorant)
    }
}

/// All numbers as their magnitudes.
pub(super) fn magnitudes<E: WithError>(x: &[E]) -> Vec<E> {
    x.iter().map(|x| x.absolute()).collect()
}

/// The response to `u` from `x0` with the largest error bound over all admissible algorithms: the
/// recurrence on absolute values (of which `majorant` is the model), which bounds recurrences,
/// scans and powers of `A` in any order; and the convolution, direct or by FFT.
///
/// # Errors
///
/// If `x0` is no state of the model.
pub(super) fn worst_response<S>(
    ssm: &S,
    majorant: &S,
    kernel: &[ErrorScale],
    u: &[ErrorScale],
    x0: &[S::Element],
    by: Convolutions,
) -> Result<Response<S>, Error>
where
    S: StateSpace<Scalar = ErrorScale>,
    S::Element: WithError,
{
    let by_state = recurrence(majorant, &magnitudes(u), Some(&magnitudes(x0)))?;
    let convolved = worst_convolution(kernel, u, by)?;
    let mut response = finish_convolution(ssm, convolved, u, Some(x0))?;
    for (y, other) in response.output.iter_mut().zip(by_state.output) {
        // An output is one number, not a sum whose terms may still be added in another order.
        *y = ErrorScale::new(y.value(), y.error().max(other.error()));
    }
    for (x, other) in response.state.iter_mut().zip(by_state.state) {
        *x = x.at_least(other);
    }
    Ok(response)
}

/// How convolutions are followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Convolutions {
    /// The unit roundoff of transforms over that of everything else.
    pub(crate) transforms: f64,
    /// True for sums of parts, each in f64: in a twentieth of the time, and the same up to the order in
    /// which the parts are added, which golden files would show in a last bit.
    pub(crate) by_parts: bool,
}

impl Convolutions {
    /// As golden files have them: in one format.
    pub(crate) const PLAIN: Self = Self {
        transforms: 1.0,
        by_parts: false,
    };
}

/// `kernel * u` with the larger error of the sum in any order and of the FFT.
///
/// # Errors
///
/// As [`transform_len`].
pub(super) fn worst_convolution(
    kernel: &[ErrorScale],
    u: &[ErrorScale],
    by: Convolutions,
) -> Result<Vec<ErrorScale>, Error> {
    let of_transform = by.transforms * fft_error(transform_len(kernel.len(), u.len())?);
    let sums = match by.by_parts {
        true => convolution_by_parts(kernel, u),
        false => causal_convolution(kernel, u),
    };
    Ok(with_more_error(sums, of_transform * norm(kernel) * norm(u)))
}

/// `kernel * u` as sums of products in any order, part by part in f64.
fn convolution_by_parts(kernel: &[ErrorScale], u: &[ErrorScale]) -> Vec<ErrorScale> {
    let parts = |x: &[ErrorScale], part: fn(&ErrorScale) -> f64| -> Vec<f64> {
        x.iter().map(part).collect()
    };
    let value: fn(&ErrorScale) -> f64 = |x| x.value();
    let size: fn(&ErrorScale) -> f64 = |x| x.value().abs();
    let worst: fn(&ErrorScale) -> f64 = |x| x.error().worst;
    let probable: fn(&ErrorScale) -> f64 = |x| x.error().probable;
    // What is nothing and has no error is no term of a sum.
    let is_there: fn(&ErrorScale) -> f64 =
        |x| f64::from(u8::from(x.value() != 0.0 || x.error().worst > 0.0));
    let convolved = |of_kernel, of_u| {
        let (f, u) = (parts(kernel, of_kernel), parts(u, of_u));
        causal_convolution(&f, &u)
    };
    let (values, magnitudes) = (convolved(value, value), convolved(size, size));
    // Two of which neither has a value make a product without an error, to first order.
    let has_value: fn(&ErrorScale) -> f64 = |x| f64::from(u8::from(x.value() != 0.0));
    let either = convolved(has_value, is_there)
        .into_iter()
        .zip(convolved(is_there, has_value));
    let both = convolved(has_value, has_value);
    let terms: Vec<f64> = either
        .zip(both)
        .map(|((a, b), both)| a + b - both)
        .collect();
    // A product has what its factors are off by, and is rounded once.
    let errors = |part| {
        let (of_u, of_kernel) = (convolved(size, part), convolved(part, size));
        let inherited = of_u.into_iter().zip(of_kernel);
        let both = inherited.map(|(a, b)| a + b).zip(&magnitudes);
        both.map(|(error, magnitude)| error + magnitude).collect()
    };
    let (worst, probable): (Vec<f64>, Vec<f64>) = (errors(worst), errors(probable));
    (0..u.len())
        .map(|i| {
            let error = ErrorBound {
                worst: worst[i],
                probable: probable[i],
            };
            ErrorScale::of_sum(values[i], error, magnitudes[i], terms[i])
        })
        .collect()
}

/// Its adjoint, likewise: given the cotangent `g` of `kernel * u`, those of `kernel` and of `u`.
///
/// An FFT has its normwise error in *every* entry, also where the gradient is exactly 0.
///
/// # Errors
///
/// As [`transform_len`].
pub(super) fn worst_correlations(
    kernel: &[ErrorScale],
    u: &[ErrorScale],
    g: &[ErrorScale],
    by: Convolutions,
) -> Result<(Vec<ErrorScale>, Vec<ErrorScale>), Error> {
    let fft = by.transforms * fft_error(transform_len(kernel.len(), u.len())?) * norm(g);
    let (of_kernel, of_input) = causal_convolution_adjoint(kernel, u, g);
    Ok((
        with_more_error(of_kernel, fft * norm(u)),
        with_more_error(of_input, fft * norm(kernel)),
    ))
}

fn with_more_error(x: Vec<ErrorScale>, error: f64) -> Vec<ErrorScale> {
    let x = x.into_iter();
    x.map(|x| x.with_error(x.error() + error)).collect()
}

/// The normwise error of a convolution by FFT in units of `u |f|_2 |v|_2`: three transforms, each
/// within `log2(n) eta` with `eta = u + gamma_4 (sqrt(2) + u)`, twiddles good to `u` (Higham, *Accuracy
/// and Stability*, theorem 24.2; chapter 04 of the docs), and one complex product.
pub(super) fn fft_error(n: usize) -> f64 {
    let eta = 1.0 + 4.0 * core::f64::consts::SQRT_2;
    let bits = n.max(2).next_power_of_two().trailing_zeros();
    3.0 * f64::from(bits) * eta + 2.24
}

/// The Euclidean norm of the values.
pub(super) fn norm(x: &[ErrorScale]) -> f64 {
    x.iter().map(|x| x.value() * x.value()).sum::<f64>().sqrt()
}

/// The larger of two errors of every number.
pub(super) fn larger_errors(
    x: &[ErrorScale],
    errors: impl Iterator<Item = ErrorBound>,
) -> Vec<ErrorScale> {
    let pairs = x.iter().zip(errors);
    pairs
        .map(|(x, error)| x.with_error(x.error().max(error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::{Ring, Rng};

    /// Part by part is what the sum of products is, number by number: the values, both errors, and what
    /// another term adds to them.
    #[test]
    fn convolutions_part_by_part_are_sums_of_products() {
        let mut rng = Rng::new(3);
        let mut draw = |len: usize| -> Vec<ErrorScale> {
            let number = |i: usize| {
                // Some numbers are nothing, with an error or without one.
                let value = if i % 4 == 1 { 0.0 } else { rng.unit() };
                let error = if i % 3 == 1 { 0.0 } else { rng.unit().abs() };
                let (worst, probable) = (error, error / 2.0);
                ErrorScale::new(value, ErrorBound { worst, probable })
            };
            (0..len).map(number).collect()
        };
        for (taps, len) in [(1, 1), (7, 7), (5, 40), (40, 40), (3, 1)] {
            let (kernel, u) = (draw(taps), draw(len));
            let expected = causal_convolution(&kernel, &u);
            let found = convolution_by_parts(&kernel, &u);
            assert_eq!(found.len(), expected.len());
            let more = ErrorScale::new(0.5, ErrorBound::both(1.0)) + ErrorScale::ONE;
            for (found, expected) in found.into_iter().zip(expected) {
                for (found, expected) in [(found, expected), (found + more, expected + more)] {
                    let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
                    let (a, b) = (found.error(), expected.error());
                    assert!(close(found.value(), expected.value()));
                    assert!(close(a.worst, b.worst), "{a:?}, {b:?}");
                    assert!(close(a.probable, b.probable), "{a:?}, {b:?}");
                }
            }
        }
    }
}
