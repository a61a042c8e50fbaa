//! Lanes: one 64-byte vector of neighbouring channels, and the scalars it can be made of.

use super::level::Isa;
use crate::algebra::Real;
use core::fmt::Debug;
use num_complex::Complex;

/// A vector of neighbouring channels: 64 bytes at every level, so that layouts do not depend on the
/// level. Narrower machines use several registers per vector.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes<T, const W: usize>([T; W]);

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A float the fast path runs in: `f32` or `f64`.
pub trait Element: Real<Complex = Complex<Self>> + Default + PartialEq + sealed::Sealed {
    /// Its lane vector.
    type Lanes: Arithmetic<Self>;
}

impl Element for f32 {
    type Lanes = Lanes<f32, 16>;
}

impl Element for f64 {
    type Lanes = Lanes<f64, 8>;
}

/// Elementwise arithmetic of a lane vector, as loops over an array.
///
/// Sealed by [`Element`]: only its two lane types implement it.
pub trait Vector<T>: Copy + Debug + Default + Send + Sync + 'static {
    /// The number of lanes.
    const WIDTH: usize;
    /// All lanes zero.
    const ZERO: Self;

    /// The same number in every lane.
    fn splat(x: T) -> Self;
    /// The lanes, to be read.
    fn lanes(&self) -> &[T];
    /// The lanes, to be written.
    fn lanes_mut(&mut self) -> &mut [T];
    /// The first `WIDTH` numbers of a slice; zeros where it is shorter.
    fn load(from: &[T]) -> Self;
    /// Writes the lanes to a slice; no more than it has places for.
    fn store(&self, to: &mut [T]);
}

/// An array of the stored forms of lanes. Not re-exported: a sealed detail of [`Element`].
pub trait Codes<C>:
    Copy + Debug + Default + AsMut<[C]> + AsRef<[C]> + Send + Sync + 'static
{
}

impl Codes<u32> for [u32; 8] {}
impl Codes<u32> for [u32; 4] {}
impl Codes<i8> for [i8; 16] {}
impl Codes<i8> for [i8; 8] {}

/// The map that [`Arithmetic::lanewise`] applies to each lane. Not a closure, since a closure cannot be told
/// to be inlined, and one that is not is compiled for the baseline.
pub trait LaneMap<T, const I: usize, const O: usize> {
    /// The image of one lane. `#[inline(always)]`.
    fn map<S: Isa>(&self, x: [T; I]) -> [T; O];
}

/// The arithmetic, compiled per instruction set. Not re-exported: a sealed detail of [`Element`].
pub trait Arithmetic<T>: Vector<T> {
    /// As many numbers of 16 bits as there are lanes: those of the first half in the lower halves of the words, those of
    /// the second in the upper ones, so that they come apart without a move between lanes.
    type Halves: Codes<u32>;
    /// As many numbers of 8 bits as there are lanes.
    type Bytes: Codes<i8>;

    /// Lanes stored as the upper halves of f32.
    fn from_bf16(halves: &Self::Halves) -> Self;
    /// Lanes stored in IEEE 754 binary16, all finite.
    fn from_f16(halves: &Self::Halves) -> Self;
    /// Lanes stored as levels, times their scales, rounded to f32.
    fn from_levels(levels: &Self::Bytes, scales: Self) -> Self;
    /// `self * b + c`, in one rounding where the level can.
    fn fma<S: Isa>(self, b: Self, c: Self) -> Self;
    /// `c - self * b`, likewise.
    fn fnma<S: Isa>(self, b: Self, c: Self) -> Self;
    /// `self + b`
    fn plus(self, b: Self) -> Self;
    /// `self - b`
    fn minus(self, b: Self) -> Self;
    /// `self * b`
    fn times(self, b: Self) -> Self;
    /// `a * b + c` of one lane, in one rounding where the level can.
    fn fma_lane<S: Isa>(a: T, b: T, c: T) -> T;
    /// `f` in every lane, from `I` vectors to `O`.
    ///
    /// One loop over lanes around all of `f`, for computations whose intermediate values are used
    /// more than once: chains of whole-vector operations are left to the compiler's straight-line
    /// vectorizer, which gives up on those, while a loop of a body too long to be unrolled is
    /// vectorized as a loop.
    fn lanewise<S: Isa, const I: usize, const O: usize>(
        a: [Self; I],
        f: &impl LaneMap<T, I, O>,
    ) -> [Self; O];
}

