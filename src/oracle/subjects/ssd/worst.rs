//! The error bound of one head over the algorithms that are named here.
//!
//! Recurrences and scans multiply decays one by one, in any order; their errors are those of the
//! recurrence on magnitudes. Quadratic and chunked forms add products of all tokens in any order, and
//! take a product of decays as `exp(s_i - s_j)` with running sums s of logarithms: then the
//! exponent is off by what both sums are off by, however small their difference. (Official code does
//! so; with a logarithm of -800 its sums are good to 1e-13 in f64.)

use super::super::worst_response::WithError;
use crate::algebra::{ErrorBound, ErrorScale, LIBRARY_FACTOR, Matrix, Ring};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::Place;
use crate::mamba::by_recurrence;
use crate::ssm::{Varying, VaryingGradients, VaryingResponse, VaryingStream, varying_recurrence};

/// The model with every number replaced by its magnitude.
fn majorant(ssm: &Varying<ErrorScale>) -> Result<Varying<ErrorScale>, Error> {
    let (a, b, c) = ssm.parts();
    Varying::new(absolute(a), absolute(b), absolute(c))
}

fn absolute(x: &Matrix<ErrorScale>) -> Matrix<ErrorScale> {
    x.map(WithError::absolute)
}

/// The relative error of products of decays that end at a step, one per decay: from running sums of
/// logarithms from the first token on.
struct Exponents {
    sums: Vec<ErrorScale>,
}

impl Exponents {
    fn new(width: usize) -> Self {
        Self {
            sums: vec![ErrorScale::ZERO; width],
        }
    }

    fn add(&mut self, log_a: &[ErrorScale]) {
        for (sum, &log_a) in self.sums.iter_mut().zip(log_a) {
            *sum = *sum + log_a;
        }
    }

    /// Of both sums, their difference and the exponential; beyond the largest exponent nothing is
    /// left of the product.
    fn error(&self, channel: usize) -> ErrorBound {
        let sum = self.sums[channel % self.sums.len()];
        sum.error() * 2.0 + (sum.value().abs() + LIBRARY_FACTOR)
    }
}

/// A head's response with the largest error bound over all admissible algorithms, given the
/// logarithms of its decays (seq_len x 1 or x N).
///
/// # Errors
///
/// If shapes do not fit.
pub(crate) fn worst_response_of_head(
    log_a: &Matrix<ErrorScale>,
    ssm: &Varying<ErrorScale>,
    u: &Matrix<ErrorScale>,
    x0: &Matrix<ErrorScale>,
) -> Result<VaryingResponse<ErrorScale>, Error> {
    let mut response = varying_recurrence(ssm, u, Some(x0))?;
    let of_size = majorant(ssm)?;
    let (a, b, c) = of_size.parts();
    let u = absolute(u);
    let mut stream = VaryingStream::resume(absolute(x0));
    let mut exponents = Exponents::new(log_a.cols());
    let n = ssm.state_dim();
    for t in 0..u.rows() {
        exponents.add(log_a.row(t));
        let outputs = stream.step(a.row(t), b.row(t), c.row(t), u.row(t))?;
        for (p, output) in outputs.into_iter().enumerate() {
            let terms = stream.state().row(p).iter().zip(c.row(t)).enumerate();
            let of_decays = terms.fold(ErrorBound::ZERO, |sum, (n, (x, c))| {
                sum + exponents.error(n) * (x.value() * c.value())
            });
            let sum = ErrorBound::of_sum((t + n + 3) as f64, output.value());
            let y = &mut response.output.row_mut(t)[p];
            *y = ErrorScale::new(y.value(), output.error() + of_decays + sum);
        }
    }
    for p in 0..u.cols() {
        for (n, x) in response.state.row_mut(p).iter_mut().enumerate() {
            let size = stream.state().row(p)[n];
            let sum = ErrorBound::of_sum((u.rows() + 2) as f64, size.value());
            let of_decays = exponents.error(n) * size.value();
            *x = ErrorScale::new(x.value(), size.error() + of_decays + sum);
        }
    }
    Ok(response)
}

/// A head's gradients in the same way; that of `a` with respect to its logarithm.
///
/// The gradient of a logarithm may be summed from behind: what pairs of tokens contribute that both
/// lie after it is added and taken away again.
///
/// # Errors
///
/// If shapes do not fit.
pub(crate) fn worst_gradients_of_head(
    log_a: &Matrix<ErrorScale>,
    place: &Place,
    ssm: &Varying<ErrorScale>,
    given: [&Matrix<ErrorScale>; 4],
) -> Result<VaryingGradients<ErrorScale>, Error> {
    let mut of = by_recurrence(place, ssm, given)?;
    let of_size = majorant(ssm)?;
    let [u, x0, g, g_state] = given.map(absolute);
    let sizes = by_recurrence(place, &of_size, [&u, &x0, &g, &g_state])?;
    let mut exponents = Exponents::new(log_a.cols());
    (0..log_a.rows()).for_each(|t| exponents.add(log_a.row(t)));
    let n = ssm.state_dim();
    let terms = (2 * u.rows() + n + u.cols() + 4) as f64;
    let of_decays = (0..log_a.cols()).map(|n| exponents.error(n));
    let of_decays = of_decays.fold(ErrorBound::ZERO, ErrorBound::max);
    // A term has a product of decays before its step and one after it.
    let cover = |of: &mut Matrix<ErrorScale>, sizes: &Matrix<ErrorScale>| {
        for t in 0..of.rows() {
            for (x, size) in of.row_mut(t).iter_mut().zip(sizes.row(t)) {
                let sum = ErrorBound::of_sum(terms, size.value());
                let error = size.error() + of_decays * (2.0 * size.value()) + sum;
                *x = ErrorScale::new(x.value(), error);
            }
        }
    };
    cover(&mut of.input, &sizes.input);
    cover(&mut of.state, &sizes.state);
    cover(&mut of.model.b, &sizes.model.b);
    cover(&mut of.model.c, &sizes.model.c);
    cover(&mut of.model.a, &sizes.model.a);
    // What the sums from behind go through: all that is paired with a cotangent from there on.
    let (a, b, c) = of_size.parts();
    let mut stream = VaryingStream::resume(x0);
    let mut paired = Vec::with_capacity(u.rows());
    for t in 0..u.rows() {
        stream.step(a.row(t), b.row(t), c.row(t), u.row(t))?;
        let of_channel = |n: usize, weight: &dyn Fn(usize) -> f64| -> f64 {
            let of = (0..u.cols()).map(|p| stream.state().row(p)[n].value() * weight(p));
            of.sum()
        };
        let of_output = |p: usize| g.row(t)[p].value();
        let mut row: Vec<f64> = (0..n)
            .map(|n| of_channel(n, &of_output) * c.row(t)[n].value())
            .into_vec();
        if t + 1 == u.rows() {
            for (n, sum) in row.iter_mut().enumerate() {
                *sum += of_channel(n, &|p| g_state.row(p)[n].value());
            }
        }
        paired.push(row);
    }
    let mut behind = vec![0.0; log_a.cols()];
    for t in (0..u.rows()).rev() {
        for (n, size) in paired[t].iter().enumerate() {
            behind[n % log_a.cols()] += 2.0 * size;
        }
        for (x, &size) in of.model.a.row_mut(t).iter_mut().zip(&behind) {
            *x = x.with_error(x.error() + ErrorBound::of_sum(terms, size));
        }
    }
    Ok(of)
}
