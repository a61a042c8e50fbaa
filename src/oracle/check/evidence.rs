//! The share of a stage's error that a hypothesis explains.
//!
//! Rounding does not point in the direction of a mistake; a port that makes it does. So a mistake
//! far below the worst case, which has to add up all roundings with one sign, is still seen: by the
//! share of the error that it explains.

use crate::into_vec::IntoVec as _;

/// The share of a stage's error that is evidence for what explains it, where the error is spread
/// over very many elements: no right port of chapter 13's
/// simulations reaches it.
pub const SHARE: f64 = 0.15;

/// The same where the port had to round its parameters first. That moves a stage in few directions,
/// some of which a mistake takes too.
pub const SHARE_OF_ROUNDED: f64 = 0.5;

/// The numerator of the term that shrinks with the number of elements.
pub const BY_CHANCE: f64 = 8.0;

/// A departure of this length, in units of the probable error, stands out of it.
const STANDS_OUT: f64 = 1.0;

/// The same for one that was fitted to the error by more than one number.
const FITTED_STANDS_OUT: f64 = 3.0;

/// A departure that is this part of the stage itself needs no probable error to stand out of: only
/// that the error points in its very direction. An error that is this part of the stage in any
/// direction is that of no right port that was seen, and leaves the stage undecided.
pub const LARGE: f64 = 0.25;

/// The share of the error that such a departure must explain at least.
pub const SHARE_OF_LARGE: f64 = 0.6;

/// In formats of 16 bits the probable error of what goes through many steps is far above what any
/// port shows. There a departure needs none to stand out of, if it explains this much and is no
/// smaller than one rounding of the stage.
pub const SHARE_AT_16_BITS: f64 = 0.35;

/// The least where the error is several times that of storing the stages. Then it is made within the
/// models, of few numbers that were rounded (powers of poles, step by step), and has few directions
/// however many elements it is spread over: eight random numbers have this share of a given direction with a
/// chance of 10^-5.
pub const SHARE_OF_FEW: f64 = 0.97;

/// A hypothesis must explain this share of an error to count as its explanation.
pub(super) const NEARLY_ALL: f64 = 0.9;

/// This share of an error is all of it.
pub(super) const ALL: f64 = 0.99;

/// An error of so many times that of storing the stages, or of so many roundings of a kernel or of a single step, is made
/// within the models.
pub(super) const SEVERAL: f64 = 4.0;

/// The chance that is taken of so many random directions that one of them is the error's.
pub const CHANCE: f64 = 1e-12;

/// The scales that a port's error is weighed against.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    /// True if the format holds all parameters.
    pub exact_parameters: bool,
    /// The unit roundoff of a format of 16 bits, if only of the projections.
    pub coarse: Option<f64>,
    /// True if the error is several times that of storing the stages in such a format.
    pub of_few: bool,
}

/// One over the probable error of every element; 0 for elements that take no part.
#[derive(Clone, Debug)]
pub struct Weights(Vec<f64>);

impl Weights {
    /// Of probable errors, no smaller than a thousandth of their median: what is almost exact would
    /// decide alone. Elements without error take no part, since the bound judges them.
    pub fn of(probable: &[f64]) -> Self {
        let mut sorted: Vec<f64> = probable.iter().copied().filter(|&s| s > 0.0).into_vec();
        let middle = sorted.len() / 2;
        let floor = match sorted.is_empty() {
            true => 0.0,
            false => *sorted.select_nth_unstable_by(middle, f64::total_cmp).1 / 1000.0,
        };
        let weight = |&s: &f64| match s > 0.0 {
            true => 1.0 / s.max(floor),
            false => 0.0,
        };
        Self(probable.iter().map(weight).into_vec())
    }

    /// Those of some elements.
    pub(super) fn of_elements(&self, elements: &[usize]) -> Self {
        Self(elements.iter().map(|&at| self.0[at]).into_vec())
    }

    /// The weight of an element; 0 where right ports have no error.
    pub fn at(&self, at: usize) -> f64 {
        self.0[at]
    }

    /// Errors in units of the probable one.
    pub(super) fn apply(&self, errors: impl Iterator<Item = f64>) -> Vec<f64> {
        errors.zip(&self.0).map(|(e, weight)| e * weight).into_vec()
    }

    /// The root mean square of an error, in units of the probable one.
    pub fn rms(&self, error: impl Iterator<Item = f64>) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0_f64);
        for (error, weight) in error.zip(&self.0) {
            sum += (error * weight).powi(2);
            count += f64::from(u8::from(*weight > 0.0));
        }
        (sum / count.max(1.0)).sqrt()
    }

    /// The evidence of a predicted departure, given error, departure and stage element by element.
    pub fn evidence(
        &self,
        scales: Scales,
        elements: impl Iterator<Item = (f64, f64, f64)>,
    ) -> Evidence {
        let mut sums = Sums::default();
        for ((error, departure, stage), &weight) in elements.zip(&self.0) {
            sums.add(error * weight, departure * weight, stage * weight);
        }
        sums.evidence(scales)
    }
}

