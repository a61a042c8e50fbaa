//! From the stored parameters of the diagonal models to poles and input factors, and the slopes of
//! both for the backward pass: in double precision, with no code of the reference.
//!
//! With `z = dt lambda` both discretizations have the form `a = a(z)`, `b = dt B q(z)`:
//!
//! ```text
//! bilinear         q = 1 / (1 - z/2)      a = (1 + z/2) q    a' = q^2    q' = q^2 / 2
//! zero-order hold  q = (e^z - 1) / z      a = e^z            a' = e^z    q' = (e^z - q) / z
//! ```

use crate::h3::RealType;
use crate::ssm::Discretization;
use num_complex::Complex;

/// The real part of lambda from its stored parameter.
pub(super) fn decay(real_type: RealType, stored: f64) -> f64 {
    -match real_type {
        RealType::None => stored,
        RealType::Exp => stored.exp(),
        // Not `max`, which would turn a NaN into 0.
        RealType::Relu => 1e-4 + if stored < 0.0 { 0.0 } else { stored },
        RealType::Sigmoid => logistic(stored),
        RealType::Softplus if stored > 20.0 => stored,
        // ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|): neither overflows nor cancels.
        RealType::Softplus if stored > 0.0 => stored + (-stored).exp().ln_1p(),
        RealType::Softplus => stored.exp().ln_1p(),
    }
}

/// The slope of [`decay`] in the stored parameter; as PyTorch's, zero at the kink of relu and one
/// beyond softplus's threshold of 20.
pub(super) fn decay_slope(real_type: RealType, stored: f64) -> f64 {
    -match real_type {
        RealType::None => 1.0,
        RealType::Exp => stored.exp(),
        RealType::Relu => f64::from(u8::from(stored > 0.0)),
        RealType::Sigmoid => logistic(stored) * logistic(-stored),
        RealType::Softplus if stored > 20.0 => 1.0,
        RealType::Softplus => logistic(stored),
    }
}

/// `1 / (1 + e^-x)`, the exponential taken of a number below zero, so that it cannot overflow.
fn logistic(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// A sampled mode: `a` and `q`, and their slopes in `z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampled {
    pub(super) pole: Complex<f64>,
    /// `q` in `b = dt B q`.
    pub(super) input: Complex<f64>,
    pub(super) pole_slope: Complex<f64>,
    pub(super) input_slope: Complex<f64>,
}

impl Sampled {
    /// The mode at `z = dt lambda`; `None` at the pole of the bilinear map, `z = 2`.
    pub(super) fn new(disc: Discretization, z: Complex<f64>) -> Option<Self> {
        match disc {
            Discretization::Bilinear => Self::bilinear(z),
            Discretization::ZeroOrderHold => Some(Self::zero_order_hold(z)),
        }
    }

    /// With `h = z/2` and `1 - h = s (c + i e)`, scaled by its larger part `s`:
    ///
    /// ```text
    /// q = (c - i e) / (s (c^2 + e^2))
    /// a = (1 + h) q
    /// ```
    ///
    /// The scale keeps large numbers from overflowing. Where `1 - h` is a power of two times a power
    /// of `1 + i`, nothing rounds.
    fn bilinear(z: Complex<f64>) -> Option<Self> {
        let h = z * 0.5;
        let divisor = 1.0 - h;
        let s = divisor.re.abs().max(divisor.im.abs());
        if s == 0.0 {
            return None;
        }
        let unit = divisor / s;
        let direction = unit.conj() / (unit.re * unit.re + unit.im * unit.im);
        let q = direction / s;
        // 1 + h scaled too: it may be as large as 1 - h.
        let pole = (1.0 + h) / s * direction;
        Some(Self {
            pole,
            input: q,
            pole_slope: q * q,
            input_slope: q * q * 0.5,
        })
    }

    /// The quotients cancel where `z` is small. There they are series:
    /// `q = sum z^k / (k+1)!` and `q' = sum (k+1) z^k / (k+2)!`.
    fn zero_order_hold(z: Complex<f64>) -> Self {
        let (sin, cos) = z.im.sin_cos();
        let pole = Complex::new(cos, sin) * z.re.exp();
        let (input, input_slope) = if z.norm() < 1.0 {
            hold_series(z)
        } else {
            let q = (pole - 1.0) / z;
            (q, (pole - q) / z)
        };
        Self {
            pole,
            input,
            pole_slope: pole,
            input_slope,
        }
    }
}

/// `sum z^k / (k+1)!` and its derivative for `|z| < 1`, from the last of 20 terms: those left out
/// add up to less than `2 / 21! < 2^-64`, and the derivative's to less than `2^-60`.
fn hold_series(z: Complex<f64>) -> (Complex<f64>, Complex<f64>) {
    const TERMS: u32 = 20;
    // 20! and its quotients are exact.
    let mut factorial: f64 = (1..=TERMS).map(f64::from).product();
    let (mut q, mut slope) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0));
    for k in (1..=TERMS).rev() {
        // q = 1/k! + z/(k+1)! + ..., and its derivative.
        slope = q + z * slope;
        q = 1.0 / factorial + z * q;
        factorial /= f64::from(k);
    }
    (q, slope)
}
