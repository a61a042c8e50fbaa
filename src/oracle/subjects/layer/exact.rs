//! Layers in which nothing rounds in a format, found by search.

use super::case::LayerCase;
use crate::algebra::{Demand, FloatFormat, Grid, Real, Rng};
use crate::error::Error;
use crate::h3::{Config, LayerState, Name, Parameters, RealType};
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Subject;
use crate::ssm::Discretization;
use crate::tensor::Tensor;
use num_complex::Complex;

/// A layer and an input on which nothing rounds in a format, in any order of summation: signed
/// permutations for weights, small integers for the rest, steps `dt = 1`, bilinear, `real_type` none,
/// and poles at which the bilinear transform is dyadic.
///
/// The size of the integers, and the number of nonzero ones, are found by a search from many to
/// few, in which the [`Demand`] of every stage decides.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExactLayer {
    /// The sizes of the layer; its `disc` and `real_type` must be [bilinear](Discretization::Bilinear)
    /// and [none](RealType::None).
    pub config: Config,
    /// Sequences of the input.
    pub batch: usize,
    /// Their length.
    pub seq_len: usize,
    /// The format in which the forward pass is to be exact.
    pub format: FloatFormat,
    /// The continuous poles `dt lambda` of the diagonal models, dealt out in turn.
    pub poles: Vec<Complex<f64>>,
    /// Inputs before the first one of the case: the case begins from a state.
    pub position: Option<usize>,
    /// States are stages after every chunk of this length.
    pub chunk_len: Option<usize>,
    /// The format in which the gradients are to be exact, if there is to be a cotangent.
    pub gradients: Option<FloatFormat>,
}

/// The density of nonzero numbers in a layer.
#[derive(Clone, Copy, Debug)]
struct Density {
    /// Inputs per sequence and channel.
    tokens: usize,
    /// Taps per channel.
    taps: usize,
    /// Modes read per head.
    modes: usize,
    /// The largest integer.
    size: usize,
    /// True if a channel of the keys has a bias, and so is not zero at any token.
    bias: bool,
}

/// The numbers of the layers drawn at each density, together, and the fewest and most layers.
const NUMBERS_DRAWN: usize = 1 << 17;
const ATTEMPTS: [usize; 2] = [4, 32];

/// A search that cannot end well is one of more numbers than this.
const MAX_NUMBERS: usize = 1 << 24;

impl ExactLayer {
    /// `dt lambda` with the discrete poles `i`, `-i`, 1: no power of them is shorter or longer than 1.
    pub const ROTATIONS: [Complex<f64>; 3] = [
        Complex { re: 0.0, im: 2.0 },
        Complex { re: 0.0, im: -2.0 },
        Complex { re: 0.0, im: 0.0 },
    ];

    /// `dt lambda` with the discrete poles `-1/2` and `(-1 + i)/2`: a power takes as many digits more
    /// as it has factors.
    pub const DECAYS: [Complex<f64>; 2] =
        [Complex { re: -6.0, im: 0.0 }, Complex { re: -2.0, im: 4.0 }];

    /// A layer of these sizes, an input of one sequence, and all poles for as long as the format can
    /// hold the powers of all of them.
    #[must_use]
    pub fn new(config: Config, batch: usize, seq_len: usize, format: FloatFormat) -> Self {
        let mut poles = Self::ROTATIONS.to_vec();
        if i64::try_from(seq_len).is_ok_and(|len| len <= i64::from(format.digits())) {
            poles.extend(Self::DECAYS);
        }
        Self {
            config: Config {
                disc: Discretization::Bilinear,
                real_type: RealType::None,
                ..config
            },
            batch,
            seq_len,
            format,
            poles,
            position: None,
            chunk_len: None,
            gradients: None,
        }
    }

