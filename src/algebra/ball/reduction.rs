//! Argument reduction for sine and cosine in integers: Payne and Hanek (1983).

use super::bound::{Bound, sum_of_magnitudes};
use super::constants::{QUARTER_PI, TWO_OVER_PI_BITS};
use super::eft::{power_of_two, significand};
use super::expansion::Terms;
use super::interval::BallN;

/// A number of quarter turns modulo `2^64` in two's complement: the integer part, then the
/// fraction from its highest limb, 640 bits.
type Turns = [u64; 11];

/// 64 bits of `floor(2/pi * 2^position)`, the lowest.
fn bits_of_two_over_pi(position: i32) -> u64 {
    // Bit i after the point (from 0) has weight 2^-(i+1): wanted are i = position - 64 .. position.
    let limb = |index: i32| -> u64 {
        usize::try_from(index)
            .ok()
            .and_then(|i| TWO_OVER_PI_BITS.get(i).copied())
            .unwrap_or(0)
    };
    let first = position - 64;
    let (index, shift) = (first.div_euclid(64), first.rem_euclid(64) as u32);
    if shift == 0 {
        limb(index)
    } else {
        (limb(index) << shift) | (limb(index + 1) >> (64 - shift))
    }
}

/// Adds `x * 2/pi` for a float `x = M 2^e`, `M` an integer below `2^53`.
///
/// `2/pi * 2^e` modulo `2^64` is cut off after 640 bits: short by less than `2^-640`, and its
/// product with `M` by less than `2^-587`.
fn accumulate(turns: &mut Turns, x: f64) {
    if x == 0.0 {
        return;
    }
    let (f, exponent) = significand(x);
    let integer = (f.abs() * power_of_two(52)) as u64;
    let e = exponent - 52;
    let mut product: Turns = Default::default();
    let mut carry = 0u128;
    for i in (0..product.len()).rev() {
        let limb = bits_of_two_over_pi(e + 64 * i as i32);
        let wide = u128::from(limb) * u128::from(integer) + carry;
        product[i] = wide as u64;
        carry = wide >> 64;
    }
    if x.is_sign_negative() {
        negate(&mut product);
    }
    let mut carry = false;
    for i in (0..product.len()).rev() {
        let (sum, first) = turns[i].overflowing_add(product[i]);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        turns[i] = sum;
        carry = first || second;
    }
}

fn negate(turns: &mut Turns) {
    let mut carry = true;
    for limb in turns.iter_mut().rev() {
        let (negated, overflow) = (!*limb).overflowing_add(u64::from(carry));
        *limb = negated;
        carry = overflow;
    }
}

impl<const W: usize> BallN<W> {
    /// `(t, q)` with `m = q pi/2 + t` modulo a full turn and `|t| <= pi/4`, for the midpoint `m`.
    ///
    /// Exact arithmetic modulo `2^64` quarter turns does away with the integer part however large
    /// `m` is. What is left of `m * 2/pi` is a fraction of 640 bits, off by less than `2^-584` in
    /// total, then multiplied by `pi/2` with a guard word. So `t` is accurate relative to itself
    /// unless `m` comes nearer to a multiple of `pi/2` than about `2^-584 + 53 W`.
    pub(super) fn reduced(self) -> (Self, u8) {
        let m = self.center();
        if m.midpoint()[0].abs() <= 0.785 {
            return (m, 0);
        }
        let mut turns: Turns = Default::default();
        for x in m.midpoint() {
            accumulate(&mut turns, x);
        }
        // Round to the nearest integer: up if the fraction is at least one half.
        let up = turns[1] >> 63 == 1;
        let quadrant = (turns[0].wrapping_add(u64::from(up)) & 3) as u8;
        turns[0] = if up { u64::MAX } else { 0 };
        // In two's complement, integer part -1 plus the fraction is the fraction minus 1.
        if up {
            negate(&mut turns);
        }
        let sign = if up { -1.0 } else { 1.0 };
        let mut fraction = Terms::new();
        for (i, &limb) in turns.iter().enumerate().skip(1) {
            // Halves of limbs are exact floats.
            let unit = power_of_two(-64 * i as i32);
            fraction.push(sign * ((limb >> 32) as f64) * (unit * power_of_two(32)));
            fraction.push(sign * ((limb & 0xffff_ffff) as f64) * unit);
        }
        // At most six words, each short by less than 2^-587.
        fraction.lose(Bound::of(power_of_two(-584)));
        fraction.condense(W + 1);
        // t = fraction * pi/2 = (2 fraction) * pi/4.
        let (pieces, left) = QUARTER_PI.guarded(W);
        let mut t = Terms::new();
        let words = fraction.words();
        for weight in 0..=W {
            for (i, &word) in words.iter().enumerate().take(weight + 1) {
                t.push_product(2.0 * word, pieces[weight - i]);
            }
        }
        // Pairs beyond the guard word, what the pieces leave out, what the fraction leaves out.
        for (i, &word) in words.iter().enumerate() {
            let rest = sum_of_magnitudes(&pieces[W + 1 - i..]).charged(left);
            t.lose(Bound::of(2.0 * word) * rest);
        }
        t.lose(Bound::of(2.0) * fraction.lost());
        (Self::from(t.round()), quadrant)
    }
}
