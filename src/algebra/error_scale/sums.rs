//! Sums of products of error scales side by side: the same numbers as one by one, to the last bit.

use super::{ErrorBound, ErrorScale};
use crate::algebra::ring::Ring;
use crate::algebra::side_by_side::{LANES, Lanes, Numbers, SideBySide};
use crate::into_vec::IntoVec as _;

/// Values up to this, and errors up to [`LARGEST_ERROR`], give finite sums of a million products and more; values from
/// [`LEAST`] on products that are not zero.
const LARGEST: f64 = (1u128 << 120) as f64;
const LEAST: f64 = 1.0 / LARGEST;

/// Errors are multiplied with values and never with each other. (Beyond the first order they are that large: in 16 bits
/// after a thousand steps.)
const LARGEST_ERROR: f64 = f64::from_bits((f64::MAX_EXP as u64 - 1 + 880) << 52);

// The floats of a number.
const VALUE: usize = 0;
const SIZE: usize = 1;
const WORST: usize = 2;
const PROBABLE: usize = 3;

impl SideBySide<4> for ErrorScale {
    fn parts(self) -> [f64; 4] {
        let ErrorBound { worst, probable } = self.error;
        [self.value, self.value.abs(), worst, probable]
    }

    fn numbers(row: &[Self]) -> Numbers {
        let of = |x: &Self| {
            let [_, size, worst, probable] = x.parts();
            let errors = worst <= LARGEST_ERROR && probable <= LARGEST_ERROR;
            match size <= LARGEST && errors {
                false => Numbers::Any,
                true if size < LEAST => Numbers::InRange,
                true => Numbers::Plain,
            }
        };
        row.iter().map(of).max().unwrap_or(Numbers::Plain)
    }

    fn sums(numbers: Numbers, x: &[[f64; 4]], y: &[[Lanes; 4]]) -> [Self; LANES] {
        match numbers {
            Numbers::Plain => Sums::<true>::of(x, y, |k| k),
            _ => Sums::<false>::of(x, y, |k| k),
        }
    }
}

/// Sums of products, `PLAIN` if every product is a term.
struct Sums<const PLAIN: bool> {
    value: Lanes,
    worst: Lanes,
    probable: Lanes,
    magnitude: Lanes,
    /// What a sum of these terms and this magnitude adds to the errors of its terms, worst and probable
    /// ([`ErrorBound::of_sum`]).
    grown_worst: Lanes,
    grown_probable: Lanes,
    terms: Lanes,
}

impl<const PLAIN: bool> Sums<PLAIN> {
    const NOTHING: Self = {
        let zeros = [0.0; LANES];
        Self {
            value: zeros,
            worst: zeros,
            probable: zeros,
            magnitude: zeros,
            grown_worst: zeros,
            grown_probable: zeros,
            terms: zeros,
        }
    };

    /// The sums of the products of `x` with the lanes at a place for each.
    fn of(x: &[[f64; 4]], y: &[[Lanes; 4]], at: impl Fn(usize) -> usize) -> [ErrorScale; LANES] {
        let mut sums = Self::NOTHING;
        for (k, x) in x.iter().enumerate() {
            sums.add(x, &y[at(k)], k);
        }
        sums.numbers(x.len())
    }

    /// [`ErrorScale`]'s own product and sum, operation by operation, after so many others.
    #[inline(always)]
    fn add(&mut self, x: &[f64; 4], y: &[Lanes; 4], others: usize) {
        // What every lane rounds, if all have as many terms.
        let roundings = others as f64;
        let as_independent = probable(roundings);
        for l in 0..LANES {
            let value = x[VALUE] * y[VALUE][l];
            let size = value.abs();
            let worst = y[WORST][l] * x[SIZE] + x[WORST] * y[SIZE][l] + size;
            let probably = y[PROBABLE][l] * x[SIZE] + x[PROBABLE] * y[SIZE][l] + size;
            self.value[l] += value;
            self.magnitude[l] += size;
            let (mut grown_worst, mut grown_probable) = (roundings, as_independent);
            if !PLAIN {
                self.terms[l] += if worst > 0.0 { 1.0 } else { 0.0 };
                grown_worst = positive(self.terms[l] - 1.0);
                grown_probable = probable(grown_worst);
            }
            grown_worst *= self.magnitude[l];
            grown_probable *= self.magnitude[l];
            self.worst[l] = (self.worst[l] + worst) + positive(grown_worst - self.grown_worst[l]);
            self.probable[l] =
                (self.probable[l] + probably) + positive(grown_probable - self.grown_probable[l]);
            self.grown_worst[l] = grown_worst;
            self.grown_probable[l] = grown_probable;
        }
    }

