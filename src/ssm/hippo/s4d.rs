//! The diagonal initializations: S4D-Lin, S4D-Inv, S4D-LegS and what the official code has besides
//! them.

use super::measure::Measure;
use super::split::NormalPlusLowRank;
use crate::algebra::{ComplexScalar, Real, pi};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::spelled::spelled;

/// The initial poles of a diagonal model (`dplr.py`, `dplr`, by the official names). The real part
/// is -1/2 except for [`Real`](Self::Real), `B` is one throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagonalized {
    /// `diag-lin`, S4D-Lin: `i pi n`, a Fourier series. The official default.
    Lin,
    /// `diag-inv`, S4D-Inv: `i (m/pi) (m/(2n+1) - 1)`, the asymptotics of the next.
    Inv,
    /// `diag-legs`, S4D-LegS: the imaginary parts of LegS's normal part, below the real axis.
    LegS,
    /// `diag-inv2`: `i (m/pi) (m/(n+1) - 1)`.
    Inv2,
    /// `diag-quad`: `i (1/pi) (2n+1)^2`.
    Quad,
    /// `diag-real`: `-(n+1)`, on the real axis: the first of the eigenvalues of LegS itself.
    Real,
}

spelled!(Diagonalized, "measure",
    Lin => "diag-lin",
    Inv => "diag-inv",
    LegS => "diag-legs",
    Inv2 => "diag-inv2",
    Quad => "diag-quad",
    Real => "diag-real",
);

impl Diagonalized {
    /// The poles for `d_state = m`, m/2 (rounded down), in the official order.
    ///
    /// # Errors
    ///
    /// Never for the scalars of this crate; the eigen-solver's errors are passed on.
    pub fn poles<T: Real>(self, d_state: usize) -> Result<Vec<T::Complex>, Error> {
        if let Self::LegS = self {
            let half = T::from_f64(-0.5);
            let split = NormalPlusLowRank::<T>::new(Measure::LegS, d_state.max(1))?;
            let poles = split.poles().into_iter();
            return Ok(poles
                .map(|z| T::Complex::from_parts(half, z.im()))
                .into_vec());
        }
        let (m, pi) = (T::from_i64(d_state as i64), pi::<T>());
        let ratio = |x: T, y: T| {
            x.divide(y)
                .ok_or_else(|| Error::value("diagonal initialization", "a division by zero"))
        };
        (0..d_state / 2)
            .map(|n| {
                let n = n as i64;
                let odd = T::from_i64(2 * n + 1);
                let imaginary = match self {
                    Self::Lin => pi * T::from_i64(n),
                    Self::Inv => ratio(m * (ratio(m, odd)? - T::ONE), pi)?,
                    Self::Inv2 => ratio(m * (ratio(m, T::from_i64(n + 1))? - T::ONE), pi)?,
                    Self::Quad => ratio(odd * odd, pi)?,
                    Self::Real | Self::LegS => T::ZERO,
                };
                let real = match self {
                    Self::Real => -T::from_i64(n + 1),
                    _ => T::from_f64(-0.5),
                };
                Ok(T::Complex::from_parts(real, imaginary))
            })
            .collect()
    }

    /// The initialization that a `measure` of the official layer stands for: one of
    /// [`ALL`](Self::ALL), or for `diag` the combination of `diag-inv` and `diag-lin`, each for
    /// half of the models (`dplr.py`, `combinations`).
    ///
    /// # Errors
    ///
    /// If the name is none of these.
    pub fn of_measure(measure: &str) -> Result<Vec<Self>, Error> {
        match measure {
            "diag" => Ok(vec![Self::Inv, Self::Lin]),
            _ => match measure.parse() {
                Ok(one) => Ok(vec![one]),
                Err(_) => {
                    let names = Self::ALL.map(Self::name).into_iter();
                    Err(Error::unknown("measure", measure, names.chain(["diag"])))
                }
            },
        }
    }
}