    /// The case that a seed names: the first one found, the same on every machine.
    ///
    /// # Errors
    ///
    /// If the sizes are impossible or too large to search, or no case of these sizes was found; the
    /// message has the stage that needed more digits than the format has.
    pub fn find(&self, rng: &mut Rng) -> Result<LayerCase, Error> {
        let numbers = self.check()?;
        let attempts = (NUMBERS_DRAWN / numbers).clamp(ATTEMPTS[0], ATTEMPTS[1]);
        let mut poles = self.poles.clone();
        let mut last;
        loop {
            last = String::new();
            for density in self.densities() {
                for attempt in 0..attempts {
                    let density = Density {
                        bias: attempt % 4 < 2,
                        size: 2 - attempt % 2,
                        ..density
                    };
                    let case = self.draw(density, &poles, rng)?;
                    match self.first_rounding(&case)? {
                        None => return Ok(case),
                        Some(said) => last = said,
                    }
                }
            }
            // Decaying poles take a digit per token: without them more fits.
            let before = poles.len();
            poles.retain(|pole| !Self::DECAYS.contains(pole));
            if poles.is_empty() || poles.len() == before {
                break;
            }
        }
        Err(Error::unsupported(format!(
            "no exact case of this size was found in {}: {last}; try fewer tokens",
            self.format
        )))
    }

    /// Refuses impossible sizes and those too large to search; returns about how many numbers a run
    /// computes.
    fn check(&self) -> Result<usize, Error> {
        self.config.check()?;
        let (d, d_h) = (self.config.d_model, self.config.head_dim);
        for (what, size) in [("batch", self.batch), ("seq_len", self.seq_len)] {
            if size == 0 {
                return Err(Error::value(what, "0; expected at least 1"));
            }
        }
        if self.config.d_state < 2 {
            return Err(Error::value(
                "d_state",
                "1; expected at least 2, for one pole",
            ));
        }
        if self.poles.is_empty() {
            return Err(Error::missing("every pole of an exact layer"));
        }
        let products = [self.batch, self.seq_len, d, d_h, self.config.d_state];
        let products = products.iter().try_fold(1usize, |n, &x| n.checked_mul(x));
        let weights = d.checked_mul(d).and_then(|n| n.checked_mul(4));
        match (products, weights) {
            (Some(n), Some(weights)) if n.max(weights) <= MAX_NUMBERS => Ok(n.max(weights)),
            _ => Err(Error::unsupported(format!(
                "an exact case of d_model {d}, head_dim {d_h}, d_state {}, batch {}, seq_len {}: \
                 the search is for smaller ones, of at most {MAX_NUMBERS} products batch * seq_len * \
                 d_model * head_dim * d_state",
                self.config.d_state, self.batch, self.seq_len,
            ))),
        }
    }

    /// From all numbers to few: a part of the tokens, at least two of each kind for as long as there is
    /// more than one token left, then one.
    fn densities(&self) -> Vec<Density> {
        let (len, m, n) = (self.seq_len, self.config.d_state, self.config.n_modes());
        let density = |tokens: usize, least: usize| {
            let part = |size: usize| (size * tokens / len).clamp(least.min(size), size);
            Density {
                tokens,
                taps: part(m),
                modes: part(n),
                size: 1,
                bias: false,
            }
        };
        let mut densities = Vec::new();
        let mut tokens = len;
        while tokens > 1 {
            densities.push(density(tokens, 2));
            tokens -= tokens.div_ceil(3);
        }
        densities.extend([2, 1].map(|tokens| density(tokens.min(len), 1)));
        // At the end of a sequence about `tokens * modes` terms of at least 2 have been added up per
        // pair of channels: where that takes too many digits, nothing need be drawn.
        let most = f64::from(self.format.digits()).exp2();
        let least = |d: &Density| 2.0 * (d.tokens * d.modes * self.config.head_dim) as f64;
        let fits = densities.iter().position(|d| least(d) <= most);
        densities.drain(..fits.unwrap_or(densities.len() - 1));
        densities
    }