    /// The sums, of so many products each.
    fn numbers(&self, products: usize) -> [ErrorScale; LANES] {
        core::array::from_fn(|l| ErrorScale {
            value: self.value[l],
            error: ErrorBound {
                worst: self.worst[l],
                probable: self.probable[l],
            },
            magnitude: self.magnitude[l],
            terms: if PLAIN {
                products as f64
            } else {
                self.terms[l]
            },
        })
    }
}

/// `max(x, 0)`, in the one instruction that machines have for it.
#[inline(always)]
fn positive(x: f64) -> f64 {
    if x > 0.0 { x } else { 0.0 }
}

/// The factor of a magnitude in [`ErrorBound::of_sum`], with roundings as independent.
#[inline(always)]
fn probable(roundings: f64) -> f64 {
    match roundings <= 16.0 {
        true => roundings,
        false => 4.0 * roundings.sqrt(),
    }
}

/// The causal convolution `y_i = sum_k f_k u_{i-k}`, as long as `u`, accumulated from `k = 0`.
pub fn convolution_of_errors(f: &[ErrorScale], u: &[ErrorScale]) -> Vec<ErrorScale> {
    sliding(f, u, u.len(), |i| i + 1, |i, k| i - k)
}

/// The correlation `y_i = sum_k x_k g_{i+k}`, `len` numbers of it, accumulated from `k = 0`.
pub fn correlation_of_errors(x: &[ErrorScale], g: &[ErrorScale], len: usize) -> Vec<ErrorScale> {
    sliding(x, g, len, |i| g.len().saturating_sub(i), |i, k| i + k)
}

/// `y_i = sum_k x_k u_j` with `j` the place that slides along with `i`, of no more terms than `most`.
fn sliding(
    x: &[ErrorScale],
    u: &[ErrorScale],
    len: usize,
    most: impl Fn(usize) -> usize,
    place: impl Fn(usize, usize) -> usize,
) -> Vec<ErrorScale> {
    let of_u = ErrorScale::numbers(u);
    // What is nothing adds nothing to what is finite.
    let is_there = |x: &ErrorScale| of_u == Numbers::Any || x.parts() != [0.0; 4];
    let x = &x[..x.iter().rposition(is_there).map_or(0, |last| last + 1)];
    let numbers = ErrorScale::numbers(x).max(of_u);
    let parts: Vec<[f64; 4]> = x.iter().map(|x| x.parts()).into_vec();
    // Beyond the end are lanes that nobody reads.
    let beyond = [ErrorScale::ZERO; LANES];
    let lanes: Vec<[f64; 4]> = u.iter().chain(&beyond).map(|u| u.parts()).into_vec();
    let lanes: Vec<[Lanes; 4]> = lanes.windows(LANES).map(transposed).into_vec();
    let mut y = Vec::with_capacity(len);
    for i in (0..len).step_by(LANES) {
        let outputs = i..len.min(i + LANES);
        let of = |i: usize| most(i).min(x.len());
        // As many terms as every lane has; the rest one by one.
        let shared = match numbers {
            Numbers::Any => 0,
            _ => outputs.clone().map(of).min().unwrap_or(0),
        };
        let sums = match numbers {
            Numbers::Plain => Sums::<true>::of(&parts[..shared], &lanes, |k| place(i, k)),
            _ => Sums::<false>::of(&parts[..shared], &lanes, |k| place(i, k)),
        };
        y.extend(
            outputs
                .zip(sums)
                .map(|(i, sum)| (shared..of(i)).fold(sum, |sum, k| sum + x[k] * u[place(i, k)])),
        );
    }
    y
}

/// The floats of neighbouring numbers, by part.
fn transposed(numbers: &[[f64; 4]]) -> [Lanes; 4] {
    let mut parts = [[0.0; LANES]; 4];
    for (lane, number) in numbers.iter().enumerate() {
        for (part, &x) in parts.iter_mut().zip(number) {
            part[lane] = x;
        }
    }
    parts
}