macro_rules! lanes {
    ($float:ident, $width:literal) => {
        impl Default for Lanes<$float, $width> {
            fn default() -> Self {
                Self::ZERO
            }
        }

        impl Vector<$float> for Lanes<$float, $width> {
            const WIDTH: usize = $width;
            const ZERO: Self = Self([0.0; $width]);

            #[inline(always)]
            fn splat(x: $float) -> Self {
                Self([x; $width])
            }

            #[inline(always)]
            fn lanes(&self) -> &[$float] {
                &self.0
            }

            #[inline(always)]
            fn lanes_mut(&mut self) -> &mut [$float] {
                &mut self.0
            }

            #[inline(always)]
            fn load(from: &[$float]) -> Self {
                match from.first_chunk::<$width>() {
                    Some(whole) => Self(*whole),
                    None => {
                        let mut lanes = [0.0; $width];
                        lanes[..from.len()].copy_from_slice(from);
                        Self(lanes)
                    }
                }
            }

            #[inline(always)]
            fn store(&self, to: &mut [$float]) {
                match to.first_chunk_mut::<$width>() {
                    Some(whole) => *whole = self.0,
                    None => {
                        let len = to.len();
                        to.copy_from_slice(&self.0[..len]);
                    }
                }
            }
        }

        impl Arithmetic<$float> for Lanes<$float, $width> {
            type Halves = [u32; $width / 2];
            type Bytes = [i8; $width];

            #[inline(always)]
            fn from_bf16(halves: &[u32; $width / 2]) -> Self {
                let mut r = Self::ZERO;
                for l in 0..$width / 2 {
                    r.0[l] = f32::from_bits(halves[l] << 16) as $float;
                    r.0[l + $width / 2] = f32::from_bits(halves[l] & 0xffff_0000) as $float;
                }
                r
            }

            /// The exponent goes to its place in an f32 and is off by 112 there, which a product with `2^112` makes
            /// up for, exactly, subnormal numbers included. The sign is drawn along by the shifts.
            #[inline(always)]
            fn from_f16(halves: &[u32; $width / 2]) -> Self {
                const UP: f32 = f32::from_bits((127 + 112) << 23);
                const PLACES: u32 = 0x8fff_e000;
                let mut r = Self::ZERO;
                for l in 0..$width / 2 {
                    let lower = ((halves[l] << 16) as i32 >> 3) as u32;
                    let upper = (halves[l] as i32 >> 3) as u32;
                    r.0[l] = (f32::from_bits(lower & PLACES) * UP) as $float;
                    r.0[l + $width / 2] = (f32::from_bits(upper & PLACES) * UP) as $float;
                }
                r
            }

            #[inline(always)]
            fn from_levels(levels: &[i8; $width], scales: Self) -> Self {
                let mut r = Self::ZERO;
                for l in 0..$width {
                    r.0[l] = (f32::from(levels[l]) * (scales.0[l] as f32)) as $float;
                }
                r
            }

            #[inline(always)]
            fn fma<S: Isa>(self, b: Self, c: Self) -> Self {
                let mut r = c;
                for l in 0..$width {
                    r.0[l] = if S::FMA {
                        self.0[l].mul_add(b.0[l], c.0[l])
                    } else {
                        self.0[l] * b.0[l] + c.0[l]
                    };
                }
                r
            }

            #[inline(always)]
            fn fnma<S: Isa>(self, b: Self, c: Self) -> Self {
                let mut r = c;
                for l in 0..$width {
                    r.0[l] = if S::FMA {
                        (-self.0[l]).mul_add(b.0[l], c.0[l])
                    } else {
                        c.0[l] - self.0[l] * b.0[l]
                    };
                }
                r
            }

            #[inline(always)]
            fn plus(self, b: Self) -> Self {
                let mut r = self;
                for l in 0..$width {
                    r.0[l] += b.0[l];
                }
                r
            }

            #[inline(always)]
            fn minus(self, b: Self) -> Self {
                let mut r = self;
                for l in 0..$width {
                    r.0[l] -= b.0[l];
                }
                r
            }

            #[inline(always)]
            fn times(self, b: Self) -> Self {
                let mut r = self;
                for l in 0..$width {
                    r.0[l] *= b.0[l];
                }
                r
            }

            #[inline(always)]
            fn fma_lane<S: Isa>(a: $float, b: $float, c: $float) -> $float {
                if S::FMA { a.mul_add(b, c) } else { a * b + c }
            }

            #[inline(always)]
            fn lanewise<S: Isa, const I: usize, const O: usize>(
                a: [Self; I],
                f: &impl LaneMap<$float, I, O>,
            ) -> [Self; O] {
                let mut out = [Self::ZERO; O];
                for l in 0..$width {
                    // Counted loops: with iterators here the whole is not vectorized.
                    let mut lane = [0.0; I];
                    for k in 0..I {
                        lane[k] = a[k].0[l];
                    }
                    let lane = f.map::<S>(lane);
                    for k in 0..O {
                        out[k].0[l] = lane[k];
                    }
                }
                out
            }
        }
    };
}

lanes!(f32, 16);
lanes!(f64, 8);
