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
pub struct Masks {
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
    pub fn new(seed: u64, step: u64, site: u64, rate: f64) -> Option<Self> {
        let within = |key: u64, number: u64| mix(key ^ mix(number.wrapping_add(GAMMA)));
        let key = within(within(mix(seed), step), site);
        (rate > 0.0).then_some(Self { key, rate })
    }

    /// The factors of `count` numbers from number `first` on, into the first lanes of `to`: 0, or
    /// `1 / (1 - rate)`.
    pub fn factors<T: Element>(self, first: u64, count: usize, to: &mut [T::Lanes]) {
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
