//! The choice of the next token.

use crate::algebra::Rng;
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// The choice of the next token from its logits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sampling {
    /// The largest logit; of equal ones the first.
    Greedy,
    /// A random token, with probabilities `softmax(logits / temperature)` over the remaining
    /// tokens.
    Random {
        /// The divisor of the logits; above 0.
        temperature: f64,
        /// The largest logits that are left, from 1 (Fan, Lewis and Dauphin 2018); `None`: all.
        top_k: Option<usize>,
        /// Of these, the smallest set of the likeliest whose probabilities reach this sum, in (0, 1]
        /// (Holtzman et al. 2020); `None`: all.
        top_p: Option<f64>,
    },
}

impl Sampling {
    /// Refuses parameters that mean nothing.
    ///
    /// # Errors
    ///
    /// Naming the parameter, and what was expected of it.
    pub fn check(&self) -> Result<(), Error> {
        let Self::Random {
            temperature,
            top_k,
            top_p,
        } = *self
        else {
            return Ok(());
        };
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::value(
                "temperature",
                format!("{temperature}; expected a finite number above 0"),
            ));
        }
        if top_k == Some(0) {
            return Err(Error::value("top-k", "0; expected at least 1"));
        }
        if let Some(p) = top_p.filter(|&p| !(p > 0.0 && p <= 1.0)) {
            return Err(Error::value(
                "top-p",
                format!("{p}; expected a number above 0, at most 1"),
            ));
        }
        Ok(())
    }

    /// The next token. Top-k comes first, then the temperature, then top-p, as the official `sample`
    /// says it does.
    ///
    /// # Errors
    ///
    /// If there is no logit, one is not a number, or the parameters mean nothing.
    pub fn choose(&self, logits: &[f64], rng: &mut Rng) -> Result<usize, Error> {
        self.check()?;
        if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
            return Err(Error::value(
                "logits",
                format!("token {at} has {}; expected finite numbers", logits[at]),
            ));
        }
        if logits.is_empty() {
            return Err(Error::value("logits", "of no token"));
        }
        let Self::Random {
            temperature,
            top_k,
            top_p,
        } = *self
        else {
            let better = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
            return Ok((1..logits.len()).fold(0, better));
        };
        let mut likeliest: Vec<usize> = (0..logits.len()).into_vec();
        // Stable, so that of equal logits the first tokens are kept.
        likeliest.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        likeliest.truncate(top_k.unwrap_or(logits.len()));
        let top = logits[likeliest[0]];
        let weights: Vec<f64> = likeliest
            .iter()
            .map(|&id| ((logits[id] - top) / temperature).exp())
            .into_vec();
        let total: f64 = weights.iter().sum();
        let mut kept = weights.len();
        if let Some(p) = top_p {
            let mut sum = 0.0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= p * total
            });
            kept = reached.map_or(kept, |last| last + 1);
        }
        let total: f64 = weights[..kept].iter().sum();
        let mut left = total * (0.5 + 0.5 * rng.unit());
        for (&id, weight) in likeliest[..kept].iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return Ok(id);
            }
        }
        // Rounding may leave nothing for the last one.
        Ok(likeliest[kept - 1])
    }
}