    /// The first stage that a format asked for does not hold, in words; or one that is zero
    /// throughout in a head, channel or sequence, of which nothing can be learned.
    fn first_rounding(&self, case: &LayerCase) -> Result<Option<String>, Error> {
        let run = case.run_plainly::<Grid>(case.cotangent.is_some())?;
        for spec in case.stages() {
            let Some((_, numbers)) = run.iter().find(|(name, _)| *name == spec.name) else {
                continue;
            };
            let format = match (spec.is_gradient(), self.gradients) {
                (true, Some(format)) => format,
                _ => self.format,
            };
            let demand = Demand::of(numbers.data());
            if !demand.is_met_by(format) {
                let needs = match demand.digits() {
                    Some(digits) if digits > format.digits() => {
                        format!("{digits} digits, and {format} has {}", format.digits())
                    }
                    Some(_) => format!("exponents beyond those of {format}"),
                    None => "more digits than f64 has".into(),
                };
                return Ok(Some(format!("{} needs {needs}", spec.name)));
            }
            // By head, channel or sequence.
            let rows = spec.shape().first().copied().unwrap_or(1).max(1);
            let mut rows = numbers.data().chunks((numbers.data().len() / rows).max(1));
            let zeros = rows.any(|row| row.iter().all(|x| x.to_f64() == 0.0));
            if zeros && !spec.is_gradient() {
                return Ok(Some(format!("{} is zero in a row", spec.name)));
            }
        }
        Ok(None)
    }

    fn draw(
        &self,
        density: Density,
        poles: &[Complex<f64>],
        rng: &mut Rng,
    ) -> Result<LayerCase, Error> {
        let config = &self.config;
        let (d, d_h, m) = (config.d_model, config.head_dim, config.d_state);
        let parameters = Parameters::new(config.clone(), |name| {
            Ok(self.parameter(name, density, poles, rng))
        })?;
        let tokens = [self.batch, self.seq_len, d];
        let input = self.tokens(density, rng);
        let mut case = LayerCase::new(parameters, Tensor::new(tokens, input)?)?;
        if self.gradients.is_some() {
            let g = self.tokens(density, rng);
            case = case.with_cotangent(Tensor::new(tokens, g)?)?;
        }
        if let Some(chunk_len) = self.chunk_len {
            case = case.with_chunk_len(chunk_len)?;
        }
        if let Some(position) = self.position {
            let keys = [self.batch, d, m];
            let modes = [self.batch, d_h, d_h, config.n_heads(), config.n_modes()];
            let mut draw = |size: usize| (0..size).map(|_| integer(1, true, rng)).into_vec();
            let shift = Tensor::new(keys, draw(keys.iter().product()))?;
            let parts = draw(2 * modes.iter().product::<usize>());
            let pairs = parts.chunks_exact(2).map(|z| Complex::new(z[0], z[1]));
            case = case.with_state(LayerState {
                shift,
                diagonal: Tensor::new(modes, pairs.into_vec())?,
                position,
            })?;
        }
        Ok(case)
    }

    /// Integers, not zero at some tokens of every sequence and channel.
    fn tokens(&self, density: Density, rng: &mut Rng) -> Vec<f64> {
        let (d, len) = (self.config.d_model, self.seq_len);
        let mut numbers = vec![0.0; self.batch * len * d];
        for b in 0..self.batch {
            for channel in 0..d {
                // One of them is still in the window at the end.
                let late = len - 1 - rng.below(len.min(self.config.d_state));
                let others = some_of(len, density.tokens, rng).into_iter().skip(1);
                for token in others.chain([late]) {
                    numbers[(b * len + token) * d + channel] = integer(density.size, false, rng);
                }
            }
        }
        numbers
    }

