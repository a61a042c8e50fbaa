//! The causal convolution, and how it is miswritten.
//!
//! A product of spectra of length `n` is a circular convolution modulo `n`, so each mistake with
//! an FFT is written here as the sum it computes, exactly, without transforming.

use super::Mutant::{
    CircularFft, CircularFftLong, ConvNoFlip, FftConj, FftConjLong, FftConjShift, IrfftOddN,
    LongKernelAlias, NormNeverLong, NormNeverShift, NormTwiceLong, NormTwiceShift, ShiftCyclicTime,
    ShiftLenAlias,
};
use super::switches::Switches;
use crate::algebra::RootsOfUnity;
use crate::error::Error;
use num_complex::Complex;

/// One of the layer's two convolutions, with the mistakes made in it.
#[derive(Clone, Copy)]
pub(super) struct Convolution {
    /// Modulo the input's length.
    circular: bool,
    /// All taps as they are, modulo the input's length: a roll.
    roll: bool,
    /// All taps, modulo twice the input's length.
    alias: bool,
    /// With the conjugate of a spectrum.
    correlate: bool,
    unflipped: bool,
    odd: bool,
    /// Times and divided by the transform's length.
    times_n: bool,
    over_n: bool,
}

impl Convolution {
    pub(super) fn shift(on: Switches<'_>) -> Self {
        Self {
            circular: on.on(CircularFft),
            roll: on.on(ShiftCyclicTime),
            alias: on.any(&[ShiftLenAlias, LongKernelAlias]),
            correlate: on.any(&[FftConj, FftConjShift]),
            unflipped: false,
            odd: on.on(IrfftOddN),
            times_n: on.on(NormNeverShift),
            over_n: on.on(NormTwiceShift),
        }
    }

    pub(super) fn long(on: Switches<'_>) -> Self {
        Self {
            circular: on.any(&[CircularFft, CircularFftLong]),
            roll: false,
            alias: on.on(LongKernelAlias),
            correlate: on.any(&[FftConj, FftConjLong]),
            unflipped: on.on(ConvNoFlip),
            odd: on.on(IrfftOddN),
            times_n: on.on(NormNeverLong),
            over_n: on.on(NormTwiceLong),
        }
    }

    /// The convolution of `u` with `kernel`, which is cut to `window` and to the length of `u`
    /// (where no mistake keeps it longer).
    pub(super) fn apply(
        &self,
        kernel: &[f64],
        window: usize,
        u: &[f64],
    ) -> Result<Vec<f64>, Error> {
        let len = u.len();
        let cut = window.min(len);
        // A kernel cut to l_max < L is not longer than the input, whatever else is done to it.
        let alias = self.alias && cut == len;
        let mut taps = kernel.to_vec();
        let n = if self.roll {
            len
        } else if alias {
            // M02, M14a: rfft(K, n) takes the first n taps, n = 2 L.
            taps.truncate(2 * len);
            2 * len
        } else {
            // RIGHT: no tap that cannot meet an input; padded as the FFT forms pad.
            taps.truncate(cut);
            // M01: n = L instead of at least L + L_k - 1.
            if self.circular { len } else { len + cut }
        };
        if self.unflipped {
            // M04: tap m weighs K_{L-1-m}.
            taps.resize(cut, 0.0);
            taps.reverse();
        }
        // M06: the shortest transform that does not wrap around, which is odd when L_k = L.
        let n = if self.odd && n == len + cut { n - 1 } else { n };
        let mut y = if self.odd && odd_transform(n, len) {
            resample(&self.modulo(&taps, u, n, n), len)?
        } else if n >= len + cut && !self.correlate && !alias {
            causal(&taps, u)
        } else {
            self.modulo(&taps, u, n, len)
        };
        // M05: n is the official transform's length here, L + L_k.
        let length = (len + cut) as f64;
        for y in &mut y {
            if self.times_n {
                *y *= length;
            }
            if self.over_n {
                *y /= length;
            }
        }
        Ok(y)
    }

    /// The first `count` elements of the circular convolution modulo `n`, or correlation (M03):
    /// each product lands at `i + j`, or `i - j`, modulo `n`.
    fn modulo(&self, taps: &[f64], u: &[f64], n: usize, count: usize) -> Vec<f64> {
        let mut y = vec![0.0; n];
        for (j, &f) in taps.iter().enumerate() {
            let j = j % n;
            // M03: conj on one spectrum turns i + j into i - j.
            let start = if self.correlate { (n - j) % n } else { j };
            // In two runs, so that no index is reduced one by one: up to n, and wrapped around.
            let (before, after) = u.split_at(u.len().min(n - start));
            for (y, &u) in y[start..].iter_mut().zip(before) {
                *y += f * u;
            }
            for (y, &u) in y.iter_mut().zip(after) {
                *y += f * u;
            }
        }
        y.truncate(count);
        y
    }
}

/// `y_i = sum_j f_j u_{i-j}`, tap by tap.
fn causal(taps: &[f64], u: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; u.len()];
    for (j, &f) in taps.iter().enumerate() {
        for (y, &u) in y[j..].iter_mut().zip(u) {
            *y += f * u;
        }
    }
    y
}

/// Whether an inverse transform without its length would go wrong, and still return `len` points:
/// `n` is odd and `n - 1 >= len`.
pub(super) fn odd_transform(n: usize, len: usize) -> bool {
    n % 2 == 1 && n > len
}

/// `irfft(rfft(y))` of odd length without the length: the `(n + 1)/2` bins read as those of a
/// signal of `n - 1` points, of which the first `len` are returned.
fn resample(y: &[f64], len: usize) -> Result<Vec<f64>, Error> {
    let (n, short) = (y.len(), y.len() - 1);
    let roots = |n| {
        Complex::<f64>::roots_of_unity(n)
            .ok_or_else(|| Error::unsupported(format!("no roots of unity of order {n}")))
    };
    let (long_roots, short_roots) = (roots(n)?, roots(short)?);
    // The root of exponent (i k) mod n, for i = 0, 1, ...: an index that grows by k.
    let turned = |at: &mut usize, k: usize, n: usize| {
        let now = *at;
        *at += k;
        if *at >= n {
            *at -= n;
        }
        now
    };
    let bins: Vec<Complex<f64>> = (0..=short / 2)
        .map(|k| {
            let mut at = 0;
            y.iter().fold(Complex::new(0.0, 0.0), |sum, &y| {
                sum + long_roots[turned(&mut at, k, n)].conj() * y
            })
        })
        .collect();
    let mut resampled = vec![0.0; len];
    for (k, bin) in bins.iter().enumerate() {
        // Bins 0 and short/2 have no mirror image.
        let weight = if k == 0 || k == short / 2 { 1.0 } else { 2.0 };
        let mut at = 0;
        for y in &mut resampled {
            *y += weight * (bin * short_roots[turned(&mut at, k, short)]).re;
        }
    }
    Ok(resampled.into_iter().map(|y| y / short as f64).collect())
}
