//! A layer's models as a rounding error analysis, forwards and backwards: every number with the largest
//! error bound over all admissible algorithms.

use super::super::worst_response::{
    WithError, fft_error, larger_errors, magnitudes, norm, worst_correlations, worst_response,
};
use crate::algebra::{
    Ball, COMPLEX_PRODUCT, ComplexErrorScale, ComplexScalar, ErrorBound, ErrorScale,
    LIBRARY_FACTOR, Real, Ring, modulus,
};
use crate::error::Error;
use crate::h3::{Backward, Evaluate};
use crate::into_vec::IntoVec as _;
use crate::oracle::format::Format;
use crate::ssm::{
    Adjoint, Diagonal, Gradients, Response, Shift, StateSpace, add_states, recurrence,
    recurrence_adjoint,
};

/// A layer's models, with the largest error bound over all admissible algorithms.
pub(crate) struct Analysis {
    /// The projections' unit roundoff over the models'.
    ratio: f64,
    /// The unit roundoff of transforms over the models'.
    transforms: f64,
    /// The models' unit roundoff, if powers of poles are followed beyond the first order in it.
    beyond: Option<f64>,
}

impl Analysis {
    /// The analysis of a port that works in one format throughout, to first order.
    pub(crate) const UNIFORM: Self = Self {
        ratio: 1.0,
        transforms: 1.0,
        beyond: None,
    };

    /// The analysis of a port that works in this format, to first order.
    pub(super) fn in_format(format: Format) -> Self {
        Self {
            ratio: format.projection_unit_roundoff() / format.unit_roundoff(),
            ..Self::with_transforms(format.transform_unit_roundoff() / format.unit_roundoff())
        }
    }

    /// The analysis of a port that works in one format throughout, but for transforms whose unit roundoff is
    /// so many times as large.
    pub(crate) fn with_transforms(transforms: f64) -> Self {
        Self {
            transforms,
            ..Self::UNIFORM
        }
    }

    /// The unit roundoff of transforms over the models'.
    pub(crate) fn transforms(&self) -> f64 {
        self.transforms
    }

    /// The analysis beyond the first order in powers of poles, whose roundings multiply: `(1 + u)^n` is far above `1 + n u` in
    /// 16 bits after hundreds of steps.
    pub(super) fn beyond_first_order(self, format: Format) -> Self {
        Self {
            beyond: Some(format.unit_roundoff()),
            ..self
        }
    }
}

impl Evaluate<ErrorScale> for Analysis {
    fn shift_kernel(&self, ssm: &Shift<ErrorScale>, len: usize) -> Vec<ErrorScale> {
        shift_kernel(ssm, len, self.transforms)
    }

    fn ssm_kernel(&self, ssm: &Diagonal<ErrorScale>, len: usize) -> Vec<ErrorScale> {
        diagonal_kernel(ssm, len, self.beyond)
    }

    fn shift(
        &self,
        ssm: &Shift<ErrorScale>,
        kernel: &[ErrorScale],
        u: &[ErrorScale],
        x0: &[ErrorScale],
    ) -> Result<Response<Shift<ErrorScale>>, Error> {
        let mut response = worst_response(ssm, &ssm.majorant()?, kernel, u, x0, self.transforms)?;
        // The official code takes the window from a product of spectra of length 2m, of B and of the last
        // m keys; what it had before is added afterwards.
        let m = ssm.state_dim();
        let fft = self.transforms
            * fft_error(2 * m)
            * norm(ssm.b())
            * norm(&u[u.len().saturating_sub(m)..]);
        for x in &mut response.state {
            *x = x.with_error(x.error() + fft);
        }
        Ok(response)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<ErrorScale>,
        kernel: &[ErrorScale],
        u: &[ErrorScale],
        x0: &[ComplexErrorScale],
    ) -> Result<Response<Diagonal<ErrorScale>>, Error> {
        let majorant = ssm.majorant()?;
        let mut response = worst_response(ssm, &majorant, kernel, u, x0, self.transforms)?;
        if let Some(roundoff) = self.beyond {
            let grown = grown(ssm, &majorant, roundoff)?;
            let by_state = recurrence(&grown, &magnitudes(u), Some(&magnitudes(x0)))?;
            for (y, other) in response.output.iter_mut().zip(by_state.output) {
                *y = y.with_error(y.error().with_worst_of(other.error()));
            }
            for (x, other) in response.state.iter_mut().zip(by_state.state) {
                *x = x.with_error(x.error().with_worst_of(other.error()));
            }
        }
        Ok(response)
    }

