//! The causal convolution of a chunk, miswritten.
//!
//! A product of spectra of length `n` is a circular convolution modulo `n`, so each mistake with
//! an FFT is written here as the sum it computes, exactly, without transforming.

use crate::algebra::RootsOfUnity;
use crate::into_vec::IntoVec as _;
use crate::ssm::causal_convolution;
use num_complex::Complex;

/// A convolution about to be computed.
pub(crate) struct Convolution<'a> {
    /// The kernel, cut to `l_max` and to the length of `u`.
    pub(super) kernel: &'a [f64],
    /// Any number of its taps, not cut.
    pub(super) taps: &'a dyn Fn(usize) -> Vec<f64>,
    /// The entries of the model's state.
    pub(super) state_dim: usize,
    pub(super) u: &'a [f64],
    pub(super) l_max: Option<usize>,
}

impl Convolution<'_> {
    /// The transform's length that is enough, the official code's: `L + L_k`.
    pub(super) fn padded(&self) -> usize {
        self.u.len() + self.kernel.len()
    }

    /// Without padding: modulo the input's length.
    pub(super) fn circular(&self) -> Vec<f64> {
        modulo(self.kernel, self.u, self.u.len())
    }

    /// All taps as they are, modulo the input's length: a roll.
    pub(super) fn rolled(&self) -> Vec<f64> {
        modulo(&(self.taps)(self.state_dim), self.u, self.u.len())
    }

    /// A kernel of at most `longest` taps, which may be longer than the input, modulo twice the
    /// input's length. (One that `l_max` truncates below the input's length is right in any case.)
    pub(super) fn aliased(&self, longest: usize) -> Vec<f64> {
        let len = self.u.len();
        if self.kernel.len() < len {
            return causal_convolution(self.kernel, self.u);
        }
        modulo(&(self.taps)(longest.clamp(len, 2 * len)), self.u, 2 * len)
    }

    /// With the conjugate of one spectrum: `sum_j f_j u_{i+j}`.
    pub(super) fn correlated(&self) -> Vec<f64> {
        let n = self.padded();
        let mut reversed = vec![0.0; n];
        for (j, &f) in self.kernel.iter().enumerate() {
            reversed[(n - j) % n] = f;
        }
        modulo(&reversed, self.u, n)
    }

    /// As long as `u`, but from entry `start` of the whole convolution on.
    pub(super) fn kept_from(&self, start: usize) -> Vec<f64> {
        let len = self.u.len();
        let mut padded = self.u.to_vec();
        padded.resize(self.padded() + start, 0.0);
        let mut whole = causal_convolution(self.kernel, &padded).split_off(start);
        whole.truncate(len);
        whole
    }

    /// The kernel back to front.
    pub(super) fn unflipped(&self) -> Vec<f64> {
        let reversed: Vec<f64> = self.kernel.iter().rev().copied().into_vec();
        causal_convolution(&reversed, self.u)
    }

    /// By the shortest transform that does not wrap around, whose inverse is not told its length;
    /// that goes wrong where the length is odd, and still returns enough points if it is beyond the
    /// input's.
    pub(super) fn resampled(&self) -> Vec<f64> {
        let (n, len) = (self.padded().saturating_sub(1), self.u.len());
        if n % 2 == 0 || n <= len {
            return causal_convolution(self.kernel, self.u);
        }
        let mut padded = self.u.to_vec();
        padded.resize(n, 0.0);
        // It does not wrap around.
        resample(&causal_convolution(self.kernel, &padded), len)
    }
}

/// The circular convolution modulo `n`, as long as `u`: each product lands at `i + j` modulo `n`.
fn modulo(taps: &[f64], u: &[f64], n: usize) -> Vec<f64> {
    let mut y = vec![0.0; n];
    for (j, &f) in taps.iter().enumerate() {
        // In two runs, so that no index is reduced one by one: up to n, and wrapped around.
        let start = j % n;
        let (before, after) = u.split_at(u.len().min(n - start));
        for (y, &u) in y[start..].iter_mut().zip(before) {
            *y += f * u;
        }
        for (y, &u) in y.iter_mut().zip(after) {
            *y += f * u;
        }
    }
    y.truncate(u.len());
    y
}

/// `irfft(rfft(y))` of odd length without the length: the `(n + 1)/2` bins read as those of a
/// signal of `n - 1` points, of which the first `len` are returned.
fn resample(y: &[f64], len: usize) -> Vec<f64> {
    let (n, short) = (y.len(), y.len() - 1);
    // There are roots of every order from 1.
    let roots = |n| Complex::<f64>::roots_of_unity(n).unwrap_or_default();
    let (long_roots, short_roots) = (roots(n), roots(short));
    let mut resampled = vec![0.0; len];
    // The roots k steps apart, over and over.
    let every = |roots: &'_ [Complex<f64>], k: usize, at: &mut usize| {
        let root = roots[*at];
        *at += k;
        if *at >= roots.len() {
            *at -= roots.len();
        }
        root
    };
    for k in 0..=short / 2 {
        let (mut bin, mut at) = (Complex::new(0.0, 0.0), 0);
        for &y in y {
            bin += every(&long_roots, k, &mut at).conj() * y;
        }
        // Bins 0 and short/2 have no mirror image.
        let weight = if k == 0 || k == short / 2 { 1.0 } else { 2.0 };
        let bin = bin * (weight / short as f64);
        let mut at = 0;
        for y in &mut resampled {
            *y += (bin * every(&short_roots, k, &mut at)).re;
        }
    }
    resampled
}
