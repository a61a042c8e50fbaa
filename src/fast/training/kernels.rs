//! The kernels of an H3 or S4D layer from its parameters, and the backward pass.
//!
//! They depend on no sequence, so they are formed once for a step, and what they received from all
//! sequences goes back to the parameters once.

use super::convolve::{Convolve, Correlate, pad};
use super::slots::Slots;
use crate::error::Error;
use crate::fast::diagonal::DiagonalParameters;
use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::layer_parameters::{CONTINUOUS, Continuous};
use crate::fast::level::{Isa, Kernel, Level};
use crate::fast::panels::lane_groups;
use crate::h3::Name;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, SsmMixer};
use core::ops::Range;
use num_complex::Complex;

/// Vectors of double precision, in which the responses of the diagonal models are summed.
type Wide = <f64 as Element>::Lanes;

/// Modes worked on at once, so that one product need not wait for the last.
const MODES: usize = 4;

/// The layout of the kernels of all layers for sequences of one length: [vector][tap] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelSizes {
    pub(super) head_dim: usize,
    /// Vectors that hold the heads.
    pub(super) heads: usize,
    /// Taps of the shift models; none in an S4D layer.
    pub(super) shift: usize,
    /// Taps of the diagonal models.
    pub(super) diagonal: usize,
}

impl KernelSizes {
    pub(super) fn new<T: Element>(config: &ModelConfig, seq_len: usize) -> Self {
        let (ssm, config) = (config.ssm, &config.h3);
        let diagonal = config.l_max.unwrap_or(seq_len).min(seq_len);
        Self {
            head_dim: config.head_dim,
            heads: lane_groups::<T>(config.n_heads()),
            shift: match ssm {
                SsmMixer::H3 => config.d_state.min(diagonal),
                SsmMixer::S4d => 0,
            },
            diagonal,
        }
    }

    /// Vectors that hold the channels: [d1][vector of heads].
    pub(super) fn channels(self) -> usize {
        self.head_dim * self.heads
    }

    /// Vectors of a layer's kernels: of the shift models, then of the diagonal ones.
    pub(super) fn len(self) -> usize {
        self.channels() * self.shift + self.heads * self.diagonal
    }

    /// The kernel of a vector of channels of the shift models.
    pub(super) fn of_shift(self, vector: usize) -> Range<usize> {
        vector * self.shift..(vector + 1) * self.shift
    }

    /// The kernel of a vector of heads of the diagonal models.
    pub(super) fn of_diagonal(self, vector: usize) -> Range<usize> {
        let first = self.channels() * self.shift + vector * self.diagonal;
        first..first + self.diagonal
    }
}

/// The kernels of one layer, and the data that the backward pass needs.
#[derive(Clone, Debug)]
pub(super) struct LayerKernels<T: Element> {
    pub(super) lanes: Vec<T::Lanes>,
    continuous: Continuous,
    sampled: DiagonalParameters,
    /// For eight heads at a time, every mode: pole, and product of `B` and `C`.
    modes: Vec<[Wide; 4]>,
}

/// A parameter in the official order, in double precision.
fn official<T: Element>(lanes: &[T::Lanes], len: usize) -> Vec<f64> {
    let numbers = lanes.iter().flat_map(|lanes| lanes.lanes());
    numbers.take(len).map(|x| x.to_f64()).into_vec()
}

/// The layer whose kernels are meant.
#[derive(Clone, Copy)]
pub(super) struct LayerOf<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) slots: &'a Slots,
    pub(super) block: usize,
    pub(super) level: Level,
    pub(super) sizes: KernelSizes,
}