    fn at_projection(&self, x: ErrorScale, inward: bool) -> ErrorScale {
        if self.ratio <= 1.0 {
            return x;
        }
        // Errors are in units of the models' roundoff between the projections, and of the
        // projections' within them; what enters the last projection is rounded to its format.
        let error = if inward {
            x.error() * self.ratio
        } else {
            x.error() / self.ratio + x.value().abs()
        };
        ErrorScale::new(x.value(), error)
    }
}

impl Backward<ErrorScale> for Analysis {
    fn shift(
        &self,
        ssm: &Shift<ErrorScale>,
        u: &[ErrorScale],
        x0: Option<&[ErrorScale]>,
        g: &[ErrorScale],
        g_state: Option<&[ErrorScale]>,
        window: usize,
    ) -> Result<Gradients<Shift<ErrorScale>>, Error> {
        worst_gradients(ssm, None, (u, g), [x0, g_state], window)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<ErrorScale>,
        u: &[ErrorScale],
        x0: Option<&[ComplexErrorScale]>,
        g: &[ErrorScale],
        g_state: Option<&[ComplexErrorScale]>,
        window: usize,
    ) -> Result<Gradients<Diagonal<ErrorScale>>, Error> {
        let grown = self.beyond.map(|u| grown(ssm, &ssm.majorant()?, u));
        worst_gradients(
            ssm,
            grown.transpose()?.as_ref(),
            (u, g),
            [x0, g_state],
            window,
        )
    }
}

/// A model as the analysis sees it.
trait Analysed: Adjoint<Scalar = ErrorScale> {
    /// The part of the relative error of a power of `A` that does not grow with its exponent, where the
    /// power is no running product ([`with_error_of_powers`](Self::with_error_of_powers)).
    const POWER: f64;

    /// The model of absolute values, whose errors bound those of sums in any order.
    fn majorant(&self) -> Result<Self, Error>;

    /// The kernel, with the largest error bound over all admissible algorithms.
    fn worst_kernel(&self, len: usize) -> Vec<ErrorScale>;

    /// The model with so large an error in its poles that running powers of them have that of every
    /// other way to compute the powers.
    fn with_error_of_powers(&self) -> Result<Self, Error>;

    /// The gradient with the error of the FFTs in the backward pass from the kernel, whose cotangent is `g`.
    fn add_error_of_transforms(&self, g: &[ErrorScale], gradient: Self) -> Result<Self, Error>;

    /// A gradient as the sum of the majorant's terms, with the larger of their errors.
    fn covering(self, majorant: &Self) -> Result<Self, Error>;
}

/// A model's gradients with the largest error bound over all admissible algorithms: the adjoint
/// recurrence on absolute values, which bounds recurrences, scans and chunks in any order; and the
/// adjoint of the convolution, direct or by FFT. `grown` is the majorant to be taken in its place, if
/// first order is not enough.
fn worst_gradients<S>(
    ssm: &S,
    grown: Option<&S>,
    (u, g): (&[ErrorScale], &[ErrorScale]),
    [x0, g_state]: [Option<&[S::Element]>; 2],
    window: usize,
) -> Result<Gradients<S>, Error>
where
    S: Analysed,
    S::Element: WithError,
{
    let zeros = || vec![S::Element::ZERO; ssm.state_dim()];
    let [x0, g_state] = [x0, g_state].map(|x| x.map_or_else(zeros, <[_]>::to_vec));
    let mut sum = convolution_gradients(ssm, u, [&x0, &g_state], g, window)?;
    if window < u.len() {
        return Ok(sum);
    }
    let majorant = match grown {
        Some(grown) => grown,
        None => &ssm.majorant()?,
    };
    let by_state = recurrence_adjoint(
        majorant,
        &magnitudes(u),
        Some(&magnitudes(&x0)),
        &magnitudes(g),
        Some(&magnitudes(&g_state)),
    )?;
    for (x, other) in sum.input.iter_mut().zip(by_state.input) {
        *x = x.at_least(other);
    }
    for (x, other) in sum.state.iter_mut().zip(by_state.state) {
        *x = x.at_least(other);
    }
    sum.model = sum.model.covering(&by_state.model)?;
    Ok(sum)
}

