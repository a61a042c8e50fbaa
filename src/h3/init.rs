//! A layer as training begins with it: the official constructor's distributions.

use super::config::{Config, RealType};
use super::parameters::{Name, Parameters};
use crate::algebra::{Ball, ComplexScalar, Real, Ring, Rng};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::hippo::Diagonalized;
use crate::tensor::Tensor;

/// The most numbers a layer or an input is made of here (a gigabyte in f64).
const MAX_NUMBERS: usize = 1 << 27;

/// The largest `d_state` whose LegS spectrum is computed: the eigen-solver takes seconds there, and
/// eight times as long at twice the size.
const MAX_LEGS: usize = 256;

/// Initialization of a layer as in the official constructor (`h3.py`, `ss_kernel.py`,
/// `ss_kernel_diag.py`, `dplr.py`), for given sizes.
///
/// | parameter | value |
/// |---|---|
/// | `*_proj`, `output_linear`: weight, bias | uniform in `[-1/sqrt d, 1/sqrt d)` |
/// | shift `B` | `e_1` |
/// | shift `C` | uniform in `[-1/sqrt m, 1/sqrt m)`, the rule of `Conv1d` |
/// | `ssm_k_D`, `D` | normal |
/// | `log_dt` | uniform between `ln dt_min` and `ln dt_max` |
/// | `B` | 1 |
/// | `C` | normal, variance 1/2 in each part |
/// | `inv_A_real`, `A_imag` | the poles of the measure ([`Diagonalized`]), encoded as `real_type` says |
///
/// Every number is evaluated in double-double arithmetic with this crate's own functions and rounded
/// once: a seed gives the same layer on every machine. The official code draws in float32 from its
/// framework's generator, so its numbers are others, of the same distributions.
#[derive(Clone, Debug)]
pub struct Initialization {
    /// The sizes and choices of the layer.
    pub config: Config,
    /// The poles of the `n_ssm` models, each for an equal share of them, in this order.
    pub measure: Vec<Diagonalized>,
    /// The smallest step (official default 0.001).
    pub dt_min: f64,
    /// The largest step (official default 0.1).
    pub dt_max: f64,
}

impl Initialization {
    /// The layer that a seed names.
    ///
    /// # Errors
    ///
    /// If the sizes are impossible or larger than 2^27 numbers, `d_state` is 1 (no pole), `n_ssm` is
    /// no multiple of the number of measures, the steps are not `0 < dt_min <= dt_max`, `diag-legs` is asked for above 256, or the
    /// `real_type` cannot express a pole of the measure.
    pub fn parameters(&self, rng: &mut Rng) -> Result<Parameters<f64>, Error> {
        self.check()?;
        let poles = self.poles()?;
        let config = &self.config;
        let draw = |name| self.draw(name, &poles, rng);
        Parameters::new(config.clone(), draw)
    }

    /// A normal input (batch, seq_len, d_model).
    ///
    /// # Errors
    ///
    /// If it would hold nothing, or more than 2^27 numbers.
    pub fn input(&self, batch: usize, seq_len: usize, rng: &mut Rng) -> Result<Tensor<f64>, Error> {
        for (what, size) in [("batch", batch), ("seq_len", seq_len)] {
            if size == 0 {
                return Err(Error::value(what, "0; expected at least 1"));
            }
        }
        let shape = [batch, seq_len, self.config.d_model];
        let size = numbers("the input", &shape)?;
        Tensor::new(shape, (0..size).map(|_| normal(rng)).into_vec())
    }

    /// Refuses what [`parameters`](Self::parameters) cannot draw.
    #[cfg(feature = "internals")]
    pub fn checked(&self) -> Result<(), Error> {
        self.check()
    }

    fn check(&self) -> Result<(), Error> {
        let config = &self.config;
        config.check()?;
        if config.d_state < 2 {
            return Err(Error::value(
                "d_state",
                "1; expected at least 2, for one pole",
            ));
        }
        if self.measure.is_empty() || !config.n_ssm.is_multiple_of(self.measure.len()) {
            return Err(Error::value(
                "n_ssm",
                format!(
                    "{} models cannot be shared equally among {} measures",
                    config.n_ssm,
                    self.measure.len()
                ),
            ));
        }
        let in_order = 0.0 < self.dt_min && self.dt_min <= self.dt_max && self.dt_max.is_finite();
        if !in_order {
            return Err(Error::value(
                "dt_min, dt_max",
                format!(
                    "{}, {}; expected 0 < dt_min <= dt_max",
                    self.dt_min, self.dt_max
                ),
            ));
        }
        if self.measure.contains(&Diagonalized::LegS) && config.d_state > MAX_LEGS {
            return Err(Error::value(
                "d_state",
                format!(
                    "{}; expected at most {MAX_LEGS} for diag-legs",
                    config.d_state
                ),
            ));
        }
        for name in Name::ALL {
            numbers(name.official(), &name.shape(config))?;
        }
        Ok(())
    }

    /// The poles of every model, (n_ssm, m/2), to twice the digits.
    fn poles(&self) -> Result<Vec<(Ball, Ball)>, Error> {
        let copies = self.config.n_ssm / self.measure.len();
        let mut poles = Vec::new();
        for measure in &self.measure {
            let one = measure.poles::<Ball>(self.config.d_state)?;
            let parts: Vec<_> = one.iter().map(|z| (z.re(), z.im())).into_vec();
            for _ in 0..copies {
                poles.extend_from_slice(&parts);
            }
        }
        Ok(poles)
    }

