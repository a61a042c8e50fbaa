//! Between the official parameters and the fast path: where every channel stands, the models'
//! coefficients in double precision, and the way back for gradients.

use super::diagonal::DiagonalParameters;
use super::lanes::{Element, Vector};
use super::shift::ShiftParameters;
use crate::error::Error;
use crate::h3::{Config, HeadOrder, Name, Parameters, RealType};
use crate::ssm::Discretization;
use num_complex::Complex;

/// Where channels stand: heads are lanes, and vector `v` of a layer's panels holds the channels
/// `d_1 = v mod d_h` of the group of heads `v / d_h`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    head_dim: usize,
    heads: usize,
    width: usize,
    order: HeadOrder,
}

impl Places {
    pub(super) fn new<T: Element>(config: &Config) -> Self {
        Self {
            head_dim: config.head_dim,
            heads: config.n_heads(),
            width: T::Lanes::WIDTH,
            order: config.head_order,
        }
    }

    /// How many vectors hold all channels.
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
        place: impl Fn(Self, usize, usize) -> Option<usize>,
    ) -> impl Iterator<Item = (usize, usize)> {
        (0..self.vectors() * self.width).filter_map(move |row| {
            let at = place(self, row / self.width, row % self.width)?;
            Some((at, row))
        })
    }
}

/// The shift models in the order of the lanes; a lane without a channel has zero taps.
pub(super) fn shift_parameters(parameters: &Parameters<f64>, places: Places) -> ShiftParameters {
    let m = parameters.config().d_state;
    let size = places.vectors() * places.width;
    let mut shift = ShiftParameters {
        taps: m,
        b: vec![0.0; size * m],
        c: vec![0.0; size * m],
        d: vec![0.0; size],
    };
    let [b, c, d] = [Name::ShiftB, Name::ShiftC, Name::ShiftD].map(|name| parameters.get(name));
    for (at, row) in places.rows(Places::channel) {
        let (from, to) = (at * m..(at + 1) * m, row * m..(row + 1) * m);
        shift.b[to.clone()].copy_from_slice(&b[from.clone()]);
        shift.c[to].copy_from_slice(&c[from]);
        shift.d[row] = d[at];
    }
    shift
}

/// The diagonal models, decoded and discretized.
pub(super) fn diagonal_parameters(
    parameters: &Parameters<f64>,
) -> Result<DiagonalParameters, Error> {
    let config = parameters.config();
    let n = config.n_modes();
    let (lambda, b) = (parameters.lambda(), complex(parameters.get(Name::B)));
    let mut diagonal = DiagonalParameters {
        pairs: n,
        a: Vec::new(),
        b: Vec::new(),
        c: complex(parameters.get(Name::C)),
        d: parameters.get(Name::D).to_vec(),
    };
    for (h, log_dt) in parameters.get(Name::LogDt).iter().enumerate() {
        let dt = log_dt.exp();
        for i in 0..n {
            let at = h % config.n_ssm * n + i;
            let (a, b) = config
                .disc
                .apply(lambda[at], b[at], dt)
                .map_err(|e| Error::value(format!("head {h}"), e.to_string()))?;
            diagonal.a.push(a);
            diagonal.b.push(b);
        }
    }
    Ok(diagonal)
}

fn complex(parts: &[f64]) -> Vec<Complex<f64>> {
    let pairs = parts.chunks_exact(2);
    pairs.map(|z| Complex::new(z[0], z[1])).collect()
}

/// What of the continuous models their gradients are computed from.
#[derive(Clone, Debug)]
pub(super) struct Continuous {
    disc: Discretization,
    lambda: Vec<Complex<f64>>,
    b: Vec<Complex<f64>>,
    dt: Vec<f64>,
    /// Of `re lambda` in its stored parameter.
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
        let config = parameters.config();
        let stored = parameters.get(Name::InvAReal).iter();
        Self {
            disc: config.disc,
            lambda: parameters.lambda(),
            b: complex(parameters.get(Name::B)),
            dt: parameters
                .get(Name::LogDt)
                .iter()
                .map(|x| x.exp())
                .collect(),
            slope: stored.map(|&x| slope(config.real_type, x)).collect(),
        }
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
                // Heads take the models in turn.
                let at = (h * n + i) % self.lambda.len();
                let (of_a, of_sampled) = (a[h * n + i], b[h * n + i]);
                let (lambda, b) = (self.lambda[at], self.b[at]);
                // a = a(z), b = dt B q(z), z = dt lambda.
                let (slope_a, q, slope_q) = sampled(self.disc, lambda * dt);
                let of_z = slope_a.conj() * of_a + (b * slope_q).conj() * of_sampled * dt;
                of_lambda[at] += of_z * dt;
                of_b[at] += q.conj() * of_sampled * dt;
                of_dt += (lambda.conj() * of_z).re + ((b * q).conj() * of_sampled).re;
            }
            log_dt.push(dt * of_dt);
        }
        ContinuousGradient {
            b: of_b.iter().flat_map(|z| [z.re, z.im]).collect(),
            log_dt,
            inv_a_real: of_lambda
                .iter()
                .zip(&self.slope)
                .map(|(z, slope)| z.re * slope)
                .collect(),
            a_imag: of_lambda.iter().map(|z| z.im).collect(),
        }
    }
}

/// `a'(z)`, `q(z)` and `q'(z)` of a discretization `a = a(z)`, `b = dt B q(z)`.
fn sampled(disc: Discretization, z: Complex<f64>) -> (Complex<f64>, Complex<f64>, Complex<f64>) {
    let one = Complex::new(1.0, 0.0);
    match disc {
        Discretization::Bilinear => {
            let q = one / (one - z * 0.5);
            (q * q, q, q * q * 0.5)
        }
        Discretization::ZeroOrderHold => {
            let e = z.exp();
            if z.norm() >= 1.0 {
                let q = (e - one) / z;
                return (e, q, (e - q) / z);
            }
            // The formulas cancel: q = sum z^k / (k + 1)!, of which 20 terms are below 2^-60.
            let (mut q, mut slope) = (Complex::new(0.0, 0.0), Complex::new(0.0, 0.0));
            let mut term = one;
            for k in 1..=20 {
                // term = z^(k-1) / k!
                q += term;
                let next = term / f64::from(k + 1);
                slope += next * f64::from(k);
                term = next * z;
            }
            (e, q, slope)
        }
    }
}

/// The slope of the real part of lambda in its stored parameter; as PyTorch's, zero at the kink of
/// relu and one beyond softplus's threshold of 20.
fn slope(real_type: RealType, stored: f64) -> f64 {
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    -match real_type {
        RealType::None => 1.0,
        RealType::Exp => stored.exp(),
        RealType::Relu => f64::from(u8::from(stored > 0.0)),
        RealType::Sigmoid => logistic(stored) * logistic(-stored),
        RealType::Softplus if stored > 20.0 => 1.0,
        RealType::Softplus => logistic(stored),
    }
}

/// Which weight and bias a vector of the projections belongs to: queries, keys, values.
pub(super) const PROJECTIONS: [(Name, Name); 3] = [
    (Name::QWeight, Name::QBias),
    (Name::KWeight, Name::KBias),
    (Name::VWeight, Name::VBias),
];