/// The same of ports that convolve, directly or by FFT, with powers of any kind.
fn convolution_gradients<S>(
    ssm: &S,
    u: &[ErrorScale],
    [x0, g_state]: [&[S::Element]; 2],
    g: &[ErrorScale],
    window: usize,
) -> Result<Gradients<S>, Error>
where
    S: Analysed,
    S::Element: WithError,
{
    let kernel = ssm.worst_kernel(window.min(u.len()));
    let (of_kernel, of_input) = worst_correlations(&kernel, u, g, 1.0)?;

    let powers = ssm.with_error_of_powers()?;
    let times_power = |x: &[ErrorScale]| -> Vec<ErrorScale> {
        x.iter()
            .map(|x| x.with_error(x.error() + S::POWER * x.value().abs()))
            .into_vec()
    };
    let mut gradient = ssm.zero_gradient();
    powers.kernel_adjoint(&times_power(&of_kernel), &mut gradient);
    let mut gradient = ssm.add_error_of_transforms(&of_kernel, gradient)?;
    let of_state = powers.input_to_state_adjoint(&times_power(u), g_state, &mut gradient);
    let input = of_input
        .into_iter()
        .zip(of_state)
        .zip(u.iter().zip(g))
        .map(|((y, s), (&u, &g))| y + s + ssm.feedthrough_adjoint(u, g, &mut gradient))
        .into_vec();
    let carried = powers.advance_adjoint(x0, u.len(), g_state, &mut gradient);
    let read = powers.state_to_output_adjoint(x0, &times_power(g), &mut gradient);
    Ok(Gradients {
        input,
        state: add_states(&carried, &read),
        model: gradient,
    })
}

impl Analysed for Shift<ErrorScale> {
    /// They are shifts.
    const POWER: f64 = 0.0;

    fn majorant(&self) -> Result<Self, Error> {
        let d = self.feedthrough().absolute();
        Self::new(magnitudes(self.b()), magnitudes(self.c()), d)
    }

    fn worst_kernel(&self, len: usize) -> Vec<ErrorScale> {
        shift_kernel(self, len, 1.0)
    }

    fn with_error_of_powers(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    /// Each of the two taps' gradients is a product of the kernel's cotangent with the other taps, by
    /// FFTs of length 2m.
    fn add_error_of_transforms(&self, g: &[ErrorScale], gradient: Self) -> Result<Self, Error> {
        let m = self.state_dim();
        let fft = fft_error(2 * m) * norm(&g[..g.len().min(m)]);
        let off = |taps: &[ErrorScale], others: &[ErrorScale]| -> Vec<ErrorScale> {
            let fft = fft * norm(others);
            taps.iter()
                .map(|x| x.with_error(x.error() + fft))
                .into_vec()
        };
        let (b, c) = (off(gradient.b(), self.c()), off(gradient.c(), self.b()));
        Self::new(b, c, gradient.feedthrough())
    }

    fn covering(self, majorant: &Self) -> Result<Self, Error> {
        Self::new(
            covering(self.b(), majorant.b()),
            covering(self.c(), majorant.c()),
            self.feedthrough().covering(majorant.feedthrough()),
        )
    }
}

impl Analysed for Diagonal<ErrorScale> {
    /// `exp(z)` is `e^x (cos y + i sin y)`; backwards, the derivative by the logarithm has a factor
    /// `l` and is divided by the pole.
    const POWER: f64 = EXPONENTIAL + 4.0;

    fn majorant(&self) -> Result<Self, Error> {
        Self::new(
            magnitudes(self.poles()),
            magnitudes(self.b()),
            magnitudes(self.c()),
            self.feedthrough().absolute(),
        )
    }

    fn worst_kernel(&self, len: usize) -> Vec<ErrorScale> {
        diagonal_kernel(self, len, None)
    }

    fn with_error_of_powers(&self) -> Result<Self, Error> {
        let poles = self.poles().iter().zip(logarithms(self));
        let poles =
            poles.map(|(a, relative)| a.at_least(a.with_error(relative * modulus(a.value()))));
        Self::new(
            poles.into_vec(),
            self.b().to_vec(),
            self.c().to_vec(),
            self.feedthrough(),
        )
    }

    fn add_error_of_transforms(&self, _g: &[ErrorScale], gradient: Self) -> Result<Self, Error> {
        Ok(gradient)
    }

