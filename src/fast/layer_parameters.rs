//! Between the official parameters and the fast path: the place of every channel, the models'
//! coefficients in double precision, and the reverse direction for gradients.

use super::decoding::{Sampled, decay, decay_slope};
use super::diagonal::DiagonalParameters;
use super::lanes::{Element, Vector};
use super::shift::ShiftParameters;
use crate::error::Error;
use crate::h3::{Config, HeadOrder, Name, Parameters};
use crate::into_vec::IntoVec as _;
use crate::ssm::Discretization;
use num_complex::Complex;

/// The layout of channels in lanes: heads are lanes, and vector `v` of a layer's panels holds the
/// channels `d_1 = v mod d_h` of the group of heads `v / d_h`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLayout {
    head_dim: usize,
    heads: usize,
    width: usize,
    order: HeadOrder,
}

impl LaneLayout {
    pub(super) fn new<T: Element>(config: &Config) -> Self {
        Self {
            head_dim: config.head_dim,
            heads: config.n_heads(),
            width: T::Lanes::WIDTH,
            order: config.head_order,
        }
    }

    /// The number of vectors that hold all channels.
    pub(super) fn vectors(self) -> usize {
        self.heads.div_ceil(self.width) * self.head_dim
    }

    fn head(self, vector: usize, lane: usize) -> Option<usize> {
        let h = vector / self.head_dim * self.width + lane;
        (h < self.heads).then_some(h)
    }

    /// The channel of queries, keys and values in a lane, if there is one.
    pub(super) fn channel(self, vector: usize, lane: usize) -> Option<usize> {
        let h = self.head(vector, lane)?;
        Some(h * self.head_dim + vector % self.head_dim)
    }

    /// The input of the output projection in a lane, if there is one.
    pub(super) fn gated(self, vector: usize, lane: usize) -> Option<usize> {
        let (h, d2) = (self.head(vector, lane)?, vector % self.head_dim);
        Some(match self.order {
            HeadOrder::D2H => d2 * self.heads + h,
            HeadOrder::HD2 => h * self.head_dim + d2,
        })
    }

    /// Every channel with its row among the lanes of all vectors.
    pub(super) fn rows(
        self,
        channel_in: impl Fn(Self, usize, usize) -> Option<usize>,
    ) -> impl Iterator<Item = (usize, usize)> {
        (0..self.vectors() * self.width).filter_map(move |row| {
            let at = channel_in(self, row / self.width, row % self.width)?;
            Some((at, row))
        })
    }
}

/// The shift models in the order of the lanes; a lane without a channel has zero taps.
pub(super) fn shift_parameters(
    parameters: &Parameters<f64>,
    layout: LaneLayout,
) -> ShiftParameters {
    let m = parameters.config().d_state;
    let size = layout.vectors() * layout.width;
    let mut shift = ShiftParameters {
        taps: m,
        b: vec![0.0; size * m],
        c: vec![0.0; size * m],
        d: vec![0.0; size],
    };
    let [b, c, d] = [Name::ShiftB, Name::ShiftC, Name::ShiftD].map(|name| parameters.get(name));
    for (at, row) in layout.rows(LaneLayout::channel) {
        let (from, to) = (at * m..(at + 1) * m, row * m..(row + 1) * m);
        shift.b[to.clone()].copy_from_slice(&b[from.clone()]);
        shift.c[to].copy_from_slice(&c[from]);
        shift.d[row] = d[at];
    }
    shift
}

impl DiagonalParameters {
    /// The diagonal models of a layer, one per head (H), from its official parameters: decoded and
    /// discretized in double precision.
    ///
    /// # Errors
    ///
    /// If `dt lambda = 2` and the discretization is bilinear: the pole of the map.
    pub fn from_official(parameters: &Parameters<f64>) -> Result<Self, Error> {
        let [c, d] = [Name::C, Name::D].map(|name| parameters.get(name));
        Self::sampled(
            &Continuous::new(parameters),
            parameters.config().n_modes(),
            c,
            d,
        )
    }

    /// The continuous models, of `n` modes each, discretized, with the official `C` (H, n, 2) and `D` (H).
    pub(super) fn sampled(
        continuous: &Continuous,
        n: usize,
        c: &[f64],
        d: &[f64],
    ) -> Result<Self, Error> {
        let mut diagonal = Self {
            pairs: n,
            a: Vec::with_capacity(c.len() / 2),
            b: Vec::with_capacity(c.len() / 2),
            c: complex(c),
            d: d.to_vec(),
        };
        for (h, &dt) in continuous.dt.iter().enumerate() {
            for i in 0..n {
                let at = continuous.index(h, i, n);
                let z = continuous.lambda[at] * dt;
                let mode = Sampled::new(continuous.disc, z).ok_or_else(|| {
                    Error::value(
                        format!("head {h}"),
                        "bilinear discretization: dt * lambda = 2 is the pole of the map; a stable \
                         lambda has a negative real part",
                    )
                })?;
                diagonal.a.push(mode.pole);
                diagonal.b.push(continuous.b[at] * dt * mode.input);
            }
        }
        Ok(diagonal)
    }
}

