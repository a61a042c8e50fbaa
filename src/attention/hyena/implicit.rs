//! Filters that are not stored but computed, from the position, by a small network.

use super::filter::Filter;
use crate::algebra::{Linear, Matrix, Real, pi};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Hyena's implicit filters (Poli et al. 2023; safari, `HyenaFilter`): for every
/// channel c, `h_c(i) = window_c(t_i) FFN_c(z_i)`, `i = 0, ..., l_max - 1`, where
/// `t_i = i / (l_max - 1)`, `z_i` are [`positional_features`] and `FFN` is linear layers with the
/// activation `sin(frequency x)` after each but the last.
///
/// Channel `n d + c` is that of channel c in the n-th long filter.
#[derive(Clone, Debug, PartialEq)]
pub struct ImplicitFilter<T> {
    /// `pos_emb.z` (l_max x emb_dim): learned in the official code, which begins it as
    /// [`positional_features`].
    pub features: Matrix<T>,
    /// `implicit_filter.0`, `.2`, ...: emb_dim to width, then width to width.
    pub layers: Vec<Linear<T>>,
    /// `implicit_filter.1.freq` (width): one, shared by all layers.
    pub frequency: Vec<T>,
    /// The last layer's weight (channels x width), which has no bias.
    pub output: Matrix<T>,
    /// `modulation`.
    pub window: DecayWindow<T>,
    /// `bias` (channels): the feedthroughs.
    pub feedthrough: Vec<T>,
}

impl<T: Real> ImplicitFilter<T> {
    /// The filters of all channels, their first `len` places.
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or `len` exceeds `l_max`, the number of rows of `features`.
    pub fn filters(&self, len: usize) -> Result<Vec<Filter<T>>, Error> {
        let (l_max, channels) = (self.features.rows(), self.output.rows());
        if len > l_max {
            return Err(Error::shape(
                "implicit filter",
                format_args!("a length of at most l_max = {l_max}"),
                len,
            ));
        }
        check_len("window's decays", self.window.decay.len(), channels)?;
        check_len("feedthroughs", self.feedthrough.len(), channels)?;
        let mut width = self.features.cols();
        for (i, layer) in self.layers.iter().enumerate() {
            let what = format!("implicit filter, inputs of layer {i}");
            check_len(&what, layer.weight().cols(), width)?;
            width = layer.weight().rows();
            check_len("frequencies", self.frequency.len(), width)?;
        }
        check_len("inputs of the last layer", self.output.cols(), width)?;

        let mut kernels = vec![Vec::with_capacity(len); channels];
        for i in 0..len {
            let mut x = self.features.row(i).to_vec();
            for layer in &self.layers {
                let sums = layer.apply(&x).into_iter().zip(&self.frequency);
                x = sums.map(|(x, &w)| (w * x).sin_cos().0).into_vec();
            }
            let t = place(i, l_max)?;
            for (c, (kernel, y)) in kernels.iter_mut().zip(self.output.apply(&x)?).enumerate() {
                kernel.push(y * self.window.weight(t, c));
            }
        }
        let filters = kernels.into_iter().zip(&self.feedthrough);
        Ok(filters
            .map(|(kernel, &feedthrough)| Filter {
                kernel,
                feedthrough,
            })
            .into_vec())
    }
}

/// The window that makes filters decay (safari, `ExponentialModulation`):
/// `e^{-|decay_c| t} + shift`, `0 <= t <= 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecayWindow<T> {
    /// `deltas`, one per channel; the sign does not matter.
    pub decay: Vec<T>,
    /// The value that the window keeps at any distance. With 0, the window ends after about
    /// `1 / |decay|`.
    pub shift: T,
}

impl<T: Real> DecayWindow<T> {
    /// The official beginning: the window of the first channel falls to 1e-2 at 1.5 lengths, that
    /// of the last at 0.3 of one, those between in equal steps of the decay; no shift.
    ///
    /// # Errors
    ///
    /// Never for the scalars of this crate.
    pub fn official(channels: usize) -> Result<Self, Error> {
        let target = T::from_f64(0.01 - 1.0).ln_1p();
        let of = |part: f64| quotient(target, T::from_f64(part));
        let decay = linspace(of(1.5)?, of(0.3)?, channels)?;
        Ok(Self {
            decay,
            shift: T::ZERO,
        })
    }

    /// `e^{-|decay_c| t} + shift`.
    fn weight(&self, t: T, channel: usize) -> T {
        let decay = self.decay[channel];
        let size = decay.relu() + (-decay).relu();
        (-(size * t)).exp() + self.shift
    }
}

/// The features of a position that the network reads (safari, `PositionalEmbedding`), l_max x
/// emb_dim: row i is `t_i`, then `cos(f_b w_i)`, then `-sin(f_b w_i)` with `w_i = 2 pi i / l_max`
/// and `(emb_dim - 1) / 2` frequencies `f_b` from 1e-4 to `(emb_dim - 1) / 2 - 1` in equal steps.
///
/// # Errors
///
/// If `emb_dim` is even or below 3.
pub fn positional_features<T: Real>(l_max: usize, emb_dim: usize) -> Result<Matrix<T>, Error> {
    if emb_dim < 3 || emb_dim.is_multiple_of(2) {
        return Err(Error::value(
            "emb_dim",
            format!("{emb_dim}; expected an odd number of at least 3: time, cosines and sines"),
        ));
    }
    let bands = emb_dim / 2;
    let frequencies = linspace(T::from_f64(1e-4), T::from_i64(bands as i64 - 1), bands)?;
    let two_pi = T::from_i64(2) * pi();
    let mut entries = Vec::with_capacity(l_max * emb_dim);
    for i in 0..l_max {
        let w = quotient(two_pi * T::from_i64(i as i64), T::from_i64(l_max as i64))?;
        let turned: Vec<_> = frequencies.iter().map(|&f| (f * w).sin_cos()).into_vec();
        entries.push(place(i, l_max)?);
        entries.extend(turned.iter().map(|&(_, cos)| cos));
        entries.extend(turned.iter().map(|&(sin, _)| -sin));
    }
    Matrix::new(l_max, emb_dim, entries)
}

/// `t_i`: from 0 to 1 over `l_max` places.
fn place<T: Real>(i: usize, l_max: usize) -> Result<T, Error> {
    quotient(T::from_i64(i as i64), T::from_i64(l_max.max(2) as i64 - 1))
}

/// `count` numbers from `first` to `last` in equal steps; `first` alone if there is one.
fn linspace<T: Real>(first: T, last: T, count: usize) -> Result<Vec<T>, Error> {
    (0..count)
        .map(|i| Ok(first + place::<T>(i, count)? * (last - first)))
        .collect()
}

fn quotient<T: Real>(x: T, y: T) -> Result<T, Error> {
    x.divide(y)
        .ok_or_else(|| Error::value("implicit filter", "a division by zero"))
}