    fn covering(self, majorant: &Self) -> Result<Self, Error> {
        Self::new(
            covering(self.poles(), majorant.poles()),
            covering(self.b(), majorant.b()),
            covering(self.c(), majorant.c()),
            self.feedthrough().covering(majorant.feedthrough()),
        )
    }
}

/// Sums, each as the sum of its majorant's terms, with the larger of their errors.
fn covering<E: WithError>(x: &[E], majorant: &[E]) -> Vec<E> {
    let pairs = x.iter().zip(majorant);
    pairs.map(|(x, &majorant)| x.covering(majorant)).into_vec()
}

/// The shift model's kernel, by its sum or, as the official code does, by an FFT of length 2m, whose unit
/// roundoff is `transforms` times that of the sum.
fn shift_kernel(ssm: &Shift<ErrorScale>, len: usize, transforms: f64) -> Vec<ErrorScale> {
    let m = ssm.state_dim();
    let fft = transforms * fft_error(2 * m) * norm(ssm.b()) * norm(ssm.c());
    let kernel = ssm.kernel(len).into_iter().enumerate();
    // Beyond the window the kernel is not computed but zero.
    let kernel = kernel.map(|(j, f)| f.with_error(f.error() + if j < m { fft } else { 0.0 }));
    kernel.into_vec()
}

/// The diagonal model's kernel, by running powers or, as the official code does, by
/// `exp(l log a)`; `beyond` the first order in a unit roundoff, if there is one.
fn diagonal_kernel(ssm: &Diagonal<ErrorScale>, len: usize, beyond: Option<f64>) -> Vec<ErrorScale> {
    let weights: Vec<_> = ssm.c().iter().zip(ssm.b()).map(|(&c, &b)| c * b).into_vec();
    let running = ssm.kernel(len);
    let steps = logarithms(ssm);
    // The error of the sum at every step, given the relative error of a pole's power there.
    let sums = |relative: &dyn Fn(usize, usize) -> ErrorBound| -> Vec<ErrorBound> {
        let sum = |l: usize| {
            let mut sum = ErrorScale::ZERO;
            for (n, (&weight, a)) in weights.iter().zip(ssm.poles()).enumerate() {
                let value = a.value();
                if modulus(value) <= 0.0 {
                    continue;
                }
                let power = value.powu(u32::try_from(l).unwrap_or(u32::MAX));
                let power = ComplexErrorScale::new(power, relative(n, l) * modulus(power));
                sum = sum + (weight * power).trace();
            }
            sum.error()
        };
        (0..len).map(sum).into_vec()
    };
    let by_logarithm = |n: usize, l: usize| steps[n] * l as f64 + EXPONENTIAL;
    let mut kernel = larger_errors(&running, sums(&by_logarithm).into_iter());
    if let Some(u) = beyond {
        let growths: Vec<f64> = ssm.poles().iter().map(growth).into_vec();
        let grown = |n: usize, l: usize| {
            let first_order = by_logarithm(n, l).max(ErrorBound::both(growths[n] * l as f64));
            first_order * (growths[n] * l as f64 * u).exp()
        };
        for (f, grown) in kernel.iter_mut().zip(sums(&grown)) {
            *f = f.with_error(f.error().with_worst_of(grown));
        }
    }
    kernel
}

/// By how many roundings a pole may grow in every step that multiplies with it: its own relative error,
/// and that of the product or, where powers are exponentials, of the real part of its logarithm.
fn growth(a: &ComplexErrorScale) -> f64 {
    let size = modulus(a.value());
    if size <= 0.0 {
        return 0.0;
    }
    let of_logarithm = (LIBRARY_FACTOR + 1.0) * size.ln().abs();
    a.error().worst / size + of_logarithm.max(COMPLEX_PRODUCT)
}

/// The majorant of a model with poles as large as roundings may make them, all of one sign: the error
/// of its powers, a first-order sum over the steps, is then that of products of all roundings.
fn grown(
    ssm: &Diagonal<ErrorScale>,
    majorant: &Diagonal<ErrorScale>,
    u: f64,
) -> Result<Diagonal<ErrorScale>, Error> {
    let poles = ssm.poles().iter().zip(majorant.poles());
    let poles = poles.map(|(a, majorant)| {
        let factor = 1.0 + growth(a) * u;
        ComplexErrorScale::new(majorant.value() * factor, majorant.error() * factor)
    });
    Diagonal::new(
        poles.into_vec(),
        majorant.b().to_vec(),
        majorant.c().to_vec(),
        majorant.feedthrough(),
    )
}

/// The relative error of `exp(z)`, which is `e^x (cos y + i sin y)`, besides that of its argument.
const EXPONENTIAL: f64 = 2.0 * LIBRARY_FACTOR + 2.0;

/// The part of the relative error of `a^l = exp(l log a)` that grows with l: the pole's own
/// relative error and that of the logarithm, which is good to one library function and multiplied
/// by l.
fn logarithms(ssm: &Diagonal<ErrorScale>) -> Vec<ErrorBound> {
    let of_pole = |a: &ComplexErrorScale| {
        let (value, size) = (a.value(), modulus(a.value()));
        if size <= 0.0 {
            // No logarithm; its powers are exact.
            return ErrorBound::ZERO;
        }
        // |log a| <= |ln |a|| + |arg a|, the arc at most pi/2 times its chord.
        let chord = modulus(value / size - 1.0);
        let logarithm = Ball::from_f64(size * size - 1.0).ln_1p().to_f64() / 2.0;
        let log = logarithm.abs() + core::f64::consts::FRAC_PI_2 * chord;
        a.error() / size + (LIBRARY_FACTOR + 1.0) * log
    };
    ssm.poles().iter().map(of_pole).into_vec()
}
