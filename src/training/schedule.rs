//! The learning rate from step to step.

use crate::algebra::{Real, pi};
use crate::error::Error;

/// The rate of a group at every step t = 0, 1, ... of optimizer updates, from the group's own rate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The rate itself.
    Constant,
    /// `t / warmup` times the rate, then `(total - t) / (total - warmup)` times it, down to zero
    /// (`transformers.get_linear_schedule_with_warmup`). At the first step the rate is zero: moments move,
    /// weights do not.
    Linear {
        /// Steps of warmup.
        warmup: u64,
        /// Steps of the whole.
        total: u64,
    },
    /// Linear from `first` to the rate within `warmup` steps, then
    /// `least + (rate - least) / 2 (1 + cos(pi t / total))`, `least` from `total` on (timm's
    /// `CosineLRScheduler`). The cosine counts t from the beginning, not from the end of the warmup, so
    /// that the rate falls by a step there; both rates are the same for every group.
    Cosine {
        /// Steps of warmup.
        warmup: u64,
        /// The rate at the first step, if there is a warmup.
        first: f64,
        /// Steps of the whole.
        total: u64,
        /// The rate at the end.
        least: f64,
    },
    /// The factor of the rate at each step; the list gives the number of steps.
    Factors(Vec<f64>),
}

impl Schedule {
    /// The rate of a group of rate `base` at step `t`, from 0.
    ///
    /// # Errors
    ///
    /// If there is no factor for that step.
    pub fn rate<T: Real>(&self, base: f64, t: u64) -> Result<T, Error> {
        let of_base = |factor: T| T::from_f64(base) * factor;
        match self {
            Self::Constant => Ok(T::from_f64(base)),
            Self::Linear { warmup, .. } if t < *warmup => Ok(of_base(ratio(t, *warmup))),
            Self::Linear { warmup, total } => {
                let (left, whole) = (total.saturating_sub(t), total.saturating_sub(*warmup));
                Ok(of_base(ratio(left, whole)))
            }
            Self::Cosine { warmup, first, .. } if t < *warmup => {
                let rise = T::from_f64(base) - T::from_f64(*first);
                Ok(T::from_f64(*first) + rise * ratio(t, *warmup))
            }
            Self::Cosine { total, least, .. } if t >= *total => Ok(T::from_f64(*least)),
            Self::Cosine { total, least, .. } => {
                let (_, cos) = (pi::<T>() * ratio(t, *total)).sin_cos();
                let (least, half) = (T::from_f64(*least), T::from_f64(0.5));
                Ok(least + half * (T::from_f64(base) - least) * (T::ONE + cos))
            }
            Self::Factors(factors) => {
                let at = usize::try_from(t).ok().and_then(|t| factors.get(t));
                let factor = at.ok_or_else(|| {
                    let why = format!("{} factors, none for step {t}", factors.len());
                    Error::value("schedule", why)
                })?;
                Ok(of_base(T::from_f64(*factor)))
            }
        }
    }

    /// Refuses numbers that are no schedule, as an optimizer does.
    #[cfg(feature = "internals")]
    pub fn checked(&self) -> Result<(), Error> {
        self.check()
    }

    /// Refuses numbers that are no schedule.
    ///
    /// # Errors
    ///
    /// If a rate or factor is negative or not finite, or a warmup is longer than the whole.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let (lengths, rates) = match self {
            Self::Constant => return Ok(()),
            Self::Linear { warmup, total } => ((*warmup, *total), vec![]),
            Self::Cosine {
                warmup,
                first,
                total,
                least,
            } => ((*warmup, *total), vec![*first, *least]),
            Self::Factors(factors) => ((0, 0), factors.clone()),
        };
        let (warmup, total) = lengths;
        if warmup > total {
            let why = format!("a warmup of {warmup} steps, but {total} in all");
            return Err(Error::value("schedule", why));
        }
        let is_rate = |x: &&f64| x.is_finite() && **x >= 0.0;
        match rates.iter().find(|x| !is_rate(x)) {
            None => Ok(()),
            Some(x) => Err(Error::value(
                "schedule",
                format!("{x}; expected a finite number from 0"),
            )),
        }
    }
}

/// `a / b`, `a` if b is zero.
fn ratio<T: Real>(a: u64, b: u64) -> T {
    let [a, b] = [a, b.max(1)].map(|n| T::from_i64(n as i64));
    a.divide(b).unwrap_or(a)
}
