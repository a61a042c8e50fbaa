//! Long convolution with arbitrary kernels.

use super::lanes::{Element, Vector};
use super::level::{Isa, Kernel, Level};
use super::panels::{Panels, lane_groups};
use super::scratch::Scratch;
use super::share::share;
use super::transform::{Gated, Pair, Size, Transform};
use super::workspace::Workspace;
use crate::error::{Error, check_len};

/// Causal convolution of every channel with its own kernel, prepared for a level, a length and
/// a number of taps.
///
/// A kernel about as long as the signal meets it in one transform. A much shorter one meets it part by
/// part, in transforms about as long as the kernel, each handing to the next what reaches beyond its own part
/// (overlap-add): time and memory then depend on the kernel, not on the signal.
#[derive(Clone, Debug)]
pub struct LongConvolution<T: Element> {
    level: Level,
    channels: usize,
    seq_len: usize,
    taps: usize,
    transform: Transform<T>,
    /// [group][point], divided by the number of points.
    spectra: Vec<Pair<T::Lanes>>,
}

impl<T: Element> LongConvolution<T> {
    /// Vector operations per group of lanes over so many steps, about.
    pub(super) fn operations(&self, len: usize) -> usize {
        const PER_POINT: usize = 44;
        len.next_multiple_of(self.transform.len()) * PER_POINT
    }

    /// The convolution of `channels` signals of at most `seq_len` steps, with kernels of any
    /// length that are zero until [`set_kernels`](Self::set_kernels).
    #[must_use]
    pub fn new(level: Level, channels: usize, seq_len: usize) -> Self {
        Self::with_taps(level, channels, seq_len, seq_len)
    }

    /// As [`new`](Self::new), with kernels of at most `taps` taps. `usize::MAX` steps are signals of any
    /// length.
    #[must_use]
    pub fn with_taps(level: Level, channels: usize, seq_len: usize, taps: usize) -> Self {
        let taps = taps.min(seq_len);
        let transform = Transform::new(&Size::for_parts(seq_len, taps));
        let size = lane_groups::<T>(channels) * transform.len();
        Self {
            level,
            channels,
            seq_len,
            taps,
            spectra: vec![[T::Lanes::ZERO; 2]; size],
            transform,
        }
    }

    /// Points of the transform, and steps of a part.
    #[must_use]
    pub fn points(&self) -> usize {
        self.transform.len()
    }

    /// Takes the kernels (1, taps, channels) over as their spectra; taps beyond the longest
    /// signal cannot reach an output and are left out.
    ///
    /// # Errors
    ///
    /// If there is not one kernel per channel, or more taps than prepared for reach an output.
    pub fn set_kernels(
        &mut self,
        kernels: &Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        self.set_kernels_and_feedthrough(kernels, None, workspace)
    }

