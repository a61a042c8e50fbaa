//! The Rust peers, each as its own documentation would have it used.

use num_complex::Complex;
use realfft::{ComplexToReal, FftNum, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Causal convolution of every channel by realfft, of the power of two (or 3, 5 times one) that
/// holds the padded signal.
pub struct RealFft<T: FftNum> {
    n: usize,
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    input: Vec<T>,
    spectrum: Vec<Complex<T>>,
    kernel: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

/// The smallest 2^a 3^b 5^c, even, of at least `n`.
fn good_size(n: usize) -> usize {
    (n..)
        .find(|&size| {
            let mut rest = size;
            for p in [2, 3, 5] {
                while rest % p == 0 {
                    rest /= p;
                }
            }
            rest == 1 && size % 2 == 0
        })
        .unwrap_or(n)
}

impl<T: FftNum> RealFft<T> {
    pub fn new(len: usize) -> Self {
        let n = good_size(2 * len);
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(n);
        let inverse = planner.plan_fft_inverse(n);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            n,
            input: vec![T::zero(); n],
            spectrum: forward.make_output_vec(),
            kernel: forward.make_output_vec(),
            scratch: vec![Complex::new(T::zero(), T::zero()); scratch],
            forward,
            inverse,
        }
    }

    fn transform(&mut self, u: &[T]) {
        self.input[..u.len()].copy_from_slice(u);
        self.input[u.len()..].fill(T::zero());
        self.forward
            .process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch)
            .expect("planned lengths");
    }

    pub fn kernel(&mut self, f: &[T]) {
        self.transform(f);
        std::mem::swap(&mut self.spectrum, &mut self.kernel);
    }

    pub fn take_kernel(&self) -> Vec<Complex<T>> {
        self.kernel.clone()
    }

    /// With the kernel last given, or one given as its spectrum.
    pub fn convolve(&mut self, u: &[T], spectrum: Option<&[Complex<T>]>, y: &mut [T]) {
        self.transform(u);
        let scale = T::from_f64(1.0 / self.n as f64).expect("a float");
        let kernel = spectrum.unwrap_or(&self.kernel);
        for (x, &f) in self.spectrum.iter_mut().zip(kernel) {
            *x = *x * f * scale;
        }
        self.inverse
            .process_with_scratch(&mut self.spectrum, &mut self.input, &mut self.scratch)
            .expect("planned lengths");
        y.copy_from_slice(&self.input[..y.len()]);
    }
}