impl LayerOf<'_> {
    fn part<'p, L>(&self, all: &'p [L], name: Name) -> &'p [L] {
        &all[self.place(name)]
    }

    /// The place of a parameter among all of the model; empty for one that the layer does not have.
    fn place(&self, name: Name) -> Range<usize> {
        self.slots.range(self.config.mixer_name(self.block, name))
    }

    /// The kernels, from all parameters of the model.
    ///
    /// # Errors
    ///
    /// If a discretization has no value.
    pub(super) fn kernels<T: Element>(
        &self,
        parameters: &[T::Lanes],
    ) -> Result<LayerKernels<T>, Error> {
        let (config, sizes) = (&self.config.h3, self.sizes);
        let of = |name: Name| {
            let len: usize = name.shape(config).iter().product();
            match self.part(parameters, name) {
                // An S4D layer has no `B`, which is 1.
                [] if name == Name::B => [1.0, 0.0].repeat(len / 2),
                lanes => official::<T>(lanes, len),
            }
        };
        let stored = CONTINUOUS.map(of);
        let continuous = Continuous::decode(config, stored.each_ref().map(Vec::as_slice));
        let sampled =
            DiagonalParameters::sampled(&continuous, config.n_modes(), &of(Name::C), &of(Name::D))
                .map_err(|e| Error::value(format!("block {}", self.block), e.to_string()))?;
        let mut kernels = LayerKernels {
            lanes: vec![T::Lanes::ZERO; sizes.len()],
            modes: modes(&sampled),
            continuous,
            sampled,
        };
        self.shift_kernels::<T>(parameters, &mut kernels.lanes);
        self.diagonal_kernels(&mut kernels);
        Ok(kernels)
    }

    /// `f_j = sum_n C_n B_{n-j}`, with `D` within `f_0`.
    fn shift_kernels<T: Element>(&self, parameters: &[T::Lanes], kernels: &mut [T::Lanes]) {
        let [b, c, d] =
            [Name::ShiftB, Name::ShiftC, Name::ShiftD].map(|name| self.part(parameters, name));
        let vectors = self.sizes.channels();
        let (mut padded, mut column) = (Vec::new(), Vec::new());
        for vector in 0..vectors {
            let rows = |x: &'_ [T::Lanes]| -> Vec<T::Lanes> {
                x.iter().skip(vector).step_by(vectors).copied().into_vec()
            };
            pad(&mut padded, T::Lanes::ZERO, rows(b).into_iter());
            column.clone_from(&rows(c));
            let kernel = &mut kernels[self.sizes.of_shift(vector)];
            self.level.run(Correlate::<T> {
                g: &column,
                u: &padded,
                sums: kernel,
            });
            if let (Some(first), Some(&d)) = (kernel.first_mut(), d.get(vector)) {
                *first = first.plus(d);
            }
        }
    }

    /// `f_j = 2 re(sum_n c_n b_n a_n^j)`, with `D` within `f_0`.
    fn diagonal_kernels<T: Element>(&self, kernels: &mut LayerKernels<T>) {
        let mut taps = vec![Wide::ZERO; self.sizes.diagonal];
        let d = &kernels.sampled.d;
        let groups = d.len().div_ceil(Wide::WIDTH).max(1);
        let modes = kernels.modes.chunks_exact(kernels.modes.len() / groups);
        for (group, modes) in modes.enumerate() {
            taps.fill(Wide::ZERO);
            self.level.run(Responses {
                modes,
                taps: &mut taps,
            });
            for lane in 0..Wide::WIDTH {
                let h = group * Wide::WIDTH + lane;
                let Some(&d) = d.get(h) else { break };
                let (vector, to) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
                let kernel = &mut kernels.lanes[self.sizes.of_diagonal(vector)];
                for (j, (f, taps)) in kernel.iter_mut().zip(&taps).enumerate() {
                    let f0 = if j == 0 { d } else { 0.0 };
                    f.lanes_mut()[to] = T::from_f64(taps.lanes()[lane] + f0);
                }
            }
        }
    }

    /// Writes what the layer's models receive to their places in `gradient`, where `received` is what
    /// their kernels did.
    pub(super) fn gradient<T: Element>(
        &self,
        kernels: &LayerKernels<T>,
        parameters: &[T::Lanes],
        received: &[T::Lanes],
        gradient: &mut [T::Lanes],
    ) {
        self.shift_gradient::<T>(parameters, received, gradient);
        self.diagonal_gradient(kernels, received, gradient);
    }

    /// `C_n` receives `sum_j f_j's B_{n-j}`, `B_n` `sum_j f_j's C_{n+j}`, `D` what `f_0` does.
    fn shift_gradient<T: Element>(
        &self,
        parameters: &[T::Lanes],
        received: &[T::Lanes],
        gradient: &mut [T::Lanes],
    ) {
        if self.sizes.shift == 0 {
            return;
        }
        let [b, c] = [Name::ShiftB, Name::ShiftC].map(|name| self.part(parameters, name));
        let vectors = self.sizes.channels();
        let (mut padded, mut sums) = (Vec::new(), Vec::new());
        for vector in 0..vectors {
            let kernel = &received[self.sizes.of_shift(vector)];
            let rows = |x: &'_ [T::Lanes]| -> Vec<T::Lanes> {
                x.iter().skip(vector).step_by(vectors).copied().into_vec()
            };
            pad(&mut padded, T::Lanes::ZERO, rows(b).into_iter());
            self.level.run(Convolve::<T> {
                kernel,
                u: &padded,
                y: &mut sums,
            });
            let of_c = gradient[self.place(Name::ShiftC)].iter_mut();
            let of_c = of_c.skip(vector).step_by(vectors);
            of_c.zip(&sums).for_each(|(to, &sum)| *to = sum);
            pad(&mut padded, T::Lanes::ZERO, rows(c).into_iter().rev());
            self.level.run(Convolve::<T> {
                kernel,
                u: &padded,
                y: &mut sums,
            });
            let of_b = gradient[self.place(Name::ShiftB)].iter_mut();
            let of_b = of_b.skip(vector).step_by(vectors);
            of_b.zip(sums.iter().rev()).for_each(|(to, &sum)| *to = sum);
            gradient[self.place(Name::ShiftD)][vector] = kernel[0];
        }
    }

    /// With `w = c b` and `S(a) = sum_j f_j's a^j`, `w` receives `2 S^*` and `a` `2 (w S')^*`; from there
    /// through the discretization.
    fn diagonal_gradient<T: Element>(
        &self,
        kernels: &LayerKernels<T>,
        received: &[T::Lanes],
        gradient: &mut [T::Lanes],
    ) {
        let (sampled, n) = (&kernels.sampled, self.config.h3.n_modes());
        let heads = sampled.d.len();
        let groups = heads.div_ceil(Wide::WIDTH).max(1);
        let mut taps = vec![Wide::ZERO; self.sizes.diagonal];
        let mut sums = vec![[Wide::ZERO; 4]; kernels.modes.len() / groups];
        let zero = Complex::new(0.0, 0.0);
        let [mut of_a, mut of_b, mut of_c] = [(); 3].map(|()| vec![zero; heads * n]);
        let mut of_d = Vec::with_capacity(heads);
        let modes = kernels.modes.chunks_exact(sums.len());
        for (group, modes) in modes.enumerate() {
            let first = group * Wide::WIDTH;
            let here = heads.min(first + Wide::WIDTH) - first;
            for lane in 0..here {
                let (vector, from) = (
                    (first + lane) / T::Lanes::WIDTH,
                    (first + lane) % T::Lanes::WIDTH,
                );
                let kernel = &received[self.sizes.of_diagonal(vector)];
                for (taps, f) in taps.iter_mut().zip(kernel) {
                    taps.lanes_mut()[lane] = f.lanes()[from].to_f64();
                }
            }
            self.level.run(Slopes {
                modes,
                taps: &taps,
                sums: &mut sums,
            });
            for lane in 0..here {
                let h = first + lane;
                of_d.push(taps[0].lanes()[lane]);
                for (i, sums) in sums.iter().take(n).enumerate() {
                    let [re, im, slope_re, slope_im] = sums.map(|sum| sum.lanes()[lane]);
                    let at = h * n + i;
                    let (b, c) = (sampled.b[at], sampled.c[at]);
                    let of_w = Complex::new(re, im).conj() * 2.0;
                    of_a[at] = (b * c * Complex::new(slope_re, slope_im)).conj() * 2.0;
                    of_b[at] = c.conj() * of_w;
                    of_c[at] = b.conj() * of_w;
                }
            }
        }
        let continuous = kernels.continuous.gradient(&of_a, &of_b);
        let of_c: Vec<_> = of_c.iter().flat_map(|z| [z.re, z.im]).into_vec();
        for (name, values) in [
            (Name::LogDt, continuous.log_dt),
            (Name::B, continuous.b),
            (Name::InvAReal, continuous.inv_a_real),
            (Name::AImag, continuous.a_imag),
            (Name::C, of_c),
            (Name::D, of_d),
        ] {
            let to = &mut gradient[self.place(name)];
            let to = to.iter_mut().flat_map(|lanes| lanes.lanes_mut());
            to.zip(values).for_each(|(to, x)| *to = T::from_f64(x));
        }
    }
}