    /// As [`set_kernels`](Self::set_kernels), with `D` of every channel, which is added to the first taps:
    /// `y = f * u + D u`.
    ///
    /// # Errors
    ///
    /// As there, and if there is not one `D` a channel.
    pub fn set_kernels_and_feedthrough(
        &mut self,
        kernels: &Panels<T>,
        feedthrough: Option<&[T]>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        if let Some(d) = feedthrough {
            check_len("D", d.len(), self.channels)?;
        }
        kernels.check("kernels", 1, self.channels, kernels.seq_len())?;
        let taps = kernels.seq_len().min(self.seq_len);
        if taps > self.taps {
            return Err(Error::value(
                "kernels",
                format!(
                    "{taps} taps; this convolution was prepared for at most {}",
                    self.taps
                ),
            ));
        }
        let (level, transform) = (self.level, &self.transform);
        let threads =
            workspace.threads_for(self.spectra.len() / transform.len() * self.operations(1));
        let spectra = self.spectra.chunks_exact_mut(transform.len()).enumerate();
        share(spectra, threads, |_, (i, spectrum)| {
            level.run(Spectrum {
                transform,
                kernel: kernels.stream(i).get(..taps).unwrap_or_default(),
                feedthrough: match feedthrough {
                    Some(d) => T::Lanes::load(&d[i * T::Lanes::WIDTH..]),
                    None => T::Lanes::ZERO,
                },
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
        self.run_gated(u, [None, None], y, workspace)
    }

    /// `y = post (f * (pre u))` for the gates `[pre, post]`, each in the shape of `u`; one that is `None` is
    /// ones.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_gated(
        &self,
        u: &Panels<T>,
        gates: [Option<&Panels<T>>; 2],
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let len = u.seq_len();
        u.check("input", u.batch(), self.channels, len)?;
        y.check("output", u.batch(), self.channels, len)?;
        for (gate, what) in gates
            .iter()
            .zip(["gate of the input", "gate of the output"])
        {
            if let Some(gate) = gate {
                gate.check(what, u.batch(), self.channels, len)?;
            }
        }
        if len > self.seq_len {
            return Err(Error::value(
                "input",
                format!(
                    "{len} steps; this convolution was prepared for at most {}",
                    self.seq_len
                ),
            ));
        }
        if len == 0 || self.channels == 0 {
            return Ok(());
        }
        let groups = self.spectra.len() / self.transform.len();
        check_len("spectra", groups, lane_groups::<T>(self.channels))?;
        let [before, after] = gates;
        let threads = workspace.threads_for(y.batch() * groups * self.operations(y.seq_len()));
        let items = y.streams_mut().enumerate();
        share(items, threads, |scratch, (i, y)| {
            let Scratch { points, window, .. } = scratch;
            let u = Gated {
                signal: u.stream(i),
                gate: before.map(|gate| gate.stream(i)),
            };
            let y = (y, after.map(|gate| gate.stream(i)));
            self.run_group(i % groups, u, y, points, window);
        });
        Ok(())
    }

    /// One group of lanes over one signal each, of any length: outputs and what is multiplied with them, if
    /// anything.
    pub(super) fn run_group(
        &self,
        group: usize,
        u: Gated<'_, T::Lanes>,
        y: (&mut [T::Lanes], Option<&[T::Lanes]>),
        points: &mut Vec<Pair<T::Lanes>>,
        tail: &mut Vec<T::Lanes>,
    ) {
        let n = self.transform.len();
        points.resize(n, [T::Lanes::ZERO; 2]);
        // What a part adds to the next, if there is one.
        tail.clear();
        if u.signal.len() > n {
            tail.resize(self.taps.saturating_sub(1), T::Lanes::ZERO);
        }
        self.level.run(Convolve {
            transform: &self.transform,
            spectrum: &self.spectra[group * n..(group + 1) * n],
            points,
            u,
            y,
            tail,
        });
    }
}

/// The spectrum of a kernel, over the number of points.
struct Spectrum<'a, T: Element> {
    transform: &'a Transform<T>,
    kernel: &'a [T::Lanes],
    feedthrough: T::Lanes,
    spectrum: &'a mut [Pair<T::Lanes>],
}

impl<T: Element> Kernel for Spectrum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let scale = T::from_f64(1.0 / self.transform.len() as f64);
        self.transform
            .spectrum::<S>(self.kernel, self.feedthrough, scale, self.spectrum);
    }
}

struct Convolve<'a, T: Element> {
    transform: &'a Transform<T>,
    spectrum: &'a [Pair<T::Lanes>],
    points: &'a mut [Pair<T::Lanes>],
    u: Gated<'a, T::Lanes>,
    y: (&'a mut [T::Lanes], Option<&'a [T::Lanes]>),
    tail: &'a mut [T::Lanes],
}

impl<'a, T: Element> Kernel for Convolve<'a, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let n = self.transform.len();
        let (y, gate) = self.y;
        for (i, (u, y)) in self.u.signal.chunks(n).zip(y.chunks_mut(n)).enumerate() {
            let of_part = |gate: &'a [T::Lanes]| &gate[i * n..][..u.len()];
            let u = Gated {
                signal: u,
                gate: self.u.gate.map(of_part),
            };
            let y = (y, gate.map(of_part));
            self.transform
                .convolve::<S>(u, self.spectrum, self.points, y, self.tail);
        }
    }
}
