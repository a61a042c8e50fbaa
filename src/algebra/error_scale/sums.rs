//! Sums of products of error scales side by side: the same numbers as one by one, to the last bit, in a tenth
//! of the time.

use super::{ErrorBound, ErrorScale};
use crate::algebra::ring::Ring;
use crate::algebra::side_by_side::{LANES, Lanes, Numbers, SideBySide};

/// Values up to this, and errors, give finite sums; values from [`LEAST`] on products that are not zero.
const LARGEST: f64 = (1u128 << 120) as f64;
const LEAST: f64 = 1.0 / LARGEST;

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
            match [size, worst, probable].iter().all(|x| *x <= LARGEST) {
                false => Numbers::Any,
                true if size < LEAST => Numbers::InRange,
                true => Numbers::Plain,
            }
        };
        row.iter().map(of).max().unwrap_or(Numbers::Plain)
    }

    fn sums(numbers: Numbers, x: &[[f64; 4]], y: &[[Lanes; 4]]) -> [Self; LANES] {
        match numbers {
            Numbers::Plain => Sums::<true>::of(x.iter().zip(y.iter().copied())).numbers(),
            _ => Sums::<false>::of(x.iter().zip(y.iter().copied())).numbers(),
        }
    }
}

/// Sums of products, `PLAIN` if every product is a term.
struct Sums<const PLAIN: bool> {
    value: Lanes,
    worst: Lanes,
    probable: Lanes,
    magnitude: Lanes,
    /// What a sum of these terms and this magnitude adds to the errors of its terms
    /// ([`ErrorBound::of_sum`]).
    grown: [Lanes; 2],
    terms: Lanes,
}

impl<const PLAIN: bool> Sums<PLAIN> {
    fn of<'a>(products: impl Iterator<Item = (&'a [f64; 4], [Lanes; 4])>) -> Self {
        let zeros = [0.0; LANES];
        let mut sums = Self {
            value: zeros,
            worst: zeros,
            probable: zeros,
            magnitude: zeros,
            grown: [zeros; 2],
            terms: zeros,
        };
        // Roundings of a sum, worst and probable, of which every lane has as many.
        let mut roundings = 0.0;
        for (x, y) in products {
            sums.add(x, &y, [roundings, probable(roundings)]);
            roundings += 1.0;
        }
        if PLAIN {
            sums.terms = [roundings; LANES];
        }
        sums
    }

    /// [`ErrorScale`]'s own product and sum, operation by operation.
    #[inline(always)]
    fn add(&mut self, x: &[f64; 4], y: &[Lanes; 4], roundings: [f64; 2]) {
        for l in 0..LANES {
            let value = x[VALUE] * y[VALUE][l];
            let size = value.abs();
            let worst = y[WORST][l] * x[SIZE] + x[WORST] * y[SIZE][l] + size;
            let of_product = y[PROBABLE][l] * x[SIZE] + x[PROBABLE] * y[SIZE][l] + size;
            self.value[l] += value;
            self.magnitude[l] += size;
            let roundings = match PLAIN {
                true => roundings,
                false => {
                    self.terms[l] += if worst > 0.0 { 1.0 } else { 0.0 };
                    let worst = positive(self.terms[l] - 1.0);
                    [worst, probable(worst)]
                }
            };
            let grown = roundings.map(|roundings| roundings * self.magnitude[l]);
            let added = [grown[0] - self.grown[0][l], grown[1] - self.grown[1][l]];
            self.worst[l] = (self.worst[l] + worst) + positive(added[0]);
            self.probable[l] = (self.probable[l] + of_product) + positive(added[1]);
            (self.grown[0][l], self.grown[1][l]) = (grown[0], grown[1]);
        }
    }

    fn numbers(&self) -> [ErrorScale; LANES] {
        core::array::from_fn(|l| ErrorScale {
            value: self.value[l],
            error: ErrorBound {
                worst: self.worst[l],
                probable: self.probable[l],
            },
            magnitude: self.magnitude[l],
            terms: self.terms[l],
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

impl ErrorScale {
    /// The causal convolution `y_i = sum_k f_k u_{i-k}`, as long as `u`, accumulated from `k = 0`.
    pub(crate) fn convolution(f: &[Self], u: &[Self]) -> Vec<Self> {
        sliding(f, u, u.len(), |i| i + 1, |i, k| i - k)
    }

    /// The correlation `y_i = sum_k x_k g_{i+k}`, `len` numbers of it, accumulated from `k = 0`.
    pub(crate) fn correlation(x: &[Self], g: &[Self], len: usize) -> Vec<Self> {
        sliding(x, g, len, |i| g.len().saturating_sub(i), |i, k| i + k)
    }
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
    let parts: Vec<[f64; 4]> = x.iter().map(|x| x.parts()).collect();
    // Beyond the end are lanes that nobody reads.
    let beyond = [ErrorScale::ZERO; LANES];
    let lanes: [Vec<f64>; 4] = core::array::from_fn(|part| {
        let all = u.iter().chain(&beyond);
        all.map(|u| u.parts()[part]).collect()
    });
    let mut y = Vec::with_capacity(len);
    for i in (0..len).step_by(LANES) {
        let lanes_at = |k: usize| -> [Lanes; 4] {
            let from = place(i, k);
            core::array::from_fn(|part| {
                let lanes = lanes[part][from..].first_chunk();
                *lanes.unwrap_or(&[0.0; LANES])
            })
        };
        let outputs = i..len.min(i + LANES);
        let of = |i: usize| most(i).min(x.len());
        // As many terms as every lane has; the rest one by one.
        let shared = outputs.clone().map(of).min().unwrap_or(0);
        let products = parts[..shared].iter().enumerate();
        let products = products.map(|(k, x)| (x, lanes_at(k)));
        let (shared, sums) = match numbers {
            Numbers::Plain => (shared, Sums::<true>::of(products).numbers()),
            Numbers::InRange => (shared, Sums::<false>::of(products).numbers()),
            Numbers::Any => (0, [ErrorScale::ZERO; LANES]),
        };
        y.extend(
            outputs
                .zip(sums)
                .map(|(i, sum)| (shared..of(i)).fold(sum, |sum, k| sum + x[k] * u[place(i, k)])),
        );
    }
    y
}