    fn parameter(
        &self,
        name: Name,
        density: Density,
        poles: &[Complex<f64>],
        rng: &mut Rng,
    ) -> Vec<f64> {
        let config = &self.config;
        let size: usize = name.shape(config).iter().product();
        let (m, n) = (config.d_state, config.n_modes());
        let mut all = |largest: usize, zeros: bool| -> Vec<f64> {
            (0..size).map(|_| integer(largest, zeros, rng)).into_vec()
        };
        match name {
            Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                signed_permutation(config.d_model, rng)
            }
            // Queries, values and outputs are not zero where the input is; most keys are, or the states
            // would be sums of as many terms as there are tokens.
            Name::QBias | Name::VBias | Name::OutputBias => all(density.size.min(2), false),
            Name::LogDt => vec![0.0; size],
            Name::KBias => {
                let mut bias = vec![0.0; size];
                if density.bias {
                    bias[rng.below(size)] = integer(1, false, rng);
                }
                bias
            }
            Name::ShiftD | Name::D => all(density.size, false),
            Name::ShiftB => {
                // Two taps: a learned B, not the official initial value, which hides mistakes.
                let mut taps = vec![0.0; size];
                for row in taps.chunks_exact_mut(m) {
                    row[0] = integer(1, false, rng);
                    if density.taps > 1 {
                        row[1 + rng.below(m - 1)] = integer(1, false, rng);
                    }
                }
                taps
            }
            Name::ShiftC => {
                let mut taps = vec![0.0; size];
                let window = m.min(self.seq_len).min(config.l_max.unwrap_or(m));
                for row in taps.chunks_exact_mut(m) {
                    // One of them meets the input.
                    let early = rng.below(window);
                    let others = some_of(m, density.taps, rng).into_iter().skip(1);
                    for tap in others.chain([early]) {
                        row[tap] = integer(density.size, false, rng);
                    }
                }
                taps
            }
            Name::B => all(1, false),
            Name::C => {
                let mut modes = vec![0.0; size];
                for (h, head) in modes.chunks_exact_mut(2 * n).enumerate() {
                    for mode in some_of(n, density.modes, rng) {
                        head[2 * mode] = integer(1, false, rng);
                        // With a real pole the kernel is the real part of c b times its powers, which
                        // must not be zero.
                        let pole = poles[(h % config.n_ssm * n + mode) % poles.len()];
                        if pole.im != 0.0 {
                            head[2 * mode + 1] = integer(1, true, rng);
                        }
                    }
                }
                modes
            }
            Name::InvAReal => dealt(poles, size).map(|pole| 0.0 - pole.re).into_vec(),
            Name::AImag => dealt(poles, size).map(|pole| pole.im).into_vec(),
        }
    }
}

/// Poles in turn.
fn dealt(poles: &[Complex<f64>], size: usize) -> impl Iterator<Item = Complex<f64>> {
    poles.iter().copied().cycle().take(size)
}

/// An integer of magnitude at most `largest`, zero only where `zeros` are wanted.
fn integer(largest: usize, zeros: bool, rng: &mut Rng) -> f64 {
    let least = usize::from(!zeros);
    let magnitude = (least + rng.below(largest + 1 - least)) as f64;
    match rng.next_u64() >> 63 {
        0 => magnitude,
        // No negative zero, which equals zero and is stored otherwise.
        _ => 0.0 - magnitude,
    }
}

/// Some of `0..len`, all of them different.
fn some_of(len: usize, number: usize, rng: &mut Rng) -> Vec<usize> {
    let mut places: Vec<usize> = (0..len).into_vec();
    for i in 0..number.min(len) {
        places.swap(i, i + rng.below(len - i));
    }
    places.truncate(number);
    places
}

/// A matrix of one entry, 1 or -1, per row and column.
fn signed_permutation(d: usize, rng: &mut Rng) -> Vec<f64> {
    let mut matrix = vec![0.0; d * d];
    for (row, column) in some_of(d, d, rng).into_iter().enumerate() {
        matrix[row * d + column] = integer(1, false, rng);
    }
    matrix
}
