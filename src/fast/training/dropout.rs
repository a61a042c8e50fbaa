//! Dropout whose masks are a function of seed, step and place, so that a resumed run draws them again.

use crate::fast::lanes::{Element, Vector};

/// The parts of a model's numbers that a training step leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropout {
    /// The share of the embedding's numbers.
    pub embedding: f64,
    /// The share of the weights of attention.
    pub attention: f64,
    /// Of the masks.
    pub seed: u64,
}

/// The masks of one place in the model, at one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks {
    key: u64,
    rate: f64,
}

/// The increment of `SplitMix64`.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Masks {
    /// The masks of place `site`: 0 for the embedding, 1 + i for the attention of block i. `None` if
    /// nothing is left out.
    pub(super) fn new(seed: u64, step: u64, site: u64, rate: f64) -> Option<Self> {
        let within = |key: u64, number: u64| mix(key ^ mix(number.wrapping_add(GAMMA)));
        let key = within(within(mix(seed), step), site);
        (rate > 0.0).then_some(Self { key, rate })
    }

    /// The factors of `count` numbers from number `first` on, into the first lanes of `to`: 0, or
    /// `1 / (1 - rate)`.
    pub(super) fn factors<T: Element>(self, first: u64, count: usize, to: &mut [T::Lanes]) {
        // Of 2^64 equally likely draws, those below.
        let below = (self.rate * 18_446_744_073_709_551_616.0) as u64;
        let kept = T::from_f64(1.0 / (1.0 - self.rate));
        let width = T::Lanes::WIDTH;
        for (vector, lanes) in to.iter_mut().enumerate() {
            let lanes = lanes.lanes_mut().iter_mut().enumerate();
            for (lane, x) in lanes.take(count.saturating_sub(vector * width)) {
                let number = first + (vector * width + lane) as u64;
                let draw = mix(self.key.wrapping_add(number.wrapping_mul(GAMMA)));
                *x = if draw < below { T::ZERO } else { kept };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Masks;
    use crate::fast::lanes::{Element, Vector};

    /// The factors of `count` numbers from number `first` on.
    fn factors(masks: Masks, first: u64, count: usize) -> Vec<f64> {
        type Lanes = <f64 as Element>::Lanes;
        let mut lanes = vec![Lanes::ZERO; count.div_ceil(Lanes::WIDTH)];
        masks.factors::<f64>(first, count, &mut lanes);
        let all = lanes.iter().flat_map(|lanes| lanes.lanes().to_vec());
        all.take(count).collect()
    }

    /// True if every factor is one of the two, and so many are zero as of independent draws but for five
    /// standard deviations: then the mean is one, and what is evaluated without dropout is what was trained.
    fn is_dropout(factors: &[f64], rate: f64) -> bool {
        let kept = 1.0 / (1.0 - rate);
        let zeros = factors.iter().filter(|x| **x == 0.0).count() as f64;
        let count = factors.len() as f64;
        let deviation = (count * rate * (1.0 - rate)).sqrt();
        factors.iter().all(|x| *x == 0.0 || *x == kept)
            && (zeros - rate * count).abs() <= 5.0 * deviation
    }

    #[test]
    fn what_is_kept_makes_up_for_what_is_not() {
        for rate in [0.1, 0.5, 0.9] {
            let masks = Masks::new(3, 4, 1, rate).expect("some are left out");
            let all = factors(masks, 0, 20_000);
            assert!(is_dropout(&all, rate), "{rate}");
            let unscaled: Vec<f64> = all.iter().map(|x| x * (1.0 - rate)).collect();
            assert!(!is_dropout(&unscaled, rate), "{rate}, not scaled");
            assert!(!is_dropout(&all, 0.8 * rate), "{rate}, another share");
            // Numbers are drawn by their place, wherever a run of them begins.
            assert_eq!(factors(masks, 7, 100), all[7..107], "{rate}");
            for (seed, step, site) in [(2, 4, 1), (3, 5, 1), (3, 4, 2)] {
                let other = Masks::new(seed, step, site, rate).expect("some are left out");
                assert_ne!(factors(other, 0, 200), all[..200], "{seed}, {step}, {site}");
            }
        }
        assert!(Masks::new(3, 4, 1, 0.0).is_none());
    }
}
