//! Long convolution with arbitrary kernels.

use super::lanes::{Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::{Panels, lane_groups};
use super::threads::{Workspace, share};
use super::transform::{Pair, Transform, pointwise};
use crate::error::{Error, check_len};

/// Causal convolution of every channel with a kernel of its own, prepared for a level and a
/// length.
#[derive(Clone, Debug)]
pub struct LongConvolution<T: Element> {
    level: Level,
    channels: usize,
    seq_len: usize,
    transform: Transform<T>,
    /// [group][point], divided by the number of points.
    spectra: Vec<Pair<T::Lanes>>,
}

impl<T: Element> LongConvolution<T> {
    /// The convolution of `channels` signals of at most `seq_len` steps, with kernels that are
    /// zero until [`set_kernels`](Self::set_kernels).
    #[must_use]
    pub fn new(level: Level, channels: usize, seq_len: usize) -> Self {
        let transform = Transform::of_at_least(seq_len);
        let size = lane_groups::<T>(channels) * transform.len();
        Self {
            level,
            channels,
            seq_len,
            spectra: vec![[T::Lanes::ZERO; 2]; size],
            transform,
        }
    }

    /// Points of the transform.
    #[must_use]
    pub fn points(&self) -> usize {
        self.transform.len()
    }

    /// Takes the kernels (1, taps, channels) over as their spectra; taps beyond the longest
    /// signal cannot reach an output and are left out.
    ///
    /// # Errors
    ///
    /// If there is not one kernel a channel.
    pub fn set_kernels(
        &mut self,
        kernels: &Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        kernels.check("kernels", 1, self.channels, kernels.seq_len())?;
        if kernels.seq_len() == 0 {
            self.spectra.fill([T::Lanes::ZERO; 2]);
            return Ok(());
        }
        let taps = kernels.seq_len().min(self.seq_len);
        let (level, transform) = (self.level, &self.transform);
        let spectra = self.spectra.chunks_exact_mut(transform.len());
        let items = kernels.streams().zip(spectra);
        share(items, &mut workspace.threads, |_, (kernel, spectrum)| {
            level.run(Spectrum {
                transform,
                kernel: &kernel[..taps],
                spectrum,
            });
        });
        Ok(())
    }

    /// `y = f * u` for `u` and `y` (batch, seq_len, channels), `seq_len` at most the one prepared
    /// for. The result does not depend on the number of threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees.
    pub fn run(
        &self,
        u: &Panels<T>,
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        u.check("input", u.batch(), self.channels, u.seq_len())?;
        y.check("output", u.batch(), self.channels, u.seq_len())?;
        if u.seq_len() > self.seq_len {
            return Err(Error::value(
                "input",
                format!(
                    "{} steps; this convolution was prepared for at most {}",
                    u.seq_len(),
                    self.seq_len
                ),
            ));
        }
        if u.seq_len() == 0 || self.channels == 0 {
            return Ok(());
        }
        let n = self.transform.len();
        let groups = self.spectra.len() / n;
        check_len("spectra", groups, lane_groups::<T>(self.channels))?;
        let items = u.streams().zip(y.streams_mut()).enumerate();
        share(items, &mut workspace.threads, |scratch, (i, (u, y))| {
            let group = i % groups;
            scratch.points.resize(n, [T::Lanes::ZERO; 2]);
            self.level.run(Convolve {
                transform: &self.transform,
                spectrum: &self.spectra[group * n..(group + 1) * n],
                points: &mut scratch.points,
                u,
                y,
            });
        });
        Ok(())
    }
}

/// The spectrum of a kernel, over the number of points.
pub(super) struct Spectrum<'a, T: Element> {
    pub(super) transform: &'a Transform<T>,
    pub(super) kernel: &'a [T::Lanes],
    pub(super) spectrum: &'a mut [Pair<T::Lanes>],
}

impl<T: Element> Kernel for Spectrum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let n = self.transform.len();
        let scale = T::from_f64(1.0 / n as f64);
        self.transform
            .forward::<S>(self.kernel, scale, self.spectrum);
    }
}

struct Convolve<'a, T: Element> {
    transform: &'a Transform<T>,
    spectrum: &'a [Pair<T::Lanes>],
    points: &'a mut [Pair<T::Lanes>],
    u: &'a [T::Lanes],
    y: &'a mut [T::Lanes],
}

impl<T: Element> Kernel for Convolve<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self {
            transform,
            spectrum,
            points,
            u,
            y,
        } = self;
        transform.forward::<S>(u, T::ONE, points);
        pointwise::<T, S>(points, spectrum);
        transform.inverse::<S>(points, y);
    }
}
