//! The stored parameters of a layer's diagonal models, which an H3 layer and an S4D layer have in common.

use super::config::{Config, RealType};
use super::modes::Modes;
use crate::algebra::{ComplexScalar, Real, Ring, real_and_imaginary};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, StateSpace};

/// The stored parameters of the diagonal models of a layer of H heads, row-major; or what each of them
/// receives backwards.
#[derive(Clone, Debug)]
pub(crate) struct DiagonalModels<T> {
    pub(crate) config: Config,
    /// `log_dt` (H)
    pub(crate) log_dt: Vec<T>,
    /// `B` (n_ssm, m/2, 2)
    pub(crate) b: Vec<T>,
    /// `C` (1, H, m/2, 2)
    pub(crate) c: Vec<T>,
    /// `inv_A_real` (n_ssm, m/2)
    pub(crate) inv_a_real: Vec<T>,
    /// `A_imag` (n_ssm, m/2)
    pub(crate) a_imag: Vec<T>,
    /// `D` (H)
    pub(crate) d: Vec<T>,
}

impl<T: Real> DiagonalModels<T> {
    /// `lambda` of every stored mode, (n_ssm, m/2) row-major: the real part decoded as `real_type` says,
    /// the imaginary part as stored.
    pub(super) fn lambda(&self) -> Vec<T::Complex> {
        let real_type = self.config.real_type;
        let pairs = self.inv_a_real.iter().zip(&self.a_imag);
        pairs
            .map(|(&re, &im)| T::Complex::from_parts(decode_real(real_type, re), im))
            .into_vec()
    }

    /// The continuous models, decoded.
    pub(super) fn modes(&self) -> Modes<T> {
        Modes {
            n_ssm: self.config.n_ssm,
            lambda: self.lambda(),
            b: complex(&self.b),
            dt: self.log_dt.iter().map(|&x| x.exp()).into_vec(),
        }
    }

    /// The discrete model of every head.
    ///
    /// # Errors
    ///
    /// If a discretization has no value ([`bilinear`](crate::ssm::bilinear)).
    pub(crate) fn discretize(&self) -> Result<Vec<Diagonal<T>>, Error> {
        self.discretize_modes(&self.modes())
    }

    /// [`discretize`](Self::discretize) from the decoded models.
    pub(super) fn discretize_modes(&self, modes: &Modes<T>) -> Result<Vec<Diagonal<T>>, Error> {
        let (c, n) = (complex(&self.c), self.config.n_modes());
        let heads = modes.discretize(self.config.disc)?.into_iter().enumerate();
        heads
            .map(|(h, (a, b))| Diagonal::new(a, b, c[h * n..(h + 1) * n].to_vec(), self.d[h]))
            .collect()
    }

    /// The gradient with respect to every stored parameter, given those of the discrete models: back
    /// through the discretization (summed over the heads that share a model), `dt = exp(log_dt)` and
    /// `real_type`.
    ///
    /// # Errors
    ///
    /// If there is not one gradient per head, or as [`discretize`](Self::discretize).
    pub(crate) fn gradients(&self, discrete: &[Diagonal<T>]) -> Result<Self, Error> {
        let config = &self.config;
        check_len("gradients of the heads", discrete.len(), config.n_heads())?;
        let of_models: Vec<_> = discrete
            .iter()
            .map(|head| (head.poles().to_vec(), head.b().to_vec()))
            .into_vec();
        let modes = self.modes();
        let continuous = modes.discretize_adjoint(config.disc, &of_models)?;
        // d exp(x) = exp(x) dx, and exp(log_dt) is at hand.
        let of_dt = modes.dt.iter().zip(&continuous.dt);
        let of_real = self.inv_a_real.iter().zip(&continuous.lambda);
        Ok(Self {
            config: config.clone(),
            log_dt: of_dt.map(|(&dt, &g)| dt * g).into_vec(),
            b: real_and_imaginary(&continuous.b),
            c: discrete
                .iter()
                .flat_map(|head| real_and_imaginary(head.c()))
                .into_vec(),
            inv_a_real: of_real
                .map(|(&stored, g)| decode_slope(config.real_type, stored) * g.re())
                .into_vec(),
            a_imag: continuous.lambda.iter().map(|g| g.im()).into_vec(),
            d: discrete.iter().map(|head| head.feedthrough()).into_vec(),
        })
    }
}

/// Complex numbers of which real and imaginary parts are stored, one after the other.
fn complex<T: Real>(stored: &[T]) -> Vec<T::Complex> {
    stored
        .chunks_exact(2)
        .map(|parts| T::Complex::from_parts(parts[0], parts[1]))
        .into_vec()
}

/// The real part of lambda from its stored parameter (`ss_kernel_diag.py`, `_A`).
fn decode_real<T: Real>(real_type: RealType, stored: T) -> T {
    -match real_type {
        RealType::None => stored,
        RealType::Exp => stored.exp(),
        RealType::Relu => stored.relu() + T::from_f64(1e-4),
        RealType::Sigmoid => sigmoid(stored),
        RealType::Softplus => softplus(stored),
    }
}

/// `1 / (1 + e^{-x})`, with the exponential of a number below zero in both branches, so that it
/// can neither overflow nor cancel.
pub fn sigmoid<T: Real>(x: T) -> T {
    let negative = x.to_f64() < 0.0;
    let e = if negative { x } else { -x }.exp();
    let numerator = if negative { e } else { T::ONE };
    // 1 + e lies in [1, 2]; only a ball too wide to be of use can fail to exclude zero, and it
    // is still enclosed by the form that does not divide.
    numerator.divide(T::ONE + e).unwrap_or_else(|| {
        let half = T::from_f64(0.5);
        half + half * (half * x).tanh()
    })
}

/// `ln(1 + e^x)`; as PyTorch does (`threshold = 20`), the identity above 20, where it differs
/// from the formula by up to 2e-9.
pub fn softplus<T: Real>(x: T) -> T {
    if x.to_f64() > 20.0 {
        x
    } else {
        x.exp().ln_1p()
    }
}

/// The slope of the real part of lambda in its stored parameter.
///
/// As PyTorch's: zero at the kink of relu, and one above softplus's threshold of 20.
fn decode_slope<T: Real>(real_type: RealType, stored: T) -> T {
    -match real_type {
        RealType::None => T::ONE,
        RealType::Exp => stored.exp(),
        RealType::Relu => stored.step(),
        RealType::Sigmoid => sigmoid(stored) * sigmoid(-stored),
        RealType::Softplus if stored.to_f64() > 20.0 => <T as Ring>::ONE,
        RealType::Softplus => sigmoid(stored),
    }
}