    fn draw(&self, name: Name, poles: &[(Ball, Ball)], rng: &mut Rng) -> Result<Vec<f64>, Error> {
        let config = &self.config;
        let size: usize = name.shape(config).iter().product();
        let d_state = config.d_state;
        let mut uniform = |fan_in: usize| -> Vec<f64> {
            let bound = 1.0 / (fan_in as f64).sqrt();
            (0..size).map(|_| bound * rng.unit()).into_vec()
        };
        Ok(match name {
            Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                uniform(config.d_model)
            }
            Name::QBias | Name::KBias | Name::VBias | Name::OutputBias => uniform(config.d_model),
            Name::ShiftC => uniform(d_state),
            Name::ShiftB => (0..size)
                .map(|i| if i % d_state == 0 { 1.0 } else { 0.0 })
                .into_vec(),
            Name::ShiftD | Name::D => (0..size).map(|_| normal(rng)).into_vec(),
            Name::LogDt => {
                let (low, high) = (ln(self.dt_min), ln(self.dt_max));
                let half = Ball::from_f64(0.5);
                let between = |unit: f64| {
                    let fraction = half + half * Ball::from_f64(unit);
                    (low + fraction * (high - low)).to_f64()
                };
                (0..size).map(|_| between(rng.unit())).into_vec()
            }
            Name::B => (0..size)
                .map(|i| if i % 2 == 0 { 1.0 } else { 0.0 })
                .into_vec(),
            Name::C => {
                let root = Ball::from_f64(0.5).sqrt();
                let part = |x: f64| (root * Ball::from_f64(x)).to_f64();
                (0..size).map(|_| part(normal(rng))).into_vec()
            }
            Name::InvAReal => poles
                .iter()
                .map(|&(re, _)| encode_real(config.real_type, re))
                .collect::<Result<_, _>>()?,
            Name::AImag => poles.iter().map(|(_, im)| im.to_f64()).into_vec(),
        })
    }
}

/// The number of elements of an array of this shape, if that is not too many.
fn numbers(what: &str, shape: &[usize]) -> Result<usize, Error> {
    let size = shape
        .iter()
        .try_fold(1usize, |n, &axis| n.checked_mul(axis));
    size.filter(|&size| size <= MAX_NUMBERS).ok_or_else(|| {
        Error::value(
            what,
            format!("shape {shape:?} is of more than {MAX_NUMBERS} numbers"),
        )
    })
}

/// The stored parameter of a real part (`ss_kernel_diag.py`, `_A_init`), the inverse of how it is
/// decoded; except for `relu`, whose decoding adds 1e-4 that the official encoding does not take off.
fn encode_real(real_type: RealType, re: Ball) -> Result<f64, Error> {
    // The official clamp, no pole nearer to the imaginary axis than 1e-4, changes no pole of a measure:
    // the real parts are -1/2, -1, -2, ...
    let size = -re;
    let stored = match real_type {
        RealType::None | RealType::Relu => Some(size),
        RealType::Exp => Some((size - Ball::ONE).ln_1p()),
        RealType::Sigmoid => {
            (size.to_f64() < 1.0).then(|| (size - Ball::ONE).ln_1p() - (-size).ln_1p())
        }
        // ln(e^x - 1) = x + ln(1 - e^-x), which a large x cannot overflow.
        RealType::Softplus => Some(size + (-(-size).exp()).ln_1p()),
    };
    stored.map(|x| x.to_f64()).ok_or_else(|| {
        Error::value(
            "real_type",
            format!(
                "sigmoid reaches real parts above -1 alone; the measure has {}",
                re.to_f64()
            ),
        )
    })
}

/// The natural logarithm, by this crate's own.
fn ln(x: f64) -> Ball {
    // x = m 2^k with m in [1, 2): m - 1 is exact.
    let k = (x.to_bits() >> 52 & 0x7ff) as i64 - 1023;
    if k == -1023 {
        return ln(x * (1u64 << 54) as f64) - Ball::from_i64(54) * Ball::ONE.ln_1p();
    }
    let m = f64::from_bits((x.to_bits() & ((1 << 52) - 1)) | (1023 << 52));
    Ball::from_f64(m - 1.0).ln_1p() + Ball::from_i64(k) * Ball::ONE.ln_1p()
}

/// A standard normal number, by Marsaglia's polar method.
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    loop {
        if let Some(x) = polar(rng.unit(), rng.unit()) {
            return x;
        }
    }
}

/// `x sqrt(-2 ln(s) / s)` with `s = x^2 + y^2`, for a point inside the unit circle other than its center.
pub fn polar(x: f64, y: f64) -> Option<f64> {
    let s = x * x + y * y;
    if s == 0.0 || s >= 1.0 {
        return None;
    }
    let ratio = crate::algebra::Field::divide(ln(s), Ball::from_f64(s));
    let square = ratio.map_or(Ball::ZERO, |ratio| -(ratio + ratio));
    Some((Ball::from_f64(x) * square.sqrt()).to_f64())
}
