//! Seeded random numbers for verification: the same on every machine.

use super::m61::M61;
use super::real::Real;
use super::scalar::{ComplexScalar, Scalar};
use num_complex::Complex;

/// A small seeded generator (SplitMix64; Steele, Lea and Flood 2014).
///
/// Integer arithmetic only, so a seed names the same stream on every machine. Not for
/// cryptography.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream named by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream called `name` among those of `seed`. It is independent, so nothing else drawn
    /// from the seed changes it.
    #[must_use]
    pub fn named(seed: u64, name: &str) -> Self {
        Self(name.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        }))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform integer in `0..bound` (`bound` is taken as at least 1), by multiplication of
    /// the high bits; the bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * bound.max(1) as u128;
        (wide >> 64) as usize
    }

    /// A uniform number in `[-1, 1)`, a multiple of `2^-52`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits fit f64 exactly.
        let fraction = (self.next_u64() >> 11) as f64;
        fraction / (1u64 << 52) as f64 - 1.0
    }
}

/// Random scalars and the random coefficients that keep a state space model from growing.
pub trait Sample: Scalar {
    /// A random scalar: uniform over `M61`, uniform in `[-1, 1)` for floats.
    fn sample(rng: &mut Rng) -> Self;

    /// A random complex number; over `M61` uniform over the field with `p^2` elements.
    fn sample_complex(rng: &mut Rng) -> Self::Complex {
        let re = Self::sample(rng);
        Self::Complex::from_parts(re, Self::sample(rng))
    }

    /// A random diagonal entry of a state matrix: for floats inside the unit disc, so that
    /// powers do not grow; over `M61`, where nothing grows, uniform.
    fn sample_pole(rng: &mut Rng) -> Self::Complex;

    /// A random entry of a dense `m x m` state matrix: for floats in `[-1/m, 1/m)`, so that the
    /// matrix does not expand; over `M61` uniform.
    fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self;
}

impl Sample for M61 {
    fn sample(rng: &mut Rng) -> Self {
        // Rejecting the eight residues above 8p keeps the draw exactly uniform.
        loop {
            let n = rng.next_u64() >> 3;
            if n < M61::MODULUS {
                return M61::new(n);
            }
        }
    }

    fn sample_pole(rng: &mut Rng) -> Complex<M61> {
        Self::sample_complex(rng)
    }

    fn sample_dense_entry(_m: usize, rng: &mut Rng) -> Self {
        Self::sample(rng)
    }
}

macro_rules! sample_float {
    ($float:ident) => {
        impl Sample for $float {
            fn sample(rng: &mut Rng) -> Self {
                Self::from_f64(rng.unit())
            }

            fn sample_pole(rng: &mut Rng) -> Complex<$float> {
                // A rational point of the unit circle, (1 - t^2 + 2 i t)/(1 + t^2), turned into
                // every quadrant and shrunk by a radius in [0.5, 1): no trigonometry, so the
                // same bits on every machine.
                let (t, radius) = (rng.unit(), 0.75 + 0.25 * rng.unit());
                let norm = 1.0 + t * t;
                let (x, y) = (radius * (1.0 - t * t) / norm, radius * 2.0 * t / norm);
                let (x, y) = if rng.next_u64() >> 63 == 0 {
                    (x, y)
                } else {
                    (-x, y)
                };
                Complex::new(Self::from_f64(x), Self::from_f64(y))
            }

            fn sample_dense_entry(m: usize, rng: &mut Rng) -> Self {
                Self::from_f64(rng.unit() / m.max(1) as f64)
            }
        }
    };
}

sample_float!(f32);
sample_float!(f64);
