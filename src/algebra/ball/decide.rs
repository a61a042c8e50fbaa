//! Exact decisions: the sign of a sum of floats, and to which float a ball rounds.

#![allow(clippy::float_cmp, reason = "these decisions are exact")]

use super::bound::{Bound, sum_of_magnitudes};
use super::eft::two_sum;
use core::cmp::Ordering;

/// The most terms a decision is asked about: two midpoints of six words and two radii.
const CAPACITY: usize = 24;

/// A sum of floats as a non-overlapping expansion, in increasing order of magnitude, zeros among
/// it: Shewchuk's Grow-Expansion (*Adaptive precision floating-point arithmetic and fast robust
/// geometric predicates*, 1997, theorem 10). The sum is unchanged.
struct Exact {
    parts: [f64; CAPACITY],
    len: usize,
}

impl Exact {
    fn sum(terms: impl Iterator<Item = f64>) -> Self {
        let mut exact = Self {
            parts: [0.0; CAPACITY],
            len: 0,
        };
        for term in terms {
            if exact.len == CAPACITY {
                // Not reached by this module's callers; a NaN leaves everything undecided.
                exact.parts[0] = f64::NAN;
                break;
            }
            let mut q = term;
            for part in &mut exact.parts[..exact.len] {
                (q, *part) = two_sum(q, *part);
            }
            exact.parts[exact.len] = q;
            exact.len += 1;
        }
        exact
    }

    /// The part of largest magnitude: its sign is the sign of the sum, since the parts below do
    /// not overlap it.
    fn largest(&self) -> f64 {
        let parts = self.parts[..self.len].iter().rev();
        parts.copied().find(|&x| x != 0.0).unwrap_or(0.0)
    }

    fn is_finite(&self) -> bool {
        self.parts[..self.len].iter().all(|x| x.is_finite())
    }
}

/// The sign of the exact sum of at most 24 floats; `None` if one is not finite or the sum
/// overflows.
pub fn sign(terms: impl Iterator<Item = f64>) -> Option<Ordering> {
    let exact = Exact::sum(terms);
    if exact.is_finite() {
        exact.largest().partial_cmp(&0.0)
    } else {
        None
    }
}

/// A float that the sum of `words` rounds to, up to one unit in the last place.
fn near(words: &[f64]) -> f64 {
    let exact = Exact::sum(words.iter().copied());
    exact.parts[..exact.len].iter().fold(0.0, |sum, x| sum + x)
}

/// The `f64` nearest to the exact sum of `words`, ties to even; an infinity beyond the largest,
/// a NaN for a NaN.
pub(super) fn nearest(words: &[f64]) -> f64 {
    let guess = near(words);
    for candidate in [guess, guess.next_up(), guess.next_down()] {
        if rounds_to(words, 0.0, &f64_cell(candidate)) {
            return candidate;
        }
    }
    guess
}

/// A float and how far the numbers that round to it reach.
struct Cell {
    center: f64,
    /// The distances to the next float above and below.
    gaps: (f64, f64),
    /// Ties go to it.
    even: bool,
}

fn f64_cell(x: f64) -> Cell {
    let gap_above = if x == f64::MAX {
        x - x.next_down()
    } else {
        x.next_up() - x
    };
    let gap_below = if x == f64::MIN {
        gap_above
    } else {
        x - x.next_down()
    };
    Cell {
        center: x,
        gaps: (gap_above, gap_below),
        even: x.to_bits() & 1 == 0,
    }
}

fn f32_cell(x: f32) -> Cell {
    let center = f64::from(x);
    let above = if x == f32::MAX {
        center - f64::from(x.next_down())
    } else {
        f64::from(x.next_up()) - center
    };
    let below = if x == f32::MIN {
        above
    } else {
        center - f64::from(x.next_down())
    };
    Cell {
        center,
        gaps: (above, below),
        even: x.to_bits() & 1 == 0,
    }
}

/// True if every number within `radius` of the sum of `words` rounds to the cell's center.
///
/// Both ends of the ball are compared with the middles between neighbours, exactly.
fn rounds_to(words: &[f64], radius: f64, cell: &Cell) -> bool {
    // Half of the smallest gap is no f64. Where everything is small, all is doubled instead.
    let factor = if cell.center.abs() < 1.0 && radius < 1.0 {
        2.0
    } else {
        1.0
    };
    let end = |sign_of_radius: f64, middle: f64| {
        sign(
            words
                .iter()
                .map(|x| factor * x)
                .chain([sign_of_radius * factor * radius, -factor * cell.center])
                .chain([-middle * (factor / 2.0)]),
        )
    };
    let (above, below) = (end(1.0, cell.gaps.0), end(-1.0, -cell.gaps.1));
    let tie = |side: Option<Ordering>| cell.even && side == Some(Ordering::Equal);
    (above == Some(Ordering::Less) || tie(above))
        && (below == Some(Ordering::Greater) || tie(below))
}

pub(super) fn rounded_f64(words: &[f64], radius: f64) -> Option<f64> {
    // Nearly always the first word is it, and shows it: what may be added to it changes nothing.
    if let Some((&first, rest)) = words.split_first() {
        let reach = sum_of_magnitudes(rest) + Bound::of(radius);
        if first + reach.get() == first && first - reach.get() == first && first.is_finite() {
            return Some(first + 0.0);
        }
    }
    // Only zero itself is nearest to zero, and then without a sign.
    let x = nearest(words);
    (x.is_finite() && rounds_to(words, radius, &f64_cell(x))).then_some(x)
}

pub(super) fn rounded_f32(words: &[f64], radius: f64) -> Option<f32> {
    let guess = nearest(words) as f32;
    [guess, guess.next_up(), guess.next_down()]
        .into_iter()
        .filter(|x| x.is_finite())
        .find(|&x| rounds_to(words, radius, &f32_cell(x)))
        // What is negative and rounds to zero would keep its sign.
        .map(|x| x + 0.0)
}
