//! Causal convolutions of short signals, term by term, and their adjoints.
//!
//! Half of the products a kernel has with a signal of as many steps fall away, and none of the rest needs a
//! state: for the lengths that are trained on, up to a few hundred tokens, that is less than blocks or
//! transforms take.

use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::{Isa, Kernel};

/// Neighbouring outputs computed together.
const TILE: usize = 4;

/// Resizes `padded` to `signal` with zeros before it and after it, for [`Convolve`] and [`Correlate`] to
/// read tiles across its ends.
pub(super) fn pad<L: Copy>(padded: &mut Vec<L>, zero: L, signal: impl Iterator<Item = L>) {
    padded.clear();
    padded.resize(TILE - 1, zero);
    padded.extend(signal);
    padded.resize(padded.len() + TILE, zero);
}

/// The steps of a padded signal.
fn steps<L>(padded: &[L]) -> usize {
    padded.len() - (2 * TILE - 1)
}

/// `y_t = sum_j f_j u_{t-j}`.
pub(super) struct Convolve<'a, T: Element> {
    pub(super) kernel: &'a [T::Lanes],
    /// Padded.
    pub(super) u: &'a [T::Lanes],
    pub(super) y: &'a mut Vec<T::Lanes>,
}

impl<T: Element> Kernel for Convolve<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { kernel, u, y } = self;
        let len = steps(u);
        y.resize(len, T::Lanes::ZERO);
        for (tile, y) in y.chunks_mut(TILE).enumerate() {
            let t = tile * TILE;
            let mut acc = [T::Lanes::ZERO; TILE];
            for (j, f) in kernel.iter().take(t + TILE).enumerate() {
                // Output t + i reads input t + i - j, with TILE - 1 zeros before the first.
                let Some(u) = u[t + TILE - 1 - j..].first_chunk::<TILE>() else {
                    continue;
                };
                for i in 0..TILE {
                    acc[i] = f.fma::<S>(u[i], acc[i]);
                }
            }
            y.copy_from_slice(&acc[..y.len()]);
        }
    }
}

/// `sums_j += sum_t g_t u_{t-j}`: what a kernel receives.
pub(super) struct Correlate<'a, T: Element> {
    pub(super) g: &'a [T::Lanes],
    /// Padded.
    pub(super) u: &'a [T::Lanes],
    pub(super) sums: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Correlate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { g, u, sums } = self;
        for (tile, sums) in sums.chunks_mut(TILE).enumerate() {
            let j = tile * TILE;
            let mut acc = [T::Lanes::ZERO; TILE];
            for (t, g) in g.iter().skip(j).enumerate() {
                // Tap j + i reads input t - i, with TILE - 1 zeros before the first.
                let Some(u) = u[t..].first_chunk::<TILE>() else {
                    continue;
                };
                for i in 0..TILE {
                    acc[i] = g.fma::<S>(u[TILE - 1 - i], acc[i]);
                }
            }
            for (sum, acc) in sums.iter_mut().zip(acc) {
                *sum = sum.plus(acc);
            }
        }
    }
}
