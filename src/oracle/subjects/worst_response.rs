//! The response of one model as a rounding error analysis: the largest error over all admissible algorithms.

use crate::algebra::{
    ComplexErrorScale, ErrorBound, ErrorScale, convolution_of_errors, correlation_of_errors,
    modulus,
};
use crate::error::Error;
use crate::fourier::convolution::transform_len;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Response, StateSpace, finish_convolution, recurrence};

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
    x.iter().map(|x| x.absolute()).into_vec()
}

/// The response to `u` from `x0` with the largest error bound over all admissible algorithms: the
/// recurrence on absolute values (of which `majorant` is the model), which bounds recurrences,
/// scans and powers of `A` in any order; and the convolution, direct or by FFT, whose unit roundoff is
/// `transforms` times that of everything else.
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
    transforms: f64,
) -> Result<Response<S>, Error>
where
    S: StateSpace<Scalar = ErrorScale>,
    S::Element: WithError,
{
    let by_state = recurrence(majorant, &magnitudes(u), Some(&magnitudes(x0)))?;
    let convolved = worst_convolution(kernel, u, transforms)?;
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

/// `kernel * u` with the larger error of the sum in any order and of the FFT, whose unit roundoff is
/// `transforms` times that of the sum.
///
/// # Errors
///
/// As [`transform_len`].
pub(super) fn worst_convolution(
    kernel: &[ErrorScale],
    u: &[ErrorScale],
    transforms: f64,
) -> Result<Vec<ErrorScale>, Error> {
    let fft = transforms * fft_error(transform_len(kernel.len(), u.len())?);
    let sums = convolution_of_errors(kernel, u);
    Ok(with_more_error(sums, fft * norm(kernel) * norm(u)))
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
    transforms: f64,
) -> Result<(Vec<ErrorScale>, Vec<ErrorScale>), Error> {
    let fft = transforms * fft_error(transform_len(kernel.len(), u.len())?) * norm(g);
    let of_kernel = correlation_of_errors(u, g, kernel.len());
    let of_input = correlation_of_errors(kernel, g, u.len());
    Ok((
        with_more_error(of_kernel, fft * norm(u)),
        with_more_error(of_input, fft * norm(kernel)),
    ))
}

fn with_more_error(x: Vec<ErrorScale>, error: f64) -> Vec<ErrorScale> {
    let x = x.into_iter();
    x.map(|x| x.with_error(x.error() + error)).into_vec()
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
        .into_vec()
}