/// Weighted sums over the elements of a stage `r`, of its error `e` and a departure `m`.
#[derive(Default)]
struct Sums {
    e2: f64,
    e4: f64,
    m2: f64,
    em: f64,
    r2: f64,
    /// Of `e + m`: the error of a port that departs so and rounds as this one does.
    f2: f64,
    f4: f64,
}

impl Sums {
    fn add(&mut self, e: f64, m: f64, r: f64) {
        let (e2, f) = (e * e, (e + m) * (e + m));
        self.e2 += e2;
        self.e4 += e2 * e2;
        self.m2 += m * m;
        self.em += e * m;
        self.r2 += r * r;
        self.f2 += f;
        self.f4 += f * f;
    }

    fn evidence(&self, scales: Scales) -> Evidence {
        let Self { e2, m2, em, r2, .. } = *self;
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        // Of a port that makes this mistake, at its least: its roundings point away from it, and are
        // half as large again.
        let (noise, against) = (2.25 * e2, 1.5 * em.abs());
        let made = noise + m2 - 2.0 * against;
        Evidence {
            scales,
            share: ratio(2.0 * em - m2, e2),
            elements: ratio(e2 * e2, self.e4),
            length: m2.sqrt(),
            of_stage: ratio(m2, r2).sqrt(),
            if_made: ratio(m2 - 2.0 * against, made),
            elements_if_made: ratio(self.f2 * self.f2, self.f4),
            left_of_stage: ratio(m2, r2).sqrt() - 1.5 * ratio(e2, r2).sqrt(),
        }
    }
}

/// The share of a stage's error that a predicted departure explains.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    scales: Scales,
    /// The share of the error it explains: 1 where it is the error, 0 or less where it is not.
    pub share: f64,
    /// The number of elements over which the error is spread.
    pub elements: f64,
    /// The length of the departure in units of the probable error.
    pub length: f64,
    /// The same in units of the stage's own.
    of_stage: f64,
    /// The least share that a port would show that departs so and rounds as this one does.
    if_made: f64,
    elements_if_made: f64,
    /// The least error of such a port in units of the stage.
    left_of_stage: f64,
}

impl Evidence {
    /// The share that no right port reaches, if the departure is one that could be seen at all;
    /// `fitted` numbers of it were fitted to the error.
    pub fn limit(&self, fitted: usize) -> Option<f64> {
        self.limit_of(self.elements, fitted, 1.0)
    }

    fn limit_of(&self, elements: f64, fitted: usize, margin: f64) -> Option<f64> {
        let (least, share) = match (self.scales.exact_parameters, fitted) {
            (true, 0 | 1) => (STANDS_OUT, SHARE),
            (false, 0 | 1) => (STANDS_OUT, SHARE_OF_ROUNDED),
            _ => (FITTED_STANDS_OUT, SHARE_OF_ROUNDED),
        };
        let by_chance = (BY_CHANCE + 2.0 * fitted as f64) / elements.max(1.0);
        let stands_out = self.length >= margin * least;
        let by_length = stands_out.then(|| (share + by_chance).min(0.9));
        let free = elements - 1.0 - fitted as f64;
        // The share of a random direction beyond which the chance lies.
        let chance = (free >= 1.0).then(|| 1.0 - CHANCE.powf(2.0 / free));
        let by_size = chance.filter(|_| self.of_stage >= margin * LARGE);
        let by_size = by_size.map(|chance| chance.max(SHARE_OF_LARGE));
        let is_coarse = self
            .scales
            .coarse
            .is_some_and(|u| self.of_stage >= margin * u);
        let by_chance = chance.filter(|_| is_coarse && self.scales.exact_parameters && fitted <= 1);
        let least = match self.scales.of_few {
            true => SHARE_OF_FEW,
            false => 0.0,
        };
        let by_chance = by_chance.map(|chance| chance + SHARE_AT_16_BITS * (1.0 - chance));
        let by_chance = by_chance.map(|limit| limit.max(least));
        let limits = [by_length, by_size, by_chance].into_iter().flatten();
        limits.min_by(f64::total_cmp)
    }

    /// True if no right port shows as much.
    pub fn convicts(&self, fitted: usize) -> bool {
        self.limit(fitted).is_some_and(|limit| self.share > limit)
    }

    /// True if a port that departs so would not pass: it would be convicted, or its stage undecided.
    pub fn would_show(&self) -> bool {
        self.left_of_stage > 1.25 * LARGE || self.would_convict()
    }

    /// True if a port that departs so would be convicted.
    pub(super) fn would_convict(&self) -> bool {
        let limit = self.limit_of(self.elements_if_made, 0, 1.25);
        limit.is_some_and(|limit| self.if_made > 0.9 * limit + 0.1)
    }
}
