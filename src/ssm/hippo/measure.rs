//! The measures by name: their models, and the functions their states are coefficients of.

use super::continuous::Continuous;
use super::fout::fout;
use super::lagt::{lagt, laguerre};
use super::legendre::legendre;
use super::legs::legs;
use super::legt::{legt, lmu};
use crate::algebra::{Real, pi};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::spelled::spelled;
use crate::ssm::dense::Dense;

/// The measure of a HiPPO projection, that is, the weight of the past, by its official name
/// (`hippo.py`, `transition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// `legs`: scaled Legendre. Run as a time-invariant model, as S4 does, it weighs the past by
    /// `e^{-s}`; the history of a growing window is [`LegsHistory`](super::LegsHistory).
    LegS,
    /// `legt`: translated Legendre, a window of length 2.
    LegT,
    /// `lmu`: LegT for a window of length 1 in other coordinates.
    Lmu,
    /// `lagt`: translated Laguerre.
    LagT,
    /// `fout`: truncated Fourier, a window of length 2.
    FouT,
}

spelled!(Measure, "measure",
    LegS => "legs",
    LegT => "legt",
    Lmu => "lmu",
    LagT => "lagt",
    FouT => "fout",
);

impl Measure {
    /// `A` and `B` for m states, as the official code gives them.
    ///
    /// # Errors
    ///
    /// If m is odd for [`FouT`](Self::FouT).
    pub fn model<T: Real>(self, m: usize) -> Result<Continuous<T>, Error> {
        match self {
            Self::LegS => Ok(legs(m)),
            Self::LegT => legt(m),
            Self::Lmu => Ok(lmu(m)),
            Self::LagT => lagt(m),
            Self::FouT => fout(m),
        }
    }

    /// The length of the window, if there is one.
    #[must_use]
    pub fn window(self) -> Option<i64> {
        match self {
            Self::LegS | Self::LagT => None,
            Self::Lmu => Some(1),
            Self::LegT | Self::FouT => Some(2),
        }
    }

    /// The row that reconstructs the past from a state: `u(t - delay) ~ sum_n row_n x_n`.
    ///
    /// # Errors
    ///
    /// Never for the scalars of this crate; the recurrences' divisions are passed on.
    pub fn reading<T: Real>(self, m: usize, delay: T) -> Result<Vec<T>, Error> {
        let root = |n: usize| T::from_i64(2 * n as i64 + 1).sqrt();
        let orthonormal = |x: T| -> Result<Vec<T>, Error> {
            let p = legendre(m, x)?;
            Ok(p.into_iter()
                .enumerate()
                .map(|(n, p)| root(n) * p)
                .into_vec())
        };
        match self {
            Self::LegS => {
                let e = (-delay).exp();
                orthonormal(e + e - T::ONE)
            }
            Self::LegT => orthonormal(T::ONE - delay),
            Self::Lmu => legendre(m, delay + delay - T::ONE),
            Self::LagT => {
                let decay = (delay * T::from_f64(-0.5)).exp();
                Ok(laguerre(m, delay)?
                    .into_iter()
                    .map(|l| decay * l)
                    .into_vec())
            }
            Self::FouT => Ok((0..m)
                .map(|i| {
                    let (sin, cos) = (pi::<T>() * T::from_i64(i as i64 / 2) * delay).sin_cos();
                    let root = T::from_i64(super::fout::fout_weight(i)).sqrt();
                    root * if i % 2 == 0 { cos } else { sin }
                })
                .into_vec()),
        }
    }

    /// The discrete model, bilinear with step `dt`, whose output reconstructs the input `delay` ago
    /// from the state.
    ///
    /// # Errors
    ///
    /// As [`model`](Self::model).
    pub fn memory<T: Real>(self, m: usize, dt: T, delay: T) -> Result<Dense<T>, Error> {
        self.model(m)?.bilinear(dt, self.reading(m, delay)?)
    }
}
