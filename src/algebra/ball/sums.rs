//! Sums of products of balls side by side: midpoints with their errors beyond two words, and one bound of
//! the radius for a whole sum in the place of one for each of its operations.

use super::bound::Bound;
use super::eft::{halves, power_of_two, product_error, two_sum};
use super::expansion::Terms;
use super::interval::BallN;
use crate::algebra::side_by_side::{LANES, Lanes, Numbers, SideBySide};
use core::ops::RangeInclusive;

/// Where a float, if it is not zero, must lie for products with others of its kind to be exact as two
/// floats, and normal where they are rounded.
const FIRST_WORD: RangeInclusive<f64> = power_of_two(-480)..=power_of_two(480);
/// The same of second words and radii.
const SMALL: RangeInclusive<f64> = power_of_two(-500)..=power_of_two(480);
/// The longest sum for which the bounds below are derived.
pub const LONGEST: usize = 1 << 18;

/// For the roundings of a sum of that many terms, each of them rounded five times.
const UP: f64 = 1.0 + 1.0 / (1u64 << 30) as f64;

/// `2^-53`.
const U: f64 = f64::EPSILON / 2.0;

// The floats of a number: the first word and its halves, the second word, a bound of the magnitude (but
// for its own rounding), the radius.
const FIRST: usize = 0;
const HIGH: usize = 1;
const LOW: usize = 2;
const SECOND: usize = 3;
const SIZE: usize = 4;
const RADIUS: usize = 5;

impl<const W: usize> SideBySide<6> for BallN<W> {
    fn parts(self) -> [f64; 6] {
        let (first, second, radius) = (self.midpoint()[0], self.second(), self.radius());
        let (high, low) = halves(first);
        let size = first.abs() + second.abs() + radius;
        [first, high, low, second, size, radius]
    }

    fn numbers(row: &[Self]) -> Numbers {
        if W != 2 || row.len() > LONGEST {
            return Numbers::Any;
        }
        let within = |range: &RangeInclusive<f64>, x: f64| x == 0.0 || range.contains(&x.abs());
        let of = |x: &Self| {
            let (first, second) = (x.midpoint()[0], x.second());
            let in_range = within(&FIRST_WORD, first)
                && within(&SMALL, second)
                && within(&SMALL, x.radius())
                && second.abs() <= 2.0 * U * first.abs();
            match (in_range, second == 0.0 && x.is_exact()) {
                (false, _) => Numbers::Any,
                (true, false) => Numbers::InRange,
                (true, true) => Numbers::Plain,
            }
        };
        row.iter().map(of).max().unwrap_or(Numbers::Plain)
    }

    fn sums(numbers: Numbers, x: &[[f64; 6]], y: &[[Lanes; 6]]) -> [Self; LANES] {
        match numbers {
            Numbers::Plain => Sums::<true>::of(x, y),
            _ => Sums::<false>::of(x, y),
        }
    }
}

impl<const W: usize> BallN<W> {
    fn second(self) -> f64 {
        self.midpoint().get(1).copied().unwrap_or(0.0)
    }
}

/// Sums in three floats, `FLOATS` those of products of floats.
///
/// The sum `s` of the first words' products is rounded, and what it loses is added up in `c`; what that
/// loses is added up in `d`, whose own roundings no other float takes.
///
/// - Of floats, nothing else is rounded: with `D` the magnitudes of all that is added to `d`, by two
///   additions a term, the error is at most `2 K u D` for `K` terms, and none where `D` is zero. So a sum of
///   which no partial sum needs a third word is exact, which decides ties.
/// - Else, with second words at most `2u` of the first, the rounding of both cross products, of their sum
///   and of that with the product's error come to `13 u^2 |p|` for a product `p`, and the product of the
///   second words, left out, to `4 u^2 |p|`. What goes to `c` is one rounded sum more, at most `u |s|` and
///   `5u |p|` large; `d` takes what `c` loses and, with `K^2 (K + 5) u^3 P`, loses itself less than
///   `3 u^2 P`, with `P` the sum of all `|p|`. In total that is below `u^2` times the sum of all `|s|` and
///   `32 |p|`, also where that is rounded. The radii add `|a| s + |b| r` a term, for `|a|` and `|b|` of the balls.
struct Sums<const FLOATS: bool> {
    s: Lanes,
    c: Lanes,
    d: Lanes,
    /// `D`, or the sum of all `|s|` and `32 |p|`.
    charged: Lanes,
    spread: Lanes,
}

impl<const FLOATS: bool> Sums<FLOATS> {
    fn of<const W: usize>(x: &[[f64; 6]], y: &[[Lanes; 6]]) -> [BallN<W>; LANES] {
        let zeros = [0.0; LANES];
        let mut sums = Self {
            s: zeros,
            c: zeros,
            d: zeros,
            charged: zeros,
            spread: zeros,
        };
        for (x, y) in x.iter().zip(y) {
            sums.add(x, y);
        }
        core::array::from_fn(|lane| sums.ball(lane, x.len()))
    }

    #[inline(always)]
    fn add(&mut self, x: &[f64; 6], y: &[Lanes; 6]) {
        for l in 0..LANES {
            let p = x[FIRST] * y[FIRST][l];
            let e = product_error((x[HIGH], x[LOW]), (y[HIGH][l], y[LOW][l]), p);
            let (s, lost) = two_sum(self.s[l], p);
            self.s[l] = s;
            if FLOATS {
                let (both, from_both) = two_sum(lost, e);
                let (c, from_c) = two_sum(self.c[l], both);
                self.c[l] = c;
                self.d[l] += from_c + from_both;
                self.charged[l] += from_c.abs() + from_both.abs();
            } else {
                let cross = x[FIRST] * y[SECOND][l] + x[SECOND] * y[FIRST][l];
                let (c, from_c) = two_sum(self.c[l], lost + (e + cross));
                self.c[l] = c;
                self.d[l] += from_c;
                self.charged[l] += s.abs() + 32.0 * p.abs();
                self.spread[l] += x[SIZE] * y[RADIUS][l] + x[RADIUS] * y[SIZE][l];
            }
        }
    }

    fn ball<const W: usize>(&self, lane: usize, len: usize) -> BallN<W> {
        let mut terms = Terms::new();
        terms.extend(&[self.s[lane], self.c[lane], self.d[lane]]);
        let units = match FLOATS {
            true => 4.0 * len as f64 * U,
            false => U * U,
        };
        terms.lose(Bound::of(self.charged[lane]) * Bound::of(units));
        terms.lose(Bound::of(self.spread[lane]) * Bound::of(UP));
        BallN::from(terms.round())
    }
}