/// The modes of all heads in lanes, filled up to whole steps of [`MODES`].
fn modes(of: &DiagonalParameters) -> Vec<[Wide; 4]> {
    let heads = of.d.len();
    let each = of.pairs.next_multiple_of(MODES).max(MODES);
    let mut modes = vec![[Wide::ZERO; 4]; heads.div_ceil(Wide::WIDTH) * each];
    for h in 0..heads {
        let (group, lane) = (h / Wide::WIDTH, h % Wide::WIDTH);
        for n in 0..of.pairs {
            let at = h * of.pairs + n;
            let (a, w) = (of.a[at], of.b[at] * of.c[at]);
            let parts = modes[group * each + n]
                .iter_mut()
                .zip([a.re, a.im, w.re, w.im]);
            parts.for_each(|(to, x)| to.lanes_mut()[lane] = x);
        }
    }
    modes
}

/// `taps_j += 2 re(sum over modes of w a^j)`.
struct Responses<'a> {
    modes: &'a [[Wide; 4]],
    taps: &'a mut [Wide],
}

impl Kernel for Responses<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let two = Wide::splat(2.0);
        for modes in self.modes.as_chunks::<MODES>().0 {
            let mut re = [Wide::ZERO; MODES];
            let mut im = [Wide::ZERO; MODES];
            for n in 0..MODES {
                re[n] = modes[n][2].times(two);
                im[n] = modes[n][3].times(two);
            }
            for tap in self.taps.iter_mut() {
                for n in 0..MODES {
                    let [ar, ai, _, _] = modes[n];
                    *tap = tap.plus(re[n]);
                    let next = ai.fnma::<S>(im[n], ar.times(re[n]));
                    im[n] = ai.fma::<S>(re[n], ar.times(im[n]));
                    re[n] = next;
                }
            }
        }
    }
}

/// For every mode `sum_j f_j a^j` and its slope in `a`, real and imaginary parts, from the last tap on.
struct Slopes<'a> {
    modes: &'a [[Wide; 4]],
    taps: &'a [Wide],
    sums: &'a mut [[Wide; 4]],
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let modes = self.modes.as_chunks::<MODES>().0;
        let sums = self.sums.as_chunks_mut::<MODES>().0;
        for (modes, sums) in modes.iter().zip(sums) {
            *sums = [[Wide::ZERO; 4]; MODES];
            for tap in self.taps.iter().rev() {
                for n in 0..MODES {
                    let [ar, ai, _, _] = modes[n];
                    let [re, im, slope_re, slope_im] = sums[n];
                    sums[n] = [
                        ai.fnma::<S>(im, ar.fma::<S>(re, *tap)),
                        ai.fma::<S>(re, ar.times(im)),
                        ai.fnma::<S>(slope_im, ar.fma::<S>(slope_re, re)),
                        ai.fma::<S>(slope_re, ar.fma::<S>(slope_im, im)),
                    ];
                }
            }
        }
    }
}