fn complex(parts: &[f64]) -> Vec<Complex<f64>> {
    let pairs = parts.chunks_exact(2);
    pairs.map(|z| Complex::new(z[0], z[1])).into_vec()
}

/// The parameters of the continuous models.
pub(super) const CONTINUOUS: [Name; 4] = [Name::LogDt, Name::B, Name::InvAReal, Name::AImag];

/// The continuous models, decoded.
#[derive(Clone, Debug)]
pub(super) struct Continuous {
    disc: Discretization,
    lambda: Vec<Complex<f64>>,
    b: Vec<Complex<f64>>,
    dt: Vec<f64>,
    /// The slope of `re lambda` in its stored parameter.
    slope: Vec<f64>,
}

/// Gradients of `B`, `log_dt`, `inv_A_real` and `A_imag`.
pub(super) struct ContinuousGradient {
    pub(super) b: Vec<f64>,
    pub(super) log_dt: Vec<f64>,
    pub(super) inv_a_real: Vec<f64>,
    pub(super) a_imag: Vec<f64>,
}

impl Continuous {
    pub(super) fn new(parameters: &Parameters<f64>) -> Self {
        Self::decode(
            parameters.config(),
            CONTINUOUS.map(|name| parameters.get(name)),
        )
    }

    /// The models of the parameters [`CONTINUOUS`].
    pub(super) fn decode(config: &Config, [log_dt, b, real, imaginary]: [&[f64]; 4]) -> Self {
        let real_type = config.real_type;
        let lambda = real.iter().zip(imaginary);
        Self {
            disc: config.disc,
            lambda: lambda
                .map(|(&re, &im)| Complex::new(decay(real_type, re), im))
                .into_vec(),
            b: complex(b),
            dt: log_dt.iter().map(|x| x.exp()).into_vec(),
            slope: real.iter().map(|&x| decay_slope(real_type, x)).into_vec(),
        }
    }

    /// The index of mode `i` of head `h`: heads use the models in turn, of `n` modes each.
    fn index(&self, h: usize, i: usize, n: usize) -> usize {
        (h * n + i) % self.lambda.len()
    }

    /// Back through the discretization, summed over the heads that share a model: `a` and `b` are
    /// what every head's discrete poles and input vector received.
    pub(super) fn gradient(&self, a: &[Complex<f64>], b: &[Complex<f64>]) -> ContinuousGradient {
        let zero = Complex::new(0.0, 0.0);
        let mut of_lambda = vec![zero; self.lambda.len()];
        let mut of_b = of_lambda.clone();
        let n = a.len().checked_div(self.dt.len()).unwrap_or(0);
        let mut log_dt = Vec::with_capacity(self.dt.len());
        for (h, &dt) in self.dt.iter().enumerate() {
            let mut of_dt = 0.0;
            for i in 0..n {
                let at = self.index(h, i, n);
                let (of_a, of_sampled) = (a[h * n + i], b[h * n + i]);
                let (lambda, b) = (self.lambda[at], self.b[at]);
                // A layer at a pole of the map was refused.
                let Some(mode) = Sampled::new(self.disc, lambda * dt) else {
                    continue;
                };
                let of_z =
                    mode.pole_slope.conj() * of_a + (b * mode.input_slope).conj() * of_sampled * dt;
                of_lambda[at] += of_z * dt;
                of_b[at] += mode.input.conj() * of_sampled * dt;
                of_dt += (lambda.conj() * of_z).re + ((b * mode.input).conj() * of_sampled).re;
            }
            log_dt.push(dt * of_dt);
        }
        ContinuousGradient {
            b: of_b.iter().flat_map(|z| [z.re, z.im]).into_vec(),
            log_dt,
            inv_a_real: of_lambda
                .iter()
                .zip(&self.slope)
                .map(|(z, slope)| z.re * slope)
                .into_vec(),
            a_imag: of_lambda.iter().map(|z| z.im).into_vec(),
        }
    }
}

/// The weight and bias of each vector of the projections: queries, keys, values.
pub(super) const PROJECTIONS: [(Name, Name); 3] = [
    (Name::QWeight, Name::QBias),
    (Name::KWeight, Name::KBias),
    (Name::VWeight, Name::VBias),
];
